"""Where in a genome the rows of a task lie."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnova.data.dna import reverse_complement
from convnova.data.intervals import bed_rows, parse_interval
from convnova.data.readers.variants import variant_lines
from convnova.data.task_dataset import Sequences
from convnova.evaluation.leakage import kmer_index
from convnova.log import progress

ANCHOR = 32
"""Bases of an anchor: 64 bits hold them exactly, and in 3 Gb of random sequence none is there by chance."""

ROOM = 64
"""Slots of the Bloom table for each anchor, so that nearly all other windows of a genome are passed over."""


class Hit(NamedTuple):
    """A row of a task, and bases start to end of a chromosome that it is a copy of."""

    row: int
    chrom: str
    start: int
    end: int


def stated_positions(read_format: str, files: Mapping[str, Path], lengths: Mapping[str, int]) -> list[Hit] | None:
    """Where the test rows lie, if the task's files say so.

    Args:
        read_format: one of `config.Format`.
        files: role to path, roles as in `config.FILE_ROLES`.
        lengths: chromosome to its number of bases.

    Returns:
        A hit a row; None if the files hold sequences.

    Raises:
        ConvNovaError: an interval that the genome lacks, as `convnova.data.intervals.parse_interval`.
    """
    if read_format == "variants":
        variants = ((line, int(line.pos) - 1) for line in variant_lines(files["test"]))
        lines = (((v.chrom, str(start), str(start + len(v.ref))), v.where) for v, start in variants)
    elif read_format in ("bed", "bend", "bigwig"):
        path = files["intervals" if read_format == "bend" else "test"]
        lines = ((line, f"{path} line {number}") for number, line in bed_rows(path))
        if read_format == "bend":
            lines = ((line, where) for line, where in lines if line[-1] == "test")
    elif read_format == "genomic_benchmarks" and "intervals" in files:
        from convnova.data.readers.genomic_benchmarks import interval_tables

        path = files["intervals"]
        tables = ((name, rows) for name, rows in interval_tables(path, Counter()) if name.parts[-2] == "test")
        lines = ((fields, f"{path}:{name} line {line}") for name, rows in tables for line, fields in rows)
    else:
        return None
    return [Hit(row, *parse_interval(fields, lengths, where)) for row, (fields, where) in enumerate(lines)]


def search(sequences: Sequences, genome: Mapping[str, np.ndarray]) -> list[Hit]:
    """Every place where a genome has a row, on either strand: two of three anchors at the right distance.

    The anchors are the first, middle and last `ANCHOR` bases of a row. So a few other letters between the anchors or
    in one of them do not matter; an insertion or deletion does. Rows shorter than 33 bases, and rows with an N in two
    anchors, have no place.

    Args:
        sequences: the rows.
        genome: chromosome to tokens (bases,).
    """
    code, strand, before = _anchors(sequences)
    order = np.argsort(code)
    code, strand, before = code[order], strand[order], before[order]
    lengths, table = np.diff(sequences.offsets), kmer_index.bloom_table(code, ROOM)
    hits: list[Hit] = []
    with progress("looking for the rows in the genome", sum(map(len, genome.values())), "bases") as work:
        for chrom, tokens in genome.items():
            # Each anchor votes for a row, its strand and the start of the row; two equal votes are a hit.
            votes = [np.empty(0, np.int64)]
            for anchor, place in _places(tokens, code, table) if code.size else ():
                votes.append(strand[anchor] << 32 | place - before[anchor])
            votes = np.sort(np.concatenate(votes))
            for vote in kmer_index.sorted_unique(votes[1:][votes[1:] == votes[:-1]]).tolist():
                row, start = vote >> 33, vote & 0xFFFFFFFF
                if 0 <= start <= len(tokens) - lengths[row]:
                    hits.append(Hit(row, chrom, start, start + int(lengths[row])))
            work.update(len(tokens))
    return hits


def _anchors(sequences: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of the anchors on both strands; row times 2, plus 1 on the reverse strand; bases before the anchor."""
    parts = [(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))]
    for first, piece in kmer_index.pieces(sequences):
        valid = kmer_index.valid_starts(piece, ANCHOR)
        if not valid.size:
            continue
        begins, ends = piece.offsets[:-1], piece.offsets[1:] - ANCHOR
        starts = kmer_index.sorted_unique(np.concatenate([begins, (begins + ends) // 2, ends]))
        starts = starts[kmer_index.is_member(starts, valid)]
        row = np.searchsorted(piece.offsets, starts, side="right") - 1
        forward = kmer_index.codes(piece.tokens, ANCHOR)[starts]
        reverse = kmer_index.codes(reverse_complement(piece.tokens), ANCHOR)[::-1][starts]
        strand = 2 * (row + first)
        parts += [(forward, strand, starts - begins[row]), (reverse, strand + 1, ends[row] - starts)]
    return kmer_index.concatenated(parts)


def _places(tokens: np.ndarray, code: np.ndarray, table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which anchors (indices into `code`, ascending) a chromosome has, and where they begin."""
    for begin in range(0, len(tokens) - ANCHOR + 1, kmer_index.PIECE):
        piece = tokens[begin : begin + kmer_index.PIECE + ANCHOR - 1]
        windows = kmer_index.codes(piece, ANCHOR)
        at = kmer_index.maybe_members(windows, table)
        if piece.max() > 3:  # an N counts as some base in `codes`
            valid = kmer_index.valid_starts(Sequences(piece, np.array([0, len(piece)])), ANCHOR)
            at = at[kmer_index.is_member(at, valid)]
        at = at[kmer_index.is_member(windows[at], code)]
        first = np.searchsorted(code, windows[at])
        times = np.searchsorted(code, windows[at], side="right") - first  # anchors of several rows may be equal
        yield kmer_index.ranges(first, times), np.repeat(at, times) + begin
