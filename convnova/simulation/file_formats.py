"""The files of the mirror in the formats of the real sources, the same bytes for the same content."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from convnova.data.dna import reverse_complement
from convnova.simulation.genome import Genome, Region
from convnova.simulation.task_rows import Bins, Splits
from convnova.simulation.variants import LabelledVariant

FASTA_WIDTH = 60
GZIP_LEVEL = 4
MATLAB_5 = b"MATLAB 5.0 MAT-file, made without a date"
MATLAB_7 = b"MATLAB 7.3 MAT-file, made without a date. HDF5 schema 1.00 ."
MATLAB_TEXT = 116
"""Bytes of text at the start of a MATLAB file."""
MATLAB_7_TAIL = bytes(8) + b"\x00\x02IM"
"""No subsystem data, version, byte order."""
AGCT = (0, 2, 1, 3)
"""Tokens in the order of the channels of the DeepSEA files."""


@contextmanager
def _gzipped(path: Path) -> Iterator[gzip.GzipFile]:
    """A gzip file without name and date in its header."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as stream:
        yield stream


def write_genome(path: Path, genome: Genome) -> None:
    """Write a wrapped, soft-masked FASTA, gzipped."""
    with _gzipped(path) as stream:
        for name, tokens in genome.tokens.items():
            letters = genome.letters(Region(name, 0, len(tokens))).encode()
            lines = (letters[start : start + FASTA_WIDTH] for start in range(0, len(letters), FASTA_WIDTH))
            stream.write(b"\n".join((b">" + name.encode(), *lines, b"")))


def write_variants(path: Path, rows: Sequence[LabelledVariant]) -> None:
    """Write a parquet file with TraitGym's columns that are needed, in a new folder."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True)
    columns = dict(zip(LabelledVariant._fields, map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), path)


def write_fna(folder: Path, splits: Splits) -> None:
    """Write `train.fna` and `test.fna` with headers `>name|label` to a new folder."""
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        text = "".join(f">{row.name}|{row.label}\n{row.sequence}\n" for row in rows)
        (folder / f"{split}.fna").write_text(text)


def write_zip(path: Path, splits: Splits, classes: Sequence[str]) -> None:
    """Write one sequence a file without newline.

    Args:
        path: `<name>_v0.zip`; its files are `<name>/<split>/<class>/<id>.txt`.
        splits: rows of each split.
        classes: names in the order of the rows' labels.
    """
    name = path.name.removesuffix("_v0.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split, rows in splits.items():
            for number, row in enumerate(rows):
                entry = zipfile.ZipInfo(f"{name}/{split}/{classes[row.label]}/{number}.txt", (1980, 1, 1, 0, 0, 0))
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, row.sequence)


def _matlab_7(arrays: dict[str, np.ndarray]) -> bytes:
    """HDF5 behind a block of text, axes in the opposite order, as MATLAB writes it."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            dataset = file.create_dataset(name, data=values.T, track_times=False)
            dataset.attrs["MATLAB_class"] = np.bytes_("uint8")
    header = MATLAB_7.ljust(MATLAB_TEXT) + MATLAB_7_TAIL
    return header + memory.getvalue()[len(header) :]


def _matlab_5(arrays: dict[str, np.ndarray]) -> bytes:
    memory = io.BytesIO()
    scipy.io.savemat(memory, arrays)
    return MATLAB_5.ljust(MATLAB_TEXT) + memory.getvalue()[MATLAB_TEXT:]


def write_deepsea(path: Path, splits: dict[str, Bins]) -> None:
    """Write the bundle: `deepsea_train/train.mat` in MATLAB 7.3, `valid.mat` and `test.mat` in MATLAB 5.

    Each has one-hot windows (2n, 4, 1000) and labels (2n, 919): all forward strands, then all reverse ones.
    """
    with _gzipped(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for split, bins in splits.items():
            tokens = np.concatenate([bins.tokens, reverse_complement(bins.tokens)])
            hot = (tokens[:, None, :] == np.array(AGCT, dtype=np.uint8)[:, None]).astype(np.uint8)
            arrays = {f"{split}xdata": hot, f"{split}data": np.concatenate([bins.labels, bins.labels])}
            content = (_matlab_7 if split == "train" else _matlab_5)(arrays)
            entry = tarfile.TarInfo(f"deepsea_train/{split}.mat")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
