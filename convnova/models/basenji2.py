"""Basenji2 (Kelley 2020, doi 10.1371/journal.pcbi.1008050) with a sequence head in place of its tracks.

    stem       Conv_15, max-pool by 2
    tower      Conv_5 with ever more channels, each halving the length by max-pool
    dilated    x = x + Dropout(BatchNorm(Conv_1(GELU(BatchNorm(Conv_3,rate(GELU(x)))))), rate = 1, 2, 3, 4, 6, 9, ...
    end        Conv_1, Dropout, GELU

GELU comes before each convolution, and batch normalisation after it. Features of a base are those of its bin; nothing
is cropped at the ends.
"""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY
from convnova.models.layers import (
    BatchNorm,
    Convolution,
    check_positive,
    max_pool,
    one_hot,
    padding_mask,
    select_positions,
)


@dataclass(frozen=True)
class Config:
    """Settings of the architecture; the defaults are those of the published model of 131,072 bp."""

    channels: list = field(default_factory=lambda: [288, 339, 399, 470, 554, 652, 768])
    """Channels of the stem and of each convolution of the tower."""
    inner: int = 384
    """Channels inside a dilated block."""
    dilated_blocks: int = 11
    rate: float = 1.5
    """Growth of the dilation from block to block."""
    width: int = 1536
    """Channels of the end."""
    dropout: float = 0.3
    """Of the dilated blocks."""
    end_dropout: float = 0.05
    zero_scales: bool = True
    """Each dilated block is the identity at first: the scale of its last normalisation starts at zero."""

    def __post_init__(self) -> None:
        check_positive(self, "inner", "dilated_blocks", "width")
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ConvNovaError(f"channels = {self.channels}: expected two numbers or more of at least 1")

    @property
    def bin_size(self) -> int:
        """Bases of a bin: the stem and each convolution of the tower halve the length."""
        return 2 ** len(self.channels)

    @property
    def dilations(self) -> list[int]:
        """Dilation of each dilated block, in bins: each is `rate` times the one before, rounded."""
        dilations = [1]
        while len(dilations) < self.dilated_blocks:
            dilations.append(round(dilations[-1] * self.rate))
        return dilations

    @property
    def receptive_field(self) -> int:
        """Bases that one bin sees."""
        stem = 15 + 1  # 15 taps, and one position more for the pooling by 2
        tower = sum((4 + 1) * 2**halvings for halvings in range(1, len(self.channels)))
        return stem + tower + 2 * sum(self.dilations) * self.bin_size


EPS = 1e-3
"""Added to variances, as in Keras, where Basenji2 was trained."""


class ConvStep(nn.Module):
    """GELU, convolution, batch normalisation: (B, L, d_in) to (B, L, d_out)."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1):
        super().__init__()
        self.conv = Convolution(inputs, outputs, taps, dilation, bias=False)
        self.norm = BatchNorm(outputs, EPS)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """x and the result are zero where there is no base."""
        return self.norm(self.conv(F.gelu(x)), is_base)


class Backbone(nn.Module):
    """Tokens to features, one vector a base, alike within a bin."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.width = config, config.width
        first, *others = config.channels
        self.halving = nn.ModuleList([ConvStep(VOCABULARY, first, 15)])  # the stem and the tower
        self.halving.extend(ConvStep(*size, 5) for size in zip(config.channels, others, strict=False))
        last = config.channels[-1]
        self.dilated = nn.ModuleList(
            nn.ModuleList([ConvStep(last, config.inner, 3, dilation), ConvStep(config.inner, last, 1)])
            for dilation in config.dilations
        )
        if config.zero_scales:
            for _, narrow in self.dilated:
                nn.init.zeros_(narrow.norm.weight)
        self.end = ConvStep(last, config.width, 1)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        x, is_base = one_hot(tokens, self.end.conv.weight.dtype), padding_mask(tokens)
        for step in self.halving:
            x, is_base = max_pool(step(x, is_base), is_base, 2)
        for dilated, narrow in self.dilated:
            x = x + F.dropout(narrow(dilated(x, is_base), is_base), self.config.dropout, self.training)
        x = F.gelu(F.dropout(self.end(x, is_base), self.config.end_dropout, self.training))
        x = x.repeat_interleave(self.config.bin_size, 1)  # from bins to bases
        return select_positions(x[:, : tokens.shape[1]], positions)
