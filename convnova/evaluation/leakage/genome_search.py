"""Where in a genome the rows of a task lie."""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnova.data import intervals
from convnova.data.dna import reverse_complement
from convnova.evaluation.leakage import kmer_index
from convnova.evaluation.leakage.kmer_index import Sequences
from convnova.log import progress

ANCHOR = 32
"""Bases of an anchor: 64 bits hold them exactly, and in 3 Gb of random sequence none is there by chance."""

ROOM = 64
"""Slots of the sieve for each anchor: nearly all of a genome must fall through."""


class Hit(NamedTuple):
    """A row of a task, and bases start to end of a chromosome that it is a copy of."""

    row: int
    chrom: str
    start: int
    end: int


def stated_positions(read_format: str, files: Mapping[str, Path], lengths: Mapping[str, int]) -> list[Hit] | None:
    """The places of the test rows if the task's files state them, None if they hold sequences.

    Args:
        read_format: one of `config.Format`.
        files: role to path, roles as in `config.FILE_ROLES`.
        lengths: chromosome to its number of bases.

    Raises:
        ConvNovaError: an interval that the genome lacks, as `convnova.data.intervals.checked`.
    """
    if read_format == "bed":
        path = files["test"]
        lines = ((fields, f"{path} line {number}") for number, fields in intervals.lines(path))
    elif read_format == "bend":
        path = files["intervals"]
        lines = ((line, f"{path} line {number}") for number, line in intervals.lines(path) if line[-1] == "test")
    elif read_format == "genomic_benchmarks" and "intervals" in files:
        lines = _table_lines(files["intervals"])
    else:
        return None
    return [Hit(row, *intervals.checked(fields, lengths, where)) for row, (fields, where) in enumerate(lines)]


def _table_lines(path: Path) -> Iterator[tuple[list[str], str]]:
    from convnova.data.readers import archives, csv

    with archives.whole(path):
        for name, content in archives.members(path):
            if len(name.parts) > 1 and name.parts[-2] == "test" and name.suffix in (".csv", ".gz"):
                with gzip.open(content) if name.suffix == ".gz" else content as stream:
                    for line, fields in csv.rows(stream, str(name), ("region", "start", "end"), ("id", "strand")):
                        yield fields, f"{path}:{name} line {line}"


def search(sequences: Sequences, genome: Mapping[str, np.ndarray]) -> list[Hit]:
    """Every place where a genome holds a row, on either strand: two of three anchors at the right distance.

    The anchors are the first, middle and last `ANCHOR` bases of a row, so a few other letters between or in one
    of them do not matter; an insertion or deletion does. Rows shorter than 33 bases, and rows with an N in two
    anchors, have no place.
    """
    code, line, before = _anchors(sequences)
    order = np.argsort(code)
    code, line, before = code[order], line[order], before[order]
    lengths, table = np.diff(sequences.offsets), kmer_index.bloom_table(code, ROOM)
    places: list[Hit] = []
    with progress("looking for the rows in the genome", sum(map(len, genome.values())), "bases") as work:
        for chrom, tokens in genome.items():
            hits = _hits(tokens, code, table) if code.size else []
            votes = [line[which] << 32 | start for which, at in hits for start in [at - before[which]]]
            work.update(len(tokens))
            for row, start in _voted(votes):
                if 0 <= start <= len(tokens) - lengths[row]:
                    places.append(Hit(row, chrom, start, start + int(lengths[row])))
    return places


def _anchors(sequences: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of the anchors on both strands; row times 2, plus 1 on the reverse strand; bases before the anchor."""
    parts = []
    for first, piece in kmer_index.pieces(sequences):
        starts = kmer_index.valid_starts(piece, ANCHOR)
        if not starts.size:
            continue
        begins, ends = piece.offsets[:-1], piece.offsets[1:] - ANCHOR
        wanted = kmer_index.sorted_unique(np.concatenate([begins, (begins + ends) // 2, ends]))
        wanted = wanted[kmer_index.is_member(wanted, starts)]
        row = np.searchsorted(piece.offsets, wanted, side="right") - 1
        forward = kmer_index.codes(piece.tokens, ANCHOR)[wanted]
        reverse = kmer_index.codes(reverse_complement(piece.tokens), ANCHOR)[::-1][wanted]
        line = 2 * (row + first)
        parts += [(forward, line, wanted - begins[row]), (reverse, line + 1, ends[row] - wanted)]
    if not parts:
        return np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64)
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _hits(tokens: np.ndarray, code: np.ndarray, table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which anchors (indices into `code`, ascending) lie in a chromosome, and where they begin."""
    for begin in range(0, len(tokens) - ANCHOR + 1, kmer_index.PIECE):
        piece = tokens[begin : begin + kmer_index.PIECE + ANCHOR - 1]
        here = kmer_index.codes(piece, ANCHOR)
        at = kmer_index.maybe_members(here, table)
        if piece.max() > 3:
            at = at[
                kmer_index.is_member(at, kmer_index.valid_starts(Sequences(piece, np.array([0, len(piece)])), ANCHOR))
            ]
        first = np.searchsorted(code, here[at])
        found = code[first.clip(max=code.size - 1)] == here[at]
        at, first = at[found], first[found]
        times = np.searchsorted(code, here[at], side="right") - first
        which = np.repeat(first - np.cumsum(times) + times, times) + np.arange(times.sum())
        yield which, np.repeat(at, times) + begin


def _voted(votes: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield rows and starts that two anchors agree on."""
    ordered = np.sort(np.concatenate([np.empty(0, np.int64), *votes]))
    twice = kmer_index.sorted_unique(ordered[1:][ordered[1:] == ordered[:-1]])
    for vote in twice.tolist():
        yield vote >> 33, vote & 0xFFFFFFFF
