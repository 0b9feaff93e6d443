"""Dilated convolutions along a sequence, channels last, and the fast way to compute them on a CPU.

Three neighbouring outputs of three taps, y_p = sum_r w_r v_{p+r} with p, r = 0, 1, 2, take nine products of a weight
with an input. Toom and Cook's polynomial interpolation takes five (Winograd 1980, "Arithmetic Complexity of
Computations"; for neural networks Lavin and Gray 2016, arXiv 1509.09308):

    y = OUTPUT ((WEIGHT w) * (INPUT v))      v: five inputs, w: three taps, y: three outputs, * elementwise

The points of interpolation 0, -1, 2, 1/2 and infinity keep the rounding error of float32 near that of the plain sum
(Barabasz et al. 2020, arXiv 1803.10986). Longer kernels are sums over groups of three taps, so each product is itself
a convolution, with a third of the taps over a third of the positions. Neighbours are `dilation` apart.
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
"""Of the plain convolution's products with positions inside the sequence. Above it the sums before and after cost more
than is won."""


def five_products_pay(width: int, taps: int, dilation: int, length: int) -> bool:
    """Whether five products are faster than nine, on a CPU."""
    positions = -(-length // (GROUP * dilation)) * dilation
    inside = sum(max(0, length - abs(tap - taps // 2) * dilation) for tap in range(taps))
    share = len(INPUT) * -(-taps // GROUP) * positions / inside
    return width >= SMALLEST_WIDTH and share <= LARGEST_SHARE


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, reach: int | None = None) -> Tensor:
    """Convolve along L with zeros outside, keeping the length.

    Args:
        h: (B, L, d_in). weight: (d_out, d_in, taps), as of `torch.nn.Conv1d`. bias: (d_out,).
        reach: zeros at either end, if not as many as keep the length.

    Returns:
        (B, L, d_out); channels stay last in memory, so nothing is copied.
    """
    reach = dilation * (weight.shape[2] // 2) if reach is None else reach
    return _lines(F.conv2d(_image(h), _kernel(weight), bias, padding=(0, reach), dilation=(1, dilation)))


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


def gradients(dy: Tensor, h: Tensor, weight: Tensor, dilation: int, reach: int | None = None) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve` for h and weight, from dy (B, L, d_out)."""
    reach = dilation * (weight.shape[2] // 2) if reach is None else reach
    dh, dweight, _ = torch.ops.aten.convolution_backward(
        _image(dy), _image(h), _kernel(weight), None, (1, 1), (0, reach), (1, dilation), False, (0, 0), 1,
        (True, True, False),
    )  # fmt: skip
    return _lines(dh), dweight.squeeze(2)


def convolve_by_five(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """`convolve` by five products. Not to be differentiated, see `gradients_by_five`."""
    inputs, kernels = _inputs(h, weight.shape[2], dilation), _kernels(weight)
    parts = [
        convolve(v, w, None if bias is None or not factor else factor * bias, dilation, 0)
        for v, w, factor in zip(inputs, kernels, BIAS, strict=True)
    ]
    rows = [part.reshape(len(h), -1, dilation * len(weight)) for part in parts]
    y = h.new_empty(*rows[0].shape[:2], GROUP, rows[0].shape[2])
    _combine(OUTPUT, rows, y.unbind(2))
    return y.view(len(h), -1, len(weight))[:, : h.shape[1]]


def gradients_by_five(dy: Tensor, h: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve_by_five` for h and weight: back through its steps, every matrix transposed."""
    batch, length, width_out = dy.shape
    rows = F.pad(dy, (0, 0, 0, -length % (GROUP * dilation))).reshape(batch, -1, GROUP, dilation * width_out)
    dparts = dy.new_empty(len(INPUT), *rows[:, :, 0].shape)
    _combine(_transposed(OUTPUT), rows.unbind(2), dparts)
    inputs, kernels = _inputs(h, weight.shape[2], dilation), _kernels(weight)
    products = zip(dparts.view(len(INPUT), batch, -1, width_out), inputs, kernels, strict=True)
    dinputs, dkernels = zip(*(gradients(*product, dilation, 0) for product in products), strict=True)
    return _through_inputs(dinputs, h, weight.shape[2], dilation), _through_kernels(dkernels, weight)


def _image(lines: Tensor) -> Tensor:
    """(B, L, d) as an image (B, d, 1, L) whose channels are last in memory."""
    return lines.unsqueeze(1).permute(0, 3, 1, 2)


def _lines(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)


def _kernel(weight: Tensor) -> Tensor:
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


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
