"""Tables with a header, CSV or TSV, plain or gzip: your own with the columns `sequence` and `label`, and GUE.

GUE: https://github.com/MAGICS-LAB/DNABERT_2 (`train.csv`, `dev.csv`, `test.csv` with this header).
"""

import csv
import difflib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from convnova.config.schema import Task
from convnova.data.readers.rows import Genome, SequenceRows, in_pieces, split_files
from convnova.errors import ConvNovaError
from convnova.files import open_bytes
from convnova.log import log

csv.field_size_limit(1 << 30)


def rows(
    stream: BinaryIO, file: str, needed: tuple[str, ...], known: tuple[str, ...] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, the needed columns' values) of a table; its header says what separates its columns.

    Columns that are neither needed nor known are named in the log and passed over.

    Raises:
        ConvNovaError: a needed column is not there, or a row is shorter or longer than the header.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
    first = text.readline()
    separator = "\t" if "\t" in first else ","
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    places = [_place(file, name, header) for name in needed]
    if extra := sorted(set(header) - {*needed, *known}):
        log(f"{file}: columns passed over: {', '.join(extra)}")
    table = csv.reader(text, delimiter=separator)
    try:
        for row in table:
            if row and len(row) != len(header):
                raise csv.Error(f"{len(header)} columns in the header, {len(row)} here")
            if row:
                yield table.line_num + 1, [row[place] for place in places]
    except csv.Error as error:
        raise ConvNovaError(f"{file} line {table.line_num + 1}: expected a table: {error}") from error


def _place(file: str, name: str, header: list[str]) -> int:
    if name in header:
        return header.index(name)
    near = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
    found = ", ".join(header)[:120] or "an empty file"
    hint = f"; is {near[0]!r} the one?" if near else ""
    raise ConvNovaError(f"{file}: expected a column {name!r} in the header, found {found}{hint}")


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[SequenceRows]:
    """Read one table a split.

    Raises:
        ConvNovaError: a column is missing; as `rows` and `convnova.data.readers.rows.encode`.
    """
    for split, path in split_files(files):
        with open_bytes(path) as stream:
            table = rows(stream, str(path), ("sequence", "label"))
            pairs = ((sequence.strip(), label.strip()) for _, (sequence, label) in table)
            yield from in_pieces(split, str(path), pairs)
