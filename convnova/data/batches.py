"""What a step reads, and batches of labelled sequences: their rows, and different lengths side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convnova.data.dna import PAD, N, reverse_complement
from convnova.randomness import generator, order

ROWS_NAMED = 128
"""Rows that a message names at most."""

IGNORE_INDEX = -100
"""Label of a padded base; PyTorch's cross entropy leaves it out."""


@dataclass(frozen=True)
class Batch:
    """What a step reads.

    Attributes:
        tokens: (B, L) uint8.
        targets: what the objective's loss compares with: a row a sequence, or one for each of `target_positions`.
        count: targets that have a loss.
        target_positions: ascending flat positions b * L + l; there alone the model gives an output.
        rows: where the sequences come from, for messages.
    """

    tokens: Tensor
    targets: Tensor
    count: int
    target_positions: Tensor | None = None
    rows: str = ""

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        names = ["tokens", "targets"] if self.target_positions is None else ["tokens", "targets", "target_positions"]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def pad_targets_to_multiple(self, multiple: int) -> "Batch":
        """Add positions without a target up to a multiple, so that many batches have one shape."""
        if self.target_positions is None or not (missing := -len(self.target_positions) % multiple):
            return self
        is_free = torch.ones(self.tokens.numel(), dtype=torch.bool)
        is_free[self.target_positions] = False
        positions = torch.cat([self.target_positions, is_free.nonzero().flatten()[:missing]])
        positions, by_position = positions.sort()
        targets = F.pad(self.targets, (0, missing), value=IGNORE_INDEX)[by_position]
        return replace(self, target_positions=positions, targets=targets)

    def rows_for_rank(self, rank: int, world: int) -> "Batch":
        """The rows that process `rank` of `world` takes.

        All take some: where there are too few rows, the first one again, for a loss that does not count (no `count`).
        """
        parts = list(self.split(-(-len(self.tokens) // world)))
        return parts[rank] if rank < len(parts) else replace(next(self.split(1)), count=0)

    def split(self, size: int) -> "Iterator[Batch]":
        """Parts of at most `size` sequences; `count` stays that of the whole batch."""
        if size >= len(self.tokens):
            yield self
            return
        length = self.tokens.shape[1]
        for first in range(0, len(self.tokens), size):
            rows, positions = slice(first, first + size), None
            tokens = self.tokens[rows]
            if self.target_positions is not None:
                edges = torch.tensor([first * length, (first + size) * length], device=self.target_positions.device)
                rows = slice(*torch.searchsorted(self.target_positions, edges).tolist())
                positions = self.target_positions[rows] - first * length
            yield Batch(tokens, self.targets[rows], self.count, positions, self.rows)


@dataclass(frozen=True)
class LabelledSequences:
    """Some rows of a split.

    Attributes:
        tokens: uint8, all sequences of the split end to end.
        offsets: int64 (n + 1,), where each begins and, last, where the last ends.
        labels: (n,) class ids; (n, m) 0 or 1, or numbers; or, a base each, flat like the tokens.
        kind: what the labels are, one of `config.schema.Kind`.
        rows: which rows of the split, int64 (k,).
        max_length: bases that are read of a sequence, at most.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    kind: str
    rows: np.ndarray
    max_length: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Bases that are read of each row: int64 (k,)."""
        return np.minimum(np.diff(self.offsets)[self.rows], self.max_length)


@dataclass(frozen=True)
class Padding:
    """How sequences are made equally long.

    Attributes:
        to: a length for all batches, or None for the longest of each batch.
        counted: with N, which the model reads like any letter; otherwise with PAD, which is masked out.
        left: at the left, as released; otherwise at the right.
    """

    to: int | None = None
    counted: bool = False
    left: bool = False

    def columns(self, length: int, width: int) -> slice:
        """Where a sequence of `length` bases is in a line of `width`."""
        return slice(width - length, width) if self.left else slice(0, length)


def rows_of_step(data: LabelledSequences, batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Which sequences a step of an epoch reads: a batch is a random draw, whatever the lengths.

    Batches of sequences alike in length would save padding. But where classes differ in length, as enhancers and
    promoters do, such batches come near to one class, and the model learns worse.

    Args:
        data: what the epoch reads once.
        batch_size: sequences a step.
        seed, epoch: same values, same order.
        step: number of the step in its epoch, from 0.

    Returns:
        int64 (batch_size,), fewer in the last step of an epoch: indices into `data.rows`.
    """
    return order(len(data), seed, epoch)[step * batch_size : (step + 1) * batch_size]


def collate(data: LabelledSequences, indices: np.ndarray, padding: Padding) -> Batch:
    """Lay sequences side by side.

    Args:
        data: the sequences to choose from.
        indices: int64 (B,), indices into `data.rows`.
        padding: how they are made equally long.

    Returns:
        tokens (B, L) and targets (B,), (B, m) or, a base each, (B, L); numbers are float64, to be scaled.
    """
    lengths = data.lengths[indices]
    width = max(padding.to or 0, int(lengths.max()))
    tokens = np.full((len(indices), width), N if padding.counted else PAD, np.uint8)
    rows, per_base = data.rows[indices], data.kind == "per_base"
    targets = np.full(tokens.shape, IGNORE_INDEX, np.int64) if per_base else data.labels[rows]
    for line, (start, length) in enumerate(zip(data.offsets[rows], lengths, strict=True)):
        columns = padding.columns(length, width)
        tokens[line, columns] = data.tokens[start : start + length]
        if per_base:
            targets[line, columns] = data.labels[start : start + length]
    dtype = {"multilabel": torch.float32, "regression": torch.float64}.get(data.kind, torch.int64)
    count = int(lengths.sum()) if per_base else targets.size
    return Batch(torch.from_numpy(tokens), torch.from_numpy(np.array(targets)).to(dtype), count, rows=name_rows(rows))


def name_rows(rows: np.ndarray) -> str:
    """Row numbers for a message, the first `ROWS_NAMED` of them."""
    rest = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return ", ".join(map(str, rows[:ROWS_NAMED].tolist())) + rest


def reverse_complement_batch(tokens: torch.Tensor, lengths: np.ndarray, padding: Padding) -> torch.Tensor:
    """The reverse complement of each line of a batch; padding stays where it is.

    Args:
        tokens: (B, L) uint8.
        lengths: (B,), bases of each sequence.
        padding: how the sequences were made equally long.

    Returns:
        (B, L) uint8.
    """
    opposite = tokens.numpy().copy()
    for line, length in zip(opposite, lengths, strict=True):
        columns = padding.columns(length, len(line))
        line[columns] = reverse_complement(line[columns])
    return torch.from_numpy(opposite)


def augment_reverse_complement(
    tokens: torch.Tensor, lengths: np.ndarray, padding: Padding, seed: int, step: int
) -> torch.Tensor:
    """Read each sequence of a batch, by chance, from the opposite strand; padding stays where it is.

    Args:
        tokens: (B, L) uint8.
        lengths: (B,), bases of each sequence.
        padding: how the sequences were made equally long.
        seed, step: same values, same strands.

    Returns:
        (B, L) uint8.
    """
    is_opposite = opposite_strands(len(lengths), seed, step)
    return torch.where(is_opposite, reverse_complement_batch(tokens, lengths, padding), tokens)


def opposite_strands(count: int, seed: int, step: int) -> torch.Tensor:
    """Which sequences of a step are read from the opposite strand.

    Args:
        count: sequences.
        seed, step: same values, same strands.

    Returns:
        bool (count, 1).
    """
    return torch.from_numpy(generator(seed, "strand", step).integers(0, 2, (count, 1)).astype(bool))
