"""A trained network, run on sequences of any number and length: batches, padding, precision, strands, progress."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convnova.data.batches import LabelledSequences, Padding, collate, reverse_complement_batch
from convnova.data.masking import MASK
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict
from convnova.log import progress
from convnova.models.heads import Predictor
from convnova.training.optimization import CPU_BASES, in_precision

GPU_BASES = 1 << 18
"""Bases that a GPU computes together."""
BASES = 4


def sequences_of(tokens: Sequence[np.ndarray], max_length: int | None = None) -> LabelledSequences:
    """Sequences in the form that batches are made of; their labels have no meaning.

    Args:
        tokens: uint8 (length,) each.
        max_length: bases that are read of a sequence at most; default all.
    """
    lengths = [len(sequence) for sequence in tokens]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.arange(len(lengths))
    return LabelledSequences(np.concatenate(tokens), offsets, rows, "classes", rows, max_length or max(lengths))


@dataclass(frozen=True)
class Network:
    """A trained network and how it is run.

    Attributes:
        module: tokens (B, L) to logits, as `kind` says.
        kind: `classes`, `multilabel` or `per_base`, as of a task; `masked` for a masked-language model, which gives
            logits of letters; `features` for a backbone without a head.
        padding: how sequences are made equally long.
        precision: `float32` or `bfloat16`.
        longest: bases of the longest sequence that it can read; None where there is no limit.
    """

    module: nn.Module
    kind: str
    padding: Padding
    precision: str
    longest: int | None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @contextmanager
    def running(self) -> Iterator[None]:
        """A block in which nothing is trained and the precision is the network's."""
        self.module.eval()
        with torch.inference_mode(), in_precision(self.precision, self.device):
            yield

    def batches(self, data: LabelledSequences, label: str) -> Iterator[np.ndarray]:
        """Rows of sequences of similar length, as many as are computed together; shows progress.

        Raises:
            ConvNovaError: a sequence is longer than the network can read, or empty.
        """
        lengths, limit = data.lengths, CPU_BASES if self.device.type == "cpu" else GPU_BASES
        wrong = np.flatnonzero((lengths > (self.longest or lengths.max())) | (lengths == 0))
        if len(wrong):
            most = f"1 to {self.longest:,} bases, which the model can read" if self.longest else "one base or more"
            raise ConvNovaError(f"sequence {wrong[0] + 1}: expected {most}, found {lengths[wrong[0]]:,}")
        by_length, first = np.argsort(lengths, kind="stable"), 0
        with progress(label, int(lengths.sum()), "bases") as bar:
            while first < len(lengths):
                # the last of a batch is its longest
                widths = np.maximum(lengths[by_length[first : first + limit]], self.padding.to or 0)
                count = max(1, np.count_nonzero(widths * np.arange(1, len(widths) + 1) <= limit))
                rows = by_length[first : first + count]
                yield rows
                bar.update(int(lengths[rows].sum()))
                first += count

    def probabilities(self, data: LabelledSequences, strands: str) -> list[np.ndarray]:
        """What `evaluation.predict` gives, sequence by sequence: of classes or labels (outputs,), or (length,) ids."""
        data = replace(data, kind=self.kind, labels=data.tokens if self.kind == "per_base" else data.labels)
        results: list[Any] = [None] * len(data)
        with in_precision(self.precision, self.device):
            for rows in self.batches(data, "predicting"):
                part = replace(data, rows=data.rows[rows])
                predicted = predict(self.module, part, self.padding, len(rows), strands)
                if self.kind == "per_base":
                    predicted = np.split(predicted, np.cumsum(part.lengths)[:-1])
                for row, values in zip(rows, predicted, strict=True):
                    results[row] = values
        return results

    def embeddings(self, data: LabelledSequences, per_base: bool) -> list[np.ndarray]:
        """What the last layer reads, float32: of each sequence (width,), or of each of its bases (length, width).

        Raises:
            ConvNovaError: the architecture has no such features.
        """
        module, name = self.module, "features" if per_base else "pooled"
        if self.kind in ("masked", "features"):
            module = Predictor(getattr(module, "backbone", module), "classes", 1).to(self.device)
        if not hasattr(module, name):
            what = f"features of single {'bases' if per_base else 'sequences'}"
            raise ConvNovaError(f"expected a model with {what}, {type(module).__name__} has none; take another one")
        results: list[Any] = [None] * len(data)
        with self.running():
            for rows in self.batches(data, "embedding"):
                tokens = collate(data, rows, self.padding).tokens.to(self.device)
                features = getattr(module.eval(), name)(tokens).float().cpu().numpy()
                for row, line, length in zip(rows, features, data.lengths[rows], strict=True):
                    results[row] = line[self.padding.columns(length, len(line))].copy() if per_base else line
        return results

    def logits(self, sequences: Sequence[np.ndarray], at: Sequence[int], strands: str, label: str) -> np.ndarray:
        """Logits of sequences, or of one base of each where the network predicts single bases.

        Args:
            sequences: uint8 (length,) each.
            at: position of the base.
            strands: `both` for the mean over a sequence and its reverse complement.
            label: of the progress.

        Returns:
            float32 (n, outputs).
        """
        data, results = sequences_of(sequences), {}
        with self.running():
            for rows in self.batches(data, label):
                tokens = collate(data, rows, self.padding).tokens
                opposite = reverse_complement_batch(tokens, data.lengths[rows], self.padding)
                both = [
                    self.module(part.to(self.device)).float() for part in (tokens, opposite)[: 1 + (strands == "both")]
                ]
                for line, row in enumerate(rows):
                    start = self.padding.columns(len(sequences[row]), tokens.shape[1]).start
                    place = (line, start + at[row]) if self.kind == "per_base" else line
                    results[row] = sum(part[place] for part in both) / len(both)
        return np.stack([results[row].cpu().numpy() for row in range(len(sequences))])

    def letters(
        self, sequences: Sequence[np.ndarray], at: Sequence[range], strands: str, label: str
    ) -> list[np.ndarray]:
        """Log-probabilities of A, C, G and T at bases that are masked together, of a masked-language model.

        Args:
            sequences: uint8 (length,) each.
            at: positions of the masked bases of each sequence.
            strands: `both` for the mean over a sequence and its reverse complement.
            label: of the progress.

        Returns:
            float32 (masked bases, 4) of each sequence.
        """
        data, results = sequences_of(sequences), {}
        with self.running():
            for rows in self.batches(data, label):
                tokens, lengths = collate(data, rows, self.padding).tokens, data.lengths[rows]
                width = tokens.shape[1]
                counts = [len(at[row]) for row in rows]
                places = np.concatenate([line * width + np.array(at[row]) for line, row in enumerate(rows)])
                tokens.view(-1)[torch.from_numpy(places)] = MASK
                values = self._letters_at(tokens, places)
                if strands == "both":
                    opposite = reverse_complement_batch(tokens, lengths, self.padding)
                    ends = np.repeat(np.arange(len(rows)) * 2 * width + lengths - 1, counts)
                    values = (values + self._letters_at(opposite, ends - places).flip(-1)) / 2
                for row, part in zip(rows, values.split(counts), strict=True):
                    results[row] = part.cpu().numpy()
        return [results[row] for row in range(len(sequences))]

    def _letters_at(self, tokens: Tensor, places: np.ndarray) -> Tensor:
        """Log-probabilities (M, 4) at flat places (M,) of (B, L) tokens."""
        logits = self.module(tokens.to(self.device), torch.from_numpy(places).to(self.device))
        return logits.float()[:, :BASES].log_softmax(-1)
