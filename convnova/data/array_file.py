"""Named arrays in one safetensors file, written piece by piece and read as memory maps.

A tokenized genome holds one uint8 tensor of tokens a chromosome. A tokenized task holds, for each split,
`<split>.tokens` (all sequences end to end), `<split>.offsets` and `<split>.labels`. Many processes can read one
file at no cost in memory, which the package `safetensors` does not offer for NumPy: it copies what it reads, and
writes only what is in memory as a whole. Format: https://github.com/huggingface/safetensors
"""

import hashlib
import json
import os
import struct
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from safetensors import SafetensorError, safe_open

from convnova import __version__
from convnova.errors import ConvNovaError, DamagedFile
from convnova.files import atomic
from convnova.log import debug

DTYPES = {"U8": "<u1", "I8": "<i1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
METADATA, UNKNOWN = "__metadata__", b"0" * 64
"""The key of a header that is no tensor; what stands for its checksum while that is computed."""
DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


_checked: set[tuple[Path, int, int]] = set()
"""Path, size and time of the files whose checksum was right."""


class ArrayFileWriter:
    """Write tensors of unknown length, piece by piece and in any order, in little memory.

        with ArrayFileWriter(path) as file:
            file.append("chr1", tokens)       # again and again: pieces lie end to end along the first axis

    Nothing stands at `path` until the block ends without an exception; whatever stood there before
    stays until then. `metadata` may be added to until the end of the block; its values are written as JSON.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.metadata: dict[str, object] = {"convnova": __version__}
        self.pieces: dict[str, list[tuple[int, int]]] = {}  # place in the body and bytes of each
        self.tensors: dict[str, tuple[str, list[int]]] = {}  # dtype and shape

    def __enter__(self) -> "ArrayFileWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.body = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def append(self, name: str, piece: np.ndarray) -> None:
        """Add `piece` to the end of the tensor `name`; all its pieces share dtype and further axes."""
        dtype, (rows, *columns) = DTYPE_NAMES[piece.dtype.newbyteorder("<")], piece.shape
        if name in self.tensors:
            known, (before, *others) = self.tensors[name]
            if (known, others) != (dtype, columns):
                raise ValueError(f"{name}: pieces of {known} {others} and of {dtype} {columns}")
            rows += before
        self.tensors[name] = dtype, [rows, *columns]
        self.pieces.setdefault(name, []).append((self.body.tell(), piece.nbytes))
        self.body.write(np.ascontiguousarray(piece).data.cast("B") if piece.nbytes else b"")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.body:
            if kind is not None:
                return
            metadata = {key: json.dumps(value) for key, value in self.metadata.items()}
            header: dict[str, object] = {METADATA: metadata | {"sha256": UNKNOWN.decode()}}
            end = 0
            for name, (dtype, shape) in self.tensors.items():
                start, end = end, end + sum(size for _, size in self.pieces[name])
                header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            checksum = hashlib.sha256(text)
            with atomic(self.path) as temporary, temporary.open("wb") as stream:
                stream.seek(8 + len(text))
                for start, size in (piece for name in self.tensors for piece in self.pieces[name]):
                    self.body.seek(start)
                    while size:
                        block = self.body.read(min(size, 1 << 20))
                        checksum.update(block)
                        size -= stream.write(block)
                stream.seek(0)
                stream.write(struct.pack("<Q", len(text)) + text.replace(UNKNOWN, checksum.hexdigest().encode()))
                stream.flush()
                os.fsync(stream.fileno())


def _read_header(path: Path) -> tuple[dict, int]:
    """The parsed header and the offset of the first tensor; an error if the file is not what was written.

    A process computes the checksum of a file once, as long as its size and time stay the same.
    """
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a tokenized file, found nothing; make it with `convnova tokenize-...`")
    debug(f"{path}: reading a tokenized file of {path.stat().st_size:,} bytes")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        message = f"{path}: expected a whole safetensors file: {error}; delete it and make it again"
        raise DamagedFile(message, path) from error
    with path.open("rb") as stream:
        text = stream.read(int.from_bytes(stream.read(8), "little"))
        header, state = json.loads(text), path.stat()
        if (version := (path, state.st_size, state.st_mtime_ns)) not in _checked:
            stated = str((header.get(METADATA) or {}).get("sha256"))
            checksum = hashlib.sha256(text.replace(stated.encode(), UNKNOWN))
            while block := stream.read(1 << 20):
                checksum.update(block)
            if checksum.hexdigest() != stated:
                expected = "expected a file as it was written, found another checksum"
                raise DamagedFile(f"{path}: {expected}; delete it and make it again", path)
            _checked.add(version)
    return header, 8 + len(text)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Memory-map every tensor of a file, read-only.

    Raises:
        ConvNovaError: the file is missing, no safetensors file, or not as `ArrayFileWriter` wrote it.
    """
    header, start = _read_header(Path(path))
    is_empty = Path(path).stat().st_size == start  # an empty file cannot be mapped
    mapped = np.empty(0, np.uint8) if is_empty else np.memmap(path, mode="r", dtype=np.uint8, offset=start)
    return {
        name: mapped[slice(*entry["data_offsets"])].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != METADATA
    }


def read_metadata(path: str | Path) -> dict:
    """The metadata that the file was written with."""
    metadata = _read_header(Path(path))[0][METADATA]
    return {key: json.loads(value) for key, value in metadata.items() if key != "sha256"}
