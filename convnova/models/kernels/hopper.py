"""The stem, the gated convolution block and the tail in a few Triton kernels, in bfloat16 on an NVIDIA Hopper GPU.

    n = LayerNorm(x)    h = conv(n)         x' = x + GELU(h) gate    z = V x' + v    x'' = x' + LayerNorm''(GELU(z))
    m = LayerNorm'(c)   a = gate_conv(m)    gate = sigmoid(a)        c' = c + gate

A block forward is four kernels: both norms; both convolutions, as matrix products over taps; gate and residual; and
what follows z, a matrix product of PyTorch's. Backward is the same in reverse order, the convolutions with transposed
weights, and one kernel for the gradients of the weights. What is elementwise is not part of the kernel of the
convolutions, whose registers are full of sums. The stem is a matrix product with one-hot rows made in registers. Where
only some positions are wanted, what follows the convolutions is computed there alone. The tail's linear layers and
GELUs are PyTorch's, its norms one kernel each way.

Precision is that of the plain model under bfloat16 autocast: norms of x and c, weights, h, a, z and their gradients are
rounded to bfloat16; everything computed from them, and sums, is float32. x' and x'' have the type of x, c' that of c,
and gradients have theirs: bfloat16, as they come from the stem. Parameters and their gradients are float32.

Kept for backward, a base and block: x, c and, in bfloat16, h and a; with an `ffn` x' and z as well. n and m are
computed again, as are the tail's norms and GELUs, of which x and what the linear layers return are kept.

This module can be imported without triton and without a GPU; `applies` says where it can be used.
"""

from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HOPPER = (9, 0)
WIDTHS = (64, 128, 256)
TAIL_EXPANSIONS = (1, 2, 4)
"""Of a tail that `tail` can compute."""
PROGRAMS = 264
"""Programs, about, that share a sum over positions: two for each of 132 multiprocessors."""
ELEMENTS = 2048
"""Numbers that a program of four warps holds of each tensor where there is no matrix product: 16 a thread."""
STEPS = 4
"""Times that a program does so that sums over positions as well, for fewer parts of the sums."""
HAS_TRITON = torch.version.cuda is not None and find_spec("triton") is not None
TABLE_ROWS = 64
"""Of a stem's table: nine taps of five letters, the bias, and zeros."""


class Tile(NamedTuple):
    """What one program computes and how: rows x columns, `inner` channels or positions at a time; then what Triton is
    given when it compiles the kernel."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


CONVOLUTION = {64: Tile(128, 64, 64, 4, 4), 128: Tile(128, 128, 64, 4, 3), 256: Tile(128, 128, 64, 4, 3)}
"""By width. So small that a multiprocessor holds two programs, of which one can multiply while another one stores."""
WEIGHT_GRADIENT = {64: Tile(64, 64, 64, 4, 4), 128: Tile(128, 128, 64, 4, 3), 256: Tile(128, 128, 64, 4, 3)}
STEM = (64, 64)
"""Positions and channels of a program."""


def applies(x: Tensor, width: int) -> bool:
    """Whether `stem`, `gated_convolution` and `tail` can take the place of the plain operations on tensors where x is.

    They do on a Hopper GPU under bfloat16 autocast, at widths 64, 128 and 256 and outside `torch.compile`, where
    triton is installed.
    """
    return (
        not torch.compiler.is_compiling()
        and x.is_cuda
        and torch.is_autocast_enabled("cuda")
        and torch.get_autocast_dtype("cuda") == torch.bfloat16
        and width in WIDTHS
        and torch.cuda.get_device_capability(x.device) == HOPPER
        and HAS_TRITON
    )


def stem(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU of the convolution of one-hot letters.

    Args:
        tokens: (B, L).
        weight: (d, 5, 9), as of `torch.nn.Conv1d`.
        bias: (d,).

    Returns:
        (B, L, d) in bfloat16.
    """
    rows = torch.cat([weight.permute(2, 1, 0).flatten(0, 1), bias[None]])
    table = F.pad(rows, (0, 0, 0, TABLE_ROWS - len(rows))).to(torch.bfloat16)
    with torch.cuda.device_of(tokens):
        return _Stem.apply(tokens.to(torch.uint8).contiguous(), table)


class _Stem(torch.autograd.Function):
    """Rows of a table (64, d), looked up and added, and GELU of that."""

    @staticmethod
    def forward(ctx, tokens, table):
        ctx.save_for_backward(tokens, table)
        (rows, columns), width, count = STEM, table.shape[1], tokens.numel()
        x = torch.empty(*tokens.shape, width, dtype=torch.bfloat16, device=tokens.device)
        _kernels().stem[(_tiles(count, rows), width // columns)](
            tokens, table, x, count, tokens.shape[1], D=width, ROWS=rows, COLUMNS=columns
        )
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, dx):
        tokens, table = ctx.saved_tensors
        (rows, columns), width, count = STEM, table.shape[1], tokens.numel()
        steps = _tiles(count, PROGRAMS * rows)
        parts = torch.empty(_tiles(count, steps * rows), *table.shape, device=table.device)
        _kernels().stem_gradient[(len(parts), width // columns)](
            tokens, table, dx.contiguous(), parts, count, tokens.shape[1], D=width, ROWS=rows, COLUMNS=columns,
            STEPS=steps,
        )  # fmt: skip
        return None, parts.sum(0)


def gated_convolution(
    block: nn.Module, x: Tensor, c: Tensor, is_base: Tensor | None, positions: Tensor | None = None, last: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Compute a `GatedConvolutionBlock` whose gates multiply.

    Args:
        block: the block, with its parameters.
        x: (B, L, d), the sequence branch.
        c: (B, L, d), the second branch.
        is_base: (B, L, 1), 0 at padding and 1 elsewhere, or None without padding.
        positions: (M,) different positions b * L + l; with them the result is computed there alone.
        last: the block is the last, which needs no second branch after it.

    Returns:
        x'': (B, L, d), or (M, d) with `positions`, of the type of x.
        c': (B, L, d), of the type of c, or None if `last`.
    """
    layers = [block.norm, block.conv, block.gate_norm, block.gate_conv]
    layers += [] if block.ffn is None else [block.ffn[0], block.ffn[2]]
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    is_base = None if is_base is None else is_base.flatten().to(x.dtype).contiguous()
    with torch.cuda.device_of(x):
        options = positions, block.dilation, last, torch.is_grad_enabled()
        return _GatedConvolution.apply(x.contiguous(), c.contiguous(), is_base, *options, *parameters)


class _GatedConvolution(torch.autograd.Function):
    """Both directions. `parameters` are norm scale and shift, weight and bias of either branch, and of an `ffn` weight
    and bias, norm scale and shift."""

    @staticmethod
    def forward(ctx, x, c, is_base, positions, dilation, last, differentiable, *parameters):
        scale, shift, weight, bias, gate_scale, gate_shift, gate_weight, gate_bias, *ffn = parameters
        norms = _norms(x, c, is_base, scale, shift, gate_scale, gate_shift)
        weights = torch.stack([weight, gate_weight]).permute(0, 3, 2, 1).to(torch.bfloat16).contiguous()
        convolved = _convolutions(norms, weights, torch.stack([bias, gate_bias]), dilation)
        x_between, c_after = _gate(x, c, convolved, positions, last)
        x_after = x_between
        if ffn:
            ffn_weight, ffn_bias, ffn_scale, ffn_shift = ffn
            ffn_weight = ffn_weight.to(torch.bfloat16)
            z = F.linear(x_between.to(torch.bfloat16), ffn_weight, ffn_bias.to(torch.bfloat16))
            x_after = _add_norm(x_between, z, ffn_scale, ffn_shift, x.dtype, activated=True)
            ffn = [x_between, z, ffn_weight, ffn_scale]
        if differentiable:
            branch_norms = scale, shift, gate_scale, gate_shift
            ctx.save_for_backward(x, c, is_base, positions, convolved, weights, *branch_norms, *ffn)
            ctx.dilation = dilation
            ctx.set_materialize_grads(False)
        return x_after, c_after

    @staticmethod
    @once_differentiable
    def backward(ctx, dx_after, dc_after):
        x, c, is_base, positions, convolved, weights, scale, shift, gate_scale, gate_shift, *ffn = ctx.saved_tensors
        if dx_after is None:
            dx_after = torch.zeros_like(x) if positions is None else x.new_zeros(len(positions), x.shape[2])
        dx_after = dx_after.to(x.dtype).contiguous()
        dc_after = None if dc_after is None else dc_after.contiguous()
        dx_between, dffn = _ffn_gradients(dx_after, *ffn) if ffn else (dx_after, ())
        dx_everywhere, dconvolved, dbiases = _gate_gradients(dx_between, dc_after, convolved, positions)
        dweight, dgate_weight = _weight_gradients(
            _norms(x, c, is_base, scale, shift, gate_scale, gate_shift), dconvolved, weights.shape[1], ctx.dilation
        )
        dnorms = _convolutions(dconvolved, weights, None, -ctx.dilation)
        dx, dc, (dscale, dshift, dgate_scale, dgate_shift) = _norm_gradients(
            *dnorms, x, c, scale, gate_scale, is_base, dx_everywhere, dc_after
        )
        dbias, dgate_bias = dbiases
        dparameters = dscale, dshift, dweight, dbias, dgate_scale, dgate_shift, dgate_weight, dgate_bias
        return dx, dc, None, None, None, None, None, *dparameters, *dffn


def _norms(
    x: Tensor, c: Tensor, is_base: Tensor | None, scale: Tensor, shift: Tensor, gate_scale: Tensor, gate_shift: Tensor
) -> Tensor:
    """n and m (2, B, L, d), in bfloat16."""
    norms = torch.empty(2, *x.shape, dtype=torch.bfloat16, device=x.device)
    count, width = x.shape[0] * x.shape[1], x.shape[2]
    rows = ELEMENTS // width
    _kernels().normalise[(_tiles(count, rows),)](
        x, c, scale, shift, gate_scale, gate_shift, is_base, *norms, count, D=width, ROWS=rows
    )
    return norms


def _convolutions(norms: Tensor, weights: Tensor, biases: Tensor | None, dilation: int) -> Tensor:
    """h and a (2, B, L, d) from weights (2, taps, from, to). With a negative dilation the transposed convolutions."""
    (_, batch, length, width), taps = norms.shape, weights.shape[1]
    tile, transposed, convolved = CONVOLUTION[width], dilation < 0, torch.empty_like(norms)
    describe = _kernels().TensorDescriptor.from_tensor
    box = [tile.columns, tile.inner] if transposed else [tile.inner, tile.columns]
    _kernels().convolve[(2 * batch * _tiles(length, tile.rows) * (width // tile.columns),)](
        describe(norms.flatten(0, 1), [1, tile.rows, tile.inner]), describe(weights.flatten(0, 2), box),
        biases, convolved, batch, length, dilation, D=width, TAPS=taps, ROWS=tile.rows, COLUMNS=tile.columns,
        INNER=tile.inner, TRANSPOSED=transposed, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return convolved


def _gate(
    x: Tensor, c: Tensor, convolved: Tensor, positions: Tensor | None, last: bool
) -> tuple[Tensor, Tensor | None]:
    """x', (B, L, d) or (M, d), and c' unless this is the `last` block."""
    width = x.shape[2]
    x_after = torch.empty_like(x) if positions is None else x.new_empty(len(positions), width)
    c_after = None if last else torch.empty_like(c)
    count, rows = x_after.numel() // width, ELEMENTS // width
    _kernels().gate[(_tiles(count, rows),)](x, c, *convolved, positions, x_after, c_after, count, D=width, ROWS=rows)
    return x_after, c_after


def _gate_gradients(
    dx_after: Tensor, dc_after: Tensor | None, convolved: Tensor, positions: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """dx' everywhere (B, L, d), and dh and da (2, B, L, d), all zero where nothing was wanted; sums (2, d) of dh and da
    over positions, the gradients of the biases."""
    width = convolved.shape[-1]
    count, rows = dx_after.numel() // width, ELEMENTS // width
    dconvolved = torch.empty_like(convolved) if positions is None else torch.zeros_like(convolved)
    dx = None if positions is None else torch.zeros_like(convolved[0], dtype=dx_after.dtype)
    sums = torch.empty(_tiles(count, rows * STEPS), 2, width, device=convolved.device)
    _kernels().gate_gradients[(len(sums),)](
        dx_after, dc_after, *convolved, positions, dx, *dconvolved, sums, count, D=width, ROWS=rows, STEPS=STEPS
    )
    return dx_after if dx is None else dx, dconvolved, sums.sum(0)


def _ffn_gradients(
    dx_after: Tensor, x: Tensor, z: Tensor, weight: Tensor, scale: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """dx' (..., d), and the gradients of weight, bias, scale and shift."""
    width = x.shape[-1]
    dz, (dscale, dshift, dbias) = _add_norm_gradients(dx_after, z, scale, activated=True)
    (dweight,) = _weight_gradients(*(rows.view(1, 1, -1, width) for rows in (x.to(torch.bfloat16), dz)), 1, 0)
    if dx_after.dtype == torch.bfloat16:
        dx = torch.addmm(dx_after.view(-1, width), dz.view(-1, width), weight).view_as(dx_after)
    else:
        dx = dx_after + dz @ weight
    return dx, (dweight.squeeze(2), dbias, dscale, dshift)


def _add_norm(
    x: Tensor | None, z: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype, activated: bool = False
) -> Tensor:
    """x + LayerNorm(z), or of GELU(z) if `activated`; x may be None. z (..., d), to the same in `dtype`."""
    result, width = torch.empty_like(z, dtype=dtype), z.shape[-1]
    count, rows = z.numel() // width, ELEMENTS // width
    _kernels().add_norm[(_tiles(count, rows),)](
        x, z, scale, shift, result, count, D=width, ROWS=rows, ACTIVATED=activated
    )
    return result


def _add_norm_gradients(
    dresult: Tensor, z: Tensor, scale: Tensor, activated: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """dz (..., d) in z's type, the gradients (d,) of scale and shift, and the sum of dz over positions."""
    dz, width = torch.empty_like(z), z.shape[-1]
    count, rows = z.numel() // width, ELEMENTS // width
    sums = torch.empty(_tiles(count, rows * STEPS), 3, width, device=z.device)
    _kernels().add_norm_gradients[(len(sums),)](
        dresult, z, scale, dz, sums, count, D=width, ROWS=rows, STEPS=STEPS, ACTIVATED=activated
    )
    return dz, tuple(sums.sum(0))


def tail(layers: nn.Sequential, x: Tensor) -> Tensor:
    """x + `layers`(x), the end of a `Backbone`: (..., d), to the same in float32."""
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    with torch.cuda.device_of(x):
        return _Tail.apply(x.contiguous(), *parameters)


class _Tail(torch.autograd.Function):
    """Four linear layers, a GELU after the first and the third, a norm after the second and the fourth. Keeps x and, in
    bfloat16, what the linear layers return."""

    @staticmethod
    def forward(ctx, x, *parameters):
        (w1, b1), (w2, b2), norm, (w3, b3), (w4, b4), last_norm = zip(parameters[::2], parameters[1::2], strict=True)
        w1, w2, w3, w4 = weights = [weight.to(torch.bfloat16) for weight in (w1, w2, w3, w4)]
        b1, b2, b3, b4 = (bias.to(torch.bfloat16) for bias in (b1, b2, b3, b4))
        z1 = F.linear(x.to(torch.bfloat16), w1, b1)
        z2 = F.linear(F.gelu(z1), w2, b2)
        z3 = F.linear(_add_norm(None, z2, *norm, torch.bfloat16), w3, b3)
        z4 = F.linear(F.gelu(z3), w4, b4)
        ctx.save_for_backward(x, z1, z2, z3, z4, *weights, *norm, last_norm[0])
        return _add_norm(x, z4, *last_norm, torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, z1, z2, z3, z4, w1, w2, w3, w4, scale, shift, last_scale = ctx.saved_tensors
        dy = dy.contiguous()
        dz4, (dlast_scale, dlast_shift, db4) = _add_norm_gradients(dy, z4, last_scale)
        dz3, dw4 = torch.ops.aten.gelu_backward(dz4 @ w4, z3), _product(dz4, F.gelu(z3))
        dw3 = _product(dz3, _add_norm(None, z2, scale, shift, torch.bfloat16))
        dz2, (dscale, dshift, db2) = _add_norm_gradients(dz3 @ w3, z2, scale)
        dz1, dw2 = torch.ops.aten.gelu_backward(dz2 @ w2, z1), _product(dz2, F.gelu(z1))
        db1, db3 = (dz.flatten(0, -2).sum(0, dtype=torch.float32) for dz in (dz1, dz3))
        dx = (dy + dz1 @ w1).to(x.dtype)
        dw1 = _product(dz1, x.to(torch.bfloat16))
        return dx, dw1, db1, dw2, db2, dscale, dshift, dw3, db3, dw4, db4, dlast_scale, dlast_shift


def _product(dz: Tensor, inputs: Tensor) -> Tensor:
    """The gradient (to, from), in float32, of the weight of a linear layer from `inputs` (..., from) to z."""
    return (dz.flatten(0, -2).T @ inputs.flatten(0, -2)).float()


def _norm_gradients(
    dn: Tensor, dm: Tensor, x: Tensor, c: Tensor, scale: Tensor, gate_scale: Tensor, is_base: Tensor | None,
    dx_after: Tensor, dc_after: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """dx and dc (B, L, d), and the gradients (4, d) of scale and shift of both norms."""
    count, width = x.shape[0] * x.shape[1], x.shape[2]
    rows, dx, dc = ELEMENTS // width, torch.empty_like(x), torch.empty_like(c)
    sums = torch.empty(_tiles(count, rows * STEPS), 4, width, device=x.device)
    _kernels().norm_gradients[(len(sums), 2)](
        dn, dm, x, c, scale, gate_scale, is_base, dx_after, dc_after, dx, dc, sums, count,
        D=width, ROWS=rows, STEPS=STEPS,
    )  # fmt: skip
    return dx, dc, sums.sum(0)


def _weight_gradients(n: Tensor, dh: Tensor, taps: int, dilation: int) -> Tensor:
    """Gradients (branches, d_out, d_in, taps), in float32, of the weights of convolutions from n to h, both
    (branches, B, L, d)."""
    (branches, batch, length, width), tile = n.shape, WEIGHT_GRADIENT[n.shape[-1]]
    if not n.numel():
        return torch.zeros(branches, width, width, taps, device=n.device)
    programs = taps * (width // tile.columns) ** 2
    splits = max(1, min(PROGRAMS // programs, batch * _tiles(length, tile.inner)))
    parts = torch.empty(branches, splits, taps, width, width, device=n.device)
    describe, box = _kernels().TensorDescriptor.from_tensor, [1, tile.inner, tile.columns]
    _kernels().weight_gradients[(programs, splits, branches)](
        describe(n.flatten(0, 1), box), describe(dh.flatten(0, 1), box), parts, batch, length, dilation,
        D=width, TAPS=taps, ROWS=tile.inner, COLUMNS=tile.columns, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return parts.sum(1).permute(0, 3, 2, 1)


def _kernels() -> ModuleType:
    from convnova.models.kernels import hopper_triton  # needs triton, which nothing else does

    return hopper_triton


def _tiles(count: int, size: int) -> int:
    """Tiles of `size` that hold `count`."""
    return -(-count // size)
