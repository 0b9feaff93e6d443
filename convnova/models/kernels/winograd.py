"""Dilated convolutions along a sequence, channels last, and the fast way to compute them on a CPU.

Three neighbouring outputs of three taps, y_p = sum_r w_r v_{p+r} with p, r = 0, 1, 2, take nine products of a weight
with an input. Toom and Cook's polynomial interpolation takes five (Winograd 1980, "Arithmetic Complexity of
Computations"; for neural networks Lavin and Gray 2016, arXiv 1509.09308):

    y = OUTPUT ((WEIGHT w) * (INPUT v))      v: five inputs, w: three taps, y: three outputs, * elementwise

The points of interpolation 0, -1, 2, 1/2 and infinity keep the rounding error of float32 near that of the plain sum
(Barabasz et al. 2020, arXiv 1803.10986). Longer kernels are sums over groups of three taps, so each product is itself
a convolution, with a third of the taps over a third of the positions. Neighbours are `dilation` apart.

In float32 on a CPU the values at a position depend neither on the sequence's length nor on the other sequences of the
batch, so that padding and windows leave no trace: at widths 64, 128 and 256 to the last bit. By itself oneDNN chooses
the order of its sums by both, where taps are far apart or where it has to imagine the zeros outside. It does not where
those zeros are there to be read, nor where taps are neighbours, which they are once a line is folded into rows of
`dilation` positions. What is returned is contiguous, since for that PyTorch has another GELU.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Matrix = Sequence[Sequence[float]]

GROUP = 3
INPUT = ((1, -1.5, -1.5, 1, 0), (0, 1, -2.5, 1, 0), (0, -0.5, 0.5, 1, 0), (0, 1, 0.5, -0.5, 0), (0, 1, -1.5, -1.5, 1))
WEIGHT = ((1, 0, 0), (2 / 9, -2 / 9, 2 / 9), (2 / 9, 4 / 9, 8 / 9), (8 / 9, 4 / 9, 2 / 9), (0, 0, 1))
OUTPUT = ((1, -1, 0.5, 2, 0), (0, 1, 1, 1, 0), (0, -1, 2, 0.5, 1))
BIAS = (2, 1, 0, 0, 2)
"""What the five products add of the bias, so that OUTPUT makes one bias of them for each output."""
SMALLEST_WIDTH = 96
LARGEST_SHARE = 0.7
"""Of the plain convolution's products. Above it the sums before and after cost more than is won."""
LARGEST_BY_FIVE = 16
"""Dilation. Above it too many of the five products are with zeros, in sequences of some hundred bases."""
SHORTEST_ROW = 8
"""Positions. In rows of fewer oneDNN is slow, so for smaller dilations lines are not folded."""


def five_products_pay(width: int, taps: int, dilation: int) -> bool:
    """Whether five products are faster than nine, on a CPU."""
    share = len(INPUT) * -(-taps // GROUP) / (GROUP * taps)
    return width >= SMALLEST_WIDTH and share <= LARGEST_SHARE and dilation <= LARGEST_BY_FIVE


def float32_on_cpu(x: Tensor) -> bool:
    """Whether x is of the kind that the ways of this module and of `sparing` are for."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve along L with zeros outside, keeping the length.

    Args:
        h: (B, L, d_in). weight: (d_out, d_in, taps), as of `torch.nn.Conv1d`. bias: (d_out,).

    Returns:
        (B, L, d_out); channels stay last in memory.
    """
    length, reach = h.shape[1], weight.shape[2] // 2
    if _folds(h, dilation):
        y = _convolve(_folded(h, dilation), weight.unsqueeze(3), bias, 1, (reach, 0))
        return y[:, :length].contiguous()
    zeros = reach * dilation
    if h.device.type == "cpu" and zeros:
        h, zeros = F.pad(h, (0, 0, zeros, zeros)), 0
    return _convolve(h.unsqueeze(1), weight.unsqueeze(2), bias, dilation, (0, zeros))


def gradients(dy: Tensor, h: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve` for h and weight, from dy (B, L, d_out)."""
    length, reach = h.shape[1], weight.shape[2] // 2
    if _folds(h, dilation):
        dh, dweight = _gradients(_folded(dy, dilation), _folded(h, dilation), weight.unsqueeze(3), 1, (reach, 0))
        return dh[:, :length], dweight
    return _gradients(dy.unsqueeze(1), h.unsqueeze(1), weight.unsqueeze(2), dilation, (0, reach * dilation))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, (..., d_in) to (..., d_out). On a CPU it is computed as a convolution of one tap: for those
    PyTorch has oneDNN, which on an AMD EPYC was 10 to 40% faster than MKL, which it has for matrix products."""
    if x.device.type != "cpu" or not x.numel():
        return F.linear(x, weight, bias)
    return convolve(x.reshape(1, -1, x.shape[-1]), weight.unsqueeze(2), bias, 1).view(*x.shape[:-1], -1)


class Pointwise(nn.Linear):
    """A layer of `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_out)."""
        return linear(x, self.weight, self.bias)


def convolve_by_five(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """`convolve` by five products. Not to be differentiated, see `gradients_by_five`."""
    parts = [
        _convolve(v.unsqueeze(1), w.unsqueeze(2), None if bias is None or not factor else factor * bias, dilation)
        for v, w, factor in zip(_inputs(h, weight.shape[2], dilation), _kernels(weight), BIAS, strict=True)
    ]
    rows = [part.reshape(len(h), -1, dilation * len(weight)) for part in parts]
    y = h.new_empty(*rows[0].shape[:2], GROUP, rows[0].shape[2])
    _combine(OUTPUT, rows, y.unbind(2))
    return y.view(len(h), -1, len(weight))[:, : h.shape[1]].contiguous()


def gradients_by_five(dy: Tensor, h: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve_by_five` for h and weight: back through its steps, every matrix transposed."""
    batch, length, width_out = dy.shape
    rows = F.pad(dy, (0, 0, 0, -length % (GROUP * dilation))).reshape(batch, -1, GROUP, dilation * width_out)
    dparts = dy.new_empty(len(INPUT), *rows[:, :, 0].shape)
    _combine(_transposed(OUTPUT), rows.unbind(2), dparts)
    inputs, kernels = _inputs(h, weight.shape[2], dilation), _kernels(weight)
    products = zip(dparts.view(len(INPUT), batch, -1, width_out), inputs, kernels, strict=True)
    gradients = (_gradients(dy.unsqueeze(1), v.unsqueeze(1), w.unsqueeze(2), dilation) for dy, v, w in products)
    dinputs, dkernels = zip(*gradients, strict=True)
    return _through_inputs(dinputs, h, weight.shape[2], dilation), _through_kernels(dkernels, weight)


def _folds(h: Tensor, dilation: int) -> bool:
    return dilation >= SHORTEST_ROW and h.device.type == "cpu"


def _folded(h: Tensor, dilation: int) -> Tensor:
    """Rows in which neighbours are below each other, the last with zeros: (B, L, d) to (B, rows, dilation, d)."""
    missing = -h.shape[1] % dilation
    return (F.pad(h, (0, 0, 0, missing)) if missing else h).unflatten(1, (-1, dilation))


def _convolve(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, zeros: tuple[int, int] = (0, 0)) -> Tensor:
    """Convolve images, channels last in memory: (B, rows, columns, d_in) to (B, positions, d_out).

    `weight`: (d_out, d_in, taps down, taps across). `dilation`: across. `zeros`: at both ends down, and across.
    """
    h, weight = h.permute(0, 3, 1, 2), weight.contiguous(memory_format=torch.channels_last)
    if float32_on_cpu(h) and h.numel() and torch.backends.mkldnn.is_available() and not torch.compiler.is_compiling():
        # conv2d would compute a single short sequence without oneDNN, which rounds in another way
        y = torch.mkldnn_convolution(h, weight, bias, zeros, (1, 1), (1, dilation), 1)
    else:
        y = F.conv2d(h, weight, bias, 1, zeros, (1, dilation))
    return y.permute(0, 2, 3, 1).flatten(1, 2)


def _gradients(
    dy: Tensor, h: Tensor, weight: Tensor, dilation: int, zeros: tuple[int, int] = (0, 0)
) -> tuple[Tensor, Tensor]:
    """Gradients of `_convolve` for h, (B, positions, d_in), and for weight, (d_out, d_in, taps)."""
    dy, h, weight = dy.permute(0, 3, 1, 2), h.permute(0, 3, 1, 2), weight.contiguous(memory_format=torch.channels_last)
    dh, dweight, _ = torch.ops.aten.convolution_backward(
        dy, h, weight, None, (1, 1), zeros, (1, dilation), False, (0, 0), 1, (True, True, False)
    )
    return dh.permute(0, 2, 3, 1).flatten(1, 2), dweight.flatten(2)


def _kernels(weight: Tensor) -> Tensor:
    """WEIGHT w, the weights of the five products: (d_out, d_in, taps) to (5, d_out, d_in, taps / 3)."""
    groups = F.pad(weight, (0, -weight.shape[2] % GROUP)).transpose(1, 2).contiguous().unflatten(1, (-1, GROUP))
    kernels = weight.new_empty(len(WEIGHT), *groups[:, :, 0].shape)
    _combine(WEIGHT, groups.unbind(2), kernels)
    return kernels.transpose(2, 3)


def _through_kernels(dkernels: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The gradient for `weight` of what `_kernels` made of it."""
    width_out, width, taps = weight.shape
    groups = weight.new_empty(width_out, -(-taps // GROUP), GROUP, width)
    _combine(_transposed(WEIGHT), [dkernel.transpose(1, 2) for dkernel in dkernels], groups.unbind(2))
    return groups.flatten(1, 2)[:, :taps].transpose(1, 2)


def _rows(h: Tensor, taps: int, dilation: int) -> Tensor:
    """Room for h and zeros outside it, three neighbours a row: (B, rows, 3, dilation x d)."""
    rows = -(-h.shape[1] // (GROUP * dilation)) - (-taps // GROUP)
    return h.new_empty(len(h), rows, GROUP, dilation * h.shape[2])


def _inputs(h: Tensor, taps: int, dilation: int) -> Tensor:
    """INPUT v, where v_m are the positions 3 q + m: (5, B, rows x dilation, d)."""
    (batch, length, width), reach = h.shape, dilation * (taps // 2)
    rows = _rows(h, taps, dilation)
    lines = rows.view(batch, -1, width)
    lines[:, :reach], lines[:, reach : reach + length], lines[:, reach + length :] = 0, h, 0
    inputs = h.new_empty(len(INPUT), *rows[:, 1:, 0].shape)
    _combine(INPUT, (*rows[:, :-1].unbind(2), *rows[:, 1:, :2].unbind(2)), inputs)
    return inputs.view(len(INPUT), batch, -1, width)


def _through_inputs(dinputs: Sequence[Tensor], h: Tensor, taps: int, dilation: int) -> Tensor:
    """The gradient for `h` of what `_inputs` made of it."""
    (batch, length, width), reach = h.shape, dilation * (taps // 2)
    rows, back = _rows(h, taps, dilation), _transposed(INPUT)
    dinputs = [dinput.reshape(batch, -1, dilation * width) for dinput in dinputs]
    rows[:, -1] = 0
    _combine(back[:GROUP], dinputs, rows[:, :-1].unbind(2))
    _combine(back[GROUP:], dinputs, rows[:, 1:, :2].unbind(2), add=True)
    return rows.view(batch, -1, width)[:, reach : reach + length]


def _combine(matrix: Matrix, tensors: Sequence[Tensor], out: Sequence[Tensor] | Tensor, add: bool = False) -> None:
    """Write `matrix` times `tensors` to `out`, or add it."""
    for row, target in zip(matrix, out, strict=True):
        terms = [(factor, tensor) for factor, tensor in zip(row, tensors, strict=True) if factor]
        if not add:
            (factor, tensor), *terms = sorted(terms, key=lambda term: term[0] != 1)
            if factor == 1 and terms:
                torch.add(tensor, terms[0][1], alpha=terms[0][0], out=target)
                del terms[0]
            else:
                torch.mul(tensor, factor, out=target)
        for factor, tensor in terms:
            target.add_(tensor, alpha=factor)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))
