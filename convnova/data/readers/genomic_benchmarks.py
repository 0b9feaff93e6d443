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

from convnova.config.schema import Task
from convnova.data.genome import SPLITS
from convnova.data.readers import archives, csv
from convnova.data.readers.rows import Genome, SequenceRows, cut_in_pieces, in_pieces, need
from convnova.log import log


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[SequenceRows]:
    """Read the zip of sequences in the role `archive`, or the tables in the role `intervals` (folder, zip or tar).

    Raises:
        ConvNovaError: a damaged archive; as `rows.encode` and `bed.checked`.
    """
    if "archive" in files:
        with archives.whole(files["archive"]):
            yield from _sequences(files["archive"])
    if "intervals" in files:
        with archives.whole(files["intervals"]):
            yield from _intervals(files["intervals"], need(genome, files["intervals"]))


def _sequences(path: Path) -> Iterator[SequenceRows]:
    texts = _members(path, 3, (".txt",))
    for (split, label), group in itertools.groupby(texts, key=lambda member: member[0].parts[-3:-1]):
        labelled = ((content.read().decode("latin-1").strip(), label) for _, content in group)
        yield from in_pieces(split, f"{path}:{split}/{label}", labelled)


def _intervals(path: Path, genome: Genome) -> Iterator[SequenceRows]:
    for name, content in _members(path, 2, (".csv", ".gz")):
        file, label = f"{path}:{name}", name.name.split(".")[0]
        raw = io.BytesIO(content.read())
        with gzip.open(raw) if name.suffix == ".gz" else raw as stream:
            table = csv.rows(stream, file, ("region", "start", "end", "strand"), ("id",))
            intervals = ((row[:3], row[3], label, f"{file} line {line}") for line, row in table)
            yield from cut_in_pieces(name.parts[-2], file, genome, intervals)


def _members(path: Path, depth: int, suffixes: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, BinaryIO]]:
    """The files in the folder of a split, `depth` names with their own; how many others there are, the log says."""
    others = []
    for name, content in archives.members(path):
        if len(name.parts) >= depth and name.parts[-depth] in SPLITS and name.suffix in suffixes:
            yield name, content
        else:
            others.append(str(name))
    if others:
        log(f"{path}: {len(others)} files passed over that are no part of train or test: {', '.join(others[:3])}")
