"""Windows over a tokenized genome, by arithmetic: what pretraining reads."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from convnova.data.dna import PAD, N
from convnova.data.genome import read_genome, read_intervals
from convnova.data.intervals import Interval, merge
from convnova.errors import ConvNovaError
from convnova.log import log

BASES_A_BLOCK = 1 << 22
"""Bases that are searched for N at once."""


class Segment(NamedTuple):
    """Windows side by side: `count` of them, `width` bases each, from `start` on."""

    chrom: str
    start: int
    count: int
    width: int


def windows(folder: Path, split: str, length: int, coverage: Literal["whole", "first"] = "whole") -> "Windows":
    """The windows of one split of a genome.

    Args:
        folder: the tokenized genome.
        split: `train`, `valid` or `test`.
        length: bases a window.
        coverage: `whole`: overlapping intervals are joined, then tiled side by side, the last window moved
            left to fit; windows of which more than half is N are left out. `first`: the first `length`
            bases of every interval, as in the released ConvNova code. An interval shorter than
            `length` gives one window, padded on the right.

    Raises:
        ConvNovaError: the split has no intervals, or none but N.
    """
    intervals = read_intervals(folder).get(split)
    if not intervals:
        raise ConvNovaError(f"{folder}: expected intervals of the split {split!r}, found none")
    genome = read_genome(folder)
    if coverage == "first":
        segments = [Segment(part.chrom, part.start, 1, min(length, part.end - part.start)) for part in intervals]
        return Windows(genome, segments, length)
    tiles = [tile for part in merge(intervals) for tile in _tile(part, length)]
    segments = [run for tile in tiles for run in _without_n(tile, genome[tile.chrom])]
    count, all_windows = sum(run.count for run in segments), sum(tile.count for tile in tiles)
    log(f"{split}: {count:,} windows of {length} bases; {all_windows - count:,} more, mostly N, left out")
    if not count:
        raise ConvNovaError(f"{folder}: expected bases in the split {split!r}, found only N")
    return Windows(genome, segments, length)


def _tile(part: Interval, length: int) -> list[Segment]:
    bases = part.end - part.start
    if bases < length:
        return [Segment(part.chrom, part.start, 1, bases)]
    tiles = [Segment(part.chrom, part.start, bases // length, length)]
    return tiles + [Segment(part.chrom, part.end - length, 1, length)] if bases % length else tiles


def _without_n(tile: Segment, chromosome: np.ndarray) -> list[Segment]:
    """The runs of windows of a tile of which at most half is N."""
    keep = np.ones(tile.count, bool)
    windows_a_block = max(1, BASES_A_BLOCK // tile.width)
    for first in range(0, tile.count, windows_a_block):
        count = min(windows_a_block, tile.count - first)
        start = tile.start + first * tile.width
        is_n = chromosome[start : start + count * tile.width] == N
        if is_n.any():
            keep[first : first + count] = np.count_nonzero(is_n.reshape(count, -1), axis=1) * 2 <= tile.width
    borders = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)  # first and one past the last
    return [tile._replace(start=tile.start + a * tile.width, count=b - a) for a, b in borders.tolist()]


class Windows:
    """Windows of `length` bases, numbered from 0; which bases number i holds is computed, not stored.

    Attributes:
        length: bases a window.
        chromosomes: tokens, uint8 (bases,), of each chromosome.
        chromosome, start, width: of each segment, int64 (segments,): index into `chromosomes`, first base, bases a
            window.
        first: number of each segment's first window, and last how many windows there are, int64 (segments + 1,).
    """

    def __init__(self, genome: dict[str, np.ndarray], segments: list[Segment], length: int):
        self.length = length
        self.chromosomes = list(genome.values())
        ids = {name: number for number, name in enumerate(genome)}
        self.chromosome = np.array([ids[segment.chrom] for segment in segments])
        self.start = np.array([segment.start for segment in segments])
        self.width = np.array([segment.width for segment in segments])
        self.first = np.cumsum([0] + [segment.count for segment in segments])

    def __len__(self) -> int:
        return int(self.first[-1])

    def tokens(self, indices: np.ndarray) -> np.ndarray:
        """The tokens of some windows: integers (n,) to uint8 (n, length), PAD where an interval ends early."""
        segment = np.searchsorted(self.first, indices, side="right") - 1
        chromosome, width = self.chromosome[segment], self.width[segment]
        start = self.start[segment] + (indices - self.first[segment]) * width
        tokens = np.empty((len(indices), self.length), np.uint8)
        is_full = width == self.length
        for number in np.unique(chromosome[is_full]):  # whole windows of a chromosome by one index into a view
            rows = np.flatnonzero(is_full & (chromosome == number))
            view = np.lib.stride_tricks.sliding_window_view(self.chromosomes[number], self.length)
            tokens[rows] = view[start[rows]]
        for row in np.flatnonzero(~is_full):
            tokens[row, : width[row]] = self.chromosomes[chromosome[row]][start[row] : start[row] + width[row]]
            tokens[row, width[row] :] = PAD
        return tokens
