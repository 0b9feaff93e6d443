"""The alphabet: letters to tokens and back, complement and reverse complement."""

import numpy as np

LETTERS = "ACGTN"
A, C, G, T, N = range(5)
PAD = 5
"""Token of positions beyond a sequence's end: padding, which the stem sees as zeros."""

IUPAC = "RYSWKMBDHV"
"""Ambiguity codes of IUPAC that are neither a base nor N: read as N, and counted."""

OTHER = 255
NOT_DNA = 254

LETTER_TO_TOKEN = np.full(256, NOT_DNA, np.uint8)
for _letter, _token in (*zip(LETTERS, range(5), strict=True), ("U", T), *((code, OTHER) for code in IUPAC + ".-")):
    LETTER_TO_TOKEN[[ord(_letter), ord(_letter.lower())]] = _token
"""uint8 (256,): byte to token; OTHER for an IUPAC code or gap, NOT_DNA for anything else."""

TOKEN_TO_LETTER = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
COMPLEMENT = np.array([T, G, C, A, N, PAD], dtype=np.uint8)
"""uint8 (6,): the base opposite each token; N and PAD stay."""


def encode(sequence: str | bytes) -> tuple[np.ndarray, int]:
    """Turn letters into tokens, A C G T N = 0 1 2 3 4, ignoring case; U counts as T.

    Returns:
        tokens: uint8 (L,).
        others: how many letters were IUPAC codes or gaps, now N.

    Raises:
        ValueError: a letter that no nucleotide sequence has (a protein's, a digit).

    >>> encode("acgtR")
    (array([0, 1, 2, 3, 4], dtype=uint8), 1)
    """
    raw = np.frombuffer(sequence.encode("latin-1", "replace") if isinstance(sequence, str) else sequence, np.uint8)
    tokens = LETTER_TO_TOKEN[raw]
    unknown = tokens >= NOT_DNA
    if not unknown.any():
        return tokens, 0
    wrong = np.flatnonzero(tokens == NOT_DNA)
    if wrong.size:
        raise ValueError(f"letter {chr(raw[wrong[0]])!r} at position {wrong[0] + 1} is not a nucleotide")
    tokens[unknown] = N
    return tokens, int(unknown.sum())


def decode(tokens: np.ndarray) -> str:
    """Turn tokens 0 to 4, uint8 (L,), back into L letters.

    >>> decode(np.array([0, 1, 2, 3, 4], np.uint8))
    'ACGTN'
    """
    return TOKEN_TO_LETTER[tokens].tobytes().decode()


def reverse_complement(tokens: np.ndarray) -> np.ndarray:
    """The opposite strand of tokens (..., L), read in its own direction: uint8, the same shape.

    >>> decode(reverse_complement(encode("AACG")[0]))
    'CGTT'
    """
    return COMPLEMENT[tokens][..., ::-1]
