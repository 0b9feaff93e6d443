"""The rows of every task, cut from the embedded genome by coordinates."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from convnova.data.dna import A, G, N, T, decode
from convnova.data.gene_annotation import NONCODING, REVERSE, STOP_CODON, Transcript, label_bases
from convnova.simulation import histone_marks, sizes
from convnova.simulation.genes import UPSTREAM, Gene
from convnova.simulation.genome import DOMAIN_WINDOW, ENHANCER_LENGTH, Genome, Region, within
from convnova.simulation.sequence import stream

PROMOTER_BEFORE, PROMOTER_AFTER = 249, 51
NONTATA_BEFORE, NONTATA_AFTER = 200, 51
SHUFFLED_PIECES, PIECES = 12, 20
"""Of a promoter's pieces, how many are shuffled to make its negative, as in DeePromoter
(https://doi.org/10.3389/fgene.2019.00286)."""
SPLICE_HALF = 200
ACCEPTOR, DONOR, NEITHER = range(3)
DECOY_SEARCH = 80
CODING_LENGTH = 200
SHORT_ROWS = (290, 449)
"""Lengths of the few rows of a histone mark that are shorter than the others."""
INTERVAL, STRIDE = 131_072, 65_599
SHORTEST_LOCUS, LONGEST_LOCUS, LONG_LOCI = 1_433, 3_000, 2


class Row(NamedTuple):
    """One labelled sequence of a task."""

    name: str
    sequence: str
    label: int


Splits = dict[str, list[Row]]
RowsOfSplits = Iterator[tuple[str, list[Row]]]


def cut_rows(genome: Genome, regions: Iterable[Region], label: int) -> list[Row]:
    """The sequences of some regions, named by their coordinates.

    Args:
        genome: what to cut them from.
        regions: on either strand; each is read in its direction.
        label: id of their class.

    Returns:
        a row a region, in upper case.
    """
    return [Row(str(region), decode(genome.cut(region)), label) for region in regions]


def _draw(population: Sequence, rows: sizes.Rows, share: float, rng: np.random.Generator) -> dict[str, list]:
    """Draw a share of the rows of train and of test from a population, none twice."""
    train, test = round(rows.train * share), round(rows.test * share)
    drawn = [population[index] for index in rng.choice(len(population), size=train + test, replace=False)]
    return {"train": drawn[:train], "test": drawn[train:]}


def make_splits(task: str, genome: Genome, seed: int) -> Splits:
    """The rows of a task, shuffled within each split.

    Args:
        task: one of `NUCLEOTIDE_TRANSFORMER` or `GENOMIC_BENCHMARKS`.
        genome: what to cut them from.
        seed: of the run.
    """
    is_mark, splits = task in histone_marks.MARKS, {}
    rng = stream(seed, "histone mark", task) if is_mark else stream(seed, task)
    # The tasks are generators: the rows of the second split are drawn after those of the first are shuffled.
    for split, rows in {**NUCLEOTIDE_TRANSFORMER, **GENOMIC_BENCHMARKS}[task](genome, rng):
        splits[split] = rows = [rows[index] for index in rng.permutation(len(rows))]
        for index, length in enumerate(SHORT_ROWS if is_mark else ()):
            rows[index] = rows[index]._replace(sequence=rows[index].sequence[:length])
    return splits


def empty_windows(genome: Genome, width: int, avoid: Sequence[Region]) -> list[Region]:
    """Windows side by side on the forward strand that hold no N.

    Args:
        genome: what they lie on.
        width: bases a window.
        avoid: regions that no window touches.
    """
    is_taken = {name: tokens == N for name, tokens in genome.tokens.items()}
    for region in avoid:
        is_taken[region.chromosome][max(region.start, 0) : region.end] = True
    windows = []
    for name, positions in is_taken.items():
        cells = positions[: len(positions) // width * width].reshape(-1, width)
        windows += [Region(name, int(i) * width, int(i + 1) * width) for i in np.flatnonzero(~cells.any(axis=1))]
    return windows


def promoter_tata(genome: Genome, rng: np.random.Generator) -> RowsOfSplits:
    """300 bp from TSS-249 to TSS+50; the negatives are the same promoters with most pieces shuffled."""
    genes = [located for located in genome.genes if located[1].tata]
    for split, drawn in _draw(genes, sizes.ROWS["promoter_tata"], 0.5, rng).items():
        rows = []
        for locus, _ in drawn:
            promoter = within(locus, UPSTREAM - PROMOTER_BEFORE, UPSTREAM + PROMOTER_AFTER)
            pieces = genome.cut(promoter).copy().reshape(PIECES, -1)
            chosen = rng.choice(PIECES, size=SHUFFLED_PIECES, replace=False)
            pieces[chosen] = rng.permutation(pieces[chosen].reshape(-1)).reshape(SHUFFLED_PIECES, -1)
            negative = Row(f"{promoter}:shuffled", decode(pieces.reshape(-1)), 0)
            rows += [*cut_rows(genome, [promoter], 1), negative]
        yield split, rows


def _splice_sites(genes: Iterable[tuple[Region, Gene]], label: int) -> list[Region]:
    """400 bp around the donors or acceptors of some genes, the exon's edge in the middle."""
    edges = [(locus, ends[label == ACCEPTOR]) for locus, gene in genes for ends in gene.introns]
    return [within(locus, edge - SPLICE_HALF, edge + SPLICE_HALF) for locus, edge in edges]


def splice_sites_all(genome: Genome, rng: np.random.Generator) -> RowsOfSplits:
    """400 bp: 0 an acceptor with AG at 198:200, 1 a donor with GT at 200:202, 2 such a pair that is neither."""
    true = _splice_sites(genome.genes, ACCEPTOR) + _splice_sites(genome.genes, DONOR)
    decoys = _draw(_decoys(genome, true, rng), sizes.ROWS["splice_sites_all"], 1 / 3, rng)
    for split, genes in _draw(genome.genes, sizes.ROWS["splice_sites_all"], 1.0, rng).items():
        rows = cut_rows(genome, decoys[split], NEITHER)
        for label in (ACCEPTOR, DONOR):
            sites = _splice_sites(genes, label)
            drawn = rng.choice(len(sites), size=len(decoys[split]), replace=False)
            rows += cut_rows(genome, (sites[index] for index in drawn), label)
        yield split, rows


def _decoys(genome: Genome, true: Sequence[Region], rng: np.random.Generator) -> list[Region]:
    """Windows apart from all splice sites with AG or GT where a splice site would have it."""
    decoys = []
    for cell in empty_windows(genome, 2 * SPLICE_HALF + DECOY_SEARCH, true):
        cell = cell._replace(strand="+-"[rng.integers(2)])
        pair, position = ((A, G), SPLICE_HALF - 2) if rng.random() < 0.5 else ((G, T), SPLICE_HALF)
        tokens = genome.cut(cell)[position : position + DECOY_SEARCH]
        starts = np.flatnonzero((tokens[:-1] == pair[0]) & (tokens[1:] == pair[1]))
        if len(starts):
            decoys.append(within(cell, int(starts[0]), int(starts[0]) + 2 * SPLICE_HALF))
    return decoys


def enhancers(genome: Genome, rng: np.random.Generator) -> RowsOfSplits:
    """200 bp: 1 a cluster of motifs, 0 background; what is soft-masked stays lower case in train."""
    outside = empty_windows(genome, ENHANCER_LENGTH, genome.features())
    positives = _draw(genome.enhancers, sizes.ROWS["enhancers"], 0.5, rng)
    negatives = _draw(outside, sizes.ROWS["enhancers"], 0.5, rng)
    for split in positives:
        letters = genome.letters if split == "train" else lambda region: decode(genome.cut(region))
        classes = negatives[split], positives[split]
        yield split, [Row(str(region), letters(region), label) for label in (0, 1) for region in classes[label]]


def histone_mark(genome: Genome, rng: np.random.Generator, mark: str) -> RowsOfSplits:
    """500 bp of the forward strand: 1 in a domain of the mark, 0 anywhere else.

    Args:
        genome: what to cut them from.
        rng: random numbers.
        mark: one of `histone_marks.MARKS`.

    Returns:
        the rows of each split.
    """
    domains = _draw(genome.domains[mark], sizes.MARK_ROWS, 0.5 / sizes.DOMAIN_WINDOWS, rng)
    outside = _draw(empty_windows(genome, DOMAIN_WINDOW, genome.domains[mark]), sizes.MARK_ROWS, 0.5, rng)
    for split, drawn in domains.items():
        rows = cut_rows(genome, outside[split], 0)
        for domain in drawn:
            starts = range(domain.start, domain.end, DOMAIN_WINDOW)
            rows += cut_rows(genome, (Region(domain.chromosome, start, start + DOMAIN_WINDOW) for start in starts), 1)
        yield split, rows


def human_nontata_promoters(genome: Genome, rng: np.random.Generator) -> RowsOfSplits:
    """251 bp: 1 from TSS-200 to TSS+50 without TATA box, 0 a piece of a gene after its first exon."""
    length, count = NONTATA_BEFORE + NONTATA_AFTER, sizes.ROWS["human_nontata_promoters"]
    genes, others = (
        _draw([located for located in genome.genes if located[1].tata == tata], count, 0.5, rng)
        for tata in (False, True)
    )
    for split in genes:
        promoters = [within(locus, UPSTREAM - NONTATA_BEFORE, UPSTREAM + NONTATA_AFTER) for locus, _ in genes[split]]
        rows = cut_rows(genome, promoters, 1)
        for locus, gene in others[split]:
            start = int(rng.integers(gene.introns[0][0], len(gene.tokens) - length))
            rows += cut_rows(genome, [within(locus, start, start + length)], 0)
        yield split, rows


def demo_coding_vs_intergenomic_seqs(genome: Genome, rng: np.random.Generator) -> RowsOfSplits:
    """200 bp: 0 of a spliced coding sequence, 1 of the genome between the genes."""
    between = empty_windows(genome, CODING_LENGTH, [locus for locus, _ in genome.genes])
    intergenic = _draw(between, sizes.ROWS["demo_coding_vs_intergenomic_seqs"], 0.5, rng)
    for split, genes in _draw(genome.genes, sizes.ROWS["demo_coding_vs_intergenomic_seqs"], 0.5, rng).items():
        rows = cut_rows(genome, intergenic[split], 1)
        for locus, gene in genes:
            coding = np.concatenate([genome.cut(within(locus, start, end)) for start, end in gene.coding])
            start = int(rng.integers(len(coding) - CODING_LENGTH))
            rows.append(Row(str(locus), decode(coding[start : start + CODING_LENGTH]), 0))
        yield split, rows


NUCLEOTIDE_TRANSFORMER: dict[str, Callable[[Genome, np.random.Generator], RowsOfSplits]] = {
    "promoter_tata": promoter_tata,
    "splice_sites_all": splice_sites_all,
    "enhancers": enhancers,
    **{mark: partial(histone_mark, mark=mark) for mark in histone_marks.MARKS},
}
GENOMIC_BENCHMARKS = {task.__name__: task for task in (demo_coding_vs_intergenomic_seqs, human_nontata_promoters)}
CLASSES = {
    "demo_coding_vs_intergenomic_seqs": ("coding_seqs", "intergenomic_seqs"),
    "human_nontata_promoters": ("negative", "positive"),
}
"""Names of the classes of `GENOMIC_BENCHMARKS`, by their ids."""


def gene_finding(genome: Genome, seed: int) -> list[tuple[Region, str, np.ndarray]]:
    """Pieces of the forward strand, each with one whole gene of either strand, their split and a label a base."""
    rng = stream(seed, "gene_finding")
    counts = sizes.ROWS["gene_finding"]
    lengths = [len(gene.tokens) for _, gene in genome.genes]
    usual = [i for i, length in enumerate(lengths) if SHORTEST_LOCUS <= length <= LONGEST_LOCUS]
    long = [i for i, length in enumerate(lengths) if length > LONGEST_LOCUS]
    drawn = [*rng.choice(long, LONG_LOCI, replace=False), *rng.choice(usual, sum(counts) - LONG_LOCI, replace=False)]
    splits = rng.permutation(["train"] * counts.train + ["valid"] * counts.valid + ["test"] * counts.test)
    rows = []
    for index, split in zip(drawn, splits, strict=True):
        locus, gene = genome.genes[index]
        *parts, (start, end) = gene.coding
        transcript = Transcript("", locus.chromosome, "+", [*parts, (start, end + STOP_CODON)])
        labels = label_bases(lengths[index], [transcript])
        if locus.strand == "-":
            labels = np.where(labels == NONCODING, NONCODING, labels + REVERSE)[::-1]
        trim = int(rng.integers(min(60, lengths[index] - SHORTEST_LOCUS + 1)))
        rows.append((Region(locus.chromosome, locus.start + trim, locus.end), str(split), labels[trim:]))
    return rows


class Bins(NamedTuple):
    """Windows of 1,000 bp of one split: tokens (n, 1000), labels (n, 919), forward strand only."""

    tokens: np.ndarray
    labels: np.ndarray


def chromatin_bins(genome: Genome, seed: int) -> dict[str, Bins]:
    """The chromatin bins of chr8 for test, chr7 for validation, the others for training."""
    present = np.stack([motifs for _, motifs in genome.bins])
    labels = histone_marks.draw_labels(present, stream(seed, "chromatin labels"))
    splits = {}
    for split, chromosomes in (("train", ("chr1", "chr2")), ("valid", ("chr7",)), ("test", ("chr8",))):
        members = [i for i, (region, _) in enumerate(genome.bins) if region.chromosome in chromosomes]
        splits[split] = Bins(np.stack([genome.cut(genome.bins[i][0]) for i in members]), labels[members])
    return splits


def intervals(genome: Genome, seed: int) -> list[tuple[Region, str]]:
    """Intervals of 131,072 bp that overlap their neighbours, each contig in one split.

    Source of the layout: https://storage.googleapis.com/basenji_barnyard2/sequences_human.bed
    """
    rng = stream(seed, "intervals")
    by_size = sorted(genome.contigs, key=lambda contig: contig.end - contig.start)
    rows = []
    for split, contigs in (("train", by_size[2:]), ("valid", by_size[:1]), ("test", by_size[1:2])):
        regions = [
            Region(contig.chromosome, start, start + INTERVAL)
            for contig in contigs
            for start in range(contig.start, contig.end - INTERVAL + 1, STRIDE)
        ]
        rows += [(regions[index], split) for index in rng.permutation(len(regions))]
    return rows
