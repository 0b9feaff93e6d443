"""Logistic or linear regression on k-mer counts: what can be predicted without any order beyond k bases.

Each word of k bases has one weight a class, and a prediction is their sum over the words of a sequence: the linear
layer of a bag of words, trained by the same loop as every other model. Words with an N or over an end do not count.
Where a task wants a prediction a base or a bin, the words in a window around each base count; that form is ours.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models.heads import pool_bins

BASES = 4
LONGEST_WORD = 10
"""4^10 weights a class; far more than any task here has rows."""


@dataclass(frozen=True)
class Config:
    """Settings of the baseline."""

    k: int = 4
    window: int = 101
    """Positions around a base whose words count, odd; only where a task wants a prediction a base."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= LONGEST_WORD:
            raise ConvNovaError(f"k = {self.k}: expected 1 to {LONGEST_WORD}")
        if self.window < 1 or self.window % 2 == 0:
            raise ConvNovaError(f"window = {self.window}: expected an odd number of positions")

    receptive_field = None
    """The whole sequence."""

    @property
    def receptive_field_per_base(self) -> int:
        """The window and what its outermost words reach beyond it."""
        return self.window + self.k - 1


class Kmers(nn.Module):
    """The network for one output vector a sequence, or a base; it begins with weights of zero.

    Args:
        config: settings.
        kind: `classes`, `multilabel`, `regression` or `per_base`.
        outputs: classes, labels or numbers.
        length: bases of the longest sequence; not needed.
        bin_size: bases of a bin, for one number a bin.
        options: those of `heads.Predictor`; no other applies, for it has a head of its own.
    """

    fixed_length = None

    def __init__(
        self, config: Config, kind: str, outputs: int, length: int, bin_size: int | None = None, **options: object
    ):
        super().__init__()
        self.k, self.window = config.k, config.window if bin_size or kind == "per_base" else None
        self.bin_size = bin_size
        self.weights = nn.Embedding(BASES**config.k + 1, outputs, padding_idx=BASES**config.k)
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.zeros_(self.weights.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of (B, L) tokens: (B, outputs), or (B, L, outputs) a base, or (B, bins)."""
        weights = self.weights(words(tokens, self.k))
        if self.window is None:
            return weights.sum(1) + self.bias
        sums = F.avg_pool1d(weights.transpose(1, 2), self.window, 1, self.window // 2) * self.window
        logits = sums.transpose(1, 2) + self.bias
        return pool_bins(logits, self.bin_size) if self.bin_size else logits


def words(tokens: Tensor, k: int) -> Tensor:
    """The number of the word around each position, its bases as digits to base 4: (B, L) int64.

    4^k stands for no word: one that has an N, or that reaches over an end. Position l is base (k - 1) // 2 of its word.
    """
    before = (k - 1) // 2
    letters = F.pad(tokens.long(), (before, k - 1 - before), value=PAD).unfold(1, k, 1)  # (B, L, k)
    place_values = BASES ** torch.arange(k - 1, -1, -1, device=tokens.device)
    numbers = (letters * place_values).sum(-1)
    return torch.where((letters < BASES).all(-1), numbers, BASES**k)


predictor = Kmers
