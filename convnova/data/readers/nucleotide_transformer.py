"""The Nucleotide Transformer's downstream tasks: `<task>/{train,test}` as FASTA or as parquet.

FASTA: `>name|label`. Parquet: `sequence`, `name`, `label`, and in later revisions `task`.
Source: https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks
"""

from collections.abc import Iterator
from pathlib import Path

from convnova.data.readers.fasta import labelled_records
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences
from convnova.errors import ConvNovaError


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one file a split; the suffix says which form it has.

    Raises:
        ConvNovaError: a parquet without the columns, or with rows of several tasks; as
            `convnova.data.readers.fasta.read`.
    """
    for split, path in raw.splits():
        labelled = _parquet_rows(path) if path.suffix == ".parquet" else labelled_records(path)
        yield from rows_of_sequences(split, str(path), labelled)


def _parquet_rows(path: Path) -> Iterator[tuple[str, str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            columns = table.schema_arrow.names
            if missing := {"sequence", "label"} - set(columns):
                found = f"{', '.join(columns)}; missing: {', '.join(sorted(missing))}"
                raise ConvNovaError(f"{path}: expected the columns sequence and label, found {found}")
            wanted = [name for name in ("sequence", "label", "task") if name in columns]
            names: set[str] = set()
            for batch in table.iter_batches(batch_size=10_000, columns=wanted):
                names.update(batch["task"].unique().to_pylist() if "task" in wanted else ())
                if len(names) > 1:
                    raise ConvNovaError(f"{path}: expected rows of one task, found {', '.join(sorted(names))}")
                for sequence, label in zip(batch["sequence"].to_pylist(), batch["label"].to_pylist(), strict=True):
                    yield sequence or "", "" if label is None else str(label)
    except pyarrow.ArrowException as error:
        message = " ".join(str(error).split())
        raise ConvNovaError(f"{path}: expected a parquet file: {message}; fetch it again") from error
