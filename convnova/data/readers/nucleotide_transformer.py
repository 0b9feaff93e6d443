"""The Nucleotide Transformer's downstream tasks: `<task>/{train,test}` as FASTA or as parquet.

FASTA: `>name|label`. Parquet: `sequence`, `name`, `label`, and in later revisions `task`.
Source: https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from convnova.data.readers.apart import apart
from convnova.data.readers.fasta import labelled_records
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences
from convnova.data.unpack import unpack_limit
from convnova.errors import ConvNovaError

ROWS_A_BATCH = 10_000


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one file a split; the suffix says which form it has.

    Raises:
        ConvNovaError: a parquet without the columns, or with rows of several tasks; as
            `convnova.data.readers.fasta.read`.
    """
    for split, path in raw.splits():
        is_parquet = path.suffix == ".parquet"
        labelled = chain.from_iterable(apart(_parquet_rows, path)) if is_parquet else labelled_records(path)
        yield from rows_of_sequences(split, str(path), labelled)


def _parquet_rows(path: Path) -> Iterator[list[tuple[str, str]]]:
    """Sequence and label of each row, some rows at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as table:
            columns, size, rows, tasks = table.schema_arrow.names, 0, 0, set()
            if missing := {"sequence", "label"} - set(columns):
                found = f"{', '.join(columns)}; missing: {', '.join(sorted(missing))}"
                raise ConvNovaError(f"{path}: expected the columns sequence and label, found {found}")
            wanted = [name for name in ("sequence", "label", "task") if name in columns]
            for batch in table.iter_batches(batch_size=ROWS_A_BATCH, columns=wanted):
                size, rows = size + batch.nbytes, rows + len(batch)
                if size > unpack_limit(path):
                    raise ConvNovaError(f"{path}: expected a file of data, found one that unpacks to {size:,} bytes")
                texts = {name: batch[name].cast(pyarrow.string()).to_pylist() for name in wanted}
                tasks.update(map(str, texts.get("task", ())))
                if len(tasks) > 1:
                    raise ConvNovaError(f"{path}: expected rows of one task, found {', '.join(sorted(tasks))}")
                pairs = zip(texts["sequence"], texts["label"], strict=True)
                yield [(sequence or "", label or "") for sequence, label in pairs]
            if rows != (expected := table.metadata.num_rows):
                raise ConvNovaError(f"{path}: expected {expected:,} rows, found {rows:,}; fetch it again")
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise ConvNovaError(f"{path}: expected a parquet file: {error}; fetch it again") from error
