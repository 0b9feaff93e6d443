"""ConvNova: dilated convolutions, gated by a second branch (Bo et al., ICLR 2025, arXiv 2502.18538).

    x_0 = GELU(Conv_9(one_hot(tokens)))        c_0 = GELU(Conv_9'(one_hot(second strand)))
    for each gated convolution block i, of dilation d_i:
      g = sigmoid(Conv_{k,d_i}(LayerNorm(c)))                   the gate, read from the second branch only
      x = x + GELU(Conv_{k,d_i}(LayerNorm(x))) * g
      c = c + g
      x = x + LayerNorm(GELU(Linear(x)))                        only with `ffn`
    x = x + MLP(x)                                              the tail
    x = Conv_1(GELU(Conv_1(x)))                                 only with `final_conv`

Everything lies channels last, (B, L, d), also in the convolutions. B is sequences, L positions, d `width`.
Positions of the token OUTSIDE are padding: zeros to every convolution, as what lies beyond a sequence's end is.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY
from convnova.models.kernels import cpu, hopper
from convnova.models.kernels.winograd import GROUP, Pointwise, convolve, five_products_pay, float32_on_cpu, linear

STEM_KERNEL = 9
LARGEST_DILATION = 1024
SECOND_BRANCHES = ("complement", "reverse_complement", "none")
GATES = ("product", "sum", "none")
CACHED = 1 << 20
"""Numbers of one activation of a piece of a batch, in prediction on a CPU: few enough for its caches, and for malloc to
keep the memory of what is freed, of which the kernel would clear every page anew."""
LONGEST = 1 << 20
"""Bases that a GPU predicts at once."""


@dataclass(frozen=True)
class Config:
    """Settings of the architecture; the defaults are those of the paper's 1.7M-parameter model."""

    width: int = 128
    """Channels d of both branches."""
    kernel: int = 9
    """Taps k of the blocks' convolutions, odd."""
    blocks: int = 5
    """Gated convolution blocks; their dilations are 1, 1, base^0, base^1, ... up to 1024."""
    dilation_base: int = 4
    stacks: int = 1
    """Each block so many times in a row, with equal initial weights (the released `num_cnn_stacks`)."""
    tail_expansion: int = 2
    """Width of the tail's inner layers, in multiples of `width`."""
    ffn: bool = False
    final_conv: bool = False
    second_branch: str = "complement"
    """What the second branch reads. `complement`, as released, is the same model as the sequence itself with
    relabelled stem weights; `reverse_complement` (position i of the gate from position L-1-i) is another. With `none`
    there is one branch, and the gate reads it."""
    gate: str = "product"
    """How a gate acts: `product` as published; `sum`, x + GELU(...) + g; or `none`, one branch without gates."""
    dropout: float = 0.0
    """Share of the blocks' inputs set to zero in training, in both branches."""

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "dilation_base", "stacks", "tail_expansion", "kernel"):
            if getattr(self, name) < 1:
                raise ConvNovaError(f"{name} = {getattr(self, name)}: expected 1 or more")
        if self.kernel % 2 == 0:
            raise ConvNovaError(f"kernel = {self.kernel}: expected an odd number, so that lengths are kept")
        for name, known in (("second_branch", SECOND_BRANCHES), ("gate", GATES)):
            if getattr(self, name) not in known:
                raise ConvNovaError(
                    f"{name} = {getattr(self, name)!r}: expected {', '.join(known[:-1])} or {known[-1]}"
                )
        if self.gate == "none" and self.second_branch != "none":
            raise ConvNovaError("gate = 'none': a second branch has nothing to do then; set `second_branch: none`")
        if not 0 <= self.dropout < 1:
            raise ConvNovaError(f"dropout = {self.dropout}: expected 0 or more, less than 1")

    @property
    def dilations(self) -> list[int]:
        """Dilation of each block."""
        one_each = [1 if i < 2 else min(LARGEST_DILATION, self.dilation_base ** (i - 2)) for i in range(self.blocks)]
        return [dilation for dilation in one_each for _ in range(self.stacks)]

    @property
    def reach(self) -> int:
        """Bases to either side that one output position of a branch sees."""
        return STEM_KERNEL // 2 + self.kernel // 2 * sum(self.dilations)

    @property
    def receptive_field(self) -> int | None:
        """Bases that one output position sees; None where the gate reads the sequence from its other end as well."""
        return None if self.second_branch == "reverse_complement" else 2 * self.reach + 1


class GatedConvolutionBlock(nn.Module):
    """One block: a dilated convolution of the sequence branch, multiplied by a gate from the second branch."""

    fast = True
    """Compute in the way that suits the machine (`sparing` on a CPU, `fused` on a GPU), not as the equations stand."""

    def __init__(self, config: Config, dilation: int):
        super().__init__()
        width = config.width
        self.dilation, self.dropout, self.gate = dilation, config.dropout, config.gate
        gated = config.gate != "none"
        self.norm, self.gate_norm = nn.LayerNorm(width), nn.LayerNorm(width) if gated else None
        self.conv = nn.Conv1d(width, width, config.kernel)
        self.gate_conv = nn.Conv1d(width, width, config.kernel) if gated else None
        self.ffn = nn.Sequential(Pointwise(width, width), nn.GELU(), nn.LayerNorm(width)) if config.ffn else None

    def forward(
        self, x: Tensor, c: Tensor | None, inside: Tensor | None, at: Tensor | None = None, last: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Update both branches.

        Args:
            x, c: (B, L, d), the sequence branch and the second branch, or None where the gate reads x.
            inside: (B, L, 1), 0 at padding and 1 elsewhere, or None without padding.
            at: (M,) different positions b * L + l at which alone the result is wanted, of the `last` block.
            last: the second branch is not wanted.

        Returns:
            x: (B, L, d), or (M, d) with `at`. c: (B, L, d), or None if there is none or it is not wanted.
        """
        last, read = last or c is None, x if c is None else c
        regular = self.gate == "product" and not (self.training and self.dropout)
        if self.fast and regular and hopper.applies(x, x.shape[-1]):
            return hopper.gated_convolution(self, x, read, inside, at, last)
        x, gate = self._update(x, read, inside, at)
        if self.ffn is not None:
            x = x + self.ffn(x)
        return x, None if last else c + gate

    def _update(self, x: Tensor, c: Tensor, inside: Tensor | None, at: Tensor | None) -> tuple[Tensor, Tensor | None]:
        h = self._convolve(self.conv, self.norm, x, inside, at)
        chosen = x if at is None else x.flatten(0, 1)[at]
        if self.gate == "none":
            return chosen + F.gelu(h), None
        a = self._convolve(self.gate_conv, self.gate_norm, c, inside, at)
        if self.gate == "product" and self.fast and float32_on_cpu(x):
            return cpu.GatedUpdate.apply(chosen, h, a)
        gate = torch.sigmoid(a)
        return chosen + F.gelu(h) + gate if self.gate == "sum" else torch.addcmul(chosen, F.gelu(h), gate), gate

    def _convolve(
        self, conv: nn.Conv1d, norm: nn.LayerNorm, x: Tensor, inside: Tensor | None, at: Tensor | None
    ) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        if self.fast and at is None and float32_on_cpu(x):
            parameters = norm.weight, norm.bias, conv.weight, conv.bias
            return cpu.NormedConvolution.apply(x, *parameters, inside, self.dilation)
        h = norm(x) if inside is None else norm(x) * inside
        if at is None:
            return convolve(h, conv.weight, conv.bias, self.dilation)
        return convolve_at(h, conv, self.dilation, at)


def convolve_at(h: Tensor, conv: nn.Conv1d, dilation: int, at: Tensor) -> Tensor:
    """The rows `at` (M,) of `convolve(h)` as one matrix product over gathered taps: (M, d)."""
    taps, length = conv.kernel_size[0], h.shape[1]
    reach = dilation * (taps // 2)
    padded = F.pad(h, (0, 0, reach, reach)).flatten(0, 1)  # (B * (L + 2 reach), d)
    first = at + torch.div(at, length, rounding_mode="floor") * (2 * reach)
    rows = first[:, None] + dilation * torch.arange(taps, device=at.device)  # (M, k)
    gathered = padded[rows].flatten(1)  # (M, k d)
    return F.linear(gathered, conv.weight.permute(0, 2, 1).flatten(1), conv.bias)


class Backbone(nn.Module):
    """Tokens to features, one vector a base.

    `checkpointing`: in training keep only what goes in and out of each block, for long sequences on one GPU.
    """

    checkpointing = False
    fast = True
    """As of the blocks, for the stems and the tail."""

    @property
    def recordable(self) -> bool:
        """Whether nothing in a step waits for the GPU (see `convnova.training.cuda_graphs`)."""
        return not self.checkpointing

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.width, inner = config, config.width, config.width * config.tail_expansion
        self.stem = nn.Conv1d(VOCABULARY, self.width, STEM_KERNEL)
        two = config.second_branch != "none"
        self.second_stem = nn.Conv1d(VOCABULARY, self.width, STEM_KERNEL) if two else None
        blocks = (GatedConvolutionBlock(config, dilation) for dilation in config.dilations[:: config.stacks])
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in blocks for _ in range(config.stacks))
        self.tail = nn.Sequential(
            Pointwise(self.width, inner),
            nn.GELU(),
            Pointwise(inner, inner),
            nn.LayerNorm(inner),
            Pointwise(inner, inner),
            nn.GELU(),
            Pointwise(inner, self.width),
            nn.LayerNorm(self.width),
        )
        pointwise = (Pointwise(self.width, self.width), nn.GELU(), Pointwise(self.width, self.width))
        self.final_conv = nn.Sequential(*pointwise) if config.final_conv else None

    def forward(self, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Features of every base, or of some.

        Args:
            tokens: (B, L) of any integer type, A C G T N = 0..4; OUTSIDE = 5 is padding, at the right end only.
            at: (M,) positions b * L + l; with it the last block and the tail are computed there alone.

        Returns:
            (B, L, d), or (M, d) with `at`. Rows of padded positions have no meaning.
        """
        if at is not None or torch.is_grad_enabled():
            return self._features(tokens, at)
        piece = CACHED // self.width if tokens.device.type == "cpu" else LONGEST
        if self.config.receptive_field is not None and tokens.shape[1] > 2 * piece > 8 * self._overlap()[0]:
            return self.in_windows(tokens, piece)
        return torch.cat([self._features(group, None) for group in tokens.split(max(1, piece // tokens.shape[1]))])

    def in_windows(self, tokens: Tensor, window: int) -> Tensor:
        """As `forward`, for sequences of any length: windows that overlap by what a position sees, to the same result.

        Args:
            tokens: (B, L). window: positions in memory at once, or a few less.

        Raises:
            ConvNovaError: too short a window, or a second branch that reads from the other end.
        """
        overlap, grain = self._overlap()
        parts, step = [], (window - 2 * overlap) // grain * grain
        if step < 1 or self.config.receptive_field is None:
            raise ConvNovaError(
                f"window = {window}: expected {2 * overlap + grain} bases or more, the receptive field and what its "
                f"sums are grouped by, and no second branch from the other end, found {self.config.second_branch}; "
                "predict the sequence as a whole"
            )
        for start in range(0, tokens.shape[1], step):
            first = max(0, start - overlap)
            features = self._features(tokens[:, first : start + step + overlap], None)
            parts.append(features[:, start - first : start - first + step])
        return torch.cat(parts, 1)

    def _overlap(self) -> tuple[int, int]:
        """Bases to either side that a window needs, and of which number it begins at a multiple: with those its sums
        by five products are the whole's, rounding included."""
        config = self.config
        by_five = [d for d in config.dilations if five_products_pay(config.width, config.kernel, d)]
        grain = math.lcm(*(GROUP * dilation for dilation in by_five))
        return -(-(config.reach + (GROUP - 1) * sum(by_five)) // grain) * grain, grain

    def _features(self, tokens: Tensor, at: Tensor | None) -> Tensor:
        call = again if self.checkpointing and torch.is_grad_enabled() else _call
        x, c = call(self._stems, tokens)
        padding = tokens == PAD
        # a GPU is not waited for, to learn whether there is any
        inside = (~padding).unsqueeze(-1).to(x.dtype) if tokens.is_cuda or padding.any() else None
        *earlier, last = self.blocks
        for block in earlier:
            x, c = call(block, x, c, inside)
        x, _ = call(last, x, c, inside, at, True)
        return call(self._finish, x)

    def _finish(self, x: Tensor) -> Tensor:
        """The tail and the final layers: (..., d) to the same."""
        if self._fused(x) and self.config.tail_expansion in hopper.TAIL_EXPANSIONS:
            x = hopper.tail(self.tail, x)
        else:
            x = x + self.tail(x)
        return x if self.final_conv is None else self.final_conv(x)

    def _stems(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both stems: (B, L, d) twice; of one branch (B, L, d) and None.

        The second branch's complement is taken by exchanging the input channels of its weights, so that both stems
        can read the same one-hot letters.
        """
        stem = self._stem(tokens)
        x = stem(self.stem.weight, self.stem.bias)
        if self.second_stem is None:
            return x, None
        bases, n = self.second_stem.weight.split([VOCABULARY - 1, 1], 1)
        complement = torch.cat([bases.flip(1), n], 1)  # A C G T to T G C A
        if self.config.second_branch == "reverse_complement":
            stem = self._stem(reverse(tokens))
        return x, stem(complement, self.second_stem.bias)

    def _stem(self, tokens: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """GELU of the convolution of one-hot `tokens`, (B, L, d), of weights (d, 5, 9) and biases (d,)."""
        if self._fused(tokens):
            return partial(hopper.stem, tokens)
        windows = letter_windows(tokens).to(self.stem.weight.dtype)
        return lambda weight, bias: F.gelu(linear(windows, weight.permute(0, 2, 1).flatten(1), bias))

    def _fused(self, where: Tensor) -> bool:
        return self.fast and hopper.applies(where, self.width)


def letter_windows(tokens: Tensor) -> Tensor:
    """The nine letters around each of (B, L) tokens, one-hot in a row: (B, L, 45). A stem is a linear layer of them."""
    reach = STEM_KERNEL // 2
    padded = F.pad(tokens.long(), (reach, reach), value=PAD)
    letters = F.one_hot(padded, VOCABULARY + 1)[..., :VOCABULARY].to(torch.uint8).contiguous()  # (B, L + 8, 5)
    return letters.as_strided((*tokens.shape, STEM_KERNEL * VOCABULARY), (letters.stride(0), VOCABULARY, 1))


def _call(function: Callable, *inputs: Tensor | None) -> Any:
    return function(*inputs)


def again(function: Callable, *inputs: Tensor | None) -> Any:
    """`function(*inputs)`, of which only the inputs are kept; the backward pass computes the rest again."""
    return checkpoint(function, *inputs, use_reentrant=False)


def reverse(tokens: Tensor) -> Tensor:
    """Each sequence back to front (B, L), its padding still at the right end."""
    length = (tokens != PAD).sum(1, keepdim=True)
    place = torch.arange(tokens.shape[1], device=tokens.device)
    return tokens.gather(1, torch.where(place < length, length - 1 - place, place))
