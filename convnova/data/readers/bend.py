"""BEND's gene finding: a BED of intervals and an HDF5 with a label for every base.

The BED has a header; its first three columns are chromosome, start and end, its last is the split. Row i
of the dataset `labels` belongs to line i of the BED. The forward strand is read, whatever the BED says.
Source: https://github.com/frederikkemarin/BEND
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from convnova.config.schema import Task
from convnova.data import intervals
from convnova.data.genome import SPLITS
from convnova.data.readers.rows import Genome, SequenceRows, need
from convnova.errors import ConvNovaError

ROWS_A_PIECE = 256
INTERVALS, LABELS = "gene_finding.bed", "gene_finding.hdf5"
"""The names of BEND's files."""


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[SequenceRows]:
    """Read the intervals in the role `intervals` and their labels in the role `labels`.

    Raises:
        ConvNovaError: BED and HDF5 do not fit together, a split or a file is not what it should be.
    """
    import h5py

    path, labels_path = (_file(files, role) for role in ("intervals", "labels"))
    genome = need(genome, path)
    lines = list(intervals.lines(path))
    try:
        with h5py.File(labels_path) as file:
            if "labels" not in file:
                raise ConvNovaError(f"{labels_path}: expected a dataset 'labels', found {', '.join(file) or 'none'}")
            if len(file["labels"]) != len(lines):
                found = f"{len(file['labels'])} rows for {len(lines)} intervals in {path}"
                raise ConvNovaError(f"{labels_path}: expected one row of labels an interval, found {found}")
            for first in range(0, len(lines), ROWS_A_PIECE):
                labels = file["labels"][first : first + ROWS_A_PIECE]
                yield from _rows(path, lines[first : first + ROWS_A_PIECE], labels, labels_path, genome, first)
    except OSError as error:
        raise ConvNovaError(f"{labels_path}: expected an HDF5 file ({error}); fetch it again") from error


def _file(files: dict[str, Path], role: str) -> Path:
    if role not in files:
        raise ConvNovaError(f"gene finding: expected files in the roles intervals and labels, found {', '.join(files)}")
    return files[role]


def _rows(
    path: Path, lines: list, labels: np.ndarray, labels_path: Path, genome: Genome, first: int
) -> Iterator[SequenceRows]:
    """Rows of a piece of the BED, one `SequenceRows` for each run of lines of the same split."""
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    remaining = zip(lines, labels, strict=True)
    for split, run in groupby(remaining, key=lambda row: row[0][1][-1]):
        tokens, kept = [], []
        for (line, fields), row in run:
            where = f"{path} line {line}"
            if split not in SPLITS:
                raise ConvNovaError(f"{where}: expected train, valid or test in the last column, found {split!r}")
            chrom, start, end = intervals.checked(fields, lengths, where)
            if len(row) != end - start:
                raise ConvNovaError(f"{where}: expected {end - start} labels, found {len(row)} in {labels_path}")
            tokens.append(genome[chrom][start:end])
            kept.append(np.asarray(row))
        flat = np.concatenate(kept)
        if flat.min() < 0 or flat.max() > np.iinfo(np.int8).max:
            wrong = flat.min() if flat.min() < 0 else flat.max()
            raise ConvNovaError(f"{labels_path}: expected class numbers from 0 on, found {wrong}")
        sizes = np.array([len(part) for part in tokens])
        yield SequenceRows(split, np.concatenate(tokens), sizes, flat.astype(np.int8), str(path), first + 1)
        first += len(tokens)


def write(folder: Path, rows: Iterable[tuple[str, int, int, str, str, np.ndarray]]) -> dict[str, Path]:
    """Write chromosome, start, end, transcript, split and labels of every row as BEND's two files.

    Returns:
        Role to path, as `read` takes them.
    """
    import h5py

    lines, labels = ["chromosome\tstart\tend\ttranscript_id\tsplit"], []
    for *place, classes in rows:
        lines.append("\t".join(map(str, place)))
        labels.append(classes)
    paths = {"intervals": folder / INTERVALS, "labels": folder / LABELS}
    paths["intervals"].write_text("\n".join(lines) + "\n")
    with h5py.File(paths["labels"], "w") as file:
        kind = h5py.vlen_dtype(np.dtype("<i8"))
        column = file.create_dataset("labels", (len(labels),), dtype=kind, track_times=False)
        for number, classes in enumerate(labels):
            column[number] = classes
    return paths
