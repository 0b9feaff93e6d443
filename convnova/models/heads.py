"""Heads: from features of bases to what a task asks for."""

import torch
from torch import Tensor, nn

from convnova.dna import OUTSIDE

LETTERS = 5
"""What a base can be: A C G T N."""


class Predictor(nn.Module):
    """A backbone and a linear head, over the mean of a sequence's bases or over each base."""

    fixed_length = None

    def __init__(self, backbone: nn.Module, kind: str, outputs: int, pool_padding: bool = False, pooling: str = "mean"):
        super().__init__()
        self.pooling = pooling
        self.backbone, self.per_base, self.pool_padding = backbone, kind == "per_base", pool_padding
        self.head = nn.Linear(backbone.width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of (B, L) tokens: (B, outputs), or (B, L, outputs) a base."""
        features = self.backbone(tokens)
        if self.per_base:
            return self.head(features)
        pool = mean_of_bases if self.pooling == "mean" else largest_of_bases
        return self.head(pool(features, tokens, self.pool_padding))


def mean_of_bases(features: Tensor, tokens: Tensor, pool_padding: bool = False) -> Tensor:
    """Mean over positions, (B, L, d) to (B, d), of real bases only unless `pool_padding`."""
    if pool_padding:
        return features.mean(1)
    inside = (tokens != OUTSIDE).unsqueeze(-1).to(features.dtype)
    return (features * inside).sum(1) / inside.sum(1).clamp(min=1)


def largest_of_bases(features: Tensor, tokens: Tensor, pool_padding: bool = False) -> Tensor:
    """Largest value of each feature over positions, (B, L, d) to (B, d), of real bases only unless `pool_padding`."""
    if pool_padding:
        return features.amax(1)
    outside = (tokens == OUTSIDE).unsqueeze(-1)
    return features.masked_fill(outside, -torch.inf).amax(1)


class MaskedLanguageModel(nn.Module):
    """A backbone and the linear head that guesses masked letters: (B, L) tokens to (B, L, 5) or (M, 5) logits."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, LETTERS)

    def forward(self, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Logits of the letters A C G T N at every position, or at the positions `at`."""
        return self.head(self.backbone(tokens, at))
