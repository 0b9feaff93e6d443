"""Dilated convolutions on a CPU: the function of `convnova.convolve`, in other forms for oneDNN.

In bfloat16 with AMX, oneDNN computes the gradient of dilated weights by a reference kernel, which took 524 ms where the
same positions without dilation took 16: every `dilation`-th position goes to a sequence of its own. Elsewhere in
bfloat16 the plain form is the fastest.

In float32 the plain form is as fast (0.99 to 1.03 times these forms on an AMD EPYC, width 128). These stay for the
order of their sums, by which the embedded run gives the same bits as ever: a sequence is folded into rows of
`dilation` positions, in which neighbouring taps are above each other; small dilations, whose rows would be short, have
the zeros outside in memory for the forward pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SHORTEST_ROW = 8
"""Positions. For smaller dilations sequences are not folded."""


def applies(h: Tensor, dilation: int) -> bool:
    """Whether `convolve` is to take the place of the plain convolution of h."""
    if h.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu"):
        return dilation > 1 and torch.cpu._is_amx_tile_supported()
    return h.dtype == torch.float32


def convolve(h: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Convolve along L with zeros outside, keeping the length.

    Args:
        h: (B, L, d_in).
        weight: (d_out, d_in, k), k odd.
        bias: (d_out,).
        dilation: positions from tap to tap.

    Returns:
        (B, L, d_out).
    """
    length, reach, in_bfloat16 = h.shape[1], weight.shape[2] // 2, torch.is_autocast_enabled("cpu")
    if dilation < SHORTEST_ROW and not in_bfloat16:
        y = _PaddedConvolution.apply(h.unsqueeze(1).permute(0, 3, 1, 2), weight.unsqueeze(2), dilation)
        return y.permute(0, 2, 3, 1).squeeze(1) + bias
    rows = F.pad(h, (0, 0, 0, -length % dilation)).unflatten(1, (-1, dilation))  # (B, rows, dilation, d_in)
    if in_bfloat16:
        apart = rows.transpose(1, 2).flatten(0, 1).unsqueeze(1)  # (B dilation, 1, rows, d_in)
        y = F.conv2d(apart.permute(0, 3, 1, 2), weight.unsqueeze(2), bias, padding=(0, reach))
        y = y.permute(0, 2, 3, 1).squeeze(1).unflatten(0, (-1, dilation)).transpose(1, 2)
        return y.flatten(1, 2)[:, :length]  # (B, rows, dilation, d_out) to (B, L, d_out)
    y = F.conv2d(rows.permute(0, 3, 1, 2), weight.unsqueeze(3), padding=(reach, 0)).permute(0, 2, 3, 1)
    return y.flatten(1, 2)[:, :length] + bias


class _PaddedConvolution(torch.autograd.Function):
    """A dilated convolution along W that reads zeros from memory forward, and implies them backward."""

    @staticmethod
    def forward(ctx, image, weight, dilation):
        ctx.save_for_backward(image, weight)
        ctx.dilation, ctx.zeros = dilation, dilation * (weight.shape[3] // 2)
        padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, ctx.zeros, ctx.zeros)).permute(0, 3, 1, 2)
        return F.conv2d(padded, weight, dilation=(1, dilation))

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        image, weight = ctx.saved_tensors
        dimage, dweight, _ = torch.ops.aten.convolution_backward(
            dy, image, weight, None, (1, 1), (0, ctx.zeros), (1, ctx.dilation), False, (0, 0), 1, (True, True, False)
        )
        return dimage, dweight, None
