"""Genomic Benchmarks: the zip with a text file a sequence, or tables of intervals and a genome.

Zip: `<name>/{train,test}/<class>/<id>.txt`. Intervals: `{train,test}/<class>.csv.gz` with the columns
`id,region,start,end,strand`, 0-based and half-open; no strand is the forward one.
Source: https://github.com/ML-Bioinfo-CEITEC/genomic_benchmarks
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from convnova.data.genome import SPLITS
from convnova.data.readers import archives
from convnova.data.readers.csv import table_rows
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_intervals, rows_of_sequences


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the zip of sequences in the role `archive`, or the tables in the role `intervals` (folder, zip or tar).

    Raises:
        ConvNovaError: a damaged archive; as `rows_of_sequences` and `rows_of_intervals`.
    """
    for role, path in raw.files.items():
        yield from _sequences(path, raw.skipped) if role == "archive" else _intervals(raw, path)


def _sequences(path: Path, skipped: Counter[str]) -> Iterator[SequenceRows]:
    texts = _members(path, 3, (".txt",), skipped)
    for (split, label), group in itertools.groupby(texts, key=lambda member: member[0].parts[-3:-1]):
        labelled = ((content.read().decode("latin-1").strip(), label) for _, content in group)
        yield from rows_of_sequences(split, f"{path}:{split}/{label}", labelled)


def _intervals(raw: TaskFiles, path: Path) -> Iterator[SequenceRows]:
    genome = raw.needed_genome(path)
    for name, table in interval_tables(path, raw.skipped):
        label, file = name.name.split(".")[0], f"{path}:{name}"
        intervals = ((row[:3], row[3], label, f"{file} line {line}") for line, row in table)
        yield from rows_of_intervals(name.parts[-2], file, genome, intervals)


def interval_tables(
    path: Path, skipped: Counter[str]
) -> Iterator[tuple[PurePosixPath, Iterator[tuple[int, list[str]]]]]:
    """The tables of intervals in a folder, zip or tar.

    Returns:
        name, whose last parts are the split and the class, and rows of each: line, and chromosome, start, end, strand.

    Raises:
        ConvNovaError: as `archives.members` and `table_rows`.
    """
    for name, content in _members(path, 2, (".csv", ".gz"), skipped):
        yield name, table_rows(content, f"{path}:{name}", ("region", "start", "end", "strand"), ("id",))


def _members(
    path: Path, depth: int, suffixes: tuple[str, ...], skipped: Counter[str]
) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Yield name and content of the files in the folder of a split, which is `depth` names from the end."""
    for name, content in archives.members(path):
        if len(name.parts) >= depth and name.parts[-depth] in SPLITS and name.suffix in suffixes:
            yield name, content
        else:
            skipped[f"files of {path.name} that are no part of a split"] += 1
