"""FASTA records in pieces, plain, gzip or bgzip, in little memory."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from isal import isal_zlib

from convnova.errors import ConvNovaError
from convnova.files import GZIP_MAGIC, open_bytes

READ_BYTES = 1 << 17
PIECE_BYTES = 1 << 18
PIECES_AHEAD = 8
GZIP_WINDOW = 31
"""What zlib calls the largest window, with gzip's header and checksum."""


class Piece(NamedTuple):
    """A part of one record, as it stands in the file."""

    record: int
    """Number of the record in the file, from 1."""
    header: str
    """The record's header without `>`."""
    letters: bytes
    """Sequence lines, line ends included."""
    offset: int
    """Where `letters` begin in the inflated file, in bytes."""


def pieces(path: str | Path) -> Iterator[Piece]:
    """Yield every record of a FASTA file, each in one piece or more, none of them blank.

    Raises:
        ConvNovaError: no header at the start, a record without letters, no record at all, a
            missing file, gzip data that end early or are damaged.
    """
    record, header, begun, blank = 0, "", 0, False
    for text, offset, is_header in _parts(path):
        if is_header:
            if blank:
                raise _no_letters(path, header, begun)
            record, begun, blank = record + 1, offset, True
            header = text[1:].decode("utf-8", "replace").strip()
        elif not text.isspace():
            if not record:
                found = text.lstrip().splitlines()[0][:40].decode("utf-8", "replace")
                raise ConvNovaError(f"{path}: expected FASTA, its first line a header with '>', found {found!r}")
            blank = False
            yield Piece(record, header, text, offset)
    if blank:
        raise _no_letters(path, header, begun)
    if not record:
        raise ConvNovaError(f"{path}: expected FASTA records, found an empty file; fetch it again")


def _parts(path: str | Path) -> Iterator[tuple[bytes, int, bool]]:
    """Yield (text, offset, whether it is a header): header lines whole, what is between them in pieces."""
    rest, offset, at_line_start = b"", 0, True
    for chunk in _read_ahead(path):
        text, rest, position = rest + chunk, b"", 0
        while position < len(text):
            start = _next_header(text, position, at_line_start)
            if start > position:
                yield text[position:start], offset + position, False
            position = text.find(b"\n", start) + 1
            if start == len(text):
                break
            if not position:
                rest = text[start:]
                break
            yield text[start : position - 1], offset + start, True
        at_line_start = bool(rest) or text[-1] in b"\r\n"
        offset += len(text) - len(rest)
    if rest:
        yield rest, offset, True


def _read_ahead(path: str | Path) -> Iterator[bytes]:
    """The inflated bytes in pieces; a thread inflates the next few while the caller works on this one."""
    if not Path(path).is_file():
        raise ConvNovaError(f"{path}: expected a FASTA file, found nothing")
    with open(path, "rb") as raw, ThreadPoolExecutor(1) as pool:
        inflated = _joined(_inflated(raw))
        coming = deque(pool.submit(next, inflated, None) for _ in range(PIECES_AHEAD))
        try:
            while (piece := coming.popleft().result()) is not None:
                coming.append(pool.submit(next, inflated, None))
                yield piece
        except (EOFError, isal_zlib.error) as error:
            raise ConvNovaError(
                f"{path}: expected whole gzip data, found a truncated or damaged file ({error}); fetch it again"
            ) from error


def _inflated(raw: BinaryIO) -> Iterator[bytes]:
    """Plain bytes as they are, members of a gzip or bgzip file inflated.

    ISA-L inflates several times as fast as zlib. More is read at a time than `igzip.open` does, which hands the
    interpreter's lock over too often here.
    """
    is_gzip = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    raw.seek(0)
    member = None
    while data := raw.read(READ_BYTES):
        while data and is_gzip:
            member = member or isal_zlib.decompressobj(GZIP_WINDOW)
            yield member.decompress(data)
            data = member.unused_data.lstrip(b"\0")
            member = None if member.eof else member
        yield data
    if member:
        raise EOFError("it ends in the middle")


def _joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE_BYTES or a little more; a block of bgzip alone is too short to be quick."""
    held: list[bytes] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= PIECE_BYTES:
            yield b"".join(held)
            held = []
    if any(held):
        yield b"".join(held)


def _next_header(text: bytes, position: int, at_line_start: bool) -> int:
    """Where the next `>` at the start of a line is, or the length of the text."""
    start = text.find(b">", position)
    while start > 0 and text[start - 1] not in b"\r\n" or start == 0 and not at_line_start:
        start = text.find(b">", start + 1)
    return start if start >= 0 else len(text)


def _no_letters(path: str | Path, header: str, offset: int) -> ConvNovaError:
    return ConvNovaError(
        f"{path}: expected a sequence after every header, found none for {header!r} in line {line_number(path, offset)}"
    )


def line_number(path: str | Path, offset: int) -> int:
    """The line, from 1, that the byte at `offset` of the inflated file is in."""
    line = 1
    with open_bytes(path) as stream:
        while offset > 0 and (text := stream.read(min(offset, PIECE_BYTES))):
            line += text.count(b"\n")
            offset -= len(text)
    return line
