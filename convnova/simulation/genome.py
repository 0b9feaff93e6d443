"""The embedded genome: chromosomes with gaps, repeats and soft masking, and where everything lies on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from convnova.data.dna import TOKEN_TO_LETTER, N, reverse_complement
from convnova.simulation import histone_marks, sizes
from convnova.simulation.genes import INTRON_LENGTHS, LONG_INTRON_LENGTHS, Gene, make_gene
from convnova.simulation.sequence import background, stream, tilt

LOWER = np.uint8(ord("a") - ord("A"))
ENHANCER_LENGTH, DOMAIN_WINDOW = 200, 500
MIN_SPACER = 150
"""Least number of bases between two features."""
REPEAT_LENGTHS = (300, 240, 130)
REPEAT_DIVERGENCE = 0.1
REPEAT_SHARE = 0.15
"""Share of the space between features that holds copies of the repeats, which are soft-masked."""
MASKED_RUNS_PER_KB = 0.25
MASKED_RUN_LENGTHS = (20, 120)


class Region(NamedTuple):
    """A part of a chromosome, 0-based and half-open."""

    chromosome: str
    start: int
    end: int
    strand: str = "+"

    def __str__(self) -> str:
        return f"{self.chromosome}:{self.start}-{self.end}:{self.strand}"


@dataclass
class Genome:
    """The sequence and all that was planted in it.

    Attributes:
        tokens: uint8 (bases,) of each chromosome, N included.
        masked: bool (bases,) of each chromosome: the lower-case letters.
        contigs: what lies between runs of N.
        genes: each with its locus.
        enhancers, domains: the latter of each histone mark.
        bins: windows of 1,000 bp and the motifs, bool (30,), that each has.
    """

    tokens: dict[str, np.ndarray]
    masked: dict[str, np.ndarray]
    contigs: list[Region]
    genes: list[tuple[Region, Gene]] = field(default_factory=list)
    enhancers: list[Region] = field(default_factory=list)
    domains: dict[str, list[Region]] = field(default_factory=dict)
    bins: list[tuple[Region, np.ndarray]] = field(default_factory=list)

    def cut(self, region: Region) -> np.ndarray:
        """The tokens of a region, read in the direction of its strand."""
        tokens = self.tokens[region.chromosome][region.start : region.end]
        return reverse_complement(tokens) if region.strand == "-" else tokens

    def letters(self, region: Region) -> str:
        """A region of the forward strand as it stands in the FASTA: lower case where soft-masked."""
        part = slice(region.start, region.end)
        upper = TOKEN_TO_LETTER[self.tokens[region.chromosome][part]]
        return (upper + LOWER * self.masked[region.chromosome][part]).tobytes().decode()

    def features(self) -> list[Region]:
        """Every region where something was planted."""
        domains = [domain for group in self.domains.values() for domain in group]
        return [*(locus for locus, _ in self.genes), *self.enhancers, *domains, *(region for region, _ in self.bins)]


def within(locus: Region, start: int, end: int) -> Region:
    """A part of a locus.

    Args:
        locus: a region of either strand.
        start, end: bases from the beginning of the locus, in the direction of its strand.
    """
    if locus.strand == "-":
        return Region(locus.chromosome, locus.end - end, locus.end - start, "-")
    return Region(locus.chromosome, locus.start + start, locus.start + end, "+")


def make_genome(seed: int) -> Genome:
    """The whole genome of a seed."""
    genome = _bare_chromosomes(seed)
    _add_features(genome, seed)
    _add_repeats(genome, _spacers(genome), stream(seed, "repeats"))
    _mask_runs(genome, stream(seed, "masked runs"))
    return genome


def _bare_chromosomes(seed: int) -> Genome:
    """Background between telomeres and one gap, all N."""
    genome = Genome({}, {}, [])
    for name, length in sizes.CHROMOSOMES.items():
        rng = stream(seed, "background", name)
        tokens = background(length, rng)
        gap = int(length * rng.uniform(0.3, 0.45))
        for start, end in ((0, sizes.TELOMERE), (gap, gap + sizes.GAP), (length - sizes.TELOMERE, length)):
            tokens[start:end] = N
        genome.tokens[name], genome.masked[name] = tokens, np.zeros(length, dtype=bool)
        genome.contigs.append(Region(name, sizes.TELOMERE, gap))
        genome.contigs.append(Region(name, gap + sizes.GAP, length - sizes.TELOMERE))
    return genome


def _add_features(genome: Genome, seed: int) -> None:
    """Lay out all features, then write each kind with its random numbers."""
    rng, count = stream(seed, "genes"), sizes.TATA_GENES + sizes.OTHER_GENES
    genes = [make_gene(i < sizes.TATA_GENES, int(rng.integers(2, 5)), INTRON_LENGTHS, rng) for i in range(count)]
    genes += [make_gene(i % 2 == 0, 6, LONG_INTRON_LENGTHS, rng) for i in range(sizes.LONG_GENES)]
    # Bins on chr8 are for test, on chr7 for validation, those before it for training.
    train, test, valid = sizes.CHROMATIN_BINS
    first = train * sizes.CHROMOSOMES["chr1"] // (sizes.CHROMOSOMES["chr1"] + sizes.CHROMOSOMES["chr2"])
    bin_homes = ["chr1"] * first + ["chr2"] * (train - first) + ["chr7"] * valid + ["chr8"] * test
    lengths = [len(gene.tokens) for gene in genes] + [ENHANCER_LENGTH] * sizes.ENHANCERS
    lengths += [DOMAIN_WINDOW * sizes.DOMAIN_WINDOWS] * (sizes.DOMAINS_PER_MARK * len(histone_marks.MARKS))
    homes = [""] * len(lengths) + bin_homes
    lengths += [histone_marks.BIN_WINDOW] * len(bin_homes)
    regions = iter(_lay_out(lengths, homes, genome.contigs, stream(seed, "layout")))
    rng = stream(seed, "strands")
    for gene in genes:
        locus = next(regions)._replace(strand="+-"[rng.integers(2)])
        tokens = gene.tokens if locus.strand == "+" else reverse_complement(gene.tokens)
        genome.tokens[locus.chromosome][locus.start : locus.end] = tokens
        genome.genes.append((locus, gene))
    rng = stream(seed, "enhancers")
    genome.enhancers = [next(regions) for _ in range(sizes.ENHANCERS)]
    for enhancer in genome.enhancers:
        histone_marks.fill_enhancer(genome.cut(enhancer), rng)
    for mark in histone_marks.MARKS:
        rng = stream(seed, "mark", mark)
        genome.domains[mark] = [next(regions) for _ in range(sizes.DOMAINS_PER_MARK)]
        for domain in genome.domains[mark]:
            histone_marks.fill_domain(genome.cut(domain), mark, rng)
    rng = stream(seed, "bins")
    genome.bins = [(region, histone_marks.fill_bin(genome.cut(region), rng)) for region in sorted(regions)]


def _lay_out(
    lengths: Sequence[int], homes: Sequence[str], contigs: Sequence[Region], rng: np.random.Generator
) -> list[Region]:
    """A region for each feature, apart from all others.

    Args:
        lengths: bases of each feature.
        homes: the chromosome that each must be on, empty for any.
        contigs: where there is room.
        rng: random numbers.
    """
    size = np.array([contig.end - contig.start for contig in contigs], dtype=float)
    free = size.copy()
    members: list[list[int]] = [[] for _ in contigs]
    for index in sorted(rng.permutation(len(lengths)), key=lambda index: not homes[index]):
        allowed = np.array([homes[index] in ("", contig.chromosome) for contig in contigs])
        contig = int(np.argmax(np.where(allowed, free / size, -np.inf)))
        members[contig].append(index)
        free[contig] -= lengths[index]
    regions: dict[int, Region] = {}
    for contig, indices, left in zip(contigs, members, free, strict=True):
        order = rng.permutation(indices)
        shares = rng.dirichlet(np.ones(len(indices) + 1))
        spacers = (shares * (left - MIN_SPACER * len(shares))).astype(int) + MIN_SPACER
        start = contig.start
        for index, spacer in zip(order, spacers, strict=False):
            start += int(spacer)
            regions[index] = Region(contig.chromosome, start, start + lengths[index])
            start += lengths[index]
    return [regions[index] for index in range(len(lengths))]


def _spacers(genome: Genome) -> list[Region]:
    """The space between neighbouring features, and between them and the ends of the contigs."""
    features = sorted(genome.features())
    spacers = []
    for contig in genome.contigs:
        inside = [f for f in features if f.chromosome == contig.chromosome and contig.start <= f.start < contig.end]
        starts = [contig.start, *(feature.end for feature in inside)]
        ends = [*(feature.start for feature in inside), contig.end]
        spacers += [Region(contig.chromosome, start, end) for start, end in zip(starts, ends, strict=True)]
    return spacers


def _add_repeats(genome: Genome, spacers: Sequence[Region], rng: np.random.Generator) -> None:
    """Copies of a few repeat families, on both strands, diverged and soft-masked."""
    families = [background(length, rng) for length in REPEAT_LENGTHS]
    for spacer in spacers:
        for start in range(spacer.start, spacer.end, 350):
            repeat = families[rng.integers(len(families))].copy()
            if rng.random() >= REPEAT_SHARE * 350 / np.mean(REPEAT_LENGTHS) or start + len(repeat) > spacer.end:
                continue
            tilt(repeat, REPEAT_DIVERGENCE, (1, 1, 1, 1), rng)
            target = slice(start, start + len(repeat))
            genome.tokens[spacer.chromosome][target] = repeat if rng.random() < 0.5 else reverse_complement(repeat)
            genome.masked[spacer.chromosome][target] = True


def _mask_runs(genome: Genome, rng: np.random.Generator) -> None:
    """Soft-mask short runs anywhere, features included."""
    for contig in genome.contigs:
        count = int((contig.end - contig.start) * MASKED_RUNS_PER_KB / 1_000)
        for start in rng.integers(contig.start, contig.end - MASKED_RUN_LENGTHS[1], size=count):
            genome.masked[contig.chromosome][start : start + rng.integers(*MASKED_RUN_LENGTHS)] = True
