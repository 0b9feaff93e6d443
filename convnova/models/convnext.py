"""ConvNeXt along a sequence (Liu et al. 2022, arXiv 2201.03545), in its isotropic form: one resolution, no gate.

    x = x + gamma * Linear(GELU(Linear(LayerNorm(DepthwiseConv_7(x)))))      d to 4 d to d, gamma 1e-6 at first

The paper's form is for images; this one, of about ConvNova's size, is ours, and no parameter count is published for it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY
from convnova.models.layers import Convolution, masked, one_hot, padding_mask, select_positions

STEM_KERNEL = 9


@dataclass(frozen=True)
class Config:
    """Settings of the architecture."""

    width: int = 128
    blocks: int = 12
    kernel: int = 7
    expansion: int = 4

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConvNovaError(f"kernel = {self.kernel}: expected an odd number, so that lengths are kept")

    @property
    def receptive_field(self) -> int:
        """Bases that one output position sees."""
        return STEM_KERNEL + self.blocks * (self.kernel - 1)


class Block(nn.Module):
    """One block of the docstring's equation: (B, L, d) to the same."""

    def __init__(self, config: Config):
        super().__init__()
        width, inner = config.width, config.width * config.expansion
        self.depthwise, self.norm = Convolution(width, width, config.kernel, groups=width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """Rows of padded positions have no meaning."""
        h = self.norm(self.depthwise(masked(x, is_base)))
        return x + self.gamma * self.narrow(F.gelu(self.widen(h)))


class Backbone(nn.Module):
    """Tokens to features, one vector a base."""

    def __init__(self, config: Config):
        super().__init__()
        self.width = config.width
        self.stem, self.stem_norm = Convolution(VOCABULARY, self.width, STEM_KERNEL), nn.LayerNorm(self.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        is_base, x = padding_mask(tokens), self.stem_norm(self.stem(one_hot(tokens, self.stem.weight.dtype)))
        for block in self.blocks:
            x = block(x, is_base)
        return self.norm(select_positions(x, positions))
