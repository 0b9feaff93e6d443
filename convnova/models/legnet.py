"""LegNet (Penzar et al. 2023, doi 10.1093/bioinformatics/btad457): EfficientNetV2's blocks along a short sequence.

    stem       Conv_7, BatchNorm, SiLU
    block i    inner = 4 d_i:   Conv_1, depthwise Conv_7, squeeze and excitation, Conv_1       each with BatchNorm, SiLU
               its output beside its input (2 d_i channels), then Conv_7 to d_(i+1), BatchNorm, SiLU

Channels and kernel are those of the authors' optimised model for yeast promoters. Different here: it reads five letters
in place of four and two channels about the assay, and predicts classes in place of 18 bins of expression. The mean over
bases, then a linear layer, is LegNet's linear layer, then the mean.

The baseline that ConvNova's authors released is this network, but its forward pass ends in a softmax, and cross entropy
applies another one. Then the loss of two classes cannot fall below log(1 + 1/e) = 0.313, and gradients are small where
the model is sure. `softmax: true` is that form.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY, Predictor
from convnova.models.layers import BatchNorm, Convolution, masked, one_hot, padding_mask, select_positions


@dataclass(frozen=True)
class Config:
    """Settings of the architecture; the defaults are those of the authors' optimised model."""

    channels: list = field(default_factory=lambda: [256, 128, 128, 64, 64, 64, 64])
    """Channels of the stem and after each block."""
    kernel: int = 7
    expansion: int = 4
    """Channels inside a block, in multiples of those before it."""
    reduction: int = 4
    """Channels of a block in multiples of those between squeeze and excitation."""
    softmax: bool = False
    """Predictions are probabilities, which the loss takes for logits: as ConvNova's authors released it."""

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(self.channels) < self.reduction:
            raise ConvNovaError(f"channels = {self.channels}: expected two numbers or more of at least `reduction`")
        if self.kernel % 2 == 0:
            raise ConvNovaError(f"kernel = {self.kernel}: expected an odd number, so that lengths are kept")

    receptive_field = None
    """Squeeze and excitation reads the whole sequence."""


class ConvStep(nn.Module):
    """Convolution, batch normalisation, SiLU: (B, L, d_in) to (B, L, d_out)."""

    def __init__(self, inputs: int, outputs: int, taps: int, groups: int = 1):
        super().__init__()
        self.conv = Convolution(inputs, outputs, taps, groups=groups, bias=False)
        self.norm = BatchNorm(outputs)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """x and the result are zero where there is no base."""
        return F.silu(self.norm(self.conv(x), is_base))


class Excitation(nn.Module):
    """Scale each channel by a function of the means of all channels over the sequence (Hu et al. 2018)."""

    def __init__(self, width: int, between: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, between), nn.SiLU(), nn.Linear(between, width), nn.Sigmoid())

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """(B, L, d) to the same."""
        count = x.shape[1] if is_base is None else is_base.sum(1)
        means = masked(x, is_base).sum(1) / count  # (B, d)
        return x * self.layers(means).unsqueeze(1)


class Block(nn.Module):
    """Widen, convolve each channel, excite, narrow; then convolve that beside its input: (B, L, d) to (B, L, d')."""

    def __init__(self, width: int, outputs: int, config: Config):
        super().__init__()
        inner = width * config.expansion
        self.widen, self.depthwise = ConvStep(width, inner, 1), ConvStep(inner, inner, config.kernel, groups=inner)
        self.excite, self.narrow = Excitation(inner, width // config.reduction), ConvStep(inner, width, 1)
        self.local = ConvStep(2 * width, outputs, config.kernel)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """x and the result are zero where there is no base."""
        h = self.depthwise(self.widen(x, is_base), is_base)
        h = self.narrow(self.excite(h, is_base), is_base)
        return self.local(torch.cat([x, h], -1), is_base)


class Backbone(nn.Module):
    """Tokens to features, one vector a base."""

    def __init__(self, config: Config):
        super().__init__()
        first, *_, self.width = config.channels
        self.stem = ConvStep(VOCABULARY, first, config.kernel)
        sizes = zip(config.channels, config.channels[1:], strict=False)
        self.blocks = nn.ModuleList(Block(width, outputs, config) for width, outputs in sizes)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        is_base = padding_mask(tokens)
        x = self.stem(one_hot(tokens, self.stem.conv.weight.dtype), is_base)
        for block in self.blocks:
            x = block(x, is_base)
        return select_positions(x, positions)


class SoftmaxPredictor(Predictor):
    """The backbone and its head with a softmax at the end, which is one too many."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Probabilities of (B, L) tokens: (B, outputs), or (B, L, outputs) a base."""
        return super().forward(tokens).softmax(-1)


def predictor(config: Config, kind: str, outputs: int, length: int, **options: Any) -> nn.Module:
    """The network of a task.

    Args:
        config: settings.
        kind: `classes`, `multilabel`, `regression` or `per_base`.
        outputs: classes, labels or numbers.
        length: bases of the longest sequence; any will do.
        options: those of `heads.Predictor`.
    """
    return (SoftmaxPredictor if config.softmax else Predictor)(Backbone(config), kind, outputs, **options)
