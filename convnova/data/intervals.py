"""Intervals of a genome: read from BED files, checked against the chromosomes that they lie on, and overlapped.

Coordinates are 0-based and half-open throughout, as in BED: https://genome.ucsc.edu/FAQ/FAQformat.html#format1.
Intervals are merged and overlapped by `bedtools` alone, through pybedtools.
"""

import difflib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    from pybedtools import BedTool

NUMBER = re.compile("[0-9]{1,18}")
"""A coordinate, which fits 64 bits."""
NAME_LETTERS = 1_000
"""Letters of a chromosome's name that are compared with those that there are."""
MITOCHONDRION = ("chrM", "MT", "chrMT", "M")


class Interval(NamedTuple):
    """Bases `start` to `end` of a chromosome, 0-based and half-open, and the split that they belong to, if any."""

    chrom: str
    start: int
    end: int
    split: str = ""


def bed_rows(path: str | Path, skipped: Counter[str] | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, fields) of a BED file, plain or gzip.

    Blank lines, comments and a header are left out, and comments counted in `skipped`. Fields are split at tabs or, in
    a line without any, at blanks.
    """
    for number, line, fields, is_header in _lines(path):
        if line.startswith(("#", "track ", "browser ")):
            if skipped is not None and not is_header:
                skipped[f"comment lines of {Path(path).name}"] += 1
        elif fields and not is_header:
            yield number, fields


def bed_header(path: str | Path) -> list[str]:
    """The columns' names in lower case, if a line before the first interval has them: `start` second, `end` third."""
    for _, line, fields, is_header in _lines(path):
        if is_header:
            return [name.lower() for name in fields]
        if fields and not line.startswith(("#", "track ", "browser ")):
            break
    return []


def _lines(path: str | Path) -> Iterator[tuple[int, str, list[str], bool]]:
    """Number, text and fields of each line, and whether it names the columns, behind `#` or not."""
    with open_bytes(path) as stream:
        for number, line in text_lines(stream, str(path)):
            content = line.lstrip("#")
            fields = content.rstrip("\r\n").split("\t") if "\t" in content.strip() else content.split()
            is_header = len(fields) > 2 and "start" in fields[1].lower() and "end" in fields[2].lower()
            yield number, line, fields, is_header


def parse_interval(fields: Sequence[str], lengths: Mapping[str, int], where: str) -> tuple[str, int, int]:
    """The interval of the first three fields of a line.

    Args:
        fields: chromosome, with or without `chr`, start and end as text; more are not read.
        lengths: chromosome to its number of bases.
        where: file and line, for messages.

    Returns:
        the chromosome's name in `lengths`, start and end.

    Raises:
        ConvNovaError: fewer than three fields, a coordinate that is no number, a chromosome that the
            genome lacks, an empty interval, or one that leaves its chromosome.
    """
    if len(fields) < 3 or not (NUMBER.fullmatch(fields[1]) and NUMBER.fullmatch(fields[2])):
        raise ConvNovaError(f"{where}: expected chromosome, start and end, found {' '.join(fields)[:60]!r}")
    given, start, end = fields[0], int(fields[1]), int(fields[2])
    other_names = MITOCHONDRION if given in MITOCHONDRION else (f"chr{given}", given.removeprefix("chr"))
    name = next((name for name in (given, *other_names) if name in lengths), None)
    if name is None:
        near = difflib.get_close_matches(given[:NAME_LETTERS], lengths, n=1) or list(lengths)[:1]
        raise ConvNovaError(
            f"{where}: expected a chromosome of the genome, found {given!r}; the nearest is {near[0]!r}; if the genome "
            "is hg38, `genome: hg38_ucsc` has more contigs"
        )
    if start >= end:
        raise ConvNovaError(f"{where}: expected start < end, found {start} and {end}")
    if end > lengths[name]:
        raise ConvNovaError(
            f"{where}: expected an interval within {name}, which has {lengths[name]} bases, found the end {end}; "
            "is this the genome that the intervals were made on?"
        )
    return name, start, end


def bed_tool(intervals: Iterable[tuple[Any, ...]]) -> "BedTool":
    """Intervals (chromosome, start, end, ...) as a `pybedtools.BedTool`; further columns are kept.

    Raises:
        ConvNovaError: the program `bedtools` is not on the PATH.
    """
    if shutil.which("bedtools") is None:
        raise ConvNovaError(
            "bedtools: expected the program on the PATH, found none; install it with "
            "`apt-get install bedtools` or `conda install -c bioconda bedtools`"
        )
    from pybedtools import BedTool  # takes 0.4 s, which a fine-tuning does not need to wait for

    return BedTool("".join("\t".join(map(str, interval)).rstrip() + "\n" for interval in intervals), from_string=True)


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Join intervals that overlap or touch, so that each base is there once.

    Returns:
        the intervals without a split, sorted by the chromosome's name and by start.
    """
    parts = [part[:3] for part in intervals]
    return [Interval(part.chrom, part.start, part.end) for part in bed_tool(parts).sort().merge()] if parts else []


def overlap_fraction(hits: Iterable[tuple[int, str, int, int]], intervals: Iterable[Interval], rows: int) -> np.ndarray:
    """How much of each row lies in some intervals, by `bedtools coverage`.

    Args:
        hits: (row, chromosome, start, end) of each place of each row, in bases, 0-based and half-open.
        intervals: they may overlap; each base counts once.
        rows: number of rows; those of `hits` are from 0 to `rows - 1`.

    Returns:
        float64 (rows,): the share of bases, 0 to 1, of that place of the row which has the largest; 0 without a place.
    """
    fraction = np.zeros(rows)
    places, merged = [(chrom, start, end, row) for row, chrom, start, end in hits], merge(intervals)
    if places and merged:
        for place in bed_tool(places).coverage(bed_tool(merged), nonamecheck=True):
            covered, length = map(int, place.fields[-3:-1])
            fraction[int(place.name)] = max(fraction[int(place.name)], covered / length)
    return fraction
