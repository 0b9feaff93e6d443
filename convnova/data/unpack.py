"""Files that are read plain or compressed: to their end, up to a limit, and damage is an error of one line."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convnova.errors import ConvNovaError
from convnova.log import debug

GZIP_MAGIC = b"\x1f\x8b"
BUFFER_BYTES = 1 << 17
UNPACKED_BYTES, UNPACKED_TIMES = 1 << 28, 200
"""A file may unpack to the larger of so many bytes and so many times its own size. Files of sequences unpack to 3 to 30
times their size; deflate can reach 1,000 times."""
LINE_BYTES = 1 << 26
"""A line of a text may be as long as this."""
DAMAGE = (EOFError, UnicodeDecodeError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
"""What the standard library raises for a damaged file."""


def unpack_limit(path: str | Path) -> int:
    """Bytes that a compressed file may unpack to."""
    return max(UNPACKED_BYTES, UNPACKED_TIMES * Path(path).stat().st_size)


class _Unpacking(io.RawIOBase):
    """The bytes that a stream unpacks to."""

    def __init__(self, stream: IO[bytes], file: str, limit: int):
        from isal import isal_zlib

        self.stream, self.file, self.limit, self.damage = stream, file, limit, (*DAMAGE, isal_zlib.error)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        try:
            count = self.stream.readinto(buffer)  # type: ignore[attr-defined]
        except self.damage as error:
            raise damaged(self.file, error) from error
        if self.stream.tell() > self.limit:
            found = f"one that unpacks to more than {self.limit:,} bytes"
            raise ConvNovaError(f"{self.file}: expected a file of data, found {found}; do not trust it")
        return count


def damaged(file: str | Path, error: Exception) -> ConvNovaError:
    """The line for a file that cannot be unpacked."""
    return ConvNovaError(f"{file}: expected a whole file, found truncated or damaged data ({error}); fetch it again")


@contextmanager
def unpacked(stream: IO[bytes], file: str, limit: int) -> Iterator[IO[bytes]]:
    """Read a stream that may be gzip or bgzip; its first bytes decide, not the file's name.

    Args:
        stream: the bytes of the file.
        file: its name, for messages.
        limit: bytes that it may unpack to, as of `unpack_limit`.

    Raises:
        ConvNovaError: the data end early, are damaged, or unpack to more than the limit. What is left of them is read
            when the block ends, for the checksum is at the end.
    """
    from isal import igzip  # inflates several times as fast as zlib

    opened = io.BufferedReader(_Unpacking(stream, file, limit), BUFFER_BYTES)
    if opened.peek(2)[:2] == GZIP_MAGIC:
        opened = io.BufferedReader(_Unpacking(igzip.IGzipFile(fileobj=opened), file, limit), BUFFER_BYTES)
    yield opened
    while opened.read(BUFFER_BYTES):
        pass


@contextmanager
def open_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a plain, gzip or bgzip file for reading; see `unpacked`.

    Raises:
        ConvNovaError: the file is missing; as `unpacked`.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'nothing'}")
    debug(f"{path}: reading {path.stat().st_size:,} bytes")
    with path.open("rb", buffering=0) as raw, unpacked(raw, str(path), unpack_limit(path)) as stream:
        yield stream


def text_lines(stream: IO[bytes], file: str, errors: str = "replace") -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of every line of a stream in UTF-8; bytes that are none become U+FFFD.

    Args:
        stream: what is read.
        file: its name, for messages.
        errors: as of `bytes.decode`, where such bytes shall become something else.

    Raises:
        ConvNovaError: a line is longer than `LINE_BYTES`; names `file` and the line.
    """
    number = 1
    while line := stream.readline(LINE_BYTES):
        if len(line) == LINE_BYTES:
            raise ConvNovaError(f"{file} line {number}: expected lines of text, found one of {len(line):,} letters")
        yield number, line.decode("utf-8", errors).removeprefix("\ufeff" if number == 1 else "")
        number += 1
