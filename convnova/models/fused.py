"""The gated block on a GPU: Triton kernels in bfloat16 with sums, norms and activations in float32.

One kernel computes both convolutions, as matrix products over taps that are gathered while they are multiplied, and
what follows them, without writing anything between; another does the same for the gradient of a norm and convolution.
The names are those of the block's equations: n = norm(x), h = conv(n), m = gate_norm(c), a = gate_conv(m). Rows are
positions of one sequence; weights lie as (taps, d_in, d_out).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

WIDTHS = {64: (128, 64, 4), 128: (128, 64, 8), 256: (64, 64, 8)}
"""Supported widths d: rows a tile, columns of the input that are multiplied at once, warps."""
STAGES = 3
SPLITS = 16
"""Parts into which the sum over all bases of the weights' gradient is divided."""
EPSILON = tl.constexpr(1e-5)


@triton.jit
def _gelu(h):  # noqa: ANN001, ANN202
    return 0.5 * h * (1 + tl.erf(h * 0.7071067811865476))


@triton.jit
def _gelu_slope(h):  # noqa: ANN001, ANN202
    return 0.5 * (1 + tl.erf(h * 0.7071067811865476)) + h * tl.exp(-0.5 * h * h) * 0.3989422804014327


@triton.jit
def _normalised(x, D: tl.constexpr):  # noqa: ANN001, ANN202
    """Rows with mean 0 and variance 1, and the inverse of their deviations."""
    centred = x - (tl.sum(x, 1) / D)[:, None]
    inverse_deviation = 1 / tl.sqrt(tl.sum(centred * centred, 1) / D + EPSILON)
    return centred * inverse_deviation[:, None], inverse_deviation


@triton.jit
def _convolved(n, w, rows, end, dilation, D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, K: tl.constexpr):  # noqa: ANN001, ANN202
    """Convolution of one sequence n at `rows`, zeros outside 0 to end: (ROWS, D)."""
    inner, columns = tl.arange(0, K), tl.arange(0, D)
    total = tl.zeros((ROWS, D), dtype=tl.float32)
    for step in range(TAPS * (D // K)):
        tap, first = step // (D // K), step % (D // K) * K
        source = rows + (tap - TAPS // 2) * dilation
        inside = (source >= 0) & (source < end)
        taken = tl.load(n + source[:, None] * D + (first + inner)[None, :], mask=inside[:, None], other=0.0)
        weights = tl.load(w + (tap * D + first + inner)[:, None] * D + columns[None, :])
        total = tl.dot(taken, weights, total)
    return total


@triton.jit
def _norm_kernel(x, scale, shift, n, count, D: tl.constexpr, ROWS: tl.constexpr):  # noqa: ANN001, ANN202
    rows, columns = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    place, inside = rows[:, None] * D + columns[None, :], (rows < count)[:, None]
    normalised, _ = _normalised(tl.load(x + place, mask=inside, other=0.0).to(tl.float32), D)
    result = normalised * tl.load(scale + columns)[None, :] + tl.load(shift + columns)[None, :]
    tl.store(n + place, result.to(n.dtype.element_ty), mask=inside)


@triton.jit
def _forward_kernel(
    x, c, n, m, w, b, v, vb, ends, x_after, c_after, h_kept, gate_kept, length, dilation,  # noqa: ANN001
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, K: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """x + GELU(conv(n) + b) sigmoid(conv(m) + vb), and c + the gate."""
    rows, columns, sequence = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D), tl.program_id(1)
    start, end = sequence.to(tl.int64) * length * D, tl.load(ends + sequence)
    place, inside = start + rows[:, None] * D + columns[None, :], (rows < length)[:, None]
    h = _convolved(n + start, w, rows, end, dilation, D, TAPS, ROWS, K) + tl.load(b + columns)[None, :]
    kept = h.to(h_kept.dtype.element_ty)
    tl.store(h_kept + place, kept, mask=inside)
    a = _convolved(m + start, v, rows, end, dilation, D, TAPS, ROWS, K) + tl.load(vb + columns)[None, :]
    gate = tl.sigmoid(a)
    tl.store(gate_kept + place, gate.to(gate_kept.dtype.element_ty), mask=inside)
    update = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) + _gelu(kept.to(tl.float32)) * gate
    tl.store(x_after + place, update.to(x_after.dtype.element_ty), mask=inside)
    if not LAST:
        c_updated = tl.load(c + place, mask=inside, other=0.0).to(tl.float32) + gate
        tl.store(c_after + place, c_updated.to(c_after.dtype.element_ty), mask=inside)


@triton.jit
def _gate_backward_kernel(
    dx, dc, h_kept, gate_kept, dh, da, dbiases, count,  # noqa: ANN001
    D: tl.constexpr, ROWS: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """Gradients of h and a, and for each program their sums over its rows."""
    rows, columns = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    place, inside = rows[:, None] * D + columns[None, :], (rows < count)[:, None]
    dx_after = tl.load(dx + place, mask=inside, other=0.0).to(tl.float32)
    h = tl.load(h_kept + place, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_kept + place, mask=inside, other=0.0).to(tl.float32)
    dgate = dx_after * _gelu(h)
    if not LAST:
        dgate += tl.load(dc + place, mask=inside, other=0.0).to(tl.float32)
    dh_here, da_here = dx_after * gate * _gelu_slope(h), dgate * gate * (1 - gate)
    tl.store(dh + place, dh_here.to(dh.dtype.element_ty), mask=inside)
    tl.store(da + place, da_here.to(da.dtype.element_ty), mask=inside)
    sums = dbiases + tl.program_id(0) * 2 * D + columns
    tl.store(sums, tl.sum(dh_here, 0))
    tl.store(sums + D, tl.sum(da_here, 0))


@triton.jit
def _input_gradient_kernel(
    dh, w, x, scale, dx_after, ends, dx, dparameters, length, dilation,  # noqa: ANN001
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, K: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """dx = dx_after + the gradient through conv(norm(x)), and for each program the sums of scale's and shift's.

    w: (taps, d_out, d_in). Without dx_after if LAST.
    """
    rows, columns, sequence = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D), tl.program_id(1)
    start, end = sequence.to(tl.int64) * length * D, tl.load(ends + sequence)
    place, inside = start + rows[:, None] * D + columns[None, :], (rows < length)[:, None]
    dn = _convolved(dh + start, w, rows, length, -dilation, D, TAPS, ROWS, K)
    dn = tl.where((rows < end)[:, None], dn, 0.0)
    normalised, inverse_deviation = _normalised(tl.load(x + place, mask=inside, other=0.0).to(tl.float32), D)
    sums = dparameters + (sequence * tl.num_programs(0) + tl.program_id(0)) * 2 * D + columns
    tl.store(sums, tl.sum(dn * normalised, 0))
    tl.store(sums + D, tl.sum(dn, 0))
    scaled = dn * tl.load(scale + columns)[None, :]
    along = normalised * (tl.sum(scaled * normalised, 1) / D)[:, None]
    result = (scaled - (tl.sum(scaled, 1) / D)[:, None] - along) * inverse_deviation[:, None]
    if not LAST:
        result += tl.load(dx_after + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(dx + place, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _weight_gradient_kernel(
    n, dh, ends, dw, count, length, dilation,  # noqa: ANN001
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One tap's sum of n_{l + tap} dh_l over one part of all rows: (TILE of d_in, d_out)."""
    tap, part, inner = tl.program_id(0), tl.program_id(1), tl.program_id(2) * TILE + tl.arange(0, TILE)
    columns = tl.arange(0, D)
    per_part = tl.cdiv(tl.cdiv(count, ROWS), tl.num_programs(1)) * ROWS
    total = tl.zeros((TILE, D), dtype=tl.float32)
    for first in range(0, per_part, ROWS):
        rows = part.to(tl.int64) * per_part + first + tl.arange(0, ROWS)
        sequence = rows // length
        source = rows % length + (tap - TAPS // 2) * dilation
        there = rows < count
        inside = there & (source >= 0) & (source < tl.load(ends + sequence, mask=there, other=0))
        source_rows = sequence * length + source
        taken = tl.load(n + source_rows[:, None] * D + inner[None, :], mask=inside[:, None], other=0.0)
        gradient = tl.load(dh + rows[:, None] * D + columns[None, :], mask=there[:, None], other=0.0)
        total = tl.dot(tl.trans(taken), gradient, total)
    tl.store(dw + ((part * TAPS + tap) * D + inner[:, None]) * D + columns[None, :], total)


class GatedBlock(torch.autograd.Function):
    """One gated block without `ffn`: x, c (B, L, d) in bfloat16 to x and c after it. Keeps x, c, h and the gate."""

    @staticmethod
    def forward(ctx, x, c, ends, dilation, last, scale, shift, weight, bias, *gate_parameters):  # noqa: ANN001, ANN205
        """`ends`: int32 (B,), real bases. Then scale and shift of the norm and weight and bias of the convolution,
        in float32, for the sequence branch and for the gate. c after the last block is None.
        """
        x, c = x.contiguous(), c.contiguous()
        parameters = (scale, shift, weight, bias, *gate_parameters)
        gate_scale, gate_shift, gate_weight, gate_bias = gate_parameters
        batch, length, width = x.shape
        rows, inner, warps = WIDTHS[width]
        x_after, h, gate = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
        c_after = None if last else torch.empty_like(c)
        _forward_kernel[triton.cdiv(length, rows), batch](
            x, c, _norm(x, scale, shift), _norm(c, gate_scale, gate_shift), _taps_first(weight, x), bias,
            _taps_first(gate_weight, x), gate_bias, ends, x_after, c_after, h, gate, length, dilation,
            width, weight.shape[2], rows, inner, last, num_warps=warps, num_stages=STAGES,
        )  # fmt: skip
        ctx.save_for_backward(x, c, h, gate, ends, *parameters)
        ctx.dilation, ctx.last = dilation, last
        return x_after, c_after

    @staticmethod
    @once_differentiable
    def backward(ctx, dx, dc):  # noqa: ANN001, ANN205
        x, c, h, gate, ends, *parameters = ctx.saved_tensors
        dx, dc = dx.contiguous(), None if ctx.last else dc.contiguous()
        width, count = x.shape[2], x.shape[0] * x.shape[1]
        dh, da = torch.empty_like(x), torch.empty_like(x)
        programs = triton.cdiv(count, 64)
        dbiases = torch.empty(programs, 2, width, device=x.device)
        _gate_backward_kernel[programs,](dx, dc, h, gate, dh, da, dbiases, count, width, 64, ctx.last)
        dbias, dgate_bias = dbiases.sum(0)
        dx_before, *dparameters = _norm_convolution_backward(dh, x, dx, ends, ctx.dilation, *parameters[:3])
        dc_before, *dgate_parameters = _norm_convolution_backward(da, c, dc, ends, ctx.dilation, *parameters[4:7])
        return dx_before, dc_before, None, None, None, *dparameters, dbias, *dgate_parameters, dgate_bias


def _norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    n, count = torch.empty_like(x), x.shape[0] * x.shape[1]
    _norm_kernel[triton.cdiv(count, 32),](x, scale, shift, n, count, x.shape[2], 32)
    return n


def _taps_first(weight: Tensor, like: Tensor, transposed: bool = False) -> Tensor:
    """(d_out, d_in, taps) to (taps, d_in, d_out), or (taps, d_out, d_in) if `transposed`, of another type."""
    return weight.permute(2, 0, 1).to(like.dtype).contiguous() if transposed else (
        weight.permute(2, 1, 0).to(like.dtype).contiguous()
    )  # fmt: skip


def _norm_convolution_backward(
    dh: Tensor, x: Tensor, dx_after: Tensor | None, ends: Tensor, dilation: int, scale: Tensor, shift: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients through h = conv(norm(x)): of x (with dx_after added), scale, shift and weight."""
    batch, length, width = x.shape
    rows, inner, warps = WIDTHS[width]
    taps, tiles = weight.shape[2], triton.cdiv(length, rows)
    dx, sums = torch.empty_like(x), torch.empty(batch * tiles, 2, width, device=x.device)
    _input_gradient_kernel[tiles, batch](
        dh, _taps_first(weight, x, transposed=True), x, scale, dx_after, ends, dx, sums, length, dilation,
        width, taps, rows, inner, dx_after is None, num_warps=warps, num_stages=STAGES,
    )  # fmt: skip
    tile = min(width, 128)
    parts = torch.empty(SPLITS, taps, width, width, device=x.device)
    _weight_gradient_kernel[taps, SPLITS, width // tile](
        _norm(x, scale, shift), dh, ends, parts, batch * length, length, dilation,
        width, taps, 64, tile, num_warps=warps, num_stages=STAGES,
    )  # fmt: skip
    return dx, *sums.sum(0), parts.sum(0).permute(2, 1, 0)
