"""Triton kernels of the stem and the gated convolution block. Importing this needs triton; `hopper` does it when
they are used.

The names are those of the block's equations, in which the layers of `ffn` are a product with V, GELU and a norm:

    n = LayerNorm(x)    h = conv(n)         x' = x + GELU(h) gate    z = V x' + v    x'' = x' + LayerNorm''(GELU(z))
    m = LayerNorm'(c)   a = gate_conv(m)    gate = sigmoid(a)        c' = c + gate

and `d` before a name is the gradient of the loss with respect to it. Activations are (B, L, D) contiguous; what is
independent from row to row reads them as `count` = B L rows of D channels. Convolutions read tiles through tensor
descriptors, for which positions beyond the ends of a sequence are zeros. Weights are (taps, from, to). What is
multiplied is bfloat16; sums, norms and activation functions are float32. Nothing is added atomically: sums over
positions are written a part a program and added up afterwards, so the same inputs give the same bits.

A program takes ROWS rows at a time, STEPS times where it sums over them, and COLUMNS of the D channels, or all.
"""

import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

__all__ = ["TensorDescriptor"]  # how the GPU's copy engine reads a tensor, a box at a time

EPSILON = tl.constexpr(1e-5)
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""Triton's interpreter multiplies the bits of bfloat16 numbers as if they were integers and truncates when it converts
to them; in it both are done in float32."""
SIZES = ["count", "batch", "length", "dilation"]
"""Arguments for whose values Triton should not compile a kernel again."""
VOCABULARY = tl.constexpr(5)
STEM_TAPS = tl.constexpr(9)
STEM_ROWS = tl.constexpr(64)
"""Rows of a stem's table: one for each tap and letter, one for the bias, and zeros up to a power of two."""


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
def _through_norm(dnormalised, normalised, inverse_deviation, D: tl.constexpr):
    """The gradient of what `_normalised` was given."""
    along = normalised * (tl.sum(dnormalised * normalised, 1) / D)[:, None]
    return (dnormalised - (tl.sum(dnormalised, 1) / D)[:, None] - along) * inverse_deviation[:, None]


@triton.jit
def _one_hot(tokens, rows, count, length):
    """(R, STEM_ROWS) of what the stem sees at `rows`: nine letters and a one for the bias."""
    columns = tl.arange(0, STEM_ROWS)
    offset = columns // VOCABULARY - STEM_TAPS // 2
    place = (rows % length)[:, None] + offset[None, :]
    known = (rows < count)[:, None] & (place >= 0) & (place < length) & (columns < STEM_TAPS * VOCABULARY)[None, :]
    letters = tl.load(tokens + rows.to(tl.int64)[:, None] + offset[None, :], mask=known, other=VOCABULARY)
    one = (letters == (columns % VOCABULARY)[None, :]) | (columns == STEM_TAPS * VOCABULARY)[None, :]
    return one.to(tl.float32).to(tl.bfloat16)


@triton.jit(do_not_specialize=SIZES)
def stem(tokens, table, x, count, length, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """x = GELU(one-hot letters times table).

    Args:
        tokens, table: (B, L) uint8, (STEM_ROWS, D).
        x: the result, (B, L, D).
        count, length: B L and L.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    weights = tl.load(table + tl.arange(0, STEM_ROWS)[:, None] * D + columns[None, :])
    seen = _one_hot(tokens, rows, count, length)
    total = _add_product(tl.zeros((ROWS, COLUMNS), dtype=tl.float32), seen, weights)
    _store(x, rows.to(tl.int64)[:, None] * D + columns[None, :], _gelu(total), (rows < count)[:, None])


@triton.jit(do_not_specialize=SIZES)
def stem_gradient(
    tokens, table, dx, parts, count, length, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    STEPS: tl.constexpr,
):  # fmt: skip
    """Each program's part, over its ROWS STEPS rows, of the table's gradient.

    Args:
        tokens, table, dx: as of `stem`.
        parts: the result, (programs, STEM_ROWS, D).
        count, length: B L and L.
    """
    columns, inner = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, STEM_ROWS)
    weights = tl.load(table + inner[:, None] * D + columns[None, :])
    total = tl.zeros((STEM_ROWS, COLUMNS), dtype=tl.float32)
    for step in range(STEPS):
        rows = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        seen = _one_hot(tokens, rows, count, length)
        z = _add_product(tl.zeros((ROWS, COLUMNS), dtype=tl.float32), seen, weights)
        dx_here = _load(dx, rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None])
        total = _add_product(total, tl.trans(seen), _cast(dx_here * _gelu_slope(z), tl.bfloat16))
    tl.store(parts + (tl.program_id(0) * STEM_ROWS + inner)[:, None] * D + columns[None, :], total)


@triton.jit
def _norm_rows(x, scale, shift, is_base, n, rows, count, D: tl.constexpr):
    columns = tl.arange(0, D)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    normalised, _ = _normalised(_load(x, place, there), D)
    result = normalised * tl.load(scale + columns)[None, :] + tl.load(shift + columns)[None, :]
    if is_base is not None:
        result *= _load(is_base, rows, rows < count)[:, None]
    _store(n, place, result, there)


@triton.jit(do_not_specialize=SIZES)
def normalise(x, c, scale, shift, gate_scale, gate_shift, is_base, n, m, count, D: tl.constexpr, ROWS: tl.constexpr):
    """n and m, zero where `is_base` is.

    Args:
        x, c: (B, L, D).
        scale, shift, gate_scale, gate_shift: (D,), of both norms.
        is_base: (count,), or None without padding.
        n, m: the results, as x and c.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    _norm_rows(x, scale, shift, is_base, n, rows, count, D)
    _norm_rows(c, gate_scale, gate_shift, is_base, m, rows, count, D)


@triton.jit(do_not_specialize=SIZES)
def convolve(
    n, weight, bias, h, batch, length, dilation, D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, INNER: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """h of n and a of m, one after the other in (2 B, L, D): a matrix product over all taps.

    A program computes ROWS positions of one sequence and COLUMNS channels.

    Args:
        n: descriptor of (2 B, L, D) in tiles (1, ROWS, INNER).
        weight: of (2 TAPS D, D) in tiles (INNER, COLUMNS), or (COLUMNS, INNER) where it is TRANSPOSED.
        bias: (2, D), or None.
        h: the result, (2 B, L, D).
        batch, length, dilation: B, L, and positions from tap to tap.
    """
    program, tiles = tl.program_id(0), tl.cdiv(length, ROWS)
    tile, column = program // (D // COLUMNS), program % (D // COLUMNS) * COLUMNS
    sequence, first = tile // tiles, tile % tiles * ROWS
    branch = sequence // batch
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for step in range(TAPS * (D // INNER)):
        tap, channel = step % TAPS, step // TAPS * INNER
        taken = n.load([sequence, first + (tap - TAPS // 2) * dilation, channel]).reshape(ROWS, INNER)
        row = (branch * TAPS + tap) * D
        if TRANSPOSED:
            weights = tl.trans(weight.load([row + column, channel]))
        else:
            weights = weight.load([row + channel, column])
        total = _add_product(total, taken, weights)
    columns, place = column + tl.arange(0, COLUMNS), first + tl.arange(0, ROWS)
    if bias is not None:
        total += tl.load(bias + branch * D + columns)[None, :]
    rows = sequence.to(tl.int64) * length + place
    _store(h, rows[:, None] * D + columns[None, :], total, (place < length)[:, None])


@triton.jit
def _places(positions, rows, there):
    """Where in (B, L) the rows of a result are: `positions`, or everywhere in order."""
    if positions is None:
        places = rows.to(tl.int64)
    else:
        places = tl.load(positions + rows, mask=there, other=0)
    return places


@triton.jit(do_not_specialize=SIZES)
def gate(x, c, h, a, positions, x_after, c_after, count, D: tl.constexpr, ROWS: tl.constexpr):
    """x' and c' of `count` positions.

    Args:
        x, c, h, a: (B, L, D).
        positions: (count,), or None for all.
        x_after, c_after: the results, (count, D); c_after may be None.
    """
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    source = _places(positions, rows, rows < count)[:, None] * D + columns[None, :]
    gate = tl.sigmoid(_load(a, source, there))
    if c_after is not None:
        _store(c_after, place, _load(c, source, there) + gate, there)
    _store(x_after, place, _load(x, source, there) + _gelu(_load(h, source, there)) * gate, there)


@triton.jit(do_not_specialize=SIZES)
def gate_gradients(
    dx_after, dc_after, h, a, positions, dx, dh, da, sums, count,
    D: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """dh and da, at the places of `gate`, where dx, if it is not None, is dx_after.

    Args:
        dx_after, dc_after: (count, D); dc_after may be None.
        h, a, positions: as of `gate`.
        dx, dh, da: the results, (B, L, D).
        sums: each program's sums of dh and da over its ROWS STEPS positions, (programs, 2, D).
    """
    columns = tl.arange(0, D)
    dbias, dgate_bias = tl.zeros((ROWS, D), dtype=tl.float32), tl.zeros((ROWS, D), dtype=tl.float32)
    for step in range(STEPS):
        rows = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
        source = _places(positions, rows, rows < count)[:, None] * D + columns[None, :]
        dx_here, h_here = _load(dx_after, place, there), _load(h, source, there)
        gate = tl.sigmoid(_load(a, source, there))
        dgate = dx_here * _gelu(h_here)
        if dc_after is not None:
            dgate += _load(dc_after, place, there)
        dh_here, da_here = dx_here * gate * _gelu_slope(h_here), dgate * gate * (1 - gate)
        _store(dh, source, dh_here, there)
        _store(da, source, da_here, there)
        if dx is not None:
            _store(dx, source, dx_here, there)
        dbias += dh_here
        dgate_bias += da_here
    sums += tl.program_id(0) * 2 * D + columns
    tl.store(sums, tl.sum(dbias, 0))
    tl.store(sums + D, tl.sum(dgate_bias, 0))


@triton.jit(do_not_specialize=SIZES)
def add_norm(
    x, z, scale, shift, result, count, D: tl.constexpr, ROWS: tl.constexpr, ACTIVATED: tl.constexpr
):  # fmt: skip
    """x + LayerNorm(z), or, if ACTIVATED, x + LayerNorm(GELU(z)).

    Args:
        x: (count, D), or None for zeros.
        z, result: (count, D).
        scale, shift: (D,), of the norm.
    """
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
    z_here = _load(z, place, there)
    normalised, _ = _normalised(_gelu(z_here) if ACTIVATED else z_here, D)
    total = normalised * tl.load(scale + columns)[None, :] + tl.load(shift + columns)[None, :]
    if x is not None:
        total += _load(x, place, there)
    _store(result, place, total, there)


@triton.jit(do_not_specialize=SIZES)
def add_norm_gradients(
    dresult, z, scale, dz, sums, count, D: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr,
    ACTIVATED: tl.constexpr,
):  # fmt: skip
    """dz, and each program's sums.

    Args:
        dresult, z, scale: as of `add_norm`.
        dz: the result, (count, D).
        sums: for scale, for shift and of dz, (programs, 3, D).
    """
    columns = tl.arange(0, D)
    dscale, dshift = tl.zeros((ROWS, D), dtype=tl.float32), tl.zeros((ROWS, D), dtype=tl.float32)
    dbias = tl.zeros((ROWS, D), dtype=tl.float32)
    for step in range(STEPS):
        rows = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
        z_here, dresult_here = _load(z, place, there), _load(dresult, place, there)
        normalised, inverse_deviation = _normalised(_gelu(z_here) if ACTIVATED else z_here, D)
        dscale += dresult_here * normalised
        dshift += dresult_here
        dresult_here *= tl.load(scale + columns)[None, :]
        dz_here = _through_norm(dresult_here, normalised, inverse_deviation, D)
        if ACTIVATED:
            dz_here *= _gelu_slope(z_here)
        dbias += dz_here
        _store(dz, place, dz_here, there)
    sums += tl.program_id(0) * 3 * D + columns
    tl.store(sums, tl.sum(dscale, 0))
    tl.store(sums + D, tl.sum(dshift, 0))
    tl.store(sums + 2 * D, tl.sum(dbias, 0))


@triton.jit
def _norm_gradient(
    dn, x, scale, is_base, dx_after, dx, sums, count, D: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    columns = tl.arange(0, D)
    dscale, dshift = tl.zeros((ROWS, D), dtype=tl.float32), tl.zeros((ROWS, D), dtype=tl.float32)
    for step in range(STEPS):
        rows = (tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        place, there = rows.to(tl.int64)[:, None] * D + columns[None, :], (rows < count)[:, None]
        dn_here = _load(dn, place, there)
        if is_base is not None:
            dn_here *= _load(is_base, rows, rows < count)[:, None]
        normalised, inverse_deviation = _normalised(_load(x, place, there), D)
        dscale += dn_here * normalised
        dshift += dn_here
        dn_here *= tl.load(scale + columns)[None, :]
        result = _through_norm(dn_here, normalised, inverse_deviation, D)
        if dx_after is not None:
            result += _load(dx_after, place, there)
        _store(dx, place, result, there)
    tl.store(sums + columns, tl.sum(dscale, 0))
    tl.store(sums + D + columns, tl.sum(dshift, 0))


@triton.jit(do_not_specialize=SIZES)
def norm_gradients(
    dn, dm, x, c, scale, gate_scale, is_base, dx_after, dc_after, dx, dc, sums, count,
    D: tl.constexpr, ROWS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """dx through n, plus dx_after, by the programs 0 of the second axis; and dc through m, plus dc_after unless it is
    None, by the programs 1.

    Args:
        dn, dm, x, c, dx_after, dc_after: (B, L, D).
        scale, gate_scale, is_base: as of `normalise`.
        dx, dc: the results, (B, L, D).
        sums: each program's, over its ROWS STEPS positions, for scale and shift of both norms, (programs, 4, D).
    """
    sums += tl.program_id(0) * 4 * D
    if tl.program_id(1) == 0:
        _norm_gradient(dn, x, scale, is_base, dx_after, dx, sums, count, D, ROWS, STEPS)
    else:
        _norm_gradient(dm, c, gate_scale, is_base, dc_after, dc, sums + 2 * D, count, D, ROWS, STEPS)


@triton.jit(do_not_specialize=SIZES)
def weight_gradients(
    n, dh, parts, batch, length, dilation, D: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sums of n[l + offset] dh[l] for each tap: parts (branches, splits, TAPS, D of n, D of dh), each over some of the
    tiles of ROWS positions of a branch's sequences.

    Args:
        n, dh: descriptors of (branches B, L, D) in tiles (1, ROWS, COLUMNS).
        parts: the result.
        batch, length, dilation: B, L, and positions from tap to tap.
    """
    tiles: tl.constexpr = D // COLUMNS
    program, part, splits, branch = tl.program_id(0), tl.program_id(1), tl.num_programs(1), tl.program_id(2)
    tap, channel = program // (tiles * tiles), program // tiles % tiles * COLUMNS
    column, offset, chunks = program % tiles * COLUMNS, (tap - TAPS // 2) * dilation, tl.cdiv(length, ROWS)
    first_chunk = part * batch * chunks // splits
    total = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    for chunk in range(first_chunk, (part + 1) * batch * chunks // splits):
        sequence, first = branch * batch + chunk // chunks, chunk % chunks * ROWS
        inputs = n.load([sequence, first + offset, channel]).reshape(ROWS, COLUMNS)
        gradients = dh.load([sequence, first, column]).reshape(ROWS, COLUMNS)
        total = _add_product(total, tl.trans(inputs), gradients)
    place = (((branch * splits + part) * TAPS + tap) * D + channel + tl.arange(0, COLUMNS)).to(tl.int64)
    tl.store(parts + place[:, None] * D + column + tl.arange(0, COLUMNS)[None, :], total)
