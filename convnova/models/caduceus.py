"""Caduceus (Schiff et al. 2024, arXiv 2403.03234): Mamba read in both directions, and along both strands.

    Mamba(x):    u, z = Linear(x);  u = SiLU(CausalConv_4(u));  y = selective_scan(u) * SiLU(z);  Linear(y)
    BiMamba(x):  Mamba(x) + reverse(Mamba'(reverse(x))), both with the same Linear layers
    block:       x = x + BiMamba(RMSNorm(x))

Caduceus-Ph is this on one strand; its authors average the predictions for both strands (`strands: both` of a model
does). Caduceus-PS runs every layer on the sequence and on its reverse complement, with shared weights: its features are
two halves, and reverse-complementing the sequence reverses the positions and exchanges the halves. The heads use that:
what is predicted for a sequence stays the same, and a masked base is guessed as its complement on the other strand.

Where the authors' `mamba-ssm` is installed its CUDA kernels are used (see `selective_scan.py`). Different here: five
letters in place of a padded vocabulary of 16. Initial weights are drawn as the authors draw them. As with theirs, the
embedding, A and D have no weight decay.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.dna import COMPLEMENT, PAD
from convnova.models.layers import check_positive, convolve_rows, masked, padding_mask, select_positions
from convnova.models.selective_scan import selective_scan

SMALLEST_STEP, LARGEST_STEP = 1e-3, 1e-1
"""Step sizes at the start are drawn between these, evenly in their logarithm, as Mamba does."""


@dataclass(frozen=True)
class Config:
    """Settings of the architecture; the defaults are those of the published model of 1.9 million parameters."""

    width: int = 256
    """Channels; of each strand in the form with both."""
    layers: int = 4
    both_strands: bool = False
    """Caduceus-PS in place of Caduceus-Ph."""
    expansion: int = 2
    states: int = 16
    """Numbers that a channel remembers."""
    taps: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "width", "layers", "expansion", "states", "taps")

    receptive_field = None
    """The scans read the whole sequence."""


class Direction(nn.Module):
    """What Mamba has between its linear layers: a causal convolution and a selective scan, (B, L, D) to the same."""

    def __init__(self, width: int, rank: int, config: Config):
        super().__init__()
        self.sizes = [rank, config.states, config.states]
        self.conv = nn.Conv1d(width, width, config.taps, groups=width)
        self.select, self.step = nn.Linear(width, sum(self.sizes), bias=False), nn.Linear(rank, width)
        self.a_log = nn.Parameter(torch.arange(1.0, config.states + 1).log().repeat(width, 1))
        self.d = nn.Parameter(torch.ones(width))
        self.a_log.no_decay = self.d.no_decay = True
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        steps = torch.empty(width).uniform_(math.log(SMALLEST_STEP), math.log(LARGEST_STEP)).exp()
        with torch.no_grad():
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus

    def forward(self, u: Tensor, is_base: Tensor | None) -> Tensor:
        """What is read at padding is zero, so the state stays zero until the first base."""
        u = F.pad(masked(u, is_base), (0, 0, self.conv.kernel_size[0] - 1, 0))
        u = masked(F.silu(convolve_rows(u, self.conv, 0)), is_base)
        step, b, c = self.select(u).split(self.sizes, -1)
        return selective_scan(u, F.softplus(self.step(step)), -self.a_log.exp(), b, c, self.d)


class BiMamba(nn.Module):
    """Both directions between shared linear layers: (B, L, d) to the same."""

    def __init__(self, config: Config):
        super().__init__()
        width, inner = config.width, config.width * config.expansion
        self.enter, self.leave = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)
        rank = math.ceil(config.width / 16)
        self.rightward, self.leftward = Direction(inner, rank, config), Direction(inner, rank, config)

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """Rows of padded positions have no meaning."""
        u, z = self.enter(x).chunk(2, -1)
        backward = None if is_base is None else is_base.flip(1)
        y = self.rightward(u, is_base) + self.leftward(u.flip(1), backward).flip(1)
        return self.leave(y * F.silu(z))


class Backbone(nn.Module):
    """Tokens to features, one vector a base; with both strands, two halves: that strand's and the other's."""

    def __init__(self, config: Config):
        super().__init__()
        self.both_strands = config.both_strands
        self.width = config.width * (2 if config.both_strands else 1)
        self.embedding = nn.Embedding(PAD + 1, config.width, padding_idx=PAD)
        self.layers = nn.ModuleList(BiMamba(config) for _ in range(config.layers))
        self.norms = nn.ModuleList(nn.RMSNorm(config.width, 1e-5) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, 1e-5)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.embedding.weight.no_decay = True
        with torch.no_grad():
            for layer in self.layers:  # so that the sum of what all layers add does not grow with their number
                layer.leave.weight /= math.sqrt(config.layers)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l."""
        tokens = tokens.long()
        is_base = padding_mask(tokens)
        if not self.both_strands:
            return select_positions(self._one_strand(tokens, is_base), positions)
        complement = torch.as_tensor(COMPLEMENT, device=tokens.device).long()
        reverse_complement = complement[tokens].flip(1)
        both = None if is_base is None else torch.cat([is_base, is_base.flip(1)])
        forward, reverse = self._one_strand(torch.cat([tokens, reverse_complement]), both).chunk(2)
        return select_positions(torch.cat([forward, reverse.flip(1)], -1), positions)

    def _one_strand(self, tokens: Tensor, is_base: Tensor | None) -> Tensor:
        x = self.embedding(tokens)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x), is_base)
        return self.norm(x)
