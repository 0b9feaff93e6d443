"""Predictions of a trained network for labelled sequences."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences, Padding, collate, reverse_complement_batch
from convnova.errors import ConvNovaError


@dataclass(frozen=True)
class Numbers:
    """What the outputs of a network are to the numbers of a task, in the user's units.

    Attributes:
        loss: `mse`: an output is a number less the mean, in units of the standard deviation. `poisson`: an output is
            the logarithm of a number in units of the mean.
        mean: of each target, which is subtracted; 0 for `poisson`.
        scale: of each target, by which is divided.
        bin_size: bases of a bin, where the numbers are those of bins of one target.
    """

    loss: str
    mean: list[float]
    scale: list[float]
    bin_size: int | None = None

    @classmethod
    def of(cls, task: Task, labels: np.ndarray) -> Self:
        """The scale of some rows, whose numbers are float64 (n, targets or bins)."""
        targets = labels.reshape(-1, 1) if task.bin_size else labels
        mean, scale = targets.mean(0), targets.std(0)
        if task.loss == "poisson":
            mean, scale = np.zeros_like(mean), mean
        return cls(task.loss, mean.tolist(), np.where(scale > 0, scale, 1).tolist(), task.bin_size)

    def scaled(self, targets: Tensor) -> Tensor:
        """Numbers (B, targets or bins) as the loss compares outputs with them, float32."""
        return ((targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.scale)).float()

    def unscaled(self, outputs: Tensor) -> Tensor:
        """Outputs (..., targets or bins) in the user's units, of `poisson` their logarithm; float64."""
        scale = torch.tensor(self.scale, dtype=torch.float64, device=outputs.device)
        if self.loss == "poisson":
            return outputs + scale.log()
        return outputs * scale + scale.new_tensor(self.mean)


def predict(
    model: nn.Module,
    data: LabelledSequences,
    padding: Padding,
    batch_size: int,
    strands: str = "forward",
    numbers: Numbers | None = None,
) -> np.ndarray:
    """Predict every row of `data`, in its order.

    Args:
        model: tokens (B, L) to logits (B, classes), (B, labels), (B, targets), (B, bins) or, per base, (B, L, classes).
        data: the rows.
        padding: how sequences of different lengths are put side by side.
        batch_size: sequences a batch; rows of similar lengths share one.
        strands: `both` for the mean of the predictions for a sequence and for its reverse complement; not per base.
        numbers: of a task of numbers, what the model's outputs are to them.

    Returns:
        classes: probabilities (n, classes) float32. multilabel: probabilities (n, labels) float32.
        per_base: the most probable class of each base, uint8, row after row.
        regression: numbers in the user's units, float64 (n, targets or bins); of bins of sequences that differ in
            length, row after row.

    Raises:
        ConvNovaError: logits of bases that are not finite.
    """
    device = next(model.parameters()).device
    by_length = np.argsort(data.lengths, kind="stable")
    predictions: list[np.ndarray] = [np.empty(0)] * len(data)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            rows = by_length[start : start + batch_size]
            tokens = collate(data, rows, padding).tokens
            batch = _by_row(model(tokens.to(device)).float(), data, rows, padding, numbers)
            if strands == "both":
                opposite = reverse_complement_batch(tokens, data.lengths[rows], padding)
                other = _by_row(model(opposite.to(device)).float(), data, rows, padding, numbers)
                if numbers and numbers.bin_size:  # the first bin of a strand is the last of the other
                    other = [bins[::-1] for bins in other]
                batch = [(a + b) / 2 for a, b in zip(batch, other, strict=True)]
            for row, predicted in zip(rows, batch, strict=True):
                predictions[row] = predicted
    in_one_row = data.kind == "per_base" or len({row.shape for row in predictions}) > 1
    return np.concatenate(predictions) if in_one_row else np.stack(predictions)


def _by_row(
    logits: Tensor, data: LabelledSequences, rows: np.ndarray, padding: Padding, numbers: Numbers | None
) -> list[np.ndarray]:
    """Probabilities or numbers of each row, or the classes of its bases or the numbers of its bins without padding."""
    lengths = data.lengths[rows]
    if numbers:
        values, size = numbers.unscaled(logits), numbers.bin_size
        values = (values.exp() if numbers.loss == "poisson" else values).cpu().numpy()
        if size is None:
            return list(values)
        columns = (padding.columns(n // size, values.shape[1]) for n in lengths)
        return [line[part] for line, part in zip(values, columns, strict=True)]
    if data.kind != "per_base":
        probabilities = logits.sigmoid() if data.kind == "multilabel" else logits.softmax(-1)
        return list(probabilities.cpu().numpy())
    if not logits.isfinite().all():  # the most probable of NaN would be class 0
        raise ConvNovaError(
            "expected finite scores of bases, found NaN or infinity; the training diverged: lower its learning rate"
        )
    classes = logits.argmax(-1).to(torch.uint8).cpu().numpy()
    return [line[padding.columns(n, len(line))] for line, n in zip(classes, lengths, strict=True)]
