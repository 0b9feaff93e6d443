"""Files in a folder, a zip or a tar, read where they lie and to their end."""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from convnova.data.unpack import BUFFER_BYTES, DAMAGE, damaged, open_bytes, unpack_limit, unpacked
from convnova.errors import ConvNovaError

END_OF_ZIP, LONGEST_END, MANY_FILES = b"PK\x05\x06", (1 << 16) + 22, (1 << 16) - 1
"""The record at the end of a zip; its bytes with a comment; the number of files that stands in it for more."""


def members(path: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Yield name and content of every file, sorted by name; of a tar in the order of the archive.

    What is gzip inside the archive is unpacked too. Each content must be read before the next is asked for.

    Raises:
        ConvNovaError: a name leaves the archive's folder; the archive is damaged, ends early, has a password, a link
            or an unusual compression, or unpacks to more than `unpack_limit`.
    """
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            with open_bytes(file) as stream:
                yield PurePosixPath(file.relative_to(path).as_posix()), stream
        return
    limit = left = unpack_limit(path)
    try:
        for name, size, content in _in_zip(path) if zipfile.is_zipfile(path) else _in_tar(path):
            inside, left = PurePosixPath(name), left - size
            if left < 0:
                found = f"files of more than {limit:,} bytes in {path.stat().st_size:,}"
                raise ConvNovaError(f"{path}: expected an archive of data, found {found}; do not trust it")
            if inside.is_absolute() or ".." in inside.parts or "\\" in name:
                raise ConvNovaError(f"{path}: expected names within the archive, found {name!r}; do not trust it")
            with unpacked(content, f"{path}:{name}", limit) as stream:
                yield inside, stream
    except RuntimeError as error:  # zipfile: a password, or an unusual compression
        raise ConvNovaError(f"{path}: expected a zip to read, found: {error}; unpack it to a folder") from error
    except (*DAMAGE, OSError) as error:
        raise damaged(path, error) from error


def _in_zip(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of every file. An entry is compared with its header when it is opened."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LONGEST_END))
        _, _, end = stream.read().rpartition(END_OF_ZIP)
        expected, found = int.from_bytes(end[6:8], "little"), len(archive.infolist())
        if expected not in (found, MANY_FILES):
            raise zipfile.BadZipFile(f"{found} of {expected} files in its directory")
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError(f"compression method {entry.compress_type} of {entry.filename!r}")
            with archive.open(entry) as content:
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, content


def _in_tar(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of every file. `tarfile` takes a damaged header for the end, so the end is checked."""
    with open_bytes(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for entry in archive:
            if content := archive.extractfile(entry) if entry.isreg() else None:
                yield entry.name, entry.size, content
            elif not entry.isdir():
                raise tarfile.ReadError(f"{entry.name!r} is a link or a device")
        stream.seek(archive.offset)
        size = 0
        while block := stream.read(BUFFER_BYTES):
            size += len(block)
            if block.strip(b"\0"):
                raise tarfile.ReadError(f"no header at byte {archive.offset:,}")
        if size < 2 * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its last two blocks are missing")
