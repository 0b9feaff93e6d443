"""What several networks are built of: one-hot letters, and layers that padding does not change.

Everything lies channels last, (B, L, d): B sequences, L positions, d channels. `is_base` is (B, L, 1), true where there
is a base, or None where there is no padding; padded positions come out of every layer here as zeros, which is what
lies beyond the end of a sequence that was not padded.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.heads import VOCABULARY

# Of an even number of taps, as the CNN per base has. The copy costs little; the line would stand in a run's terminal.
warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths", UserWarning)

WIDE = 64
"""Channels from which `linear` is faster by oneDNN."""


def check_positive(config: object, *names: str) -> None:
    """Refuse a `Config` in which one of the named settings is below 1.

    Raises:
        ConvNovaError: names the setting and its value.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ConvNovaError(f"{name} = {getattr(config, name)}: expected 1 or more")


def padding_mask(tokens: Tensor) -> Tensor | None:
    """Where (B, L) tokens are bases: (B, L, 1), or None where all are."""
    is_base = tokens != PAD
    return None if is_base.all() else is_base.unsqueeze(-1)


def one_hot(tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, L) tokens as letters A C G T N: (B, L, 5), zeros where there is no base.

    Tokens may carry their letters in an attribute `letters`, (B, L, 5), so that a gradient with respect to those can be
    taken (`inference.one_hot`). Then they are the result.
    """
    if hasattr(tokens, "letters"):
        return tokens.letters.to(dtype)
    return F.one_hot(tokens.long(), VOCABULARY + 1)[..., :VOCABULARY].to(dtype)


def masked(x: Tensor, is_base: Tensor | None) -> Tensor:
    """x with zeros where there is no base."""
    return x if is_base is None else x * is_base


def select_positions(features: Tensor, positions: Tensor | None) -> Tensor:
    """Features (B, L, d), or those at flat positions b * L + l alone: (M, d)."""
    return features if positions is None else features.flatten(0, 1)[positions]


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer; on a CPU in float32, where it is wide, as a convolution of one tap.

    PyTorch has oneDNN for convolutions and MKL for matrix products, and on an AMD EPYC oneDNN was twice as fast.

    Args:
        x: (..., d_in).
        weight: (d_out, d_in).
        bias: (d_out,).

    Returns:
        (..., d_out).
    """
    in_float32 = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not in_float32 or len(weight) < WIDE or not x.numel() or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    image = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    # A dilation has no effect on one tap, but makes PyTorch take oneDNN even for one thread.
    y = F.conv2d(image, weight[:, :, None, None], bias, dilation=2)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """`linear` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) to (..., d_out)."""
        return linear(x, self.weight, self.bias)


def convolve_rows(x: Tensor, conv: nn.Conv1d, padding: str | int) -> Tensor:
    """A convolution along images of one row whose channels come last in memory, so that nothing is laid out anew.

    `conv1d` wants channels first: with it LegNet's training step takes twice as long on a CPU.

    Args:
        x: (B, L, d_in).
        conv: its weights, dilation and groups.
        padding: `same`, or positions at both ends.

    Returns:
        (B, L, d_out), or fewer positions.
    """
    image, weight, dilation = x.transpose(1, 2).unsqueeze(2), conv.weight.unsqueeze(2), (1, *conv.dilation)
    return F.conv2d(image, weight, conv.bias, 1, padding, dilation, conv.groups).squeeze(2).transpose(1, 2)


class Convolution(nn.Conv1d):
    """A convolution that keeps the length, (B, L, d_in) to (B, L, d_out); what it reads must be masked."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1, groups: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, taps, padding="same", dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d_in) to (B, L, d_out)."""
        return convolve_rows(x, self, "same")


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of bases alone, over all sequences of the (micro-)batch."""

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """(B, L, d) to the same, zeros where there is no base."""
        flat = x.flatten(0, 1)
        if is_base is None:
            return self._normalised(flat).view_as(x)
        real = is_base.flatten()
        return torch.zeros_like(flat).masked_scatter(real[:, None], self._normalised(flat[real])).view_as(x)

    def _normalised(self, rows: Tensor) -> Tensor:
        """(n, d) to the same; one row alone, which has no variance, by the running statistics."""
        if len(rows) > 1:
            return super().forward(rows)
        return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def split_windows(x: Tensor, factor: int, value: float) -> Tensor:
    """Split sequences into windows of equal size.

    Args:
        x: (B, L, d).
        factor: positions of a window.
        value: what the last window is filled up with.

    Returns:
        (B, ceil(L / factor), factor, d).
    """
    return F.pad(x, (0, 0, 0, -x.shape[1] % factor), value=value).unflatten(1, (-1, factor))


def max_pool(x: Tensor, is_base: Tensor | None, factor: int) -> tuple[Tensor, Tensor | None]:
    """The largest value of each window of `factor` positions, over its bases alone.

    Args:
        x: (B, L, d).
        is_base: (B, L, 1), or None without padding.
        factor: positions of a window.

    Returns:
        (B, W, d) with W = ceil(L / factor), zeros where a window has no base; and (B, W, 1), which windows have any,
        or None without padding.
    """
    if is_base is None:
        return split_windows(x, factor, -torch.inf).amax(2), None
    fewer = split_windows(is_base, factor, 0).amax(2)
    return split_windows(x.masked_fill(~is_base, -torch.inf), factor, -torch.inf).amax(2).masked_fill(~fewer, 0), fewer


def mean_pool(x: Tensor, is_base: Tensor | None, factor: int) -> tuple[Tensor, Tensor | None]:
    """The mean of each window of `factor` positions, over its bases alone.

    Args:
        x: (B, L, d).
        is_base: (B, L, 1), or None without padding.
        factor: positions of a window.

    Returns:
        As of `max_pool`.
    """
    real = torch.ones_like(x[..., :1], dtype=torch.bool) if is_base is None else is_base
    counts = split_windows(real, factor, 0).sum(2)
    means = split_windows(masked(x, is_base), factor, 0).sum(2) / counts.clamp(min=1)
    return means, None if is_base is None else counts > 0
