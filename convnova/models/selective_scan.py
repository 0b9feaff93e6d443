"""The selective scan of Mamba (Gu and Dao 2023, arXiv 2312.00752), in plain PyTorch.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t          y_t = C_t h_t + D u_t

One position after the other, each for all channels and states at once. Rounds over all positions, log2(T) of them,
read and write five times as much: on a CPU a training step of 128 x 300 took 2.8 times as long that way.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:  # the CUDA kernels of Mamba's authors, where they are installed
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None

SEGMENT = 32
"""Positions whose states are in memory at once; between segments only the state is kept for the backward pass."""


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Scan along L, from a state of zeros.

    Args:
        u: (B, L, D) the input.
        delta: (B, L, D) positive step sizes.
        a: (D, N) negative.
        b: (B, L, N).
        c: (B, L, N).
        d: (D,).

    Returns:
        y: (B, L, D).
    """
    wide = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        u, delta, a, b, c, d = (x.to(wide) for x in (u, delta, a, b, c, d))
        if not has_kernels(u):
            return Scan.apply(u, delta, b, c, a) + d * u
        # The kernels want positions last, u, delta (B, D, L) and b, c (B, N, L), and all in one type: under autocast
        # softplus would make float32 of what is bfloat16 around it.
        u, delta, b, c = (x.transpose(1, 2).contiguous() for x in (u, delta, b, c))
        return selective_scan_fn(u, delta, a, b, c, d).transpose(1, 2)


def has_kernels(u: Tensor) -> bool:
    """Whether `mamba-ssm` is there and can scan such an input: on a GPU, and not in float64."""
    return selective_scan_fn is not None and u.is_cuda and u.dtype != torch.float64


class Scan(torch.autograd.Function):
    """y without D u, segment by segment; backward each is computed again, from the state before it."""

    @staticmethod
    def forward(ctx, u, delta, b, c, a):
        """As of `selective_scan`: (B, L, D).

        Args:
            ctx: for backward.
            u: (B, L, D) the input.
            delta: (B, L, D) step sizes.
            b: (B, L, N).
            c: (B, L, N).
            a: (D, N).
        """
        segments = [slice(first, first + SEGMENT) for first in range(0, u.shape[1], SEGMENT)]
        y, state = torch.empty_like(u), u.new_zeros(u.shape[0], *a.shape)
        begins = u.new_empty(len(segments), *state.shape)
        for begin, at in zip(begins, segments, strict=True):
            begin.copy_(state)
            y[:, at], state = _segment(u[:, at], delta[:, at], b[:, at], c[:, at], a, begin)
        ctx.save_for_backward(u, delta, b, c, a, begins)
        ctx.segments = segments
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        """From the last segment to the first, each passing on the gradient of the state before it."""
        *along, a, begins = ctx.saved_tensors
        gradients, da, dstate = [torch.empty_like(x) for x in along], torch.zeros_like(a), torch.zeros_like(begins[0])
        for begin, at in zip(reversed(begins), reversed(ctx.segments), strict=True):
            inputs = [x.detach().requires_grad_() for x in (*(x[:, at] for x in along), a, begin)]
            with torch.enable_grad():
                outputs = _segment(*inputs)
            *parts, da_segment, dstate = torch.autograd.grad(outputs, inputs, (dy[:, at], dstate))
            for gradient, part in zip(gradients, parts, strict=True):
                gradient[:, at] = part
            da += da_segment
        return *gradients, da


def _segment(u: Tensor, delta: Tensor, b: Tensor, c: Tensor, a: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """y without D u, (B, T, D), and the state after the segment, (B, D, N)."""
    decay = torch.exp(delta.unsqueeze(-1) * a)  # (B, T, D, N)
    states = Recurrence.apply(decay, (delta * u).unsqueeze(-1) * b.unsqueeze(2), state)
    return torch.einsum("btdn,btn->btd", states, c), states[:, -1]


class Recurrence(torch.autograd.Function):
    """h_t = a_t h_(t-1) + b_t along dimension 1: (B, T, ...) from a first state (B, ...)."""

    @staticmethod
    def forward(ctx, a, b, first):
        """All states h_1 to h_T.

        Args:
            ctx: for backward.
            a: (B, T, ...).
            b: (B, T, ...).
            first: (B, ...), the state h_0.
        """
        states, state = torch.empty_like(b), first
        for t in range(b.shape[1]):
            state = torch.addcmul(b[:, t], a[:, t], state, out=states[:, t])
        ctx.save_for_backward(a, states, first)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, dstates):
        """The gradient of h_t is itself a recurrence, from the last to the first: g_t = dh_t + a_(t+1) g_(t+1)."""
        a, states, first = ctx.saved_tensors
        gradient = dstates.clone()
        for t in reversed(range(gradient.shape[1] - 1)):
            gradient[:, t].addcmul_(a[:, t + 1], gradient[:, t + 1])
        earlier = torch.cat([first.unsqueeze(1), states[:, :-1]], 1)
        return gradient * earlier, gradient, gradient[:, 0] * a[:, 0]
