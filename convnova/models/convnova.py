"""ConvNova: dilated convolutions, gated by a second branch (Bo et al., ICLR 2025, arXiv 2502.18538).

    x_0 = GELU(Conv_9(one_hot(tokens)))        c_0 = GELU(Conv_9'(one_hot(second strand)))
    for each gated convolution block i, of dilation d_i:
      g = sigmoid(Conv_{k,d_i}(LayerNorm(c)))                   the gate, read from the second branch only
      x = x + GELU(Conv_{k,d_i}(LayerNorm(x))) * g
      c = c + g
      x = x + LayerNorm(GELU(Linear(x)))                        only with `ffn`
    x = x + MLP(x)                                              the tail
    x = Conv_1(GELU(Conv_1(x)))                                 only with `final_conv`

Shapes: B sequences, L positions, d = `width` channels. Everything lies channels last, (B, L, d), also in the
convolutions. Positions of the token PAD are padding: zeros to every convolution, as what lies beyond a sequence's end.
"""

import copy
import operator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY
from convnova.models.kernels import hopper
from convnova.models.layers import Linear, check_positive, linear, split_windows

STEM_KERNEL = 9
LARGEST_DILATION = 1024
SECOND_BRANCHES = ("complement", "reverse_complement", "none")
GATES = ("product", "sum", "none")
CPU_ACTIVATION = 1 << 21
"""Numbers of one activation when predicting on a CPU: few enough for its caches, and for malloc to reuse the memory."""
LONG_ROW = 16
"""Dilation from which `convolve` turns a sequence into an image of rows of so many bases."""
GPU_POSITIONS = 1 << 20
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
    """What the second branch reads: the `complement`, as released, which is the same model as the sequence itself with
    relabelled stem weights; the `reverse_complement`, whose position i is position L-1-i of the sequence; or `none`:
    there is one branch, and the gate reads it."""
    gate: str = "product"
    """How a gate acts: `product` as published; `sum`, x + GELU(...) + g; or `none`, one branch without gates."""
    dropout: float = 0.0
    """Share of the blocks' inputs set to zero in training, in both branches."""

    def __post_init__(self) -> None:
        check_positive(self, "width", "blocks", "dilation_base", "stacks", "tail_expansion", "kernel")
        if self.kernel % 2 == 0:
            raise ConvNovaError(f"kernel = {self.kernel}: expected an odd number, so that lengths are kept")
        for name, known in (("second_branch", SECOND_BRANCHES), ("gate", GATES)):
            if getattr(self, name) not in known:
                raise ConvNovaError(f"{name} = {getattr(self, name)!r}: expected one of {', '.join(known)}")
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
    def receptive_field(self) -> int | None:
        """Bases that one output position sees; None where the gate reads the sequence from its other end as well."""
        if self.second_branch == "reverse_complement":
            return None
        return STEM_KERNEL + (self.kernel - 1) * sum(self.dilations)


class GatedConvolutionBlock(nn.Module):
    """One block: a dilated convolution of the sequence branch, multiplied by a gate from the second branch."""

    fast = True
    """Compute with `kernels` where they apply. Set to False, the block is computed as written here."""

    def __init__(self, config: Config, dilation: int):
        super().__init__()
        width = config.width
        self.dilation, self.dropout, self.gate = dilation, config.dropout, config.gate
        gated = config.gate != "none"
        self.norm, self.gate_norm = nn.LayerNorm(width), nn.LayerNorm(width) if gated else None
        self.conv = nn.Conv1d(width, width, config.kernel)
        self.gate_conv = nn.Conv1d(width, width, config.kernel) if gated else None
        self.ffn = nn.Sequential(Linear(width, width), nn.GELU(), nn.LayerNorm(width)) if config.ffn else None

    def forward(
        self, x: Tensor, c: Tensor | None, is_base: Tensor | None, positions: Tensor | None = None, last: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Update both branches.

        Args:
            x: (B, L, d), the sequence branch.
            c: (B, L, d), the second branch, or None where the gate reads x.
            is_base: (B, L, 1), 0 at padding and 1 elsewhere, or None without padding.
            positions: (M,) different positions b * L + l; with them the result is computed there alone, and the block
                must be the last.
            last: the block is the last, which needs no second branch after it.

        Returns:
            x: (B, L, d), or (M, d) with `positions`. c: (B, L, d), or None without a second branch or after the last.
        """
        last, gate_input = last or c is None, x if c is None else c
        plain_gate = self.gate == "product" and not (self.training and self.dropout)
        if self.fast and plain_gate and hopper.applies(x, x.shape[-1]):
            return hopper.gated_convolution(self, x, gate_input, is_base, positions, last)
        h = F.gelu(self._convolve(x, self.norm, self.conv, is_base, positions))
        if positions is not None:
            x = x.flatten(0, 1)[positions]  # (M, d)
        gate = None
        if self.gate == "none":
            x = x + h
        else:
            gate = torch.sigmoid(self._convolve(gate_input, self.gate_norm, self.gate_conv, is_base, positions))
            if self.gate == "sum":
                x = x + h + gate
            elif torch.is_grad_enabled() and h.dtype == torch.bfloat16:
                x = x + h * gate  # the gradient of addcmul passes twice more over memory
            else:
                x = torch.addcmul(x, h, gate)
        if self.ffn is not None:
            x = x + self.ffn(x)
        return x, None if last else c + gate

    def _convolve(
        self, x: Tensor, norm: nn.LayerNorm, conv: nn.Conv1d, is_base: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        h = norm(F.dropout(x, self.dropout, self.training))
        h = h if is_base is None else h * is_base
        if positions is None:
            return convolve(h, conv.weight, conv.bias, self.dilation)
        return convolve_at(h, conv.weight, conv.bias, self.dilation, positions)


def convolve(h: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Convolve along L with zeros outside, keeping the length; channels stay last in memory.

    For AMX in bfloat16, oneDNN has no fast gradient of dilated weights (524 ms where 16 are enough). There a sequence
    becomes an image with rows of `dilation` positions, whose columns are convolved without dilation. Where rows are
    short, the image is turned first, for that is slow too (24 ms where 11 are enough).

    Args:
        h: (B, L, d_in).
        weight: (d_out, d_in, k), as of `torch.nn.Conv1d`, k odd.
        bias: (d_out,).
        dilation: positions from tap to tap.

    Returns:
        (B, L, d_out).
    """
    in_bfloat16 = h.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    slow = in_bfloat16 and torch.is_grad_enabled() and torch.cpu._is_amx_tile_supported()
    parts, half = dilation if slow else 1, weight.shape[2] // 2
    as_rows, step = parts >= LONG_ROW, dilation // parts
    image = h.unsqueeze(1) if parts == 1 else split_windows(h, parts, 0)  # (B, 1, L, d) or (B, L / parts, parts, d)
    if 1 < parts < LONG_ROW:
        image = image.transpose(1, 2)
    image, weight = image.permute(0, 3, 1, 2), weight.unsqueeze(3 if as_rows else 2)
    padding = (half, 0) if as_rows else (0, step * half)
    y = F.conv2d(image, weight, bias, padding=padding, dilation=step).permute(0, 2, 3, 1)
    return (y if as_rows else y.transpose(1, 2)).flatten(1, 2)[:, : h.shape[1]]


def convolve_at(h: Tensor, weight: Tensor, bias: Tensor, dilation: int, positions: Tensor) -> Tensor:
    """The rows `positions` (M,) of `convolve(h, ...)`, as one matrix product over gathered taps.

    Args:
        h: (B, L, d_in).
        weight: (d_out, d_in, k).
        bias: (d_out,).
        dilation: positions from tap to tap.
        positions: (M,) positions b * L + l.

    Returns:
        (M, d_out).
    """
    length, taps = h.shape[1], weight.shape[2]
    reach = dilation * (taps // 2)
    padded = F.pad(h, (0, 0, reach, reach)).flatten(0, 1)  # (B * (L + 2 reach), d_in)
    first = positions + torch.div(positions, length, rounding_mode="floor") * (2 * reach)
    rows = first[:, None] + dilation * torch.arange(taps, device=positions.device)  # (M, k)
    gathered = padded.index_select(0, rows.flatten()).view(len(rows), taps * h.shape[2])  # (M, k d_in)
    return linear(gathered, weight.permute(0, 2, 1).flatten(1), bias)


class Backbone(nn.Module):
    """Tokens to features, one vector a base.

    Features of a batch do not depend on its padding, within float32's rounding.
    """

    checkpointing = False
    """In training keep only what goes in and out of each block, for long sequences on one GPU."""
    fast = True
    """As of the blocks, for the stems and the tail."""

    recordable = True
    """Whether nothing in a step waits for the GPU (see `convnova.training.cuda_graphs`); checkpointing does."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.width, inner = config, config.width, config.width * config.tail_expansion
        self.stem = nn.Conv1d(VOCABULARY, self.width, STEM_KERNEL)
        two = config.second_branch != "none"
        self.second_stem = nn.Conv1d(VOCABULARY, self.width, STEM_KERNEL) if two else None
        blocks = (GatedConvolutionBlock(config, dilation) for dilation in config.dilations[:: config.stacks])
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in blocks for _ in range(config.stacks))
        self.tail = nn.Sequential(
            *(Linear(self.width, inner), nn.GELU(), Linear(inner, inner), nn.LayerNorm(inner)),
            *(Linear(inner, inner), nn.GELU(), Linear(inner, self.width), nn.LayerNorm(self.width)),
        )
        final = (Linear(self.width, self.width), nn.GELU(), Linear(self.width, self.width))
        self.final_conv = nn.Sequential(*final) if config.final_conv else None

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Features of every base, or of some.

        Args:
            tokens: (B, L) of any integer type, A C G T N = 0..4; PAD = 5 is padding, at the right end only.
            positions: (M,) positions b * L + l; with them the last block and the tail are computed there alone.

        Returns:
            (B, L, d), or (M, d) with `positions`. Rows of padded positions have no meaning.
        """
        if positions is not None or torch.is_grad_enabled():
            return self._features(tokens, positions)
        piece = CPU_ACTIVATION // self.width if tokens.device.type == "cpu" else GPU_POSITIONS
        field = self.config.receptive_field
        if field is not None and tokens.shape[1] > 2 * piece > 4 * (field - 1):
            return self.in_windows(tokens, piece)
        groups = tokens.split(max(1, piece // tokens.shape[1]))
        return torch.cat([self._features(group, None) for group in groups])

    def in_windows(self, tokens: Tensor, window: int) -> Tensor:
        """As `forward`, for sequences of any length, by windows that overlap by what a position sees.

        Args:
            tokens: (B, L).
            window: positions in memory at once.

        Returns:
            (B, L, d).

        Raises:
            ConvNovaError: too short a window, or a second branch that reads from the other end.
        """
        field = self.config.receptive_field
        if field is None or window < field:
            wide = "the whole sequence" if field is None else f"{field} bases"
            raise ConvNovaError(
                f"window = {window}: expected at least the receptive field, {wide}; predict the sequence as a whole"
            )
        reach, step, parts = field // 2, window - field + 1, []
        for start in range(0, tokens.shape[1], step):
            first = max(0, start - reach)
            features = self._features(tokens[:, first : start + step + reach], None)
            parts.append(features[:, start - first : start - first + step])
        return torch.cat(parts, 1)

    def _features(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        # with checkpointing only inputs are kept, and backward computes the rest again
        checkpointed = self.checkpointing and torch.is_grad_enabled()
        call = partial(checkpoint, use_reentrant=False) if checkpointed else operator.call
        x, c = call(self.stems, tokens)
        padding = tokens == PAD
        # any() would wait for a GPU
        is_base = (~padding).unsqueeze(-1).to(x.dtype) if tokens.is_cuda or padding.any() else None
        *earlier, last = self.blocks
        for block in earlier:
            x, c = call(block, x, c, is_base)
        x, _ = call(last, x, c, is_base, positions, True)
        return call(self.finish, x)

    def stems(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both stems of (B, L) tokens: (B, L, d) twice; of one branch (B, L, d) and None.

        The second branch's complement is taken by exchanging the input channels of its weights, so that both stems
        can read the same one-hot letters.
        """
        x = self._stem(tokens, self.stem.weight, self.stem.bias)
        if self.second_stem is None:
            return x, None
        bases, n = self.second_stem.weight.split([VOCABULARY - 1, 1], 1)
        complement = torch.cat([bases.flip(1), n], 1)  # A C G T to T G C A
        second = reverse(tokens) if self.config.second_branch == "reverse_complement" else tokens
        return x, self._stem(second, complement, self.second_stem.bias)

    def _stem(self, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """GELU of the convolution of one-hot (B, L) tokens with weight (d, 5, 9): (B, L, d)."""
        if self.fast and hopper.applies(tokens, self.width) and not hasattr(tokens, "letters"):
            return hopper.stem(tokens, weight, bias)
        letters = letter_windows(tokens).to(weight.dtype)
        return F.gelu(linear(letters, weight.permute(0, 2, 1).flatten(1), bias))

    def finish(self, x: Tensor) -> Tensor:
        """The tail and the final layers: (..., d) to the same."""
        fused = self.fast and self.config.tail_expansion in hopper.TAIL_EXPANSIONS and hopper.applies(x, self.width)
        x = hopper.tail(self.tail, x) if fused else x + self.tail(x)
        return x if self.final_conv is None else self.final_conv(x)


def letter_windows(tokens: Tensor) -> Tensor:
    """The nine letters around each of (B, L) tokens, one-hot in a row: (B, L, 45). A stem is a linear layer of them."""
    reach = STEM_KERNEL // 2
    if hasattr(tokens, "letters"):  # see `layers.one_hot`
        letters = F.pad(tokens.letters, (0, 0, reach, reach))
    else:
        padded = F.pad(tokens.long(), (reach, reach), value=PAD)
        letters = F.one_hot(padded, VOCABULARY + 1)[..., :VOCABULARY].to(torch.uint8).contiguous()  # (B, L + 8, 5)
    return letters.as_strided((*tokens.shape, STEM_KERNEL * VOCABULARY), (letters.stride(0), VOCABULARY, 1))


def reverse(tokens: Tensor) -> Tensor:
    """Each sequence back to front (B, L), its padding still at the right end."""
    length = (tokens != PAD).sum(1, keepdim=True)
    place = torch.arange(tokens.shape[1], device=tokens.device)
    return tokens.gather(1, torch.where(place < length, length - 1 - place, place))
