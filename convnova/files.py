"""Files that are there whole or not at all, and files read whatever their compression."""

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import yaml

from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    import pandas

GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` only if the block succeeds.

    The parent folder is made. On any exception, Ctrl-C included, the temporary file is removed and
    whatever stood at `path` before stands there still.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON that a step wrote.

    Raises:
        ConvNovaError: it is missing, or no JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvNovaError(f"{path}: expected the JSON of a result ({error}); make it again") from error
    if not isinstance(content, dict):
        raise ConvNovaError(f"{path}: expected a JSON object, found {type(content).__name__}; make it again")
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which only the last would count; one that `<<` brings may be there."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                place = f"{self.name} line {key.start_mark.line + 1}"
                raise ConvNovaError(
                    f"{place}: expected the key {key.value!r} once, found it again; keep one of the two"
                )
            seen.add(key.value)
        return node


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConvNovaError: the file is missing, is not YAML, holds no mapping, or has a key twice in one.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a config file, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, _Loader)  # a safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConvNovaError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConvNovaError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` atomically, as indented JSON with a final newline."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_tsv(path: str | Path, table: "pandas.DataFrame") -> None:
    """Write `table` to `path` atomically, tab-separated, its fractions with six decimals."""
    write_text(path, table.to_csv(sep="\t", index=False, float_format="%.6f", lineterminator="\n"))


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_tree(path: str | Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and hashes, hidden files left out."""
    if Path(path).is_file():
        return sha256(path)
    files = {file.relative_to(path): file for file in sorted(Path(path).rglob("*")) if file.is_file()}
    shown = {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)}
    return hashlib.sha256("".join(f"{sha256(file)} {name}\n" for name, file in shown.items()).encode()).hexdigest()


@contextmanager
def open_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Open a plain, gzip or bgzip file for reading; the content decides, not the name.

    Raises:
        ConvNovaError: the file is missing, or its compressed data ends early or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'nothing'}")
    with path.open("rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        if magic != GZIP_MAGIC:
            yield raw
            return
        from isal import igzip, isal_zlib  # inflates several times as fast as zlib

        try:
            with igzip.IGzipFile(fileobj=raw) as stream:
                yield stream  # type: ignore[misc]
        except (EOFError, gzip.BadGzipFile, isal_zlib.error) as error:
            raise ConvNovaError(
                f"{path}: expected gzip data, found a truncated or damaged file ({error}); fetch it again"
            ) from error
