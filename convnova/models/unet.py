"""ConvNova with down-sampling in place of dilation: the same blocks, stems and tail in the form of a U-Net.

    down   each block, then the mean of every `dilation_base` positions, of both branches
    up     every position upsample `dilation_base` times, added to what the block on the way down gave, then a block

All convolutions have dilation 1; the parameters are as many as ConvNova's of the same settings. That ablation is the
paper's (dilation against down-sampling); its exact form is not published, this one is ours (Ronneberger et al. 2015).
"""

from dataclasses import dataclass

from torch import Tensor

from convnova.errors import ConvNovaError
from convnova.models import convnova
from convnova.models.layers import mean_pool, padding_mask, select_positions, upsample


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
        levels = len(self.dilations) // 2
        reach, factor = self.kernel // 2, self.dilation_base

        def bases(first: int, last: int, level: int, down: bool) -> tuple[int, int]:
            """First and last base that positions `first` to `last` of a level see, on the way down or up."""
            if down and level == 0:
                return first - reach, last + reach
            if down:
                first, last = (first - reach) * factor, (last + reach) * factor + factor - 1
                return bases(first, last, level - 1, True)
            if level == levels:
                return bases(first, last, level, True)
            first, last = first - reach, last + reach
            across = bases(first, last, level, True)
            below = bases(first // factor, last // factor, level + 1, False)
            return min(across[0], below[0]), max(across[1], below[1])

        spans = (bases(position, position, 0, False) for position in range(factor**levels))
        return convnova.STEM_KERNEL + max(last - first for first, last in spans)


class Backbone(convnova.Backbone):
    """Tokens to features, one vector a base."""

    recordable = False

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        x, c = self.stems(tokens)
        is_base, levels = padding_mask(tokens), len(self.blocks) // 2
        factor, above = self.config.dilation_base, []
        for block in self.blocks[:levels]:
            x, c = self._block(block, x, c, is_base)
            above.append((x, c, is_base))
            x, _ = mean_pool(x, is_base, factor)
            c, is_base = mean_pool(c, above[-1][2], factor)
        x, c = self._block(self.blocks[levels], x, c, is_base)
        for block in self.blocks[levels + 1 :]:
            finer_x, finer_c, is_base = above.pop()
            x, c = (finer + upsample(h, factor, finer.shape[1]) for finer, h in ((finer_x, x), (finer_c, c)))
            x, c = self._block(block, x, c, is_base)
        return self.finish(select_positions(x, positions))

    def _block(self, block: convnova.GatedConvolutionBlock, x: Tensor, c: Tensor, is_base: Tensor | None) -> tuple:
        return block(x, c, None if is_base is None else is_base.to(x.dtype))
