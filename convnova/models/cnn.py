"""The supervised baseline of Genomic Benchmarks (Gresova et al. 2023, doi 10.1186/s12863-023-01123-8).

Three convolutions of 8 taps with 16, 8 and 4 channels, each with batch normalisation and pooling by two, and ReLU after
the first alone; then two linear layers over the flattened rest. It reads sequences of one length: shorter ones are
padded at the right. Theirs has one output for two classes, with a sigmoid in the network and another one in the loss;
here each class has an output. Where a task wants a prediction a base or a bin, the same convolutions keep the length
and a linear layer follows; that form is ours.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convnova.data.dna import PAD
from convnova.models.heads import pool_bins, pool_sequence
from convnova.models.layers import BatchNorm, Convolution, masked, padding_mask

TAPS = 8
CHANNELS = (16, 8, 4)
HIDDEN = 512
SHORTEST = 70
"""Bases below which nothing would be left after three times pooling."""


@dataclass(frozen=True)
class Config:
    """Settings of the baseline."""

    embedding: int = 100

    receptive_field = None
    """The linear layers read all positions."""
    receptive_field_per_base = 1 + len(CHANNELS) * (TAPS - 1)


class CNN(nn.Module):
    """The network for one output vector a sequence of up to `length` bases."""

    def __init__(self, config: Config, outputs: int, length: int):
        super().__init__()
        self.fixed_length = rest = max(length, SHORTEST)
        self.embedding = nn.Embedding(PAD + 1, config.embedding, padding_idx=PAD)
        layers: list[nn.Module] = []
        for inputs, channels in zip((config.embedding, *CHANNELS[:-1]), CHANNELS, strict=True):
            activation = nn.Identity() if layers else nn.ReLU()
            layers += [nn.Conv1d(inputs, channels, TAPS), nn.BatchNorm1d(channels), activation, nn.MaxPool1d(2)]
            rest = (rest - TAPS + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(rest * CHANNELS[-1], HIDDEN), nn.Linear(HIDDEN, outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, outputs) of (B, L) tokens, L the fixed length."""
        return self.head[1](self.pooled(tokens))

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the last layer reads of a sequence: (B, 512)."""
        return self.head[0](self.convolutions(self.embedding(tokens.long()).transpose(1, 2)).flatten(1))


class PerBaseCNN(nn.Module):
    """The convolutions without pooling, for one output vector a base, or one number a bin; padding is masked out."""

    fixed_length = None

    def __init__(self, config: Config, outputs: int, bin_size: int | None = None):
        super().__init__()
        self.bin_size = bin_size
        self.embedding = nn.Embedding(PAD + 1, config.embedding, padding_idx=PAD)
        sizes = zip((config.embedding, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.convolutions = nn.ModuleList(Convolution(*size, TAPS) for size in sizes)
        self.norms = nn.ModuleList(BatchNorm(channels) for channels in CHANNELS)
        self.head = nn.Linear(CHANNELS[-1], outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, L, outputs) of (B, L) tokens, or (B, bins)."""
        logits = self.head(self.features(tokens))
        return pool_bins(logits, self.bin_size) if self.bin_size else logits

    def pooled(self, tokens: Tensor) -> Tensor:
        """The mean of the features over a sequence: (B, 4)."""
        return pool_sequence(self.features(tokens), tokens)

    def features(self, tokens: Tensor) -> Tensor:
        """What the last layer reads of every base: (B, L, 4)."""
        is_base = padding_mask(tokens)
        x = masked(self.embedding(tokens.long()), is_base)
        for layer, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x), is_base)
            x = x.relu() if layer == 0 else x
        return x


def predictor(config: Config, kind: str, outputs: int, length: int, bin_size: int | None = None, **_: Any) -> nn.Module:
    """The network of a task; it has a head and padding of its own, so the other options do not apply.

    Args:
        config: settings.
        kind: `classes`, `multilabel`, `regression` or `per_base`.
        outputs: classes, labels or numbers.
        length: bases of the longest sequence.
        bin_size: bases of a bin, for one number a bin.
    """
    per_position = kind == "per_base" or bin_size is not None
    return PerBaseCNN(config, outputs, bin_size) if per_position else CNN(config, outputs, length)
