"""FASTA with the label at the end of the header: `>anything|label`, plain, gzip or bgzip.

So stands a number, or several with blanks between them: `>anything|0.5 -1.2`.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from convnova.data.fasta import pieces
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_sequences
from convnova.errors import ConvNovaError


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one FASTA a split.

    Raises:
        ConvNovaError: a header without a label; as `convnova.data.fasta.pieces` and `rows_of_sequences`.
    """
    for split, path in raw.splits():
        records = labelled_records(path)
        if raw.task.kind == "regression":
            records = ((sequence, tuple(numbers.split())) for sequence, numbers in records)
        yield from rows_of_sequences(split, str(path), records)


def labelled_records(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (sequence, label) of every record."""
    for (record, header), parts in itertools.groupby(pieces(path), key=lambda piece: (piece.record, piece.header)):
        _, bar, label = header.rpartition("|")
        if not bar or not label.strip():
            raise ConvNovaError(f"{path} row {record}: expected a header '>name|label', found {'>' + header[:60]!r}")
        yield b"".join(part.letters.translate(None, b"\r\n") for part in parts).decode("latin-1"), label.strip()
