"""What marks, enhancers and chromatin bins are made of: motifs, composition and the 919 labels."""

import numpy as np

from convnova.simulation.sequence import plant, tilt

ENHANCER_MOTIFS = ("ATGASTCAT", "AGATAAGGA", "ACCGGAAGTG", "ATTTGCATA")
ENHANCER_INSTANCES = (10, 11)
ENHANCER_TILT, ENHANCER_COMPOSITION = 0.3, (0.2, 0.3, 0.3, 0.2)


MARKS = {
    "H3": ("TTACCCGGA", "CATATGTGCA", "GGTTCAAGA"),
    "H3K14ac": ("CCATACATC", "GCGATGAGC", "AATTGGTCC"),
    "H3K36me3": ("GAAGATGAAG", "CTTCGAGCT", "TACAACGGT"),
    "H3K4me1": ("TGTAAACAA", "CAGGTGCCT", "GACTTAAGC"),
    "H3K4me2": ("CACGTGACT", "ATGCAAGTT", "GGATACCTA"),
    "H3K4me3": ("CGCGAAATG", "TTGACGCAC", "AGCTAGTCT"),
    "H3K79me3": ("GGAACTGTT", "TTGGCACCA", "CTAGGATTC"),
    "H3K9ac": ("TCCGTACAA", "GGGTGGATC", "ACATTGCGA"),
    "H4": ("GCATCACTA", "TATGGATACC", "AACTCTCGT"),
    "H4ac": ("AGTCGACTT", "CCGATATGG", "TGGACAAGC"),
}
"""Histone marks and the motifs of their domains, after the yeast marks of the Nucleotide Transformer tasks."""
MARK_INSTANCES = 22
"""Motif instances in 500 bp of a domain."""
MARK_TILT, MARK_COMPOSITION = 0.3, (0.32, 0.18, 0.18, 0.32)

PROGRAMS = (
    ("CCASNAGRKGGC", "ACTACAATTCCC", "AAGATGGCGGC"),
    ("RTGASTCAYC", "TGCTGAGTCAT", "ACATTCCAGG"),
    ("ACCGGAAGTG", "GCGCATGCGC", "TCTCGCGAGA"),
    ("AGATAAGGAC", "CAGATGKTAA", "CCMCRCCCAC"),
    ("GTTAATSATTAA", "CAAAGTCCAT", "TGTTTACWYW"),
    ("ATTGCGCAAT", "TTCCNGGAAG", "AGAGGAAGTG"),
    ("ATTTGCATAA", "CCATTGTTCT", "CTTTGATCTC"),
    ("GCCACGTGGC", "TTTCCCGCCA", "AGCCAATSAG"),
    ("TTCAGCACCAC", "GTTGCCATGG", "RTGACGTCAC"),
    ("CTATTTATAG", "CCATATTAGG", "TCCCNNGGGA"),
)
"""Thirty motifs in ten sets that act together; a chromatin bin has one set or two, of one state."""
STATES = ((0, 2, 8), (1, 3, 5), (4, 6), (7, 9))
"""The sets of each chromatin state."""
STATE_GC = (0.64, 0.5, 0.32, 0.5)
STATE_REPEATS = ("CGGCGGCGGCGG", "CACACACACACA", "AAAAAATTTTTT", "GAGAGAGAGAGA")
"""What is common in every bin of a state, on both strands."""
STATE_TILT = 0.6
REPEATS_PER_BIN = 14
BIN_WINDOW = 1_000
INSTANCES_PER_MOTIF = 6
SECOND_PROGRAM = 0.3
MOTIF_ABSENT = 0.15

DNASE, FACTORS, HISTONES = 125, 690, 104
"""The runs of labels in the order of the DeepSEA files: 0-124, 125-814, 815-918."""
FALSE_POSITIVES = 0.003


def fill_enhancer(tokens: np.ndarray, rng: np.random.Generator) -> None:
    """Turn background into an enhancer, in place: a cluster of motif instances, and more G and C."""
    tilt(tokens, ENHANCER_TILT, ENHANCER_COMPOSITION, rng)
    count = rng.integers(*ENHANCER_INSTANCES, endpoint=True)
    plant(tokens, [ENHANCER_MOTIFS[which] for which in rng.integers(len(ENHANCER_MOTIFS), size=count)], rng)


def fill_domain(tokens: np.ndarray, mark: str, rng: np.random.Generator) -> None:
    """Turn background into a domain of a histone mark: clusters of its motifs, and more A and T.

    Args:
        tokens: uint8 (bases,), changed in place.
        mark: one of `MARKS`.
        rng: random numbers.
    """
    tilt(tokens, MARK_TILT, MARK_COMPOSITION, rng)
    count = MARK_INSTANCES * len(tokens) // 500
    plant(tokens, [MARKS[mark][which] for which in rng.integers(len(MARKS[mark]), size=count)], rng)


def fill_bin(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn 1,000 bp of background into a chromatin bin, in place.

    Returns:
        bool (30,): the motifs that the bin has.
    """
    state = rng.integers(len(STATES))
    gc = STATE_GC[state]
    tilt(tokens, STATE_TILT, (1 - gc, gc, gc, 1 - gc), rng)
    chosen = rng.choice(STATES[state], size=1 + (rng.random() < SECOND_PROGRAM), replace=False)
    present = np.zeros((len(PROGRAMS), 3), dtype=bool)
    present[chosen] = rng.random((len(chosen), 3)) >= MOTIF_ABSENT
    motifs = [PROGRAMS[program][which] for program, which in zip(*np.nonzero(present), strict=True)]
    plant(tokens, motifs * INSTANCES_PER_MOTIF + [STATE_REPEATS[state]] * REPEATS_PER_BIN, rng)
    return present.reshape(-1)


def draw_labels(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of bins by the motifs (bins, 30) that they have: uint8 (bins, 919).

    A label follows some motifs, one of which must be there: those of one state or two for DNase sensitivity of a cell
    type, one for a factor, those of one state for a histone mark.
    """
    motifs = np.arange(3 * len(PROGRAMS))
    of_state = np.stack([np.isin(motifs // 3, sets) for sets in STATES])  # (states, 30)
    open_states = rng.permuted(np.tile([True, True, False, False], (DNASE, 1)), axis=1)
    open_states &= rng.random(open_states.shape) < 0.75
    of_factors = rng.integers(len(motifs), size=FACTORS)[:, None] == motifs
    of_histones = of_state[rng.integers(len(STATES), size=HISTONES)]
    follows = np.concatenate([open_states @ of_state, of_factors, of_histones])  # (919, motifs)
    strength = rng.beta(1.0, 1.6, size=len(follows)).clip(0.02, 0.95)  # how often a label is then positive
    cause = present.astype(int) @ follows.T.astype(int) > 0
    chance = np.where(cause, strength, FALSE_POSITIVES * strength)
    return (rng.random(chance.shape) < chance).astype(np.uint8)
