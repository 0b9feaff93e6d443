"""What a step reads, and batches of labelled sequences: their rows, and different lengths side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convnova.data.dna import PAD, N, reverse_complement
from convnova.randomness import generator, order

POOL = 16
"""Batches whose rows are sorted by length together, so that little of a batch is padding."""

NAMED = 128

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
        at = None if self.target_positions is None else self.target_positions.to(device, non_blocking=True)
        tokens, targets = (part.to(device, non_blocking=True) for part in (self.tokens, self.targets))
        return Batch(tokens, targets, self.count, at, self.rows)

    def pad_targets_to_multiple(self, multiple: int) -> "Batch":
        """Add positions without a target up to a multiple, so that many batches have one shape."""
        if self.target_positions is None or not (missing := -len(self.target_positions) % multiple):
            return self
        free = torch.ones(self.tokens.numel(), dtype=torch.bool)
        free[self.target_positions] = False
        at, order = torch.cat([self.target_positions, free.nonzero().flatten()[:missing]]).sort()
        return replace(self, target_positions=at, targets=F.pad(self.targets, (0, missing), value=IGNORE_INDEX)[order])

    def rows_for_rank(self, rank: int, world: int) -> "Batch":
        """The rows that process `rank` of `world` takes. All take some: where there are too few rows, the first one
        again, for a loss that does not count (no `count`)."""
        size = -(-len(self.tokens) // world)
        parts = list(self.split(size))
        if rank < len(parts):
            return parts[rank]
        return replace(next(self.split(1)), count=0)

    def split(self, size: int) -> "Iterator[Batch]":
        """Parts of at most `size` sequences; `count` stays that of the whole batch."""
        if size >= len(self.tokens):
            yield self
            return
        length = self.tokens.shape[1]
        for first in range(0, len(self.tokens), size):
            tokens, rows, at = self.tokens[first : first + size], slice(first, first + size), None
            if self.target_positions is not None:
                edges = torch.tensor([first * length, (first + size) * length], device=self.target_positions.device)
                rows = slice(*torch.searchsorted(self.target_positions, edges).tolist())
                at = self.target_positions[rows] - first * length
            yield Batch(tokens, self.targets[rows], self.count, at, self.rows)


@dataclass(frozen=True)
class LabelledSequences:
    """Some rows of a split: flat `tokens`, `offsets` (n + 1,) into them, and `labels`.

    labels: (n,) class ids; (n, m) 0 or 1; or, a base each, flat like the tokens.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    kind: str
    rows: np.ndarray
    """Which rows of the split: int64 (n,)."""
    max_length: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Bases that are read of each row: int64 (n,)."""
        return np.minimum(np.diff(self.offsets)[self.rows], self.max_length)


@dataclass(frozen=True)
class Padding:
    """How sequences are made equally long.

    Attributes:
        to: a length for all batches, or None for the longest of each batch.
        counted: with N, which the model reads like any letter; otherwise with OUTSIDE, which leaves no trace.
        left: at the left, as released; otherwise at the right.
    """

    to: int | None = None
    counted: bool = False
    left: bool = False

    def local_path(self, length: int, width: int) -> slice:
        """Where in a line the sequence is."""
        return slice(width - length, width) if self.left else slice(0, length)


def rows_of_step(data: LabelledSequences, batch_size: int, seed: int, epoch: int, place: int) -> np.ndarray:
    """Which items a step of an epoch reads: shuffled, and alike in length where lengths differ.

    Args:
        batch_size: items a step. place: number of the step in its epoch, from 0.

    Returns:
        int64 (batch_size,), fewer in the last step of an epoch: places in `data.rows`.
    """
    shuffled = order(len(data), seed, epoch)
    lengths = data.lengths
    if lengths.min() != lengths.max():
        pools = np.split(shuffled, range(POOL * batch_size, len(shuffled), POOL * batch_size))
        sizes = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
        shuffled = np.concatenate(sizes)
        whole = len(shuffled) // batch_size
        place = int(generator(seed, "batches", epoch).permutation(whole)[place]) if place < whole else place
    return shuffled[place * batch_size : (place + 1) * batch_size]


def collate(data: LabelledSequences, items: np.ndarray, padding: Padding) -> Batch:
    """Lay the items side by side: tokens (B, L) and targets (B,), (B, m) or, a base each, (B, L)."""
    lengths = data.lengths[items]
    width = max(padding.to or 0, int(lengths.max()))
    tokens = np.full((len(items), width), N if padding.counted else PAD, np.uint8)
    per_base = data.kind == "per_base"
    targets = np.full(tokens.shape, IGNORE_INDEX, np.int64) if per_base else data.labels[data.rows[items]]
    for line, (item, length) in enumerate(zip(items, lengths, strict=True)):
        start = data.offsets[data.rows[item]]
        place = padding.local_path(length, width)
        tokens[line, place] = data.tokens[start : start + length]
        if per_base:
            targets[line, place] = data.labels[start : start + length]
    dtype = torch.float32 if data.kind == "multilabel" else torch.int64
    count = int(lengths.sum()) if per_base else targets.size
    rows = named(data.rows[items])
    return Batch(torch.from_numpy(tokens), torch.from_numpy(np.array(targets)).to(dtype), count, rows=rows)


def named(rows: np.ndarray) -> str:
    """Row numbers for a message, the first `NAMED` of them."""
    rest = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(map(str, rows[:NAMED].tolist())) + rest


def reverse_complement_batch(tokens: torch.Tensor, lengths: np.ndarray, padding: Padding) -> torch.Tensor:
    """The reverse complement of each line of a batch, (B, L) uint8; padding stays where it is."""
    other, width = tokens.numpy().copy(), tokens.shape[1]
    for line, length in zip(other, lengths, strict=True):
        place = padding.local_path(length, width)
        line[place] = reverse_complement(line[place])
    return torch.from_numpy(other)


def augment_reverse_complement(batch: Batch, lengths: np.ndarray, padding: Padding, seed: int, step: int) -> Batch:
    """The batch with each sequence, by chance, read from the opposite strand; padding stays where it is."""
    turned = torch.from_numpy(generator(seed, "strand", step).integers(0, 2, (len(lengths), 1)).astype(bool))
    other = reverse_complement_batch(batch.tokens, lengths, padding)
    return replace(batch, tokens=torch.where(turned, other, batch.tokens))
