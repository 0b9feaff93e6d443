"""Triton kernels of the gated convolution block. Importing this needs triton; `fused` does it when they are wanted.

The names are those of the block's equations:

    n = LayerNorm(x)    h = conv(n)    x' = x + GELU(h) gate
    m = LayerNorm'(c)   a = gate_conv(m)    gate = sigmoid(a)

and `d` before a name is the gradient of the loss with respect to it. Activations are (B, L, D) contiguous, read as
`count` = B L rows of D channels; a row's place in its sequence is row % L. Weights are (taps, from, to). What is
multiplied is bfloat16; sums, norms and activation functions are float32. Nothing is added atomically: sums over
positions are written a part a program and added up afterwards, so the same inputs give the same bits.
"""

import triton
import triton.language as tl

EPSILON = tl.constexpr(1e-5)
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""Triton's interpreter multiplies the bits of bfloat16 numbers as if they were integers and truncates when it converts
to them; in it both are done in float32."""
SIZES = ["count", "length", "dilation"]
"""Arguments for whose values Triton should not compile a kernel again."""


@triton.jit
def _cast(value, dtype: tl.constexpr):
    """float32 to `dtype`, to the nearest, ties to even."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = bits.to(tl.float32, bitcast=True)
    return value.to(dtype)


@triton.jit
def _add_product(total, a, b):
    """total + a b, in float32."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total)


@triton.jit
def _load(pointer, place, mask):
    return tl.load(pointer + place, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(pointer, place, value, mask):
    tl.store(pointer + place, _cast(value, pointer.dtype.element_ty), mask=mask)


@triton.jit
def _gelu(h):
    return 0.5 * h * (1 + tl.erf(h * 0.7071067811865476))


@triton.jit
def _gelu_slope(h):
    return 0.5 * (1 + tl.erf(h * 0.7071067811865476)) + h * tl.exp(-0.5 * h * h) * 0.3989422804014327


@triton.jit
def _normalised(x, D: tl.constexpr):
    """Rows (R, D) of mean 0 and variance 1, and the inverse deviations (R,) that made them so."""
    centred = x - (tl.sum(x, 1) / D)[:, None]
    inverse_deviation = 1 / tl.sqrt(tl.sum(centred * centred, 1) / D + EPSILON)
    return centred * inverse_deviation[:, None], inverse_deviation


@triton.jit
def _norm_rows(x, scale, shift, inside, n, rows, count, D: tl.constexpr):
    columns = tl.arange(0, D)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    normalised, _ = _normalised(_load(x, place, there), D)
    result = normalised * tl.load(scale + columns)[None, :] + tl.load(shift + columns)[None, :]
    if inside is not None:
        result *= _load(inside, rows, rows < count)[:, None]
    _store(n, place, result, there)


@triton.jit(do_not_specialize=SIZES)
def normalise(x, c, scale, shift, gate_scale, gate_shift, inside, n, m, count, D: tl.constexpr, ROWS: tl.constexpr):
    """Both branches' layer norms, zero where `inside` (count,) is."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    _norm_rows(x, scale, shift, inside, n, rows, count, D)
    _norm_rows(c, gate_scale, gate_shift, inside, m, rows, count, D)


@triton.jit
def _convolution(
    n, weight, rows, columns, count, length, dilation, D: tl.constexpr, TAPS: tl.constexpr, INNER: tl.constexpr
):
    """`rows` and `columns` of the convolution of n with weight (TAPS, D, D): one matrix product over all taps.

    Positions beyond the ends of the row's own sequence are zeros.
    """
    inner, place = tl.arange(0, INNER), rows % length
    total = tl.zeros((rows.shape[0], columns.shape[0]), dtype=tl.float32)
    for step in range(TAPS * (D // INNER)):
        tap, channels = step // (D // INNER), step % (D // INNER) * INNER + inner
        offset = (tap - TAPS // 2) * dilation
        known = (rows < count) & (place + offset >= 0) & (place + offset < length)
        source = (rows + offset).to(tl.int64)[:, None] * D + channels[None, :]
        taken = tl.load(n + source, mask=known[:, None], other=0.0)
        weights = tl.load(weight + (tap * D + channels)[:, None] * D + columns[None, :])
        total = _add_product(total, taken, weights)
    return total


@triton.jit(do_not_specialize=SIZES)
def convolve_and_gate(
    x, n, m, weight, bias, gate_weight, gate_bias, x_after, gate, h, count, length, dilation,
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """x' and the gate, for ROWS positions and COLUMNS channels a program; h too, unless it is None."""
    program = tl.program_id(0)
    rows = program // (D // COLUMNS) * ROWS + tl.arange(0, ROWS)
    columns = program % (D // COLUMNS) * COLUMNS + tl.arange(0, COLUMNS)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    h_here = _convolution(n, weight, rows, columns, count, length, dilation, D, TAPS, INNER)
    # rounded now, h takes half the registers while a is summed
    h_here = _cast(h_here + tl.load(bias + columns)[None, :], n.dtype.element_ty)
    if h is not None:
        tl.store(h + place, h_here, mask=there)
    a = _convolution(m, gate_weight, rows, columns, count, length, dilation, D, TAPS, INNER)
    gate_here = tl.sigmoid(a + tl.load(gate_bias + columns)[None, :])
    _store(gate, place, gate_here, there)
    _store(x_after, place, _load(x, place, there) + _gelu(h_here.to(tl.float32)) * gate_here, there)


@triton.jit
def _activation_gradients(dx_after, dgate, h, gate, place, there):
    dupdate, h_here, gate_here = _load(dx_after, place, there), _load(h, place, there), _load(gate, place, there)
    dgate_here = dupdate * _gelu(h_here)
    if dgate is not None:
        dgate_here += _load(dgate, place, there)
    return dupdate * gate_here * _gelu_slope(h_here), dgate_here * gate_here * (1 - gate_here)


@triton.jit(do_not_specialize=SIZES)
def activation_gradients(
    dx_after, dgate, h, gate, dh, da, dbiases, count, D: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    """dh and da, and each program's sums of them over its ROWS STEPS rows: dbiases (programs, 2, D).

    dgate may be None.
    """
    columns = tl.arange(0, D)
    dbias, dgate_bias = tl.zeros((ROWS, D), dtype=tl.float32), tl.zeros((ROWS, D), dtype=tl.float32)
    for step in range(STEPS):
        rows = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
        dh_here, da_here = _activation_gradients(dx_after, dgate, h, gate, place, there)
        _store(dh, place, dh_here, there)
        _store(da, place, da_here, there)
        dbias += dh_here
        dgate_bias += da_here
    sums = dbiases + tl.program_id(0) * 2 * D + columns
    tl.store(sums, tl.sum(dbias, 0))
    tl.store(sums + D, tl.sum(dgate_bias, 0))


@triton.jit(do_not_specialize=SIZES)
def input_gradient(
    dh, weight, x, scale, inside, dx_after, dx, dnorms, count, length, dilation,
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """dx through h = conv(LayerNorm(x)), plus dx_after unless it is None.

    weight is (TAPS, D of h, D of x). dnorms (programs, 2, D) are each program's sums for the norm's scale and shift.
    """
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    dn = _convolution(dh, weight, rows, columns, count, length, -dilation, D, TAPS, INNER)
    if inside is not None:
        dn *= _load(inside, rows, rows < count)[:, None]
    normalised, inverse_deviation = _normalised(_load(x, place, there), D)
    sums = dnorms + tl.program_id(0) * 2 * D + columns
    tl.store(sums, tl.sum(dn * normalised, 0))
    tl.store(sums + D, tl.sum(dn, 0))
    dn *= tl.load(scale + columns)[None, :]
    along = normalised * (tl.sum(dn * normalised, 1) / D)[:, None]
    result = (dn - (tl.sum(dn, 1) / D)[:, None] - along) * inverse_deviation[:, None]
    if dx_after is not None:
        result += _load(dx_after, place, there)
    _store(dx, place, result, there)


@triton.jit(do_not_specialize=SIZES)
def weight_gradient(
    n, dh, parts, count, length, dilation,
    D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One tap's sum of n[l + offset] dh[l] over one part of all rows l: parts (splits, TAPS, D of n, D of dh)."""
    tiles: tl.constexpr = D // COLUMNS
    program, part, splits = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    tap, channels = program // (tiles * tiles), program // tiles % tiles * COLUMNS + tl.arange(0, COLUMNS)
    columns = program % tiles * COLUMNS + tl.arange(0, COLUMNS)
    offset, steps = (tap - TAPS // 2) * dilation, tl.cdiv(tl.cdiv(count, ROWS), splits)
    total = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    for step in range(steps):
        rows = (part * steps + step) * ROWS + tl.arange(0, ROWS)
        source = rows % length + offset
        there, known = rows < count, (rows < count) & (source >= 0) & (source < length)
        taken = (rows + offset).to(tl.int64)[:, None] * D + channels[None, :]
        here = rows.to(tl.int64)[:, None] * D + columns[None, :]
        inputs = tl.load(n + taken, mask=known[:, None], other=0.0)
        gradients = tl.load(dh + here, mask=there[:, None], other=0.0)
        total = _add_product(total, tl.trans(inputs), gradients)
    place = ((part * TAPS + tap) * D + channels).to(tl.int64)
    tl.store(parts + place[:, None] * D + columns[None, :], total)
