"""Signal along a genome: a BED of equally long intervals a split, and a bigWig, of which each bin gives its mean.

A base without a value counts as 0, as one without coverage does; the log says how many those are.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnova.config.schema import Task
from convnova.data.dna import reverse_complement
from convnova.data.intervals import bed_header, bed_rows, parse_interval
from convnova.data.readers.apart import apart
from convnova.data.readers.bed import COLUMNS
from convnova.data.readers.rows import Genome, SequenceRows, TaskFiles, rows_in_pieces
from convnova.errors import ConvNovaError
from convnova.log import log

INTERVALS_A_PIECE = 256


class Place(NamedTuple):
    """An interval, whether it is read from its end, and its file and line for messages."""

    chrom: str
    start: int
    end: int
    is_reverse: bool
    where: str


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the intervals of each split, and of each the means of bins of the file in the role `signal`.

    An interval on the strand `-`, in column 6, is read from its end: bases and bins.

    Raises:
        ConvNovaError: intervals that differ in length, are longer than `max_length` or no multiple of `bin_size`; a
            chromosome that the genome or the bigWig lacks, or that is longer in one of them; a value that is infinite,
            or with a Poisson loss negative.
    """
    signal, length = raw.files["signal"], 0
    for split, path in raw.splits():
        places = list(_places(path, raw))
        for place in places:
            length = length or place.end - place.start
            if place.end - place.start != length:
                found = f"{place.end - place.start} after {length}"
                raise ConvNovaError(f"{place.where}: expected intervals of one length, found {found} bases")
        yield from rows_in_pieces(split, str(path), _with_signal(places, raw.needed_genome(path), signal, raw.task))


def _places(path: Path, raw: TaskFiles) -> Iterator[Place]:
    """The intervals of a BED."""
    lengths = {name: len(tokens) for name, tokens in raw.needed_genome(path).items()}
    columns, size, longest = bed_header(path) or COLUMNS, raw.task.bin_size, raw.task.max_length
    for line, fields in bed_rows(path, raw.skipped):
        where, strand = f"{path} line {line}", dict(zip(columns, fields, strict=False)).get("strand", "")
        chrom, start, end = parse_interval(fields, lengths, where)
        if (end - start) % size or end - start > (longest or end - start):
            limit = f" up to max_length = {longest}" if longest else ""
            raise ConvNovaError(f"{where}: expected a multiple of bin_size = {size}{limit}, found {end - start} bases")
        if strand not in ("", ".", "+", "-"):
            raise ConvNovaError(f"{where}: expected a strand, + or -, found {strand!r}")
        yield Place(chrom, start, end, strand == "-", where)


def _with_signal(
    places: list[Place], genome: Genome, signal: Path, task: Task
) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """File and line, tokens and means of bins of each interval."""
    lengths, bases = {place.chrom: len(genome[place.chrom]) for place in places}, 0
    means = chain.from_iterable(apart(_bin_means, signal, places, lengths, task))
    for place, (bins, missing) in zip(places, means, strict=True):
        tokens, bases = genome[place.chrom][place.start : place.end], bases + missing
        tokens, bins = (reverse_complement(tokens), bins[::-1]) if place.is_reverse else (tokens, bins)
        yield place.where, tokens, bins, 0
    if bases:
        log(f"{signal}: {bases:,} bases of the intervals have no value and count as 0")


def _bin_means(
    path: Path, places: list[Place], lengths: Mapping[str, int], task: Task
) -> Iterator[list[tuple[np.ndarray, int]]]:
    """The mean of each bin, float64 (bins,), and how many bases have no value, of some intervals at a time."""
    import pyBigWig

    try:
        with pyBigWig.open(str(path)) as file:
            if not file.isBigWig():
                raise ConvNovaError(f"{path}: expected a bigWig, found a bigBed")
            found, names = file.chroms(), {}
            for place in places:
                chrom, length = place.chrom, lengths[place.chrom]
                known = (name for name in (chrom, f"chr{chrom}", chrom.removeprefix("chr")) if name in found)
                names[chrom] = names.get(chrom) or next(known, "")
                if found.get(names[chrom]) != length:
                    there = f"one of {found[names[chrom]]:,}" if names[chrom] else f"only {', '.join(found)}"[:200]
                    expected = f"{chrom} of {length:,} bases in {path}, as in the genome"
                    raise ConvNovaError(f"{place.where}: expected {expected}, found {there}")
            for first in range(0, len(places), INTERVALS_A_PIECE):
                part = places[first : first + INTERVALS_A_PIECE]
                yield [
                    _of_place(file.values(names[place.chrom], *place[1:3], numpy=True), place, task) for place in part
                ]
    except (RuntimeError, OSError) as error:
        raise ConvNovaError(f"{path}: expected a bigWig ({error}); fetch it again") from error


def _of_place(values: np.ndarray, place: Place, task: Task) -> tuple[np.ndarray, int]:
    is_missing = np.isnan(values)
    values = np.where(is_missing, 0, values.astype(np.float64))
    is_wrong = np.isinf(values) | ((values < 0) & (task.loss == "poisson"))
    if is_wrong.any():
        base = place.start + int(np.argmax(is_wrong))
        expected = "a number of 0 or more, for the loss is poisson" if task.loss == "poisson" else "a number"
        raise ConvNovaError(
            f"{place.where}: expected {expected}, found {values[is_wrong][0]} at base {base} of the signal"
        )
    return values.reshape(-1, task.bin_size).mean(1), int(is_missing.sum())
