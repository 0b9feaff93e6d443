"""Files that are written whole or not at all, and the JSON and YAML that steps read."""

import csv
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

from convnova.errors import ConvNovaError, DamagedFile
from convnova.log import debug

if TYPE_CHECKING:
    import pandas

MOST_DEPTH, MOST_VALUES, MOST_INT = 50, 100_000, 1 << 63
"""Limits of a YAML file."""


LOCK = ".lock"
"""The file in a folder by which a process holds the folder."""
DAMAGED, OF_A_RUN = ".damaged", ("results/", "resources/")
"""Ending of a file that is no result any more; folders of files that the workflow makes."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` only if the block succeeds.

    The parent folder is made. After any exception, Ctrl-C included, the temporary file is removed and the file that was
    at `path` before is still there. What killed processes left on their way to `path` is removed.
    """
    path = Path(path)
    with _claimed(path, folder=False) as temporary:
        yield temporary
        temporary.replace(path)
        debug(f"{path}: written")


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new folder beside `path` for files on the way to it; it is removed after the block, as those that killed
    processes left."""
    with _claimed(Path(path), folder=True) as temporary:
        yield temporary


@contextmanager
def _claimed(path: Path, folder: bool) -> Iterator[Path]:
    """A temporary file or folder beside `path`, locked as long as this process writes there."""
    path = Path(os.path.abspath(path))  # so that `.` has a name
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        # A lock that can be had is of a process that was killed. On file systems without locks everything stays.
        with suppress(OSError), open(left / LOCK if left.is_dir() else left, "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        if folder:
            temporary.mkdir()
        with open(temporary / LOCK if folder else temporary, "xb") as lock:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(lock.fileno()).st_nlink:  # removed as left over, just before it was locked
                continue
            try:
                yield temporary
            finally:
                _remove(temporary)
            return


def _remove(path: Path) -> None:
    """Remove a file or a folder, whether it is there or not."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Hold a folder for the results of this process alone, until the end of the block or of the process.

    Raises:
        ConvNovaError: another process holds it; says which.
    """
    path, is_new = Path(folder, LOCK), not Path(folder).exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+b", buffering=0) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().decode() or "another process"
                raise ConvNovaError(f"{folder}: held by {holder}; wait for its end, or name another folder") from None
            except OSError:  # a file system without locks
                pass
            if not os.fstat(lock.fileno()).st_nlink:  # whoever held it has just ended
                continue
            with suppress(OSError):  # a full disk; to say who holds it is a courtesy
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}".encode())
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                if is_new:
                    with suppress(OSError):  # it holds results
                        path.parent.rmdir()
            return


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON that a step wrote.

    Raises:
        ConvNovaError: it is missing, or no JSON object.
    """
    debug(f"{path}: reading JSON")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConvNovaError(f"{path}: expected the JSON of a result ({error}); make it again") from error
    if not isinstance(content, dict):
        raise ConvNovaError(f"{path}: expected a JSON object, found {type(content).__name__}; make it again")
    return content


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """Add the SHA-256 of all that a JSON says, under `sha256`."""
    others = json.loads(json.dumps(content))  # as they will be read
    others.pop("sha256", None)
    return content | {"sha256": hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()}


def read_sealed(path: str | Path) -> dict[str, Any]:
    """Read a JSON with a checksum of itself; one of form 1 has none.

    Raises:
        DamagedFile: it is missing, no JSON object, or not what was written.
    """
    try:
        content = read_json(path)
    except ConvNovaError as error:
        raise DamagedFile(str(error), path) from error
    if content.get("form") != 1 and content.get("sha256") != seal(content)["sha256"]:
        raise DamagedFile(f"{path}: expected content of its checksum, found other: changed or damaged", path)
    return content


@contextmanager
def damaged_moved_aside() -> Iterator[None]:
    """Move aside what the block finds damaged, where it is of a run in the working directory.

    The workflow makes anew what is not there.

    Raises:
        ConvNovaError: that of the block; says which files were moved.
    """
    try:
        yield
    except DamagedFile as error:
        moved = []
        for path in error.paths:
            with suppress(OSError):  # gone by now, or in a folder that cannot be written
                if os.path.relpath(path).startswith(OF_A_RUN):
                    os.replace(path, aside := f"{path}{DAMAGED}")
                    moved.append(aside)
        if not moved:
            raise
        advice = "run the same command again, which makes it anew"
        raise ConvNovaError(f"{error}; moved to {', '.join(moved)}: {advice}") from error


def read_table(
    path: str | Path,
    columns: Sequence[str],
    numbers: Sequence[str] = (),
    counts: Sequence[str] = (),
    separator: str = "\t",
) -> "pandas.DataFrame":
    """Read a table that has a row a line, without guesses: what is not as a step wrote it is refused.

    Args:
        path: of a TSV or CSV in UTF-8, whose first line names the columns.
        columns: which it must have.
        numbers: the columns of numbers, of which cells may be empty; those that are not needed may be missing.
        counts: the columns of whole numbers from 0; all others are text.
        separator: what separates cells.

    Returns:
        Row i is on line i + 2. Texts as they are; numbers as floats, NaN for an empty cell; counts as integers.

    Raises:
        ConvNovaError: names file, line and column.
    """
    import pandas as pd

    rows: list[list[str]] = []
    debug(f"{path}: reading a table")
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True)
            header = next(reader, [])
            for row in reader:
                # A stray quote would join lines, and rows would be lost in one cell.
                if len(row) != len(header) or reader.line_num != len(rows) + 2:
                    raise csv.Error(f"expected {len(header)} cells on one line, found {len(row)}")
                rows.append(row)
    except (OSError, ValueError, csv.Error) as error:
        raise ConvNovaError(f"{path}: line {len(rows) + 2}: {error}; make the table again") from error
    missing, twice = [name for name in columns if name not in header], len(set(header)) < len(header)
    if missing or twice:
        found = "a column twice" if twice else f"{', '.join(missing)} missing"
        raise ConvNovaError(f"{path}: expected the columns {', '.join(columns)}; {found}")
    table = pd.DataFrame(rows, columns=header, dtype=object)
    for column in (name for name in (*numbers, *counts) if name in header):
        parsed, expected = pd.to_numeric(table[column], errors="coerce").astype(float), "a number"
        wrong = parsed.isna() & (table[column] != "")
        if column in counts:
            wrong, expected = ~(parsed.between(0, 2**53) & (parsed % 1 == 0)), "a whole number"
        if wrong.any():
            place, text = f"{path}: line {wrong.idxmax() + 2}", table[column][wrong.idxmax()]
            raise ConvNovaError(f"{place}: expected {expected} as {column}, found {text[:80]!r}")
        table[column] = parsed.astype(int) if column in counts else parsed
    return table


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say too: text, numbers, lists, and mappings whose keys are text, each only once.

    Dates stay text. A key from `<<` may be in a mapping already. What aliases stand for counts each time, for code that
    goes through the values does so each time.
    """

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    count, depth = 0, 0

    def __init__(self, stream: TextIO):
        super().__init__(stream)
        self.sizes: dict[yaml.Node, int] = {}  # values in a node

    def _refuse(self, mark: yaml.Mark, message: str) -> ConvNovaError:
        return ConvNovaError(f"{self.name} line {mark.line + 1}: {message}")

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event, before = self.peek_event(), self.count
        if getattr(event, "tag", None) is not None:
            raise self._refuse(event.start_mark, f"expected a value without a tag, found {event.tag!r}; leave it out")
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self._refuse(event.start_mark, f"expected at most {MOST_DEPTH} levels, found more")
        node = super().compose_node(parent, index)
        self.depth -= 1
        is_alias = isinstance(event, yaml.AliasEvent)
        self.count += self.sizes.get(node, MOST_VALUES) if is_alias else 1  # one that stands for itself has no end
        if self.count > MOST_VALUES:
            raise self._refuse(event.start_mark, f"expected at most {MOST_VALUES:,} values, aliases too, found more")
        self.sizes.setdefault(node, self.count - before)
        if isinstance(node, yaml.ScalarNode) and node.value.encode(errors="ignore").decode() != node.value:
            raise self._refuse(node.start_mark, f"expected text, found letters that are none: {node.value[:80]!a}")
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                found = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise self._refuse(key.start_mark, f"expected text as key, found {found}; write it in quotes")
            if key.value in seen:
                raise self._refuse(key.start_mark, f"expected the key {key.value!r} once, found it again; keep one")
            seen.add(key.value)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        try:
            value = super().construct_yaml_int(node)
        except ValueError:  # thousands of digits
            value = MOST_INT
        if abs(value) >= MOST_INT:
            raise self._refuse(node.start_mark, f"expected a number of 64 bits, found {node.value[:80]!r}")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConvNovaError: the file is missing, is not YAML, holds no mapping, or what no config needs: a key twice in a
            mapping, or one that is no text, a tag, more than `MOST_DEPTH` levels or `MOST_VALUES` values, a number of
            more than 64 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a config file, found {'a folder' if path.is_dir() else 'nothing'}")
    debug(f"{path}: reading YAML")
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
    debug(f"{path}: computing the checksum")
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_tree(path: str | Path, of_file: Callable[[Path], str] = sha256) -> str:
    """SHA-256 of a file, by `of_file`; for a folder, that of the names and hashes of its files, without hidden ones."""
    if Path(path).is_file():
        return of_file(Path(path))
    names = sorted(file.relative_to(path) for file in Path(path).rglob("*") if file.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return hashlib.sha256("".join(f"{of_file(Path(path, name))} {name}\n" for name in shown).encode()).hexdigest()


def lock_of(path: Path) -> Path:
    """The JSON beside a file of the internet: what came, from where, and when."""
    return path.with_name(f".{path.name}.lock.json")


def sha256_of_raw(path: str | Path) -> str:
    """SHA-256 of a raw file or a folder of them, as `sha256_of_tree`.

    Raises:
        DamagedFile: one is not what was recorded when it was fetched.
    """

    def as_fetched(file: Path) -> str:
        checksum, record = sha256(file), lock_of(file)
        if record.is_file() and read_json(record).get("sha256") != checksum:
            raise DamagedFile(f"{file}: expected the file that was fetched, found another; fetch it again", file)
        return checksum

    return sha256_of_tree(path, as_fetched)
