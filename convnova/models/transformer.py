"""A bidirectional Transformer over single bases, with rotary positions (Vaswani et al. 2017; Su et al. 2021, RoFormer).

    x = x + Attention(LayerNorm(x))       every base reads every base
    x = x + Linear(GELU(Linear(LayerNorm(x))))

Of about ConvNova's size; no parameter count is published for it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.layers import padding_mask, select_positions

LONGEST_WAVE = 10_000.0
"""RoFormer's base of the rotations' wavelengths."""


@dataclass(frozen=True)
class Config:
    """Settings of the architecture."""

    width: int = 192
    layers: int = 4
    heads: int = 6
    expansion: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConvNovaError(f"width = {self.width}: expected a multiple of twice heads = {self.heads}")

    receptive_field = None
    """Attention reads the whole sequence."""


def rotated(x: Tensor) -> Tensor:
    """Turn pairs of channels by angles that grow with the position (RoFormer's equation 34): (B, H, L, d) to the same.

    The product of a turned query and a turned key depends on their distance alone.
    """
    length, width = x.shape[-2:]
    frequencies = LONGEST_WAVE ** (-torch.arange(0, width, 2, device=x.device) / width)
    angles = torch.arange(length, device=x.device)[:, None] * frequencies  # (L, d / 2)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


class Layer(nn.Module):
    """Attention, then two linear layers: (B, L, d) to the same."""

    def __init__(self, config: Config):
        super().__init__()
        width, inner = config.width, config.width * config.expansion
        self.heads, self.dropout = config.heads, config.dropout
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """`is_base`: (B, 1, 1, L), true where there is a base to read. Rows of padded positions have no meaning."""
        q, k, v = self.queries_keys_values(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        share = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_base, share)  # (B, H, L, d / H)
        x = x + F.dropout(self.out(read.transpose(1, 2).flatten(2)), share)
        return x + F.dropout(self.narrow(F.gelu(self.widen(self.norm_mlp(x)))), share)


class Backbone(nn.Module):
    """Tokens to features, one vector a base."""

    def __init__(self, config: Config):
        super().__init__()
        self.width = config.width
        self.embedding = nn.Embedding(PAD + 1, self.width, padding_idx=PAD)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        is_base = padding_mask(tokens)
        is_base = None if is_base is None else is_base.transpose(1, 2).unsqueeze(1)
        x = self.embedding(tokens.long())
        for layer in self.layers:
            x = layer(x, is_base)
        return self.norm(select_positions(x, positions))
