"""HyenaDNA (Nguyen et al. 2023, arXiv 2306.15794): convolutions as long as the sequence, of kernels made by a network.

    q, k, v = ShortConv_3(Linear(LayerNorm(x)))
    x = x + Linear(q * LongConv(k * v))                     Hyena of order 2 (Poli et al. 2023, arXiv 2302.10866)
    x = x + Linear(GELU(Linear(LayerNorm(x))))

The kernel at lag t, in shares of the longest sequence, is a network with sine activations of t and of one wave's cosine
and sine, times a decay exp(-a |t|) whose rate differs by channel. Products of Fourier transforms make the convolution.

Published HyenaDNA is causal and was pretrained to guess the next base. Here the pipeline's objective is used for every
model, masked bases on the same windows, so the default is a form that reads both ways: with `causal: false` the same
network is asked for the kernel at lags -(L - 1) to L - 1, in place of 0 to L - 1, and the short convolution is centred.
That takes no parameter more, and the sides differ, for t and the sine are odd. With `causal: true` it is as published,
but that a masked base is guessed from its left alone.

Initial weights are drawn as the authors draw them, and the kernels' networks have no weight decay, as theirs.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.layers import check_positive, masked, padding_mask, select_positions

SLOW, FAST, FADED = 1.5, 0.3, 1e-2
"""The slowest and the fastest channel's kernel has faded to a hundredth at this share of the longest sequence."""

STD = 0.02
"""Of initial weights."""


@dataclass(frozen=True)
class Config:
    """Settings of the architecture; width and layers are those of the published model of 436 thousand parameters."""

    width: int = 128
    layers: int = 2
    length: int = 1024
    """Bases of the longest sequence that it can read; kernels are functions of lags in shares of it."""
    causal: bool = False
    kernel_width: int = 64
    """Channels of the network that makes the kernels."""
    frequency: float = 10.0
    """Initial frequency of its sines; learned."""
    dropout: float = 0.0
    """Of what a layer adds."""
    embedding_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "width", "layers", "length", "kernel_width")

    receptive_field = None
    """The long convolution reads the whole sequence."""

    @property
    def longest(self) -> int:
        """Bases of the longest sequence that it can read."""
        return self.length


class Sine(nn.Module):
    """sin(w x), with a frequency w learned for each channel."""

    def __init__(self, width: int, frequency: float):
        super().__init__()
        self.frequency = nn.Parameter(torch.full((width,), frequency))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) to the same."""
        return torch.sin(self.frequency * x)


class ImplicitKernel(nn.Module):
    """The kernel of a long convolution as a function of the lag."""

    def __init__(self, config: Config):
        super().__init__()
        inner, sine = config.kernel_width, Sine(config.kernel_width, config.frequency)
        self.length, self.causal = config.length, config.causal
        hidden = [layer for inputs in (5, inner, inner) for layer in (nn.Linear(inputs, inner), sine)]
        self.layers = nn.Sequential(*hidden, nn.Linear(inner, config.width, bias=False))
        rates = -math.log(FADED) * torch.linspace(1 / SLOW, 1 / FAST, config.width, dtype=torch.float64)
        for parameter in self.layers.parameters():
            parameter.no_decay = True
        self.register_buffer("rates", rates.float(), persistent=False)

    def forward(self, length: int) -> Tensor:
        """The kernel for a sequence of `length` bases: at lags 0 to length - 1, (L, d), or, where it reads both ways,
        at 1 - length to length - 1, (2 L - 1, d)."""
        weight = self.layers[0].weight
        lags = torch.arange(0 if self.causal else 1 - length, length, device=weight.device, dtype=weight.dtype)[:, None]
        share = lags / max(1, self.length - 1)
        phase = 2 * math.pi * lags / self.length
        waves = [part for band in (1e-4, 1.0) for part in (torch.cos(band * phase), -torch.sin(band * phase))]
        with torch.autocast(weight.device.type, enabled=False):  # in bfloat16 neighbouring lags would be one
            return self.layers(torch.cat([share, *waves], 1)) * torch.exp(-share.abs() * self.rates)


def long_convolution(v: Tensor, kernel: Tensor) -> Tensor:
    """y_l = sum over lags t of kernel_t v_(l-t), zeros outside.

    Args:
        v: (B, L, d). kernel: by lag, (L, d) from lag 0 or (2 L - 1, d) from lag 1 - L.

    Returns:
        (B, L, d), in the precision of v, computed in float32 or better.
    """
    length, precise = v.shape[1], torch.promote_types(v.dtype, torch.float32)
    zero = len(kernel) - length  # the row of lag 0; what comes round a circle of 2 L falls outside the L rows from it
    product = torch.fft.rfft(v.to(precise), 2 * length, dim=1) * torch.fft.rfft(kernel.to(precise), 2 * length, dim=0)
    return torch.fft.irfft(product, 2 * length, dim=1)[:, zero : zero + length].to(v.dtype)


class Hyena(nn.Module):
    """The Hyena operator of order 2: (B, L, d) to the same."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.width
        self.causal, self.project, self.out = config.causal, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.short = nn.Conv1d(3 * width, 3 * width, 3, groups=3 * width)
        self.kernel, self.bias = ImplicitKernel(config), nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor, is_base: Tensor | None) -> Tensor:
        """Rows of padded positions have no meaning."""
        edges = (2, 0) if self.causal else (1, 1)
        h = self.short(F.pad(masked(self.project(x), is_base).transpose(1, 2), edges)).transpose(1, 2)
        q, k, v = h.chunk(3, -1)
        v = masked(k * v, is_base)
        return self.out(q * (long_convolution(v, self.kernel(x.shape[1])) + self.bias * v))


class Backbone(nn.Module):
    """Tokens to features, one vector a base."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(PAD + 1, self.width, padding_idx=PAD)
        self.hyenas = nn.ModuleList(Hyena(config) for _ in range(config.layers))
        d = self.width
        mlps = ([nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.GELU("tanh"), nn.Linear(4 * d, d)] for _ in self.hyenas)
        self.mlps = nn.ModuleList(nn.Sequential(*layers) for layers in mlps)
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for hyena, mlp in zip(
            self.hyenas, self.mlps, strict=True
        ):  # what they add, 2 a layer, is as large for all depths
            for last in (hyena.out, mlp[-1]):
                nn.init.normal_(last.weight, std=STD / math.sqrt(2 * config.layers))

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, width), or (M, width) at flat positions b * L + l.

        Raises:
            ConvNovaError: longer sequences than `length`.
        """
        if tokens.shape[1] > self.config.length:
            raise ConvNovaError(
                f"sequences of {tokens.shape[1]} bases: expected at most {self.config.length}; set settings.length"
            )
        rate, is_base = self.config.dropout, padding_mask(tokens)
        x = F.dropout(self.embedding(tokens.long()), self.config.embedding_dropout, self.training)
        for norm, hyena, mlp in zip(self.norms, self.hyenas, self.mlps, strict=True):
            x = x + F.dropout(hyena(norm(x), is_base), rate, self.training)
            x = x + F.dropout(mlp(x), rate, self.training)
        return self.norm(select_positions(x, positions))
