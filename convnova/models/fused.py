"""The gated convolution block in a few Triton kernels, for training and inference on an NVIDIA GPU in bfloat16.

    h = conv(LayerNorm(x))    a = gate_conv(LayerNorm'(c))    gate = sigmoid(a)    x' = x + GELU(h) gate

Forward is two kernels: one writes both layer norms, one computes both convolutions as matrix products over taps and
what follows them, without writing anything between. The norm is a kernel of its own because a convolution that
normalised what it gathers would do so once a tap. Backward is one kernel for what is elementwise and, for either
branch, one for the transposed convolution with the gradient of the norm and one for the weights.

Precision is that of the plain block under bfloat16 autocast, or better: norms of x and c, weights, h, the gate and the
gradients of h and a are rounded to bfloat16; everything computed from them, and sums, is float32. x' has the type of
x, and the gradients of x and c have theirs; the gate is bfloat16. So the branches have the types that they have
without this module: bfloat16 from the stems, and float32 in the sequence branch after a first `ffn`. Parameters and
their gradients are float32.

Kept for backward, a base and block: x, c and, in bfloat16, their norms, h and the gate.

This module can be imported without triton and without a GPU; `applies` says where it can be used.
"""

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HOPPER = (9, 0)
PROGRAMS = 264
"""Programs, about, that share the sum over positions in a weight's gradient: two for each of 132 multiprocessors."""
ELEMENTS = 2048
"""Numbers that a program holds of each tensor where there is no convolution: 16 a thread."""
STEPS = 4
"""Times that a program of the elementwise gradients does so, for fewer parts of the biases' sums."""


class Tile(NamedTuple):
    """What one program computes and how: rows x columns, `inner` channels or positions at a time.

    A thread may use `registers`, few enough that multiprocessors hold two programs or more (but for the input gradient
    at width 256), of which one can multiply while another computes activations.
    """

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int
    registers: int

    @property
    def options(self) -> dict[str, int]:
        """What Triton is told when it compiles a kernel."""
        return {"num_warps": self.warps, "num_stages": self.stages, "maxnreg": self.registers}


FORWARD = {
    64: Tile(128, 64, 64, 4, 3, 168),
    128: Tile(128, 128, 64, 8, 3, 128),
    256: Tile(128, 128, 64, 8, 3, 128),
}
"""By width; no other width is supported."""
INPUT_GRADIENT = {
    64: Tile(128, 64, 64, 4, 3, 168),
    128: Tile(128, 128, 64, 8, 3, 128),
    256: Tile(64, 256, 64, 8, 4, 255),
}
"""Whole rows, for the gradient of the norm."""
WEIGHT_GRADIENT = {
    64: Tile(64, 64, 64, 4, 3, 168),
    128: Tile(128, 128, 64, 8, 3, 128),
    256: Tile(128, 128, 64, 8, 3, 128),
}


def applies(x: Tensor, block: nn.Module) -> bool:
    """Whether `gated_convolution` can take the place of the plain operations: x (B, L, d) as `block` is called now.

    It does on a Hopper GPU under bfloat16 autocast, at widths 64, 128 and 256, without dropout and outside
    `torch.compile`, where triton is installed.
    """
    return (
        not torch.compiler.is_compiling()
        and x.is_cuda
        and torch.is_autocast_enabled("cuda")
        and torch.get_autocast_dtype("cuda") == torch.bfloat16
        and x.shape[-1] in FORWARD
        and not (block.training and block.dropout)
        and torch.cuda.get_device_capability(x.device) == HOPPER
        and _triton_is_installed()
    )


@cache
def _triton_is_installed() -> bool:
    return torch.version.cuda is not None and find_spec("triton") is not None


def gated_convolution(block: nn.Module, x: Tensor, c: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    """x' and the gate of a `GatedConvolutionBlock`, without its `ffn`.

    Args:
        x, c: (B, L, d), the sequence branch and the second branch.
        inside: (B, L, 1), 0 at padding and 1 elsewhere, or None without padding.

    Returns:
        x' of the type of x, the gate in bfloat16: both (B, L, d).
    """
    branches = (block.norm, block.conv), (block.gate_norm, block.gate_conv)
    parameters = [parameter for pair in branches for layer in pair for parameter in (layer.weight, layer.bias)]
    inside = None if inside is None else inside.flatten().contiguous()
    with torch.cuda.device_of(x):
        return _GatedConvolution.apply(
            x.contiguous(), c.contiguous(), inside, block.dilation, torch.is_grad_enabled(), *parameters
        )


class _GatedConvolution(torch.autograd.Function):
    """Both directions; `parameters` are norm scale and shift, weight and bias of either branch."""

    @staticmethod
    def forward(ctx, x, c, inside, dilation, differentiable, *parameters):  # noqa: ANN001, ANN205
        n, m = _norms(x, c, inside, parameters)
        x_after, gate, h = _convolve_and_gate(x, n, m, dilation, parameters, differentiable)
        if differentiable:
            ctx.save_for_backward(x, c, inside, n, m, h, gate, *parameters)
            ctx.dilation = dilation
            ctx.set_materialize_grads(False)
        return x_after, gate

    @staticmethod
    @once_differentiable
    def backward(ctx, dx_after, dgate):  # noqa: ANN001, ANN205
        x, c, inside, n, m, h, gate, *parameters = ctx.saved_tensors
        scale, _, weight, _, gate_scale, _, gate_weight, _ = parameters
        dx_after = torch.zeros_like(x) if dx_after is None else dx_after.contiguous()
        dgate = None if dgate is None else dgate.contiguous()
        dh, da, dbias, dgate_bias = _activation_gradients(dx_after, dgate, h, gate)
        dx, *dnorm = _input_gradient(dh, weight, x, scale, inside, dx_after, ctx.dilation)
        dc, *dgate_norm = _input_gradient(da, gate_weight, c, gate_scale, inside, None, ctx.dilation)
        dweight = _weight_gradient(n, dh, weight.shape[2], ctx.dilation)
        dgate_weight = _weight_gradient(m, da, weight.shape[2], ctx.dilation)
        return dx, dc, None, None, None, *dnorm, dweight, dbias, *dgate_norm, dgate_weight, dgate_bias


def _norms(x: Tensor, c: Tensor, inside: Tensor | None, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Both layer norms (B, L, d), in bfloat16."""
    scale, shift, _, _, gate_scale, gate_shift, _, _ = parameters
    n, m = _bfloat16_like(x), _bfloat16_like(c)
    count, width = x.shape[0] * x.shape[1], x.shape[2]
    rows = ELEMENTS // width
    grid = (_tiles(count, rows),)
    _kernels().normalise[grid](x, c, scale, shift, gate_scale, gate_shift, inside, n, m, count, D=width, ROWS=rows)
    return n, m


def _convolve_and_gate(
    x: Tensor, n: Tensor, m: Tensor, dilation: int, parameters: tuple[Tensor, ...], keep: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """x', the gate and, to `keep`, h: all (B, L, d)."""
    _, _, weight, bias, _, _, gate_weight, gate_bias = parameters
    x_after, gate, h = torch.empty_like(x), torch.empty_like(n), torch.empty_like(n) if keep else None
    count, width, tile = x.shape[0] * x.shape[1], x.shape[2], FORWARD[x.shape[2]]
    grid = (_tiles(count, tile.rows) * (width // tile.columns),)
    _kernels().convolve_and_gate[grid](
        x, n, m, _from_to(weight), bias, _from_to(gate_weight), gate_bias, x_after, gate, h, count, x.shape[1],
        dilation, D=width, TAPS=weight.shape[2], ROWS=tile.rows, COLUMNS=tile.columns, INNER=tile.inner,
        **tile.options,
    )  # fmt: skip
    return x_after, gate, h


def _activation_gradients(
    dx_after: Tensor, dgate: Tensor | None, h: Tensor, gate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dh and da (B, L, d), and their sums over positions (d,), which are the gradients of the biases."""
    count, width = h.shape[0] * h.shape[1], h.shape[2]
    rows = ELEMENTS // width
    programs = _tiles(count, rows * STEPS)
    dh, da = torch.empty_like(h), torch.empty_like(h)
    sums = torch.empty(programs, 2, width, device=h.device)
    _kernels().activation_gradients[(programs,)](
        dx_after, dgate, h, gate, dh, da, sums, count, D=width, ROWS=rows, STEPS=STEPS
    )
    return dh, da, *sums.sum(0)


def _input_gradient(
    dh: Tensor, weight: Tensor, x: Tensor, scale: Tensor, inside: Tensor | None, dx_after: Tensor | None, dilation: int
) -> tuple[Tensor, Tensor, Tensor]:
    """dx (B, L, d) through conv(LayerNorm(x)), plus dx_after, and the gradients (d,) of the norm's scale and shift."""
    count, width, tile = x.shape[0] * x.shape[1], x.shape[2], INPUT_GRADIENT[x.shape[2]]
    programs = _tiles(count, tile.rows)
    dx, sums = torch.empty_like(x), torch.empty(programs, 2, width, device=x.device)
    _kernels().input_gradient[(programs,)](
        dh, _to_from(weight), x, scale, inside, dx_after, dx, sums, count, x.shape[1], dilation,
        D=width, TAPS=weight.shape[2], ROWS=tile.rows, INNER=tile.inner, **tile.options,
    )  # fmt: skip
    return dx, *sums.sum(0)


def _weight_gradient(n: Tensor, dh: Tensor, taps: int, dilation: int) -> Tensor:
    """Gradient (d_out, d_in, taps) of the weight of h = conv(n), in float32."""
    count, width, tile = n.shape[0] * n.shape[1], n.shape[2], WEIGHT_GRADIENT[n.shape[2]]
    programs = taps * (width // tile.columns) ** 2
    splits = max(1, min(PROGRAMS // programs, _tiles(count, tile.inner)))
    parts = torch.empty(splits, taps, width, width, device=n.device)
    _kernels().weight_gradient[(programs, splits)](
        n, dh, parts, count, n.shape[1], dilation, D=width, TAPS=taps, ROWS=tile.inner, COLUMNS=tile.columns,
        **tile.options,
    )  # fmt: skip
    return parts.sum(0).permute(2, 1, 0)


def _kernels() -> ModuleType:
    from convnova.models import fused_kernels  # needs triton, which nothing else does

    return fused_kernels


def _from_to(weight: Tensor) -> Tensor:
    """(d_out, d_in, taps) as (taps, d_in, d_out) in bfloat16."""
    return weight.permute(2, 1, 0).to(torch.bfloat16).contiguous()


def _to_from(weight: Tensor) -> Tensor:
    """(d_out, d_in, taps) as (taps, d_out, d_in) in bfloat16."""
    return weight.permute(2, 0, 1).to(torch.bfloat16).contiguous()


def _bfloat16_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=torch.bfloat16)


def _tiles(count: int, size: int) -> int:
    """Tiles of `size` that hold `count`."""
    return -(-count // size)
