"""Basenji2 (Kelley 2020, doi 10.1371/journal.pcbi.1008050) with a sequence head in place of its tracks.

    stem       Conv_15, max-pool by 2
    tower      Conv_5 with ever more channels, each halving the length by max-pool
    dilated    x = x + Dropout(BatchNorm(Conv_1(GELU(BatchNorm(Conv_3,rate(GELU(x)))))), rate = 1.5^i, rounded
    end        Conv_1 to twice the channels

GELU comes before each convolution, but for the stem, and batch normalisation after it. Features of a base are those of
its bin of 2^(1 + tower) bases; nothing is cropped at the ends.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

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

    width: int = 768
    """Channels of the dilated blocks; the stem has three eighths of them, the end twice as many."""
    tower_blocks: int = 6
    """Convolutions between the stem's channels and `width`, each with the same factor of growth."""
    dilated_blocks: int = 11
    rate: float = 1.5
    """Growth of the dilation from block to block."""
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_positive(self, "width", "tower_blocks", "dilated_blocks")

    @property
    def dilations(self) -> list[int]:
        """Dilation of each dilated block, in bins."""
        return [round(self.rate**i) for i in range(self.dilated_blocks)]

    @property
    def receptive_field(self) -> int:
        """Bases that one bin sees."""
        stem = 15 + 1  # 15 taps, and one position more for the pooling by 2
        tower = sum((4 + 1) * 2 ** (i + 1) for i in range(self.tower_blocks))
        return stem + tower + 2 * sum(self.dilations) * 2 ** (1 + self.tower_blocks)


class ConvStep(nn.Module):
    """GELU, convolution, batch normalisation: (B, L, d_in) to (B, L, d_out)."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1):
        super().__init__()
        self.conv = Convolution(inputs, outputs, taps, dilation, bias=False)
        self.norm = BatchNorm(outputs)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """x and the result are zero where there is no base."""
        return self.norm(self.conv(F.gelu(x)), is_base)


class Backbone(nn.Module):
    """Tokens to features, one vector a base, alike within a bin."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.width, inner = config, 2 * config.width, config.width // 2
        start, steps = config.width * 3 / 8, config.tower_blocks
        first, *_ = sizes = [round(start * (config.width / start) ** (i / steps)) for i in range(steps + 1)]
        self.stem, self.stem_norm = Convolution(VOCABULARY, first, 15, bias=False), BatchNorm(first)
        self.tower = nn.ModuleList(ConvStep(*size, 5) for size in zip(sizes, sizes[1:], strict=False))
        self.dilated = nn.ModuleList(
            nn.ModuleList([ConvStep(config.width, inner, 3, dilation), ConvStep(inner, config.width, 1)])
            for dilation in config.dilations
        )
        for _, last in self.dilated:
            nn.init.zeros_(last.norm.weight)  # each block is the identity at first
        self.end = ConvStep(config.width, self.width, 1)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        is_base = padding_mask(tokens)
        x, is_base = max_pool(self.stem_norm(self.stem(one_hot(tokens, self.stem.weight.dtype)), is_base), is_base, 2)
        for step in self.tower:
            x, is_base = max_pool(step(x, is_base), is_base, 2)
        for dilated, last in self.dilated:
            x = x + F.dropout(last(dilated(x, is_base), is_base), self.config.dropout, self.training)
        x = F.gelu(self.end(x, is_base)).repeat_interleave(2 ** (1 + self.config.tower_blocks), 1)  # from bins to bases
        return select_positions(x[:, : tokens.shape[1]], positions)
