"""Pooling over a sequence's bases, compared with numpy on each sequence alone."""

import numpy as np
import pytest
import torch

from convnova.data.dna import PAD
from convnova.models.heads import pool_sequence


def mean_and_max(features: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([features.mean(axis), features.max(axis)], -1)


@pytest.mark.parametrize("pooling, alone", [("mean", np.mean), ("max", np.max), ("mean_max", mean_and_max)])
def test_padding_is_left_out_or_counts(pooling, alone):
    features = torch.from_numpy(np.random.default_rng(0).normal(-5, 1, (2, 6, 3)))
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0], [3, 2, 1, PAD, PAD, PAD]])
    features[1, 3:] = 9
    expected = np.stack([alone(features[0].numpy(), axis=0), alone(features[1, :3].numpy(), axis=0)])
    np.testing.assert_allclose(pool_sequence(features, tokens, pooling).numpy(), expected)
    np.testing.assert_allclose(
        pool_sequence(features, tokens, pooling, pool_padding=True).numpy(), alone(features.numpy(), axis=1)
    )
