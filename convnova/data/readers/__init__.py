"""One reader a file format, each yielding the same rows.

A reader is a function `read(task, files, genome, scratch)`: `files` maps the roles of `config.FILE_ROLES`, and
`genome` for the genome's folder, to paths; `genome` maps chromosomes to tokens where intervals are cut out; `scratch`
is a folder for what must be unpacked.
It yields `SequenceRows`, raises `ConvNovaError` for what it cannot read, and never holds a whole large file in memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from convnova.config.schema import Task
from convnova.data.readers import bed, bend, csv, deepsea, fasta, genomic_benchmarks, gff, nucleotide_transformer
from convnova.data.readers.rows import Genome, SequenceRows

Reader = Callable[[Task, dict[str, Path], Genome | None, Path], Iterator[SequenceRows]]

READERS: dict[str, Reader] = {
    "nucleotide_transformer": nucleotide_transformer.read,
    "genomic_benchmarks": genomic_benchmarks.read,
    "bend": bend.read,
    "gff": gff.read,
    "deepsea": deepsea.read,
    "csv": csv.read,
    "fasta": fasta.read,
    "bed": bed.read,
}
"""Reader of each `config.Format`."""

__all__ = ["READERS", "Reader", "SequenceRows"]
