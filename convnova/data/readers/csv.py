"""Tables with a header, CSV or TSV, plain or gzip: a user's with the columns `sequence` and `label`, and GUE.

GUE: https://github.com/MAGICS-LAB/DNABERT_2 (`train.csv`, `dev.csv`, `test.csv` with this header).
"""

import csv
import difflib
from collections.abc import Iterator
from typing import IO

from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences
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
            table = table_rows(stream, str(path), ("sequence", "label"))
            labelled = ((sequence.strip(), label.strip()) for _, (sequence, label) in table)
            yield from rows_of_sequences(split, str(path), labelled)


def table_rows(
    stream: IO[bytes], file: str, needed: tuple[str, ...], known: tuple[str, ...] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table; its header says what separates its columns.

    Args:
        stream: the table in bytes.
        file: its name, for messages.
        needed: the columns to read.
        known: further columns; those that are neither needed nor known are named in the log and left out.

    Returns:
        line number from 1, and the values of the needed columns, of each row.

    Raises:
        ConvNovaError: a needed column is not there once, a row is shorter or longer than the header, or a quote is not
            closed on its line.
    """
    lines = text_lines(stream, file)
    _, first = next(lines, (1, ""))
    separator = "\t" if "\t" in first else ","

    def fields(number: int, line: str) -> list[str]:
        try:
            return next(csv.reader([line], delimiter=separator, strict=True), [])
        except csv.Error as error:
            message = f"expected a row on a line of its own, quotes in pairs: {error}"
            raise ConvNovaError(f"{file} line {number}: {message}") from error

    header = [name.strip() for name in fields(1, first)]
    for name in needed:
        if header.count(name) != 1:
            near = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
            found = ", ".join(header)[:120] or "an empty file"
            hint = f"; is {near[0]!r} the one?" if near and near[0] != name else ""
            raise ConvNovaError(f"{file}: expected one column {name!r} in the header, found {found}{hint}")
    if extra := sorted(set(header) - {*needed, *known}):
        log(f"{file}: columns skipped: {', '.join(extra)[:200]}")
    columns = [header.index(name) for name in needed]
    for number, line in lines:
        if row := fields(number, line):
            if len(row) != len(header):
                found = f"{len(header)} columns in the header, {len(row)} here"
                raise ConvNovaError(f"{file} line {number}: expected a table: {found}")
            yield number, [row[column] for column in columns]
