"""DeepSEA's chromatin profile: 1,000-base windows with 919 labels each.

The bundle (a tar.gz, or its files train.mat, valid.mat and test.mat) holds one-hot windows in the channels
A, G, C, T; a column of zeros is N. train.mat is MATLAB 7.3 (HDF5, axes reversed), the others MATLAB 5:
  `<split>xdata` (windows, 4, bases), `<split>data` (windows, labels).
Sources: http://deepsea.princeton.edu, https://zenodo.org/record/2214970
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convnova.data import dna
from convnova.data.genome import SPLITS
from convnova.data.readers import archives, hdf5
from convnova.data.readers.apart import apart
from convnova.data.readers.rows import SequenceRows, TaskFiles, refuse_rows
from convnova.data.unpack import unpack_limit
from convnova.errors import ConvNovaError

WINDOWS_A_PIECE = 8192
CHANNELS = "AGCT"
CHANNELS_TO_TOKEN = np.full(16, dna.OTHER, np.uint8)
CHANNELS_TO_TOKEN[0] = dna.N
CHANNELS_TO_TOKEN[1 << np.arange(4)] = [dna.LETTERS.index(letter) for letter in CHANNELS]
"""Channels as bits of a number, to a token; OTHER where two are set."""


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the bundle in the role `archive`, or one `.mat` file a split.

    Raises:
        ConvNovaError: other channels or sizes, labels that are not 0 or 1, a damaged file.
    """
    files = dict(raw.splits())
    for bundle in (path for role, path in raw.files.items() if role == "archive"):
        for name, content in archives.members(bundle):
            if name.suffix == ".mat" and name.stem in SPLITS:
                files[name.stem] = raw.scratch / name.name
                with files[name.stem].open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
            else:
                raw.skipped[f"files of {bundle.name} that are not train.mat, valid.mat or test.mat"] += 1
        if not files:
            raise ConvNovaError(f"{bundle}: expected train.mat, valid.mat and test.mat in the bundle, found none")
    for split in (split for split in SPLITS if split in files):
        yield from apart(_windows, files[split], split)


def _windows(path: Path, split: str) -> Iterator[SequenceRows]:
    with _matlab_arrays(path) as arrays:
        inputs = [name for name in arrays if name.endswith("xdata")]
        labels = [name for name in arrays if name.endswith("data") and name not in inputs]
        if len(inputs) != 1 or len(labels) != 1:
            raise ConvNovaError(f"{path}: expected '{split}xdata' and '{split}data', found {', '.join(arrays)}")
        hot, labels = arrays[inputs[0]], arrays[labels[0]]
        fits = hot.ndim == 3 and hot.shape[1] == 4 and labels.ndim == 2 and hot.shape[2] == labels.shape[1]
        if not fits or 0 in hot.shape + labels.shape or not {hot.dtype.kind, labels.dtype.kind} <= set("biuf"):
            expected = f"numbers, {inputs[0]} of (windows, 4 channels, bases) and labels of (windows, labels)"
            found = " and ".join(f"{array.dtype} {array.shape[::-1]}" for array in (hot, labels))
            raise ConvNovaError(f"{path}: expected {expected}, found {found}")
        # Whole chunks of the HDF5 at once, so that none is inflated twice.
        chunk = hot.chunks[2] if getattr(hot, "chunks", None) else 1
        size = chunk * max(1, WINDOWS_A_PIECE // chunk)
        for first in range(0, hot.shape[2], size):
            tokens = _tokens(hot[:, :, first : first + size], path, first + 1)
            values = np.ascontiguousarray(labels[:, first : first + size].T)
            refuse_rows(((values != 0) & (values != 1)).any(axis=1), path, first + 1, "labels 0 or 1")
            lengths = np.full(len(tokens), hot.shape[0], np.int64)
            yield SequenceRows(split, tokens.reshape(-1), lengths, values.astype(np.uint8), str(path), first + 1)


@contextmanager
def _matlab_arrays(path: Path) -> Iterator[dict[str, Any]]:
    """The arrays of a MATLAB file as HDF5 has them, axes reversed: (bases, 4, windows) and (labels, windows)."""
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):
        with hdf5.arrays(path) as arrays:
            yield arrays
        return
    try:
        values = sum(math.prod(shape) for _, shape, _ in scipy.io.whosmat(path))
        arrays = scipy.io.loadmat(path) if 0 <= values <= unpack_limit(path) else {}
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise ConvNovaError(f"{path}: expected a MATLAB file ({error}); fetch it again") from error
    if not arrays:
        raise ConvNovaError(f"{path}: expected a file of data, found {values:,} numbers; fetch it again")
    yield {name: array.T for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _tokens(hot: np.ndarray, path: Path, first: int) -> np.ndarray:
    """One-hot (bases, 4, windows), of which the first is row `first` of the file, to tokens uint8 (windows, bases)."""
    is_hot = hot == 1
    bits = is_hot[:, 0] | is_hot[:, 1] << np.uint8(1) | is_hot[:, 2] << np.uint8(2) | is_hot[:, 3] << np.uint8(3)
    tokens = CHANNELS_TO_TOKEN[bits]
    is_wrong = (tokens == dna.OTHER) | ((hot != 0) & ~is_hot).any(axis=1)
    refuse_rows(is_wrong.any(axis=0), path, first, f"0 and at most one 1 in the channels {CHANNELS}")
    return np.ascontiguousarray(tokens.T)
