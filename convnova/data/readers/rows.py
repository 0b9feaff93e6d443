"""What every reader takes and yields: the files of a benchmark task, and its rows, many at a time."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convnova.config.schema import Task
from convnova.data import dna
from convnova.data.genome import SPLITS
from convnova.data.intervals import parse_interval
from convnova.errors import ConvNovaError

LETTERS_A_PIECE, ROWS_A_PIECE = 1 << 24, 1 << 16
"""A piece of rows ends at whichever it reaches first."""
LABEL_LETTERS = 100
COLUMN_ADVICE = "; `sequence_column` and `label_column` of the task name others"
UNDECODED = "\ufffd"
"""What stands for bytes that are no UTF-8."""

Genome = Mapping[str, np.ndarray]
"""Chromosome to its tokens, uint8 (bases,)."""
Label = str | tuple[str, ...] | np.ndarray
"""Of a row: the name of its class; its numbers as text, one a target; or numbers, float64 (bins,)."""


@dataclass(frozen=True)
class TaskFiles:
    """The files of a task, as they were fetched.

    Attributes:
        task: what the run config says of it.
        files: role to path, roles as in `config.schema.FILE_ROLES`.
        scratch: a folder for what must be unpacked.
        genome_folder: the tokenized genome that the intervals lie on, if there is one.
        genome: its tokens.
        skipped: what holds no rows, such as `comment lines of a.bed`, to how many a reader has passed over.
    """

    task: Task
    files: Mapping[str, Path]
    scratch: Path
    genome_folder: Path | None = None
    genome: Genome | None = None
    skipped: Counter[str] = field(default_factory=Counter)

    def splits(self) -> list[tuple[str, Path]]:
        """Split and file, of the files that hold one split each; train first."""
        return [(split, self.files[split]) for split in SPLITS if split in self.files]

    def label(self, *texts: str) -> Label:
        """What stands in the columns of labels as the task's kind wants it: the name of a class, or numbers."""
        return texts if self.task.kind == "regression" else texts[0]

    def needed_genome(self, file: Path) -> Genome:
        """The genome, which the intervals in `file` need.

        Raises:
            ConvNovaError: there is none.
        """
        if self.genome is None:
            message = f"{file}: expected a genome that the intervals lie on, found none; name one in the suite"
            raise ConvNovaError(message)
        return self.genome


@dataclass(frozen=True)
class SequenceRows:
    """Consecutive rows of one split.

    Attributes:
        tokens: uint8, all sequences end to end.
        lengths: int64 (n,), bases of each sequence.
        labels: for classes, text (n,): the classes' names; for many labels, uint8 (n, labels) of 0 and 1;
            for a label a base, int8 like `tokens`, and a row at a time; for numbers, float64 (n, targets or bins).
        others: letters that were IUPAC codes or gaps, now N.
        columns: further numbers of each row (n,), by name; see `convnova.data.readers.variants`.
        file, first: the file that the rows stand in and the number there, from 1, of the first; for messages.
    """

    split: str
    tokens: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    file: str
    first: int
    others: int = 0
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


def rows_of_sequences(
    split: str, file: str, labelled: Iterable[tuple[str, Label]], are_names: bool = False
) -> Iterator[SequenceRows]:
    """Make rows of sequences in letters, a limited number of letters at a time.

    Args:
        split: the split that they all belong to.
        file: where they stand, for messages.
        labelled: sequence and label of every row.
        are_names: the labels are names of sequences, which may be anything.

    Raises:
        ConvNovaError: an empty sequence, a letter that no nucleotide sequence has, or a label that is empty, longer
            than `LABEL_LETTERS` or not on one line, or that should be numbers and is not; names the row.
    """

    def encoded() -> Iterator[tuple[str, np.ndarray, Label, int]]:
        for row, (sequence, label) in enumerate(labelled, start=1):
            try:
                tokens, others = dna.encode(sequence)
            except ValueError as error:
                message = f"{file} row {row}: expected nucleotides; {error}; is it a protein sequence?"
                raise ConvNovaError(message) from error
            yield f"{file} row {row}", tokens, label, others

    return rows_in_pieces(split, file, encoded(), are_names)


def rows_in_pieces(
    split: str, file: str, rows: Iterable[tuple[str, np.ndarray, Label, int]], are_names: bool = False
) -> Iterator[SequenceRows]:
    """Put rows together.

    Args:
        split: the split that they all belong to.
        file: where they stand, for messages.
        rows: of each its place, tokens, label, and the letters that were read as N.
        are_names: as of `rows_of_sequences`.

    Raises:
        ConvNovaError: as `rows_of_sequences`.
    """
    first, remaining = 1, iter(rows)
    while piece := list(_next_piece(remaining, are_names)):
        tokens, labels, others = zip(*piece, strict=True)
        lengths = np.array([len(part) for part in tokens], np.int64)
        yield SequenceRows(split, np.concatenate(tokens), lengths, np.array(labels), file, first, sum(others))
        first += len(piece)


def _next_piece(
    rows: Iterator[tuple[str, np.ndarray, Label, int]], are_names: bool
) -> Iterator[tuple[np.ndarray, "str | np.ndarray", int]]:
    """The next rows, without their places, after a check that each has bases and, if it is no name, a label."""
    letters, count = 0, None
    for where, tokens, label, others in itertools.islice(rows, ROWS_A_PIECE):
        if not len(tokens) or not (len(label) or are_names):
            what = "label" if len(tokens) else "sequence"
            raise ConvNovaError(f"{where}: expected a {what}, found none; write one, or leave the row out")
        if isinstance(label, tuple):
            label = np.array([_number(text, where) for text in label])
            count = count or len(label)
            if len(label) != count:
                raise ConvNovaError(f"{where}: expected as many numbers in every row, found {len(label)} after {count}")
        elif (
            isinstance(label, str)
            and not are_names
            and (len(label) > LABEL_LETTERS or not label.isprintable() or UNDECODED in label)
        ):
            found = f"{len(label):,} letters, {label[:LABEL_LETTERS]!r}"
            raise ConvNovaError(f"{where}: expected a label of at most {LABEL_LETTERS} readable letters, found {found}")
        yield tokens, label, others
        letters += len(tokens)
        if letters >= LETTERS_A_PIECE:
            return


def _number(text: str, where: str) -> float:
    try:
        number = float(text) if "_" not in text else math.nan  # Python takes 1_000 for a number
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        advice = "correct it, or leave the row out"
        raise ConvNovaError(f"{where}: expected a number, as 1.5, found {text[:60]!r}; {advice}")
    return number


def refuse_rows(is_wrong: np.ndarray, file: str | Path, first: int, expected: str) -> None:
    """Raise for the first of some rows that is wrong.

    Args:
        is_wrong: bool (n,).
        file: where the rows stand.
        first: number of the first of them in the file.
        expected: what each should have.
    """
    if is_wrong.any():
        raise ConvNovaError(f"{file} row {first + int(np.argmax(is_wrong))}: expected {expected}, found others")


def rows_of_intervals(
    split: str,
    file: str,
    genome: Genome,
    intervals: Iterable[tuple[Sequence[str], str, Label, str]],
    are_names: bool = False,
) -> Iterator[SequenceRows]:
    """Make rows of intervals, cut out of a genome and read in the direction of their strand.

    Args:
        split: the split that they all belong to.
        file: where they stand, for messages.
        genome: what they lie on.
        intervals: of each (chromosome, start and end as text), the strand (`+`, `-`, or for forward empty or `.`),
            its label, and its file and line for messages.
        are_names: as of `rows_of_sequences`.

    Raises:
        ConvNovaError: an interval that the genome lacks, as `convnova.data.intervals.parse_interval`; a strand that
            is none.
    """
    lengths = {name: len(tokens) for name, tokens in genome.items()}

    def cut() -> Iterator[tuple[str, np.ndarray, Label, int]]:
        for fields, strand, label, where in intervals:
            chrom, start, end = parse_interval(fields, lengths, where)
            if strand not in ("", ".", "+", "-"):
                raise ConvNovaError(f"{where}: expected a strand, + or -, found {strand!r}")
            tokens = genome[chrom][start:end]
            yield where, dna.reverse_complement(tokens) if strand == "-" else tokens, label, 0

    return rows_in_pieces(split, file, cut(), are_names)
