"""Variants of the embedded genome: causal ones break a motif, their controls lie where nothing was planted."""

from typing import NamedTuple

import numpy as np

from convnova.data.dna import LETTERS, A, G, N
from convnova.simulation import sizes
from convnova.simulation.genome import Genome, within
from convnova.simulation.sequence import stream

TRACT = (27, 7)
"""Where the polypyrimidine tract begins and ends, in bases before the end of an intron."""
MARGIN = 20
"""Bases around what was planted in which no control lies."""


class LabelledVariant(NamedTuple):
    """A row of TraitGym's `test.parquet`; `pos` is from 1, and the chromosome is without `chr`."""

    chrom: str
    pos: int
    ref: str
    alt: str
    label: bool
    match_group: str


def variants(genome: Genome, seed: int) -> list[LabelledVariant]:
    """Purines in the polypyrimidine tract before an acceptor, and for each the same substitution at other places.

    The controls are on the same chromosome, apart from every feature and repeat.

    Args:
        genome: what they are variants of.
        seed: of the run.

    Returns:
        sorted by chromosome and position.
    """
    rng, rows = stream(seed, "variants"), []
    ends = [(locus, end) for locus, gene in genome.genes for _, end in gene.introns]
    free = _free(genome)
    for number, index in enumerate(rng.permutation(len(ends))):
        locus, end = ends[index]
        tract = within(locus, end - TRACT[0], end - TRACT[1])
        place = tract.start + int(rng.integers(tract.end - tract.start))
        tokens = genome.tokens[tract.chromosome]
        ref, purine = int(tokens[place]), int(rng.choice((A, G)))
        alt = purine if tract.strand == "+" else 3 - purine
        if ref % 2 == alt % 2:  # of A and G, or C and T, one is no purine more than the other
            continue
        controls = rng.choice(np.flatnonzero(free[tract.chromosome] & (tokens == ref)), sizes.CONTROLS, replace=False)
        for start, label in [(place, True), *((int(control), False) for control in controls)]:
            name = tract.chromosome.removeprefix("chr")
            rows.append(LabelledVariant(name, start + 1, LETTERS[ref], LETTERS[alt], label, f"tract_{number}"))
        if len(rows) == sizes.CAUSAL_VARIANTS * (1 + sizes.CONTROLS):
            break
    return sorted(rows)


def _free(genome: Genome) -> dict[str, np.ndarray]:
    """Whether nothing was planted at a base or near it, bool (bases,) of each chromosome."""
    free = {name: (tokens != N) & ~genome.masked[name] for name, tokens in genome.tokens.items()}
    for region in genome.features():
        free[region.chromosome][max(0, region.start - MARGIN) : region.end + MARGIN] = False
    return free
