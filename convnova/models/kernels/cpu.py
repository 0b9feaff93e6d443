"""Dilated convolutions on a CPU: the same function as `convnova.convolve`, in a form for which oneDNN is fast.

oneDNN is fast where neighbouring taps read neighbouring positions. In float32 a sequence is therefore folded into rows
of `dilation` positions, in which neighbouring taps are above each other. Short rows are slow, so small dilations stay,
with the zeros outside written to memory for the forward pass. In bfloat16, where the gradient of the weights
of any dilated convolution falls to a reference kernel, every `dilation`-th position goes to a sequence of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SHORTEST_ROW = 8
"""Positions. For smaller dilations sequences are not folded."""


def applies(h: Tensor) -> bool:
    """Whether `convolve` can take the place of the plain convolution of h: float32 or autocast, and not compiled."""
    return h.device.type == "cpu" and h.dtype == torch.float32 and not torch.compiler.is_compiling()


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
    length, reach = h.shape[1], weight.shape[2] // 2
    in_bfloat16 = torch.is_autocast_enabled("cpu")
    if dilation < SHORTEST_ROW and not in_bfloat16:
        image = h.unsqueeze(1).permute(0, 3, 1, 2)  # (B, d_in, 1, L)
        y = _PaddedConvolution.apply(image, weight.unsqueeze(2), dilation)
        return y.permute(0, 2, 3, 1).squeeze(1) + bias
    rows = F.pad(h, (0, 0, 0, -length % dilation)).unflatten(1, (-1, dilation))  # (B, rows, dilation, d_in)
    if in_bfloat16:
        columns = rows.transpose(1, 2).flatten(0, 1).unsqueeze(1)  # (B dilation, 1, rows, d_in)
        y = F.conv2d(columns.permute(0, 3, 1, 2), weight.unsqueeze(2), bias, padding=(0, reach))
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
