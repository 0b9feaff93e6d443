"""Heads: from features of bases to what a task asks for.

A backbone with `both_strands` has features of two halves, one a strand (see `caduceus.py`): a sequence's prediction is
made of their mean, and a masked base is predicted on both strands with one head.
"""

import torch
from torch import Tensor, nn

from convnova.data.dna import COMPLEMENT, LETTERS, PAD

VOCABULARY = len(LETTERS)
"""What a base can be: A C G T N."""
CNN_WIDTH = 64
"""Channels of BEND's convolutional head."""
POOLINGS = {"mean": 1, "max": 1, "mean_max": 2}
"""How the bases of a sequence are pooled: the mean or largest value of each feature, or both side by side; and how many
values of each feature come out."""


class ConvolutionalHead(nn.Module):
    """Two convolutions of three taps and 64 channels, then a linear layer: BEND's head over embeddings
    (Marin et al. 2024, arXiv 2311.12570). It keeps the length."""

    def __init__(self, width: int):
        super().__init__()
        sizes = ((width, CNN_WIDTH), (CNN_WIDTH, CNN_WIDTH))
        self.convolutions = nn.ModuleList(nn.Conv1d(*size, 3, padding=1) for size in sizes)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """(B, L, d) to (B, L, 64); padding is zeros to both convolutions."""
        is_base = (tokens != PAD).unsqueeze(-1)
        for convolution in self.convolutions:
            features = nn.functional.gelu(convolution((features * is_base).transpose(1, 2))).transpose(1, 2)
        return features


class Predictor(nn.Module):
    """A backbone and a head, over the mean of a sequence's bases or over each base, or over the mean of each bin.

    Args:
        backbone: tokens to features, with an attribute `width`.
        kind: `classes`, `multilabel` or `regression` for one output vector a sequence, `per_base` for one a base.
        outputs: classes, labels or numbers.
        pool_padding: count padding in the pooling, as the released code does.
        pooling: over positions, of `POOLINGS`.
        head: `linear`, or `cnn` for BEND's two convolutions before it.
        frozen: train the head alone; the backbone stays as it is, without dropout.
        bin_size: of `regression`, bases of a bin, for one number a bin.
    """

    fixed_length = None

    def __init__(
        self, backbone: nn.Module, kind: str, outputs: int, pool_padding: bool = False, pooling: str = "mean",
        head: str = "linear", frozen: bool = False, bin_size: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.per_base, self.bin_size = backbone, kind == "per_base", bin_size
        self.pool_padding, self.pooling, self.frozen = pool_padding, pooling, frozen
        self.halves = 2 if getattr(backbone, "both_strands", False) and not self.per_base else 1
        width = backbone.width // self.halves
        self.convolutions = ConvolutionalHead(width) if head == "cnn" else None
        values = 1 if self.per_base or bin_size else POOLINGS[pooling]
        self.head = nn.Linear(values * (CNN_WIDTH if head == "cnn" else width), outputs)
        if frozen:
            backbone.requires_grad_(False)  # so that no graph of it is kept, either

    def train(self, mode: bool = True) -> "Predictor":
        """Set the mode, but a frozen backbone stays in that of evaluation."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of (B, L) tokens: (B, outputs), or (B, L, outputs) a base, or (B, bins)."""
        if self.bin_size:
            return pool_bins(self.head(self.features(tokens)), self.bin_size)
        return self.head(self.features(tokens) if self.per_base else self.pooled(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """What the last layer reads of every base: (B, L, d)."""
        features = self.backbone(tokens)
        if self.halves == 2:
            features = features.unflatten(-1, (2, -1)).mean(-2)
        return features if self.convolutions is None else self.convolutions(features, tokens)

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the last layer reads of a sequence: (B, d), or (B, 2 d)."""
        return pool_sequence(self.features(tokens), tokens, self.pooling, self.pool_padding)


def pool_sequence(features: Tensor, tokens: Tensor, pooling: str = "mean", pool_padding: bool = False) -> Tensor:
    """Mean or largest value of each feature over the positions of a sequence, or both.

    Args:
        features: (B, L, d).
        tokens: (B, L), which say where padding is.
        pooling: of `POOLINGS`.
        pool_padding: count padding too.

    Returns:
        (B, d), or (B, 2 d) of `mean_max`, the means first.
    """
    if pooling == "mean_max":
        return torch.cat([pool_sequence(features, tokens, each, pool_padding) for each in ("mean", "max")], 1)
    if pool_padding:
        return features.mean(1) if pooling == "mean" else features.amax(1)
    is_base = (tokens != PAD).unsqueeze(-1)
    if pooling == "max":
        return features.masked_fill(~is_base, -torch.inf).amax(1)
    is_base = is_base.to(features.dtype)
    return (features * is_base).sum(1) / is_base.sum(1).clamp(min=1)


def pool_bins(values: Tensor, bin_size: int) -> Tensor:
    """The mean over the bases of each bin, of what a linear layer gives: the same as that layer over mean features.

    Args:
        values: (B, L, 1), of sequences without padding.
        bin_size: bases of a bin, of which L is a multiple.

    Returns:
        (B, L / bin_size).
    """
    return values.squeeze(-1).unflatten(1, (-1, bin_size)).mean(-1)


class MaskedLanguageModel(nn.Module):
    """A backbone and the linear head that predicts masked letters: (B, L) tokens to (B, L, 5) or (M, 5) logits."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone, self.both_strands = backbone, getattr(backbone, "both_strands", False)
        self.head = nn.Linear(backbone.width // (2 if self.both_strands else 1), VOCABULARY)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Logits of the letters A C G T N at every position, or at `positions`."""
        return self.logits(self.backbone(tokens, positions))

    def logits(self, features: Tensor) -> Tensor:
        """The last layer alone, of features as the backbone gives them."""
        if not self.both_strands:
            return self.head(features)
        forward, reverse = features.chunk(2, -1)
        return self.head(forward) + self.head(reverse)[..., COMPLEMENT[:VOCABULARY].tolist()]
