"""BEND's gene finding: a BED of intervals and an HDF5 with a label for every base.

The BED has a header; its first three columns are chromosome, start and end, its last is the split. Row i
of the dataset `labels` belongs to line i of the BED. The forward strand is read, whatever the BED says.
Source: https://github.com/frederikkemarin/BEND
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from convnova.data.genome import SPLITS
from convnova.data.intervals import bed_rows, parse_interval
from convnova.data.readers.rows import SequenceRows, TaskFiles
from convnova.errors import ConvNovaError

ROWS_A_PIECE = 256
INTERVALS_FILE, LABELS_FILE = "gene_finding.bed", "gene_finding.hdf5"
"""The names of BEND's files."""

Line = tuple[int, list[str]]
"""Number and fields of a line of the BED."""


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the intervals in the role `intervals` and their labels in the role `labels`.

    Raises:
        ConvNovaError: BED and HDF5 do not fit together, a split or a file is not what it should be.
    """
    import h5py

    if not {"intervals", "labels"} <= set(raw.files):
        roles = ", ".join(raw.files)
        raise ConvNovaError(f"gene finding: expected files in the roles intervals and labels, found {roles}")
    path, labels_path = raw.files["intervals"], raw.files["labels"]
    lines = list(bed_rows(path))
    try:
        with h5py.File(labels_path) as file:
            if "labels" not in file:
                raise ConvNovaError(f"{labels_path}: expected a dataset 'labels', found {', '.join(file) or 'none'}")
            if len(file["labels"]) != len(lines):
                found = f"{len(file['labels'])} rows for {len(lines)} intervals in {path}"
                raise ConvNovaError(f"{labels_path}: expected one row of labels an interval, found {found}")
            for first in range(0, len(lines), ROWS_A_PIECE):
                piece = slice(first, first + ROWS_A_PIECE)
                labelled = zip(lines[piece], file["labels"][piece], strict=True)
                number = first + 1
                for split, group in groupby(labelled, key=lambda row: row[0][1][-1]):
                    rows = _rows_of_split(raw, split, list(group), number)
                    yield rows
                    number += len(rows.lengths)
    except OSError as error:
        raise ConvNovaError(f"{labels_path}: expected an HDF5 file ({error}); fetch it again") from error


def _rows_of_split(raw: TaskFiles, split: str, labelled: list[tuple[Line, np.ndarray]], first: int) -> SequenceRows:
    """The rows of consecutive lines of one split; `first` is the row of the first of them, from 1."""
    path, labels_path = raw.files["intervals"], raw.files["labels"]
    genome = raw.needed_genome(path)
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    tokens = []
    for (line, fields), labels in labelled:
        where = f"{path} line {line}"
        if split not in SPLITS:
            raise ConvNovaError(f"{where}: expected train, valid or test in the last column, found {split!r}")
        chrom, start, end = parse_interval(fields, lengths, where)
        if len(labels) != end - start:
            raise ConvNovaError(f"{where}: expected {end - start} labels, found {len(labels)} in {labels_path}")
        if labels.min() < 0 or labels.max() > np.iinfo(np.int8).max:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise ConvNovaError(f"{where}: expected class numbers from 0 on, found {wrong} in {labels_path}")
        tokens.append(genome[chrom][start:end])
    sizes = np.array([len(part) for part in tokens])
    flat = np.concatenate([labels for _, labels in labelled]).astype(np.int8)
    return SequenceRows(split, np.concatenate(tokens), sizes, flat, str(path), first)


def write(folder: Path, rows: Iterable[tuple[str, int, int, str, str, np.ndarray]]) -> dict[str, Path]:
    """Write BEND's two files.

    Args:
        folder: where they shall stand.
        rows: chromosome, start, end, transcript, split, and labels, integers (end - start,), of every row.

    Returns:
        Role to path, as in `TaskFiles`.
    """
    import h5py

    lines, labels = ["chromosome\tstart\tend\ttranscript_id\tsplit"], []
    for *fields, classes in rows:
        lines.append("\t".join(map(str, fields)))
        labels.append(classes)
    paths = {"intervals": folder / INTERVALS_FILE, "labels": folder / LABELS_FILE}
    paths["intervals"].write_text("\n".join(lines) + "\n")
    with h5py.File(paths["labels"], "w") as file:
        kind = h5py.vlen_dtype(np.dtype("<i8"))
        column = file.create_dataset("labels", (len(labels),), dtype=kind, track_times=False)
        for number, classes in enumerate(labels):
            column[number] = classes
    return paths
