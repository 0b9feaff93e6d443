"""FASTA records in pieces, plain, gzip or bgzip, in little memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from convnova.data.unpack import open_bytes
from convnova.errors import ConvNovaError

READ_BYTES, HEADER_BYTES = 1 << 17, 1 << 16


class Piece(NamedTuple):
    """A part of one record, as it stands in the file.

    Attributes:
        record: number of the record in the file, from 1.
        header: the record's header without `>`.
        letters: whole lines of the sequence, line ends included.
        line: number in the file, from 1, of the first of these lines.
    """

    record: int
    header: str
    letters: bytes
    line: int


def pieces(path: str | Path) -> Iterator[Piece]:
    """Yield every record of a FASTA file in one piece or more, none of them blank.

    A piece has about `READ_BYTES`, or one line where that is longer.

    Raises:
        ConvNovaError: no header at the start, one longer than `HEADER_BYTES`, a record without letters, no record at
            all, a missing file, gzip data that end early or are damaged.
    """
    record, header, line = 0, "", 0
    blank = ""  # the last header and its line, until letters follow
    no_letters = f"{path}: expected a sequence after every header, found none for "
    with open_bytes(path) as stream:
        # Whole lines, and an empty line before them, so that every header follows a line break.
        while len(text := b"".join((b"\n", stream.read(READ_BYTES), stream.readline()))) > 1:
            for index, part in enumerate(text.split(b"\n>")):
                first_line, _, letters = part.partition(b"\n")
                if index:  # what stands before the first header belongs to the record before
                    if blank:
                        raise ConvNovaError(no_letters + blank)
                    if len(first_line) > HEADER_BYTES:
                        found = f"one of {len(first_line):,} letters in line {line}"
                        raise ConvNovaError(f"{path}: expected headers of a line of text, found {found}")
                    record, header = record + 1, first_line.decode("utf-8", "replace").strip()
                    blank = f"{header!r} in line {line}"
                if letters and not letters.isspace():
                    if not record:
                        found = repr(letters.lstrip().splitlines()[0][:40].decode("utf-8", "replace"))
                        raise ConvNovaError(f"{path}: expected FASTA, its first line a header with '>', found {found}")
                    blank = ""
                    yield Piece(record, header, letters, line + 1)
                line += part.count(b"\n") + 1
            line -= 2  # the empty line before this text, and the one before the next
    if blank:
        raise ConvNovaError(no_letters + blank)
    if not record:
        raise ConvNovaError(f"{path}: expected FASTA records, found an empty file; fetch it again")
