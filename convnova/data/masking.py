"""Masked-language modelling: which bases are hidden, and by what (BERT, Devlin et al. 2019: 80/10/10)."""

from functools import cache

import numpy as np

from convnova.data.dna import PAD, N
from convnova.randomness import generator

MASK = N
"""The mask token is N itself, as released: the model has five input letters."""

DRAWS = 1 << 16
KEEP, UNTOUCHED = 6, 7
"""Actions besides "becomes letter 0 to 4": a target shown as it is, and no target."""


@cache
def action_table(share: float) -> np.ndarray:
    """uint8 (65536,): what each value of a 16-bit draw does to a base.

    Of the `share` that are targets 80% become the mask, 10% a random letter and 10% stay; rounding moves a share
    by less than 1/65536 of the bases.
    """
    targets = round(share * DRAWS)
    letters = round(targets * 0.1 / 4)
    counts = [letters] * 4 + [round(targets * 0.8)]
    actions = np.full(DRAWS, UNTOUCHED, np.uint8)
    actions[:targets] = np.repeat(np.array([0, 1, 2, 3, MASK, KEEP], np.uint8), [*counts, targets - sum(counts)])
    return actions


def mask(tokens: np.ndarray, share: float, seed: int, *place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hide a share of the bases. N and padding are never targets.

    Args:
        tokens: uint8 (B, L).
        share: of the bases that are targets, 0 to 1.
        seed: same value and place, same mask.
        place: where in training it is, as epoch and step.

    Returns:
        inputs: uint8 (B, L), what the model sees.
        positions: int64 (M,), flat positions b * L + l of the targets, ascending.
        letters: uint8 (M,), the true tokens there.
    """
    actions = _actions(tokens, share, generator(seed, "mask", *place), tokens < N)
    positions = np.flatnonzero(actions.ravel() != UNTOUCHED)
    return np.where(actions < KEEP, actions, tokens), positions, tokens.ravel()[positions]


def mask_twice(tokens: np.ndarray, share: float, seed: int, *place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hide bases as the released code does: twice on one tensor, and with N among the targets.

    The targets are the second masking's, the corruption of the first one stays: at 15%, 10% more of the inputs
    are the mask, for which nothing is asked.

    Args:
        tokens, share, seed, place: as for `mask`.

    Returns:
        inputs, positions, letters: as for `mask`.
    """
    is_letter = tokens != PAD
    first = _actions(tokens, share, generator(seed, "first mask", *place), is_letter)
    second = _actions(tokens, share, generator(seed, "mask", *place), is_letter)
    inputs = np.where(first < KEEP, first, tokens)
    positions = np.flatnonzero(second.ravel() != UNTOUCHED)
    return np.where(second < KEEP, second, inputs), positions, tokens.ravel()[positions]


def _actions(tokens: np.ndarray, share: float, random: np.random.Generator, is_eligible: np.ndarray) -> np.ndarray:
    """What to do with each base, uint8 (B, L); UNTOUCHED where it is not eligible, bool (B, L)."""
    draws = random.integers(0, DRAWS, tokens.shape, dtype=np.uint16)
    actions = action_table(share).take(draws)
    actions[~is_eligible] = UNTOUCHED
    return actions
