"""Files that are written whole or not at all, and the JSON and YAML that steps read."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from convnova.errors import ConvNovaError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` only if the block succeeds.

    The parent folder is made. After any exception, Ctrl-C included, the temporary file is removed and the file that was
    at `path` before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Refuses a key that a mapping has twice, of which only the last would count; a key from `<<` may be there too."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = f"{self.name} line {key.start_mark.line + 1}"
                raise ConvNovaError(f"{line}: expected the key {key.value!r} once, found it again; keep one of the two")
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


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_tree(path: str | Path) -> str:
    """SHA-256 of a file; for a folder, that of the names and hashes of its files, without hidden ones."""
    if Path(path).is_file():
        return sha256(path)
    names = sorted(file.relative_to(path) for file in Path(path).rglob("*") if file.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return hashlib.sha256("".join(f"{sha256(Path(path, name))} {name}\n" for name in shown).encode()).hexdigest()
