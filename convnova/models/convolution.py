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
from torch import Tensor

Matrix = Sequence[Sequence[float]]

GROUP = 3
INPUT = ((1, -1.5, -1.5, 1, 0), (0, 1, -2.5, 1, 0), (0, -0.5, 0.5, 1, 0), (0, 1, 0.5, -0.5, 0), (0, 1, -1.5, -1.5, 1))
WEIGHT = ((1, 0, 0), (2 / 9, -2 / 9, 2 / 9), (2 / 9, 4 / 9, 8 / 9), (8 / 9, 4 / 9, 2 / 9), (0, 0, 1))
OUTPUT = ((1, -1, 0.5, 2, 0), (0, 1, 1, 1, 0), (0, -1, 2, 0.5, 1))
BIAS = (2, 1, 0, 0, 2)
"""What the five products add of the bias, so that OUTPUT makes one bias of them for each output."""
SMALLEST_WIDTH = 96
LARGEST_SHARE = 0.7
"""Of the plain convolution's products, above which the sums before and after cost more than is won."""


def five_products_pay(width: int, taps: int, dilation: int, length: int) -> bool:
    """Whether five products are faster than nine, on a CPU."""
    positions = -(-length // (GROUP * dilation)) * dilation
    share = len(INPUT) * -(-taps // GROUP) * positions / (taps * length)
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


def gradients(
    dy: Tensor, h: Tensor, weight: Tensor, dilation: int, of_input: bool = True
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `convolve` for h, or None, and weight, from dy (B, L, d_out)."""
    reach = dilation * (weight.shape[2] // 2)
    dh, dweight, _ = torch.ops.aten.convolution_backward(
        _image(dy), _image(h), _kernel(weight), None, (1, 1), (0, reach), (1, dilation), False, (0, 0), 1,
        (of_input, True, False),
    )  # fmt: skip
    return _lines(dh) if of_input else None, dweight.squeeze(2)


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
    """Gradients of `convolve_by_five` for h, by five products too, and for weight, where they would win nothing."""
    dh = convolve_by_five(dy, weight.flip(2).transpose(0, 1), None, dilation)
    _, dweight = gradients(dy, h, weight, dilation, of_input=False)
    return dh, dweight


def _image(lines: Tensor) -> Tensor:
    """(B, L, d) as an image (B, d, 1, L) whose channels are last in memory."""
    return lines.unsqueeze(1).permute(0, 3, 1, 2)


def _lines(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)


def _kernel(weight: Tensor) -> Tensor:
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _kernels(weight: Tensor) -> Tensor:
    """The weights of the five products: (d_out, d_in, taps) to (5, d_out, d_in, taps / 3)."""
    groups = F.pad(weight, (0, -weight.shape[2] % GROUP)).unflatten(2, (-1, GROUP))
    return torch.einsum("oitr,mr->moit", groups, weight.new_tensor(WEIGHT))


def _inputs(h: Tensor, taps: int, dilation: int) -> Tensor:
    """INPUT v, where v_m are the positions 3 q + m: (5, B, rows x dilation, d)."""
    batch, length, width = h.shape
    rows, reach = -(-length // (GROUP * dilation)) - (-taps // GROUP), dilation * (taps // 2)
    padded = h.new_empty(batch, rows, GROUP, dilation * width)  # h with zeros outside, three neighbours a row
    lines = padded.view(batch, -1, width)
    lines[:, :reach], lines[:, reach : reach + length], lines[:, reach + length :] = 0, h, 0
    inputs = h.new_empty(len(INPUT), batch, rows - 1, dilation * width)
    _combine(INPUT, (*padded[:, :-1].unbind(2), *padded[:, 1:, :2].unbind(2)), inputs)
    return inputs.view(len(INPUT), batch, -1, width)


def _combine(matrix: Matrix, tensors: Sequence[Tensor], out: Sequence[Tensor] | Tensor) -> None:
    """Write `matrix` times `tensors` to `out`."""
    for row, target in zip(matrix, out, strict=True):
        terms = [(factor, tensor) for factor, tensor in zip(row, tensors, strict=True) if factor]
        (factor, tensor), *others = sorted(terms, key=lambda term: term[0] != 1)
        if factor == 1 and others:
            torch.add(tensor, others[0][1], alpha=others[0][0], out=target)
            others = others[1:]
        else:
            torch.mul(tensor, factor, out=target)
        for factor, tensor in others:
            target.add_(tensor, alpha=factor)
