"""The supervised baseline of Genomic Benchmarks (Gresova et al. 2023, doi 10.1186/s12863-023-01123-8).

Three convolutions of 8 taps with 16, 8 and 4 channels, each with batch normalisation, ReLU and pooling by two, then
two linear layers over the flattened rest. It reads sequences of one length: shorter ones are padded at the right.
Where a task wants a prediction a base, the same convolutions keep the length and a linear layer follows; that form
is ours.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convnova.dna import OUTSIDE

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
    """The linear layers read all positions (a prediction a base sees 22)."""


class CNN(nn.Module):
    """The network for one output vector a sequence, or a base."""

    def __init__(self, config: Config, outputs: int, length: int | None):
        super().__init__()
        self.fixed_length = max(length, SHORTEST) if length is not None else None
        self.embedding = nn.Embedding(OUTSIDE + 1, config.embedding, padding_idx=OUTSIDE)
        layers: list[nn.Module] = []
        for inputs, channels in zip((config.embedding, *CHANNELS[:-1]), CHANNELS, strict=True):
            layers += [
                nn.Conv1d(inputs, channels, TAPS, padding=0 if length else "same"),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool1d(2)] if length else []
        self.convolutions = nn.Sequential(*layers)
        if self.fixed_length is None:
            self.head: nn.Module = nn.Linear(CHANNELS[-1], outputs)
            return
        rest = self.fixed_length
        for _ in CHANNELS:
            rest = (rest - TAPS + 1) // 2
        self.head = nn.Sequential(nn.Linear(rest * CHANNELS[-1], HIDDEN), nn.Linear(HIDDEN, outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of (B, L) tokens: (B, outputs), or (B, L, outputs) a base."""
        features = self.convolutions(self.embedding(tokens.long()).transpose(1, 2))
        return self.head(features.transpose(1, 2) if self.fixed_length is None else features.flatten(1))


def predictor(config: Config, kind: str, outputs: int, length: int, **_: Any) -> nn.Module:
    """The network for a task of sequences up to `length` bases, with its own head and padding."""
    return CNN(config, outputs, None if kind == "per_base" else length)
