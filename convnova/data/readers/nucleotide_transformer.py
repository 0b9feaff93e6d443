"""The Nucleotide Transformer's downstream tasks: `<task>/{train,test}` as FASTA or as parquet.

FASTA: `>name|label`. Parquet: `sequence`, `name`, `label`, and in later revisions `task`.
Source: https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks
"""

from collections.abc import Iterator

from convnova.data.readers.fasta import labelled_records
from convnova.data.readers.parquet import parquet_rows
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one file a split; the suffix says which form it has.

    Raises:
        ConvNovaError: as `parquet_rows` and `convnova.data.readers.fasta.read`.
    """
    for split, path in raw.splits():
        is_parquet = path.suffix == ".parquet"
        labelled = parquet_rows(path, raw.task.columns, "task") if is_parquet else labelled_records(path)
        yield from rows_of_sequences(split, str(path), labelled)
