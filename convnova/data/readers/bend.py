"""BEND's gene finding: a BED of intervals and an HDF5 with a label for every base.

The BED has a header; its first three columns are chromosome, start and end, its last is the split. Row i
of the dataset `labels` belongs to line i of the BED. The forward strand is read, whatever the BED says.
Source: https://github.com/frederikkemarin/BEND
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from convnova.data.genome import SPLITS
from convnova.data.intervals import bed_rows, parse_interval
from convnova.data.readers import hdf5
from convnova.data.readers.apart import apart
from convnova.data.readers.rows import SequenceRows, TaskFiles
from convnova.errors import ConvNovaError

ROWS_A_PIECE = 256
INTERVALS_FILE, LABELS_FILE = "gene_finding.bed", "gene_finding.hdf5"
"""The names of BEND's files."""


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the intervals in the role `intervals` and their labels in the role `labels`.

    Raises:
        ConvNovaError: BED and HDF5 do not fit together, a split or a file is not what it should be.
    """
    if not {"intervals", "labels"} <= set(raw.files):
        roles = ", ".join(raw.files)
        raise ConvNovaError(f"gene finding: expected files in the roles intervals and labels, found {roles}")
    path, labels_path = raw.files["intervals"], raw.files["labels"]
    genome = raw.needed_genome(path)
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    lines = list(bed_rows(path, raw.skipped))
    labels_of_lines = itertools.chain.from_iterable(apart(_labels, labels_path, path, len(lines)))
    for row, ((line, fields), labels) in enumerate(zip(lines, labels_of_lines, strict=True), start=1):
        where, split = f"{path} line {line}", fields[-1]
        if split not in SPLITS:
            raise ConvNovaError(f"{where}: expected train, valid or test in the last column, found {split!r}")
        chrom, start, end = parse_interval(fields, lengths, where)
        if len(labels) != end - start:
            raise ConvNovaError(f"{where}: expected {end - start} labels, found {len(labels)} in {labels_path}")
        wrong = labels[(labels < 0) | (labels > np.iinfo(np.int8).max)]
        if len(wrong):
            raise ConvNovaError(f"{where}: expected class numbers from 0 on, found {wrong[0]} in {labels_path}")
        size = np.array([end - start])
        yield SequenceRows(split, genome[chrom][start:end], size, labels.astype(np.int8), str(path), row)


def _labels(path: Path, intervals: Path, count: int) -> Iterator[Sequence[np.ndarray]]:
    """The labels of each of `count` intervals, integers (bases,), some intervals at a time."""
    import h5py

    with hdf5.arrays(path) as arrays:
        if "labels" not in arrays:
            raise ConvNovaError(f"{path}: expected a dataset 'labels', found {', '.join(arrays) or 'none'}")
        labels = arrays["labels"]
        ragged = h5py.check_vlen_dtype(labels.dtype)
        if np.dtype(ragged or labels.dtype).kind not in "iu" or labels.ndim != (1 if ragged else 2):
            found = f"{ragged or labels.dtype} of shape {labels.shape}"
            raise ConvNovaError(f"{path}: expected rows of whole numbers as 'labels', found {found}")
        if len(labels) != count:
            found = f"{len(labels)} rows for {count} intervals in {intervals}"
            raise ConvNovaError(f"{path}: expected one row of labels an interval, found {found}")
        for first in range(0, count, ROWS_A_PIECE):
            yield list(labels[first : first + ROWS_A_PIECE])


def write(folder: Path, rows: Iterable[tuple[str, int, int, str, str, np.ndarray]]) -> dict[str, Path]:
    """Write BEND's two files.

    Args:
        folder: where they shall stand.
        rows: chromosome, start, end, transcript, split, and labels, integers (end - start,), of every row.

    Returns:
        Role to path, as in `TaskFiles`.
    """
    import h5py

    paths = {"intervals": folder / INTERVALS_FILE, "labels": folder / LABELS_FILE}
    lines, labels = ["chromosome\tstart\tend\ttranscript_id\tsplit\n"], []
    for *fields, classes in rows:
        lines.append("\t".join(map(str, fields)) + "\n")
        labels.append(classes)
    paths["intervals"].write_text("".join(lines))
    with h5py.File(paths["labels"], "w") as file:
        kind = h5py.vlen_dtype(np.dtype("<i8"))
        column = file.create_dataset("labels", (len(labels),), dtype=kind, track_times=False)
        for number, classes in enumerate(labels):
            column[number] = classes
    return paths
