"""The selective scan of Mamba (Gu and Dao 2023, arXiv 2312.00752), in plain PyTorch.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t          y_t = C_t h_t + D u_t

One position after the other, each for all channels and states at once. The same by log2(T) rounds over all positions of
a segment, and with autograd, took seven times as long, forward and backward, on a CPU (8 x 500, 512 channels).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:  # the CUDA kernels of Mamba's authors, where they are installed
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None

SEGMENT = 8
"""Positions whose states are in memory at once; between segments only the state is kept for the backward pass. With 32
they leave a processor's cache, and forward and backward take 1.4 times as long (256 x 300, 32 channels)."""


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
            return Scan.apply(u, delta, b, c, a.t().contiguous()) + d * u
        # The kernels want positions last, u, delta (B, D, L) and b, c (B, N, L), and all in one type: under autocast
        # softplus would make float32 of what is bfloat16 around it.
        u, delta, b, c = (x.transpose(1, 2).contiguous() for x in (u, delta, b, c))
        return selective_scan_fn(u, delta, a, b, c, d).transpose(1, 2)


def has_kernels(u: Tensor) -> bool:
    """Whether `mamba-ssm` is there and can scan such an input: on a GPU, and not in float64."""
    return selective_scan_fn is not None and u.is_cuda and u.dtype != torch.float64


class Scan(torch.autograd.Function):
    """y without D u, segment by segment; backward each is computed again, from the state before it.

    The gradients are written out: by autograd the backward pass took twice as long. Channels come last, so that a
    processor's vectors are full however few states there are.
    """

    @staticmethod
    def forward(ctx, u, delta, b, c, a):
        """As of `selective_scan`: (B, L, D).

        Args:
            ctx: for backward.
            u: (B, L, D) the input.
            delta: (B, L, D) step sizes.
            b: (B, L, N).
            c: (B, L, N).
            a: (N, D), the other way round.
        """
        segments = [slice(first, first + SEGMENT) for first in range(0, u.shape[1], SEGMENT)]
        y, state = torch.empty_like(u), u.new_zeros(u.shape[0], *a.shape)
        begins = u.new_empty(len(segments), *state.shape)
        for begin, at in zip(begins, segments, strict=True):
            begin.copy_(state)
            _, states = _scan(u[:, at], delta[:, at], b[:, at], a, begin)
            y[:, at], state = (c[:, at].unsqueeze(2) @ states).squeeze(2), states[:, -1]
        ctx.save_for_backward(u, delta, b, c, a, begins)
        ctx.segments = segments
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        """The gradient of h_t is itself a recurrence, from the last to the first: g_t = C_t dy_t + a_(t+1) g_(t+1)."""
        *along, a, begins = ctx.saved_tensors
        (du, ddelta, db, dc), da, later = [torch.empty_like(x) for x in along], torch.zeros_like(a), 0
        for begin, at in zip(reversed(begins), reversed(ctx.segments), strict=True):
            u, delta, b, c, dy_here = (x[:, at] for x in (*along, dy))
            decay, states = _scan(u, delta, b, a, begin)
            gradient = dy_here.unsqueeze(2) * c.unsqueeze(-1)
            gradient[:, -1] += later
            for t in reversed(range(gradient.shape[1] - 1)):
                gradient[:, t].addcmul_(decay[:, t + 1], gradient[:, t + 1])
            dc[:, at] = (states @ dy_here.unsqueeze(-1)).squeeze(-1)
            db[:, at] = (gradient @ (delta * u).unsqueeze(-1)).squeeze(-1)
            dinput = (b.unsqueeze(2) @ gradient).squeeze(2)
            gradient *= decay  # of the state before; times that state, of the exponent
            later = gradient[:, 0].clone()
            gradient[:, 1:] *= states[:, :-1]
            gradient[:, 0] *= begin
            du[:, at] = dinput * delta
            ddelta[:, at] = dinput * u + (gradient * a).sum(2)
            da += (gradient * delta.unsqueeze(2)).sum((0, 1))
        return du, ddelta, db, dc, da


def _scan(u: Tensor, delta: Tensor, b: Tensor, a: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """exp(delta A) and the states of a segment, both (B, T, N, D), from the state before it, (B, N, D)."""
    decay = torch.exp(delta.unsqueeze(2) * a)
    states = (delta * u).unsqueeze(2) * b.unsqueeze(-1)
    for t in range(states.shape[1]):
        state = states[:, t].addcmul_(decay[:, t], state)
    return decay, states
