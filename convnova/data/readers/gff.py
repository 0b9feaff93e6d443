"""Gene finding on any genome with an annotation: its GFF3 as BEND's files, read as those are.

The intervals of the genome's splits are cut into rows side by side, so every annotated base is a target once, and
test rows are bases that pretraining on this genome does not train on.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from convnova.data.gene_annotation import label_bases, read_annotation
from convnova.data.genome import read_genome, read_intervals
from convnova.data.intervals import merge
from convnova.data.readers import bend
from convnova.data.readers.rows import SequenceRows, TaskFiles
from convnova.errors import ConvNovaError


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the annotation in the role `annotation`.

    Raises:
        ConvNovaError: no `max_length`, which is the bases a row, no genome; as `write_labels`.
    """
    if raw.task.max_length is None or raw.genome_folder is None:
        raise ConvNovaError("gene finding from an annotation: expected `max_length`, the bases a row, and a genome")
    annotation, genome, length = raw.files["annotation"], raw.genome_folder, raw.task.max_length
    written = write_labels(annotation, genome, length, raw.scratch, raw.skipped)
    yield from bend.read(replace(raw, files=written))


def write_labels(
    annotation: Path, genome: Path, length: int, out: Path, skipped: Counter[str] | None = None
) -> dict[str, Path]:
    """Label every base of a genome by its annotation and write BEND's BED and HDF5 to the folder `out`.

    Args:
        annotation: GFF3.
        genome: folder of the tokenized genome; its intervals say what is for training, validation and test.
        length: bases a row; the last row of an interval is shorter.
        out: folder for the two files.
        skipped: where comment lines are counted.

    Returns:
        Role to path, as `bend.read` takes them.

    Raises:
        ConvNovaError: as `convnova.data.gene_annotation.read_annotation`.
    """
    lengths = {name: len(tokens) for name, tokens in read_genome(genome).items()}
    genes = read_annotation(annotation, lengths, skipped)
    labels = {name: label_bases(lengths[name], transcripts) for name, transcripts in genes.items()}
    out.mkdir(parents=True, exist_ok=True)
    return bend.write(out, _rows(genome, labels, length))


def _rows(
    genome: Path, labels: dict[str, np.ndarray], length: int
) -> Iterator[tuple[str, int, int, str, str, np.ndarray]]:
    for split, intervals in read_intervals(genome).items():
        for part in merge(interval for interval in intervals if interval.chrom in labels):
            for start in range(part.start, part.end, length):
                end = min(part.end, start + length)
                yield part.chrom, start, end, ".", split, labels[part.chrom][start:end]
