"""One reader a file format, each yielding the same rows.

A reader is a function `read(raw)`: it takes `TaskFiles`, yields `SequenceRows`, raises `ConvNovaError` for what it
cannot read, and never holds a whole large file in memory.
"""

from collections.abc import Callable, Iterator

from convnova.data.readers import (
    bed,
    bend,
    bigwig,
    csv,
    deepsea,
    fasta,
    genomic_benchmarks,
    gff,
    nucleotide_transformer,
    parquet,
    variants,
)
from convnova.data.readers.rows import SequenceRows, TaskFiles

READERS: dict[str, Callable[[TaskFiles], Iterator[SequenceRows]]] = {
    "nucleotide_transformer": nucleotide_transformer.read,
    "genomic_benchmarks": genomic_benchmarks.read,
    "bend": bend.read,
    "gff": gff.read,
    "variants": variants.read,
    "deepsea": deepsea.read,
    "csv": csv.read,
    "parquet": parquet.read,
    "fasta": fasta.read,
    "bed": bed.read,
    "bigwig": bigwig.read,
}
"""Reader of each `config.schema.Format`."""
