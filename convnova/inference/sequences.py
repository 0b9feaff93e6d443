"""Sequences from wherever a user has them: letters, tokens, FASTA, tables, intervals of a genome."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convnova.data.dna import LETTERS
from convnova.data.fasta import pieces
from convnova.data.indexed_fasta import open_genome
from convnova.data.intervals import bed_header, bed_rows
from convnova.data.readers.csv import read_header, table_rows
from convnova.data.readers.rows import SequenceRows, rows_of_intervals, rows_of_sequences
from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError
from convnova.log import log

BED_COLUMNS = ("chrom", "start", "end", "name", "score", "strand")
FORMS = {"fa": "fasta", "fasta": "fasta", "fna": "fasta", "csv": "table", "tsv": "table", "bed": "bed"}
"""Ending of a file, before any `.gz` or `.bgz`, to its form."""


def read_sequences(source: Any, genome: str | Path | None = None) -> tuple[list[str], list[np.ndarray]]:
    """Names and tokens of sequences.

    Args:
        source: a list of sequences, in letters or as tokens (A C G T N = 0..4), or an array of tokens (n, length); or
            a file, plain or gzip: FASTA, CSV or TSV with a column `sequence` (and, if there is one, `name`), or BED
            with a `genome`, which is read in the direction of the strand.
        genome: a FASTA or the folder of a tokenized genome; for BED.

    Returns:
        Names, of those without one their number from 1; and tokens, uint8 (length,) each.

    Raises:
        ConvNovaError: no sequences, a letter that is no nucleotide's, an interval that the genome lacks.
    """
    if isinstance(source, str | Path):
        parts = list(_of_file(Path(source), genome))
    else:
        parts = list(rows_of_sequences("", "sequences", _of_memory(source)))
    if not parts:
        raise ConvNovaError(f"{source if isinstance(source, str | Path) else 'sequences'}: expected some, found none")
    if others := sum(part.others for part in parts):
        log(f"{others:,} letters other than A, C, G, T and N are read as N")
    names = [str(name) for part in parts for name in part.labels]
    return names, [tokens for part in parts for tokens in np.split(part.tokens, np.cumsum(part.lengths)[:-1])]


def _of_memory(source: Iterable[Any]) -> Iterator[tuple[str | bytes, str]]:
    """Letters and number of each sequence."""
    letters = np.frombuffer(LETTERS.encode(), np.uint8)
    for number, sequence in enumerate(source, start=1):
        if not isinstance(sequence, str):
            tokens = np.asarray(sequence)
            if (
                tokens.ndim != 1
                or tokens.dtype.kind not in "ui"
                or (len(tokens) and not 0 <= tokens.min() <= tokens.max() < len(letters))
            ):
                found = f"{tokens.dtype} of shape {tokens.shape}"
                raise ConvNovaError(f"sequences row {number}: expected letters, or tokens 0 to 4, found {found}")
            sequence = letters[tokens].tobytes()
        yield sequence, str(number)


def _of_file(path: Path, genome: str | Path | None) -> Iterator[SequenceRows]:
    if not path.is_file():
        is_sequence = not {*str(path).upper()} - {*LETTERS}
        advice = "; letters come in a FASTA, or in Python in a list, as ['ACGT']" if is_sequence else ""
        raise ConvNovaError(
            f"{path}: expected a file of sequences, found {'a folder' if path.is_dir() else 'none'}{advice}"
        )
    name = path.name.lower().removesuffix(".gz").removesuffix(".bgz")
    form = FORMS.get(name.rpartition(".")[2])
    if form is None:
        raise ConvNovaError(f"{path}: expected a name that ends in {', '.join(FORMS)}, with or without .gz")
    if form == "fasta":
        return rows_of_sequences("", str(path), _records(path), are_names=True)
    if form == "table":
        return rows_of_sequences("", str(path), _table(path), are_names=True)
    if genome is None:
        raise ConvNovaError(
            f"{path}: expected a genome that the intervals lie on, found none; name its FASTA as `genome`"
        )
    return rows_of_intervals("", str(path), open_genome(genome), _intervals(path), are_names=True)


def _records(path: Path) -> Iterator[tuple[bytes, str]]:
    """Letters and first word of the header of each record of a FASTA."""
    for (record, header), parts in itertools.groupby(pieces(path), key=lambda piece: (piece.record, piece.header)):
        name = (header.split(maxsplit=1) or [str(record)])[0]
        yield b"".join(part.letters.translate(None, b"\r\n") for part in parts), name


def _table(path: Path) -> Iterator[tuple[str, str]]:
    """Letters and name, or number, of each row of a table."""
    with open_bytes(path) as stream:
        has_names = "name" in read_header(text_lines(stream, str(path)), str(path))[1]
    with open_bytes(path) as stream:
        columns = ("sequence", "name") if has_names else ("sequence",)
        for row, (_, values) in enumerate(table_rows(stream, str(path), columns, ("label",)), start=1):
            yield values[0].strip(), (values[1] if has_names else "") or str(row)


def _intervals(path: Path) -> Iterator[tuple[list[str], str, str, str]]:
    """Place, strand, name, and file and line of each interval of a BED; one without a name is named by its place."""
    columns = bed_header(path) or BED_COLUMNS
    for line, fields in bed_rows(path):
        values = dict(zip(columns, fields, strict=False))
        name = values.get("name", ".")
        if name in ("", "."):
            name = f"{fields[0]}:{'-'.join(fields[1:3])}"
        yield fields[:3], values.get("strand", ""), name, f"{path} line {line}"
