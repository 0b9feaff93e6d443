"""Predictions of a trained network for labelled sequences, and their file."""

import numpy as np
import torch
from torch import nn

from convnova.data.batches import LabelledSequences, Padding, collate, reverse_complement_batch
from convnova.errors import ConvNovaError


def predict(
    model: nn.Module, data: LabelledSequences, padding: Padding, batch_size: int, strands: str = "forward"
) -> np.ndarray:
    """Predict every item of `data`, in its order.

    Args:
        strands: `both` for the mean of the probabilities of a sequence and of its reverse complement; not per base.

    Returns:
        classes: probabilities (n, classes) float32. multilabel: probabilities (n, labels) float32.
        per_base: the most probable class of each base, uint8, item after item.
    """
    device = next(model.parameters()).device
    by_length = np.argsort(data.lengths, kind="stable")
    pieces: list[np.ndarray] = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            items = by_length[start : start + batch_size]
            tokens = collate(data, items, padding).tokens
            piece = _by_item(model(tokens.to(device)).float(), data, items, padding)
            if strands == "both":
                other = reverse_complement_batch(tokens, data.lengths[items], padding)
                opposite = _by_item(model(other.to(device)).float(), data, items, padding)
                piece = [(a + b) / 2 for a, b in zip(piece, opposite, strict=True)]
            pieces += piece
    order = np.argsort(by_length, kind="stable")
    ordered = [pieces[place] for place in order]
    return np.concatenate(ordered) if data.kind == "per_base" else np.stack(ordered)


def _by_item(logits: torch.Tensor, data: LabelledSequences, items: np.ndarray, padding: Padding) -> list[np.ndarray]:
    if data.kind != "per_base":
        probabilities = logits.sigmoid() if data.kind == "multilabel" else logits.softmax(-1)
        return list(probabilities.cpu().numpy())
    if not logits.isfinite().all():
        raise ConvNovaError(
            "expected finite scores of bases, found others; the training diverged: lower its learning rate"
        )
    classes = logits.argmax(-1).to(torch.uint8).cpu().numpy()
    lengths = data.lengths[items]
    return [line[padding.local_path(length, len(line))] for line, length in zip(classes, lengths, strict=True)]
