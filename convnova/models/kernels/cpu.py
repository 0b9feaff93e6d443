"""The gated block differentiated by hand, for float32 on a CPU: less is computed, and less is kept for the way back.

PyTorch's own graph of a block keeps seven tensors: the inputs of both norms, what the norms make of them, GELU's input
and output, and the gate. Here four are kept, x, c and both convolutions; norms, GELU and gate are computed again. Wide
convolutions take five products in the place of nine. Values and gradients are those of the plain block up to rounding.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from convnova.models.kernels.winograd import convolve, convolve_by_five, five_products_pay, gradients, gradients_by_five


class NormedConvolution(torch.autograd.Function):
    """Layer norm, then a dilated convolution: (B, L, d) to (B, L, d). Keeps its input."""

    @staticmethod
    def forward(ctx, x, scale, shift, weight, bias, inside, dilation):  # noqa: ANN001, ANN205
        """`weight`, `bias`: those of a Conv1d. `inside`: (B, L, 1), 0 at padding, or None."""
        ctx.save_for_backward(x, scale, shift, weight, inside)
        ctx.dilation, ctx.by_five = dilation, five_products_pay(x.shape[2], weight.shape[2], dilation)
        h = F.layer_norm(x, scale.shape, scale, shift)
        h = h if inside is None else h.mul_(inside)
        return (convolve_by_five if ctx.by_five else convolve)(h, weight, bias, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):  # noqa: ANN001, ANN205
        """Gradients of x and of the parameters."""
        x, scale, shift, weight, inside = ctx.saved_tensors
        h, mean, inverse_deviation = torch.native_layer_norm(x, scale.shape, scale, shift, 1e-5)
        h = h if inside is None else h.mul_(inside)
        dh, dweight = (gradients_by_five if ctx.by_five else gradients)(dy, h, weight, ctx.dilation)
        dh = dh.contiguous() if inside is None else dh * inside
        dx, dscale, dshift = torch.ops.aten.native_layer_norm_backward(
            dh, x, scale.shape, mean, inverse_deviation, scale, shift, (True, True, True)
        )
        return dx, dscale, dshift, dweight, dy.sum((0, 1)), None, None


class GatedUpdate(torch.autograd.Function):
    """x + GELU(h) sigmoid(a), and the gate sigmoid(a). Keeps h and a."""

    @staticmethod
    def forward(ctx, x, h, a):  # noqa: ANN001, ANN205
        """All (B, L, d)."""
        ctx.save_for_backward(h, a)
        gate = torch.sigmoid(a)
        return torch.addcmul(x, F.gelu(h), gate), gate

    @staticmethod
    @once_differentiable
    def backward(ctx, dx, dgate):  # noqa: ANN001, ANN205
        """Gradients of x, h and a."""
        h, a = ctx.saved_tensors
        gate = torch.sigmoid(a)
        da = torch.ops.aten.sigmoid_backward(F.gelu(h).mul_(dx).add_(dgate), gate)
        return dx, torch.ops.aten.gelu_backward(gate.mul_(dx), h), da
