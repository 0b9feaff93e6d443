"""What every reader yields: rows of a benchmark task, many at a time."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convnova.data import dna
from convnova.data.genome import SPLITS
from convnova.data.intervals import checked
from convnova.errors import ConvNovaError

LETTERS_A_PIECE = 1 << 24
INTERVALS_A_PIECE = 4096

Genome = Mapping[str, np.ndarray]
"""Chromosome to its tokens, uint8 (bases,)."""


@dataclass(frozen=True)
class SequenceRows:
    """Consecutive rows of one split.

    Attributes:
        tokens: uint8, all sequences end to end.
        lengths: int64 (n,), bases of each sequence.
        labels: for classes, text (n,): the classes' names; for many labels, uint8 (n, labels) of 0 and 1;
            for a label a base, int8 like `tokens`.
        others: letters that were IUPAC codes or gaps, now N.
        file, first: the file that the rows stand in and the number there, from 1, of the first; for messages.
    """

    split: str
    tokens: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    file: str
    first: int
    others: int = 0


def encode(split: str, file: str, first: int, sequences: list[str], labels: list[str]) -> SequenceRows:
    """Make rows of sequences in letters and the names of their classes.

    Raises:
        ConvNovaError: an empty sequence or label, or a letter that no nucleotide sequence has; names the row.
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    if not lengths.all():
        row = first + int(np.flatnonzero(lengths == 0)[0])
        raise ConvNovaError(f"{file} row {row}: expected a sequence, found none")
    if "" in labels:
        row = first + labels.index("")
        raise ConvNovaError(f"{file} row {row}: expected a label, found none; write one, or leave the row out")
    try:
        tokens, others = dna.encode("".join(sequences))
    except ValueError:
        raise _wrong_letter(file, first, sequences) from None
    return SequenceRows(split, tokens, lengths, np.array(labels, dtype=str), file, first, others)


def _wrong_letter(file: str, first: int, sequences: list[str]) -> ConvNovaError:
    for row, sequence in enumerate(sequences, start=first):
        try:
            dna.encode(sequence)
        except ValueError as error:
            return ConvNovaError(f"{file} row {row}: expected nucleotides; {error}; is it a protein sequence?")
    raise AssertionError("every sequence alone is right")


def in_pieces(split: str, file: str, labelled: Iterable[tuple[str, str]]) -> Iterator[SequenceRows]:
    """Make rows of (sequence, class) pairs, a limited number of letters at a time.

    Raises:
        ConvNovaError: as `encode`.
    """
    sequences, labels, first, letters = [], [], 1, 0
    for sequence, label in labelled:
        sequences.append(sequence)
        labels.append(label)
        letters += len(sequence)
        if letters >= LETTERS_A_PIECE:
            yield encode(split, file, first, sequences, labels)
            first, sequences, labels, letters = first + len(labels), [], [], 0
    if labels:
        yield encode(split, file, first, sequences, labels)


def split_files(files: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """The files that hold one split each, train first."""
    return ((split, files[split]) for split in SPLITS if split in files)


def need(genome: Genome | None, file: Path | str) -> Genome:
    """The genome, which must be there.

    Raises:
        ConvNovaError: there is no genome.
    """
    if genome is None:
        raise ConvNovaError(f"{file}: expected a genome that the intervals lie on, found none; name one in the suite")
    return genome


def cut(genome: Genome, chrom: str, start: int, end: int, strand: str, where: str) -> np.ndarray:
    """The tokens of an interval, read in the direction of its strand; an empty strand or `.` is forward.

    Raises:
        ConvNovaError: the strand is something else.
    """
    if strand not in ("", ".", "+", "-"):
        raise ConvNovaError(f"{where}: expected a strand, + or -, found {strand!r}")
    tokens = genome[chrom][start:end]
    return dna.reverse_complement(tokens) if strand == "-" else tokens


def cut_in_pieces(
    split: str, file: str, genome: Genome, intervals: Iterable[tuple[Sequence[str], str, str, str]]
) -> Iterator[SequenceRows]:
    """Make rows of intervals: (chromosome, start and end as text), strand, class, and file and line for messages.

    Raises:
        ConvNovaError: an interval that the genome lacks, as `convnova.data.intervals.checked`; a strand that is none.
    """
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    remaining, first = iter(intervals), 1
    while piece := list(itertools.islice(remaining, INTERVALS_A_PIECE)):
        parts = [cut(genome, *checked(place, lengths, where), strand, where) for place, strand, _, where in piece]
        labels = np.array([label for _, _, label, _ in piece], dtype=str)
        yield SequenceRows(split, np.concatenate(parts), np.array([len(part) for part in parts]), labels, file, first)
        first += len(piece)
