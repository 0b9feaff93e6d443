"""Your own tables, and GUE: CSV or TSV with the columns `sequence` and `label`.

GUE: https://github.com/MAGICS-LAB/DNABERT_2 (`train.csv`, `dev.csv`, `test.csv` with this header).
"""

from collections.abc import Iterator
from pathlib import Path

from convnova.config.schema import Task
from convnova.data.readers import csv
from convnova.data.readers.rows import Genome, Rows, in_pieces, split_files
from convnova.files import open_bytes


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[Rows]:
    """Read one table a split.

    Raises:
        ConvNovaError: a column is missing; as `tables.rows` and `rows.encode`.
    """
    for split, path in split_files(files):
        with open_bytes(path) as stream:
            table = csv.rows(stream, str(path), ("sequence", "label"))
            pairs = ((sequence.strip(), label.strip()) for _, (sequence, label) in table)
            yield from in_pieces(split, str(path), pairs)
