"""CSV and TSV files with a header, plain or gzip."""

import csv
import difflib
import io
from collections.abc import Iterator
from typing import BinaryIO

from convnova.errors import ConvNovaError
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
