"""Tables with a header, plain or gzip: a user's with a column of sequences and one of labels, and GUE.

GUE: https://github.com/MAGICS-LAB/DNABERT_2 (`train.csv`, `dev.csv`, `test.csv` with this header).
"""

import csv
import difflib
from collections.abc import Iterator
from typing import IO

from convnova.data.readers.rows import COLUMN_ADVICE, SequenceRows, TaskFiles, rows_of_sequences
from convnova.data.unpack import LINE_BYTES, open_bytes, text_lines
from convnova.errors import ConvNovaError
from convnova.log import log

csv.field_size_limit(LINE_BYTES)


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one table a split.

    Raises:
        ConvNovaError: a column is missing; as `table_rows` and `rows_of_sequences`.
    """
    for split, path in raw.splits():
        with open_bytes(path) as stream:
            table = table_rows(stream, str(path), raw.task.columns, advice=COLUMN_ADVICE)
            labelled = ((values[0].strip(), raw.label(*map(str.strip, values[1:]))) for _, values in table)
            yield from rows_of_sequences(split, str(path), labelled)


def read_header(lines: Iterator[tuple[int, str]], file: str) -> tuple[str, list[str]]:
    """What separates the columns of a table, and their names.

    A tab does where the header has one, else a comma, semicolon or bar, whichever stands in it most often.

    Args:
        lines: as of `text_lines`; the first is read.
        file: its name, for messages.

    Raises:
        ConvNovaError: a quote is not closed.
    """
    _, first = next(lines, (1, ""))
    separator = "\t" if "\t" in first else max(",;|", key=first.count)
    return separator, [name.strip() for name in _fields(file, 1, first, separator)]


def _fields(file: str, number: int, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        message = f"expected a row on a line of its own, quotes in pairs: {error}"
        raise ConvNovaError(f"{file} line {number}: {message}") from error


def table_rows(
    stream: IO[bytes], file: str, needed: tuple[str, ...], known: tuple[str, ...] = (), advice: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table.

    Args:
        stream: the table in bytes.
        file: its name, for messages.
        needed: the columns to read.
        known: further columns; those that are neither needed nor known are named in the log and left out.
        advice: the end of the message where a needed column is missing.

    Returns:
        line number from 1, and the values of the needed columns, of each row.

    Raises:
        ConvNovaError: a needed column is not there once, a row is shorter or longer than the header, or a quote is not
            closed on its line.
    """
    lines = text_lines(stream, file)
    separator, header = read_header(lines, file)
    for name in needed:
        if header.count(name) != 1:
            near = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
            found = ", ".join(header)[:120] or "an empty file"
            hint = f"; is {near[0]!r} the one?" if near and near[0] != name else ""
            raise ConvNovaError(f"{file}: expected one column {name!r} in the header, found {found}{hint}{advice}")
    if extra := sorted(set(header) - {*needed, *known}):
        log(f"{file}: columns skipped: {', '.join(extra)[:200]}")
    columns = [header.index(name) for name in needed]
    for number, line in lines:
        if row := _fields(file, number, line, separator):
            if len(row) != len(header):
                found = f"{len(header)} columns in the header, {len(row)} here"
                raise ConvNovaError(f"{file} line {number}: expected a table: {found}")
            yield number, [row[column] for column in columns]
