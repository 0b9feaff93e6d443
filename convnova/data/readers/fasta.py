"""FASTA with the label at the end of the header: `>anything|label`, plain, gzip or bgzip."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from convnova.config.schema import Task
from convnova.data import fasta
from convnova.data.readers.rows import Genome, SequenceRows, in_pieces, split_files
from convnova.errors import ConvNovaError


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[SequenceRows]:
    """Read one FASTA a split.

    Raises:
        ConvNovaError: a header without a label; as `fasta.pieces` and `rows.encode`.
    """
    for split, path in split_files(files):
        yield from in_pieces(split, str(path), labelled(path))


def labelled(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (sequence, label) of every record."""
    for (record, header), parts in itertools.groupby(fasta.pieces(path), key=lambda piece: piece[:2]):
        _, bar, label = header.rpartition("|")
        if not bar or not label.strip():
            raise ConvNovaError(f"{path} row {record}: expected a header '>name|label', found {'>' + header[:60]!r}")
        yield b"".join(part.letters.translate(None, b"\r\n") for part in parts).decode("latin-1"), label.strip()
