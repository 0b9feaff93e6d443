"""Predictions of a trained network for labelled sequences."""

import numpy as np
import torch
from torch import Tensor, nn

from convnova.data.batches import LabelledSequences, Padding, collate, reverse_complement_batch
from convnova.errors import ConvNovaError


def predict(
    model: nn.Module, data: LabelledSequences, padding: Padding, batch_size: int, strands: str = "forward"
) -> np.ndarray:
    """Predict every row of `data`, in its order.

    Args:
        model: tokens (B, L) to logits (B, classes), (B, labels) or, per base, (B, L, classes).
        data: the rows.
        padding: how sequences of different lengths are put side by side.
        batch_size: sequences a batch; rows of similar lengths share one.
        strands: `both` for the mean of the probabilities of a sequence and of its reverse complement; not per base.

    Returns:
        classes: probabilities (n, classes) float32. multilabel: probabilities (n, labels) float32.
        per_base: the most probable class of each base, uint8, row after row.

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
            batch = _by_row(model(tokens.to(device)).float(), data, rows, padding)
            if strands == "both":
                opposite = reverse_complement_batch(tokens, data.lengths[rows], padding)
                other = _by_row(model(opposite.to(device)).float(), data, rows, padding)
                batch = [(a + b) / 2 for a, b in zip(batch, other, strict=True)]
            for row, predicted in zip(rows, batch, strict=True):
                predictions[row] = predicted
    return np.concatenate(predictions) if data.kind == "per_base" else np.stack(predictions)


def _by_row(logits: Tensor, data: LabelledSequences, rows: np.ndarray, padding: Padding) -> list[np.ndarray]:
    """Probabilities of each row, or the classes of its bases without padding."""
    if data.kind != "per_base":
        probabilities = logits.sigmoid() if data.kind == "multilabel" else logits.softmax(-1)
        return list(probabilities.cpu().numpy())
    if not logits.isfinite().all():  # the most probable of NaN would be class 0
        raise ConvNovaError(
            "expected finite scores of bases, found NaN or infinity; the training diverged: lower its learning rate"
        )
    classes = logits.argmax(-1).to(torch.uint8).cpu().numpy()
    return [line[padding.columns(n, len(line))] for line, n in zip(classes, data.lengths[rows], strict=True)]
