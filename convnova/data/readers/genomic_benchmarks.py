"""Genomic Benchmarks: the zip with a text file a sequence, or tables of intervals and a genome.

Zip: `<name>/{train,test}/<class>/<id>.txt`. Intervals: `{train,test}/<class>.csv.gz` with the columns
`id,region,start,end,strand`, 0-based and half-open; no strand is the forward one.
Source: https://github.com/ML-Bioinfo-CEITEC/genomic_benchmarks
"""

import gzip
import io
import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from convnova.data.genome import SPLITS
from convnova.data.readers import archives
from convnova.data.readers.csv import table_rows
from convnova.data.readers.rows import Genome, SequenceRows, TaskFiles, rows_of_intervals, rows_of_sequences
from convnova.log import log


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the zip of sequences in the role `archive`, or the tables in the role `intervals` (folder, zip or tar).

    Raises:
        ConvNovaError: a damaged archive; as `rows_of_sequences` and `rows_of_intervals`.
    """
    for role, path in raw.files.items():
        with archives.report_damage(path):
            yield from _sequences(path) if role == "archive" else _intervals(path, raw.needed_genome(path))


def _sequences(path: Path) -> Iterator[SequenceRows]:
    texts = _members(path, 3, (".txt",))
    for (split, label), group in itertools.groupby(texts, key=lambda member: member[0].parts[-3:-1]):
        labelled = ((content.read().decode("latin-1").strip(), label) for _, content in group)
        yield from rows_of_sequences(split, f"{path}:{split}/{label}", labelled)


def _intervals(path: Path, genome: Genome) -> Iterator[SequenceRows]:
    for name, content in _members(path, 2, (".csv", ".gz")):
        file, label = f"{path}:{name}", name.name.split(".")[0]
        packed = io.BytesIO(content.read())
        with gzip.open(packed) if name.suffix == ".gz" else packed as stream:
            table = table_rows(stream, file, ("region", "start", "end", "strand"), ("id",))
            intervals = ((row[:3], row[3], label, f"{file} line {line}") for line, row in table)
            yield from rows_of_intervals(name.parts[-2], file, genome, intervals)


def _members(path: Path, depth: int, suffixes: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, BinaryIO]]:
    """Yield name and content of the files in the folder of a split, which is `depth` names from the end.

    How many other files there are is logged.
    """
    others = []
    for name, content in archives.members(path):
        if len(name.parts) >= depth and name.parts[-depth] in SPLITS and name.suffix in suffixes:
            yield name, content
        else:
            others.append(str(name))
    if others:
        log(f"{path}: {len(others)} files skipped that are no part of train or test: {', '.join(others[:3])}")
