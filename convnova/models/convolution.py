"""Dilated convolutions along a sequence, channels last, and the fast way to compute them on a CPU.

Three neighbouring outputs of three taps, y_p = sum_r w_r v_{p+r} with p, r = 0, 1, 2, take nine products of a weight
with an input. Toom and Cook's polynomial interpolation takes five (Winograd 1980, "Arithmetic Complexity of
Computations"; for neural networks Lavin and Gray 2016, arXiv 1509.09308):

    y = OUTPUT ((WEIGHT w) * (INPUT v))      v: five inputs, w: three taps, y: three outputs, * elementwise

The points of interpolation 0, -1, 2, 1/2 and infinity keep the rounding error of float32 near that of the plain sum
(Barabasz et al. 2020, arXiv 1803.10986). Longer kernels are sums over groups of three taps, so each product is itself
a convolution, with a third of the taps over a third of the positions. Neighbours are `dilation` apart.

In float32 on a CPU the values at a position depend neither on the sequence's length nor on the other sequences of the
batch, to the last bit, so that padding and windows leave no trace. oneDNN by itself chooses the order of its sums by
both, where taps are far apart or where it is to imagine the zeros outside. It does not where taps are neighbours, which
they are once a line is folded into rows of `dilation` positions, nor where the zeros are there to be read.
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
LARGEST_DILATION = 16
"""Above it too many of the products are with zeros, in sequences of some hundred bases."""
SHORTEST_ROW = 8
"""Positions. In rows of fewer oneDNN is slow, so lines are not folded for smaller dilations."""


def five_products_pay(width: int, taps: int, dilation: int) -> bool:
    """Whether five products are faster than nine, on a CPU."""
    share = len(INPUT) * -(-taps // GROUP) / (GROUP * taps)
    return width >= SMALLEST_WIDTH and share <= LARGEST_SHARE and dilation <= LARGEST_DILATION


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
    length, zeros = h.shape[1], weight.shape[2] // 2
    if _folded(h, dilation):
        h = _lengthened(h, 0, -length % dilation)
    elif h.device.type == "cpu":
        h, zeros = _lengthened(h, zeros * dilation, zeros * dilation), 0
    return _convolve(h, weight, bias, dilation, zeros)[:, :length].contiguous()


def gradients(dy: Tensor, h: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve` for h and weight, from dy (B, L, d_out)."""
    length = h.shape[1]
    if _folded(h, dilation):
        dy, h = (_lengthened(lines, 0, -length % dilation) for lines in (dy, h))
    dh, dweight = _gradients(dy, h, weight, dilation, weight.shape[2] // 2)
    return dh[:, :length], dweight


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
    inputs, kernels = _inputs(h, weight.shape[2], dilation), _kernels(weight)
    parts = [
        _convolve(v, w, None if bias is None or not factor else factor * bias, dilation)
        for v, w, factor in zip(inputs, kernels, BIAS, strict=True)
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
    dinputs, dkernels = zip(*(_gradients(*product, dilation) for product in products), strict=True)
    return _through_inputs(dinputs, h, weight.shape[2], dilation), _through_kernels(dkernels, weight)


def _convolve(h: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, zeros: int = 0) -> Tensor:
    """`convolve` with zeros outside for so many taps on either side. (B, L, d_in), where folded L in whole rows."""
    inputs = _image(h, dilation), _kernel(h, weight, dilation), bias
    if float32_on_cpu(h) and h.numel() and torch.backends.mkldnn.is_available():
        # conv2d, for a single short sequence, does not call oneDNN
        y = torch.mkldnn_convolution(*inputs, stride=(1, 1), groups=1, **_settings(h, dilation, zeros))
    else:
        y = F.conv2d(*inputs, **_settings(h, dilation, zeros))
    return _lines(y)


def _gradients(dy: Tensor, h: Tensor, weight: Tensor, dilation: int, zeros: int = 0) -> tuple[Tensor, Tensor]:
    dh, dweight, _ = torch.ops.aten.convolution_backward(
        _image(dy, dilation), _image(h, dilation), _kernel(h, weight, dilation), None, stride=(1, 1), transposed=False,
        output_padding=(0, 0), groups=1, output_mask=(True, True, False), **_settings(h, dilation, zeros)
    )  # fmt: skip
    return _lines(dh), dweight.squeeze(3 if _folded(h, dilation) else 2)


def _folded(h: Tensor, dilation: int) -> bool:
    return dilation >= SHORTEST_ROW and h.device.type == "cpu"


def _settings(h: Tensor, dilation: int, zeros: int) -> dict[str, tuple[int, int]]:
    if _folded(h, dilation):
        return {"padding": (zeros, 0), "dilation": (1, 1)}
    return {"padding": (0, zeros * dilation), "dilation": (1, dilation)}


def _image(lines: Tensor, dilation: int) -> Tensor:
    """(B, L, d) as an image whose channels are last in memory: (B, d, L / dilation, dilation), or (B, d, 1, L)."""
    rows = lines.unflatten(1, (-1, dilation)) if _folded(lines, dilation) else lines.unsqueeze(1)
    return rows.permute(0, 3, 1, 2)


def _lines(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def _kernel(h: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Weights (d_out, d_in, taps) for `_image(h)`, their channels last in memory too."""
    taps = weight.transpose(1, 2).unsqueeze(2 if _folded(h, dilation) else 1)
    return taps.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _lengthened(lines: Tensor, before: int, after: int) -> Tensor:
    """With so many zeros at either end; without any not copied."""
    return F.pad(lines, (0, 0, before, after)) if before or after else lines


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
