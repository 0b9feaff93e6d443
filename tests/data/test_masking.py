import numpy as np
import pytest

from convnova.data.dna import PAD
from convnova.data.masking import mask, mask_twice


def tokens(rows=200, length=1000, letters=4):
    return np.random.default_rng(0).integers(0, letters, (rows, length)).astype(np.uint8)


def shares(true, inputs, at):
    """Share of targets; among them shown as mask, as themselves, as another base; touched elsewhere."""
    shown, real = inputs.ravel()[at], true.ravel()[at]
    elsewhere = np.delete(inputs.ravel() != true.ravel(), at)
    as_mask, as_self = (shown == 4).mean(), (shown == real).mean()
    return len(at) / true.size, as_mask, as_self, 1 - as_mask - as_self, elsewhere.mean()


def test_masking_once_hides_fifteen_percent_and_touches_nothing_else():
    true = tokens()
    inputs, at, letters = mask(true, 0.15, 1, 0)
    assert shares(true, inputs, at) == pytest.approx((0.15, 0.8, 0.125, 0.075, 0.0), abs=0.01)
    assert (letters == true.ravel()[at]).all()
    replaced = inputs.ravel()[at][(inputs.ravel()[at] < 4) & (inputs.ravel()[at] != letters)]
    assert np.bincount(replaced, minlength=4) / len(replaced) == pytest.approx([0.25] * 4, abs=0.05)


def test_masking_as_released_corrupts_what_it_does_not_ask_for():
    """The effective shares of the released double masking, as simulated from its description."""
    true = tokens()
    inputs, at, _ = mask_twice(true, 0.15, 1, 0)
    assert shares(true, inputs, at) == pytest.approx((0.15, 0.811, 0.113, 0.076, 0.85 * 0 + 0.1306), abs=0.012)


def test_n_and_padding_are_never_targets():
    true = tokens(letters=6)
    inputs, at, letters = mask(true, 0.5, 1, 0)
    assert letters.max() < 4
    assert (inputs[true == PAD] == PAD).all()
    _, _, released = mask_twice(true, 0.5, 1, 0)
    assert set(released) == {0, 1, 2, 3, 4}


def test_the_mask_is_a_function_of_seed_and_place():
    first, again, *others = (mask(tokens(), 0.15, *place)[0] for place in ((1, 7), (1, 7), (1, 8), (2, 7)))
    assert (first == again).all() and all((first != other).any() for other in others)
