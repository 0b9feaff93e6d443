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
from convnova.evaluation.predict import Numbers, predict
from convnova.log import progress
from convnova.models.heads import MaskedLanguageModel, Predictor, pool_bins, pool_sequence
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
        kind: `classes`, `multilabel`, `per_base` or `regression`, as of a task; `masked` for a masked-language model,
            which gives logits of letters; `features` for a backbone without a head.
        padding: how sequences are made equally long.
        precision: `float32` or `bfloat16`.
        longest: bases of the longest sequence that it can read; None where there is no limit.
        numbers: of `regression`, what the outputs are to the numbers of the task.
    """

    module: nn.Module
    kind: str
    padding: Padding
    precision: str
    longest: int | None
    numbers: Numbers | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @contextmanager
    def running(self, module: nn.Module) -> Iterator[None]:
        """A block in which the module is not trained and the precision is the network's."""
        module.eval()
        with torch.inference_mode(), in_precision(self.precision, self.device):
            yield

    def batches(self, data: LabelledSequences) -> Iterator[np.ndarray]:
        """Rows of sequences of similar length, as many as are computed together.

        Raises:
            ConvNovaError: a sequence is longer than the network can read.
        """
        lengths, limit = data.lengths, CPU_BASES if self.device.type == "cpu" else GPU_BASES
        too_long = np.flatnonzero(lengths > (self.longest or lengths.max()))
        if len(too_long):
            found = f"{lengths[too_long[0]]:,} in number {too_long[0] + 1}"
            raise ConvNovaError(f"sequences: expected at most {self.longest:,} bases for this model, found {found}")
        by_length, first = np.argsort(lengths, kind="stable"), 0
        while first < len(lengths):
            # of ascending lengths the last is what a batch is padded to
            widths = np.maximum(lengths[by_length[first : first + limit]], self.padding.to or 0)
            count = max(1, np.count_nonzero(widths * np.arange(1, len(widths) + 1) <= limit))
            yield by_length[first : first + count]
            first += count

    def probabilities(self, data: LabelledSequences, strands: str) -> list[np.ndarray]:
        """What `evaluation.predict` gives, sequence by sequence: of classes, labels or targets (outputs,), of bins
        (bins,), or (length,) ids.

        Args:
            data: the sequences.
            strands: `both` for the mean over a sequence and its reverse complement.

        Raises:
            ConvNovaError: a sequence that is too long, or of bins one that is no multiple of them.
        """
        size = self.numbers.bin_size if self.numbers else None
        if size and len(wrong := np.flatnonzero(data.lengths % size)):
            found = f"{data.lengths[wrong[0]]:,} bases in number {wrong[0] + 1}"
            raise ConvNovaError(f"sequences: expected multiples of the bin of {size} bases, found {found}; cut them")
        data = replace(data, kind=self.kind, labels=data.tokens if self.kind == "per_base" else data.labels)
        results: list[Any] = [None] * len(data)
        with in_precision(self.precision, self.device), progress("predicting", int(data.lengths.sum()), "bases") as bar:
            for rows in self.batches(data):
                part = replace(data, rows=data.rows[rows])
                predicted = predict(self.module, part, self.padding, len(rows), strands, self.numbers)
                if self.kind == "per_base" or size:
                    predicted = np.split(predicted.reshape(-1), np.cumsum(part.lengths // (size or 1))[:-1])
                for row, values in zip(rows, predicted, strict=True):
                    results[row] = values
                bar.update(int(part.lengths.sum()))
        return results

    def embeddings(self, data: LabelledSequences, per_base: bool) -> np.ndarray | list[np.ndarray]:
        """What the last layer reads, float32: of sequences (n, width), or of the bases of each (length, width).

        Raises:
            ConvNovaError: the architecture has no such features.
        """
        module, name = self.module, "features" if per_base else "pooled"
        if self.kind in ("masked", "features"):
            module = Predictor(getattr(module, "backbone", module), "classes", 1).to(self.device)
        if not hasattr(module, name):
            what = f"features of {'bases' if per_base else 'sequences'}"
            raise ConvNovaError(f"expected a model that has {what}, found {type(module).__name__}, which has none")
        results: list[Any] = [None] * len(data)
        with self.running(module), progress("embedding", int(data.lengths.sum()), "bases") as bar:
            for rows in self.batches(data):
                tokens = collate(data, rows, self.padding).tokens.to(self.device)
                features = getattr(module, name)(tokens).float().cpu().numpy()
                if not per_base:
                    results = _in_one_piece(results, rows, features)
                for row, line, length in zip(rows, features, data.lengths[rows], strict=True) if per_base else ():
                    results[row] = line[self.padding.columns(length, len(line))].copy()
                bar.update(int(data.lengths[rows].sum()))
        return results

    def _last_in_float32(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Logits, of a masked-language model at `positions`; where it is ours, pooling and last layer are in float32.

        In bfloat16 logits have three digits, and the difference of two that are nearly equal has none.
        """
        module, kind = self.module, type(self.module)
        if kind not in (Predictor, MaskedLanguageModel):
            return module(tokens).float()
        features = module.features(tokens) if kind is Predictor else module.backbone(tokens, positions)
        with in_precision("float32", self.device):
            features = features.float()
            if kind is MaskedLanguageModel:
                return module.logits(features)
            if module.bin_size:
                return pool_bins(module.head(features), module.bin_size)
            if not module.per_base:
                features = pool_sequence(features, tokens, module.pooling, module.pool_padding)
            return module.head(features)

    def logits(self, sequences: Sequence[np.ndarray], at: Sequence[int], strands: str) -> np.ndarray:
        """Logits of sequences, or of one base of each where the network predicts single bases.

        Those of numbers are in the user's units or, with a Poisson loss, logarithms of such.

        Args:
            sequences: uint8 (length,) each.
            at: position of the base.
            strands: `both` for the mean over a sequence and its reverse complement.

        Returns:
            float32 (n, outputs); of numbers float64.

        Raises:
            ConvNovaError: the network predicts bins.
        """
        if self.numbers and self.numbers.bin_size:
            raise ConvNovaError("expected a model of whole sequences or of single bases for this, found one of bins")
        data, results = sequences_of(sequences), [None] * len(sequences)
        with self.running(self.module):
            for rows in self.batches(data):
                tokens = collate(data, rows, self.padding).tokens
                logits = self._last_in_float32(tokens.to(self.device))
                if strands == "both":
                    opposite = reverse_complement_batch(tokens, data.lengths[rows], self.padding)
                    logits = (logits + self._last_in_float32(opposite.to(self.device))) / 2
                if self.numbers:
                    logits = self.numbers.unscaled(logits)
                if self.kind == "per_base":
                    starts = [self.padding.columns(len(sequences[row]), tokens.shape[1]).start for row in rows]
                    logits = logits[
                        range(len(rows)), [start + at[row] for start, row in zip(starts, rows, strict=True)]
                    ]
                results = _in_one_piece(results, rows, logits.cpu().numpy())
        return results

    def letters(self, sequences: Sequence[np.ndarray], at: Sequence[range], strands: str) -> list[np.ndarray]:
        """Log-probabilities of A, C, G and T at bases that are masked together, of a masked-language model.

        Args:
            sequences: uint8 (length,) each.
            at: positions of the masked bases of each sequence.
            strands: `both` for the mean over a sequence and its reverse complement.

        Returns:
            float32 (masked bases, 4) of each sequence.
        """

        def at_places(tokens: Tensor, places: np.ndarray) -> Tensor:
            logits = self._last_in_float32(tokens.to(self.device), torch.from_numpy(places).to(self.device))
            return logits[:, :BASES].log_softmax(-1)

        data, results = sequences_of(sequences), {}
        with self.running(self.module):
            for rows in self.batches(data):
                tokens, lengths = collate(data, rows, self.padding).tokens, data.lengths[rows]
                counts, starts = [len(at[row]) for row in rows], np.arange(len(rows)) * tokens.shape[1]
                places = np.concatenate([start + np.array(at[row]) for start, row in zip(starts, rows, strict=True)])
                tokens.view(-1)[torch.from_numpy(places)] = MASK
                values = at_places(tokens, places)
                if strands == "both":  # of the opposite strand base l is base length - 1 - l, and A is T
                    opposite = reverse_complement_batch(tokens, lengths, self.padding)
                    mirrored = np.repeat(2 * starts + lengths - 1, counts) - places
                    values = (values + at_places(opposite, mirrored).flip(-1)) / 2
                results |= zip(rows.tolist(), (part.cpu().numpy() for part in values.split(counts)), strict=True)
        return [results[row] for row in range(len(sequences))]


def _in_one_piece(results: "np.ndarray | list[None]", rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Results (n, width) with those of some rows: arrays that are kept of each batch would leave holes in memory."""
    results = np.empty((len(results), values.shape[1]), values.dtype) if isinstance(results, list) else results
    results[rows] = values
    return results
