"""Random DNA: named streams, a Markov background, noisy instances of motifs, planting them."""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from convnova.data.dna import LETTERS, reverse_complement

IUPAC_BASES = {
    **{letter: letter for letter in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
MOTIF_NOISE = 0.04
"""Chance that a base of a motif's instance is drawn from all four instead of from the consensus."""

BLOCK = 2_000
ISOCHORES = (0.38, 0.42, 0.46, 0.50)
"""GC contents of the background."""
CPG_DEPLETION = 0.35


def stream(seed: int, *names: str) -> np.random.Generator:
    """Independent random numbers for each seed and name, so that one part changes without the others.

    >>> bool(stream(1, "genes").random() == stream(1, "genes").random() != stream(1, "marks").random())
    True
    """
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _transitions(rng: np.random.Generator) -> np.ndarray:
    """Cumulative probabilities (isochores, 16, 4) of a base after two others: alike on both strands, few CpG."""
    triplets = rng.gamma(12.0, size=(4, 4, 4))
    triplets += triplets[::-1, ::-1, ::-1].transpose(2, 1, 0).copy()
    triplets[:, 1, 2] *= CPG_DEPLETION
    triplets[1, 2, :] *= CPG_DEPLETION
    gc = np.array(ISOCHORES)
    base = np.stack([1 - gc, gc, gc, 1 - gc], axis=1)
    weights = triplets * base[:, :, None, None] * base[:, None, :, None] * base[:, None, None, :]
    return np.cumsum(weights / weights.sum(axis=3, keepdims=True), axis=3).reshape(len(gc), 16, 4)


def background(length: int, rng: np.random.Generator) -> np.ndarray:
    """A second-order Markov chain whose GC content changes every few blocks: uint8 (length,) of tokens 0 to 3."""
    tables = _transitions(rng)
    blocks = -(-length // BLOCK)
    isochore = np.repeat(rng.integers(len(ISOCHORES), size=blocks), rng.integers(5, 30, size=blocks))[:blocks]
    state = rng.integers(16, size=blocks)
    tokens = np.empty((BLOCK, blocks), dtype=np.uint8)
    for step in range(BLOCK):
        base = (rng.random(blocks)[:, None] > tables[isochore, state]).sum(axis=1).clip(max=3)
        tokens[step] = base
        state = state % 4 * 4 + base
    return tokens.T.reshape(-1)[:length]


def draw_bases(length: int, composition: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Independent bases.

    Args:
        length: number of bases.
        composition: shares of A, C, G and T.
        rng: random numbers.

    Returns:
        tokens, uint8 (length,).
    """
    limits = np.cumsum(composition[:3]) / sum(composition)
    return np.searchsorted(limits, rng.random(length)).astype(np.uint8)


def tilt(tokens: np.ndarray, share: float, composition: Sequence[float], rng: np.random.Generator) -> None:
    """Redraw some of the bases.

    Args:
        tokens: uint8 (bases,), changed in place.
        share: of the bases to redraw, 0 to 1.
        composition: shares of A, C, G and T to draw from.
        rng: random numbers.
    """
    chosen = np.flatnonzero(rng.random(len(tokens)) < share)
    tokens[chosen] = draw_bases(len(chosen), composition, rng)


@cache
def _limits(consensus: str) -> np.ndarray:
    """Cumulative probabilities (length, 3) of the first three bases at each position of a consensus."""
    allowed = np.array([[base in IUPAC_BASES[letter] for base in LETTERS[:4]] for letter in consensus], dtype=float)
    shares = (1 - MOTIF_NOISE) * allowed / allowed.sum(axis=1, keepdims=True) + MOTIF_NOISE / 4
    return np.cumsum(shares, axis=1)[:, :3]


def draw_motif(consensus: str, rng: np.random.Generator) -> np.ndarray:
    """One instance of an IUPAC consensus, each base redrawn from all four with probability MOTIF_NOISE."""
    return (rng.random(len(consensus))[:, None] > _limits(consensus)).sum(axis=1).astype(np.uint8)


def plant(tokens: np.ndarray, motifs: Sequence[str], rng: np.random.Generator, both_strands: bool = True) -> None:
    """Write instances of motifs in random order, one to each of as many equal parts.

    Args:
        tokens: uint8 (bases,), changed in place.
        motifs: the IUPAC consensus of each instance.
        rng: random numbers.
        both_strands: whether an instance may lie on either strand.
    """
    edges = np.linspace(0, len(tokens), len(motifs) + 1).astype(int)
    for part, which in enumerate(rng.permutation(len(motifs))):
        instance = draw_motif(motifs[which], rng)
        if both_strands and rng.random() < 0.5:
            instance = reverse_complement(instance)
        start = int(rng.integers(edges[part], max(edges[part + 1] - len(instance), edges[part]) + 1))
        tokens[start : start + len(instance)] = instance
