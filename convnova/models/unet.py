"""ConvNova with down-sampling in place of dilation: the same blocks, stems and tail in the form of a U-Net.

    down   each block, then the mean of every `dilation_base` positions, of both branches
    up     every position repeated `dilation_base` times, added to what the block on the way down gave, then a block

All convolutions have dilation 1; the parameters are as many as ConvNova's of the same settings. That ablation is the
paper's (dilation against down-sampling); its exact form is not known to us, this one is ours (Ronneberger et al. 2015).
"""

from dataclasses import dataclass

from torch import Tensor

from convnova.errors import ConvNovaError
from convnova.models import convnova
from convnova.models.layers import mean_pool, padding_mask, select_positions


@dataclass(frozen=True)
class Config(convnova.Config):
    """ConvNova's settings; `dilation_base` is the factor of each down-sampling."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks % 2 == 0:
            raise ConvNovaError(f"blocks = {self.blocks}: expected an odd number: as many up as down, and one between")
        if self.second_branch == "none":
            raise ConvNovaError("second_branch = 'none': expected two branches, of which the down-sampling is tested")

    @property
    def dilations(self) -> list[int]:
        """Dilation of each block."""
        return [1] * (self.blocks * self.stacks)

    @property
    def receptive_field(self) -> int | None:
        """Bases that one output position sees at most; it depends on where in its window the position lies."""
        if self.second_branch == "reverse_complement":
            return None
        levels, reach, factor = len(self.dilations) // 2, self.kernel // 2, self.dilation_base
        widest = 0
        for first in range(factor**levels):
            last = first
            for _ in range(levels):  # what the blocks on the way up read, to the lowest level, which sees most
                first, last = (first - reach) // factor, (last + reach) // factor
            for _ in range(levels):  # what the lowest block and those on the way down read
                first, last = (first - reach) * factor, (last + reach) * factor + factor - 1
            widest = max(widest, last - first + 2 * reach)
        return convnova.STEM_KERNEL + widest


class Backbone(convnova.Backbone):
    """Tokens to features, one vector a base."""

    recordable = False

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        x, c = self.stems(tokens)
        is_base, levels = padding_mask(tokens), len(self.blocks) // 2
        factor, above = self.config.dilation_base, []
        for block in self.blocks[:levels]:
            x, c = block(x, c, is_base)
            above.append((x, c, is_base))
            x, _ = mean_pool(x, is_base, factor)
            c, is_base = mean_pool(c, is_base, factor)
        x, c = self.blocks[levels](x, c, is_base)
        for block in self.blocks[levels + 1 :]:
            finer_x, finer_c, is_base = above.pop()
            x, c = (h.repeat_interleave(factor, 1)[:, : finer_x.shape[1]] for h in (x, c))
            x, c = block(finer_x + x, finer_c + c, is_base)
        return self.finish(select_positions(x, positions))
