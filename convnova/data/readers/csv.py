"""Tables with a header, CSV or TSV, plain or gzip: a user's with the columns `sequence` and `label`, and GUE.

GUE: https://github.com/MAGICS-LAB/DNABERT_2 (`train.csv`, `dev.csv`, `test.csv` with this header).
"""

import csv
import difflib
import io
from collections.abc import Iterator
from typing import BinaryIO

from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences
from convnova.errors import ConvNovaError
from convnova.files import open_bytes
from convnova.log import log

csv.field_size_limit(1 << 30)


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
    stream: BinaryIO, file: str, needed: tuple[str, ...], known: tuple[str, ...] = ()
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
        ConvNovaError: a needed column is not there, or a row is shorter or longer than the header.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
    first = text.readline()
    separator = "\t" if "\t" in first else ","
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    for name in needed:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
            found = ", ".join(header)[:120] or "an empty file"
            hint = f"; is {near[0]!r} the one?" if near else ""
            raise ConvNovaError(f"{file}: expected a column {name!r} in the header, found {found}{hint}")
    if extra := sorted(set(header) - {*needed, *known}):
        log(f"{file}: columns skipped: {', '.join(extra)}")
    columns = [header.index(name) for name in needed]
    table = csv.reader(text, delimiter=separator)
    try:
        for row in table:
            if row and len(row) != len(header):
                raise csv.Error(f"{len(header)} columns in the header, {len(row)} here")
            if row:
                yield table.line_num + 1, [row[column] for column in columns]
    except csv.Error as error:
        raise ConvNovaError(f"{file} line {table.line_num + 1}: expected a table: {error}") from error
