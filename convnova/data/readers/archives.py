"""Files in a folder, a zip or a tar, read where they lie."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from convnova.errors import ConvNovaError


def members(path: Path) -> Iterator[tuple[PurePosixPath, BinaryIO]]:
    """Yield name and content of every file, sorted by name; of a tar in the order of the archive.

    A tar is read once from front to end, so that each content must be read before the next is asked for.

    Raises:
        ConvNovaError: a name leaves the archive's folder.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                with file.open("rb") as stream:
                    yield PurePosixPath(file.relative_to(path).as_posix()), stream
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in sorted(entries, key=lambda entry: entry.filename):
                with archive.open(entry) as stream:
                    yield _checked_name(path, entry.filename), stream  # type: ignore[misc]
    else:
        with tarfile.open(path, "r|*") as archive:
            for entry in archive:
                name = _checked_name(path, entry.name)
                if entry.isfile() and (content := archive.extractfile(entry)):
                    yield name, content  # type: ignore[misc]


def _checked_name(path: Path, name: str) -> PurePosixPath:
    """A member's name, which must not lead out of the archive's folder."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise ConvNovaError(f"{path}: expected names within the archive, found {name!r}; do not trust this file")
    return inside


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises, wherever it is noticed, into an error that names the archive."""
    try:
        yield
    except RuntimeError as error:  # zipfile: a password, or an unusual compression
        raise ConvNovaError(f"{path}: expected a zip to read, found: {error}; unpack it to a folder") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError) as error:
        message = f"{path}: expected a whole zip or tar, found a damaged file ({error}); fetch it again"
        raise ConvNovaError(message) from error
