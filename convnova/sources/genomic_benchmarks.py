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

from convnova.config import Task
from convnova.errors import ConvNovaError
from convnova.progress import log
from convnova.sources import archives, tables
from convnova.sources.rows import SPLITS, Genome, Rows, cut_in_pieces, in_pieces, need


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[Rows]:
    """Read the zip of sequences in the role `archive`, or the tables in the role `intervals`.

    Raises:
        ConvNovaError: a damaged archive, or one without such files; as `rows.encode` and `bed.checked`.
    """
    if "archive" in files:
        with archives.whole(files["archive"]):
            yield from _sequences(files["archive"])
    if "intervals" in files:
        with archives.whole(files["intervals"]):
            yield from _intervals(files["intervals"], need(genome, files["intervals"]), scratch)
