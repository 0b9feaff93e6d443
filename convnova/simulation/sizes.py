"""How large the embedded genome and its data sets are: every number that sets the run time of the demo."""

from typing import NamedTuple

CHROMOSOMES = {"chr1": 1_500_000, "chr2": 1_300_000, "chr7": 1_000_000, "chr8": 900_000, "chrX": 800_000}
TELOMERE = 10_000
"""Ns at each end of a chromosome."""
GAP = 20_000
"""Ns between the two contigs of a chromosome."""

TATA_GENES = 270
OTHER_GENES = 350
LONG_GENES = 4
ENHANCERS = 310
DOMAINS_PER_MARK = 66
DOMAIN_WINDOWS = 4
"""Windows of 500 bp in one domain of a histone mark."""


class Rows(NamedTuple):
    """How many rows each split of a task has."""

    train: int
    test: int
    valid: int = 0


MARK_ROWS = Rows(220, 120)
CHROMATIN_BINS = Rows(75, 30, 8)
"""Bins, each of which gives two rows: the forward strand and its reverse complement."""
CAUSAL_VARIANTS, CONTROLS = 60, 9
"""Variants in motifs, and controls of each."""
LOCUS = 3000
"""Bases of a row of gene finding, about."""

ROWS = {
    "promoter_tata": Rows(260, 160),
    "splice_sites_all": Rows(240, 150),
    "enhancers": Rows(300, 160),
    **dict.fromkeys(("H3", "H4"), MARK_ROWS),
    "human_nontata_promoters": Rows(260, 160),
    "demo_coding_vs_intergenomic_seqs": Rows(240, 160),
    "gene_finding": Rows(60, 14, 8),
    "chromatin_profile": Rows(*(2 * bins for bins in CHROMATIN_BINS)),
}
"""Task to its rows, within a few."""
