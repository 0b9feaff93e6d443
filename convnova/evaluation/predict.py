"""Predictions of a trained network for labelled sequences, and their file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convnova.config.schema import Task
from convnova.data.batches import Labelled, Padding, collate, opposite_strands
from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap, metrics
from convnova.files import atomic
from convnova.randomness import generator


def predict(
    model: nn.Module, data: Labelled, padding: Padding, batch_size: int, strands: str = "forward"
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
                other = opposite_strands(tokens, data.lengths[items], padding)
                opposite = _by_item(model(other.to(device)).float(), data, items, padding)
                piece = [(a + b) / 2 for a, b in zip(piece, opposite, strict=True)]
            pieces += piece
    order = np.argsort(by_length, kind="stable")
    ordered = [pieces[place] for place in order]
    return np.concatenate(ordered) if data.kind == "per_base" else np.stack(ordered)


def _by_item(logits: torch.Tensor, data: Labelled, items: np.ndarray, padding: Padding) -> list[np.ndarray]:
    if data.kind != "per_base":
        probabilities = logits.sigmoid() if data.kind == "multilabel" else logits.softmax(-1)
        return list(probabilities.cpu().numpy())
    if not logits.isfinite().all():
        raise ConvNovaError(
            "expected finite scores of bases, found others; the training diverged: lower its learning rate"
        )
    classes = logits.argmax(-1).to(torch.uint8).cpu().numpy()
    lengths = data.lengths[items]
    return [line[padding.place(length, len(line))] for line, length in zip(classes, lengths, strict=True)]


def labels_of(data: Labelled) -> np.ndarray:
    """The labels that `predict` is held against, in its order.

    Returns:
        classes: class ids (n,). multilabel: 0 or 1, (n, labels). per_base: the class of each base, item after item.
    """
    if data.kind != "per_base":
        return np.asarray(data.labels[data.rows])
    starts = data.offsets[data.rows]
    return np.concatenate([data.labels[s : s + n] for s, n in zip(starts, data.lengths, strict=True)])


def score(task: Task, labels: np.ndarray, predicted: np.ndarray) -> dict:
    """All metrics of a task's kind, over all predictions at once."""
    if task.kind == "per_base":
        return metrics.per_base(labels, predicted)
    if task.kind == "multilabel":
        return metrics.multilabel(labels, predicted, task.groups)
    return metrics.classification(labels, predicted)


def per_batch(task: Task, labels: np.ndarray, predicted: np.ndarray, size: int) -> dict[str, Any] | None:
    """What the mean of the metric over batches of test rows would be, as some codes report it.

    Returns:
        batch_size, and the mean for the batches of the file's order, of a shuffled order and of test sorted by class;
        None where the metric is not made from counts of classes of sequences.
    """
    if task.kind != "classes" or task.metric not in metrics.FROM_CONFUSION:
        return None
    orders = {
        "file": np.arange(len(labels)),
        "shuffled": generator(0, "per batch").permutation(len(labels)),
        "sorted": np.argsort(labels, kind="stable"),
    }
    found, classes = predicted.argmax(1), predicted.shape[1]
    of_metric = metrics.FROM_CONFUSION[task.metric]

    def mean(order: np.ndarray) -> float:
        batches = np.split(order, range(size, len(order), size))
        return float(np.mean([of_metric(metrics.confusion(labels[b], found[b], classes)) for b in batches]))

    return {"batch_size": size} | {name: mean(order) for name, order in orders.items()}


def interval(task: Task, data: Labelled, predicted: np.ndarray) -> list[float] | None:
    """95% bootstrap interval of the task's metric over test sequences; None for many labels, or where it has none."""
    if task.kind == "multilabel":
        return None
    labels = labels_of(data)
    if task.kind == "classes":
        ends = bootstrap.bootstrap_interval(labels, predicted, task.metric)
    else:
        classes = int(max(labels.max(), predicted.max())) + 1
        parts = np.cumsum(data.lengths)[:-1]
        pairs = zip(np.split(labels, parts), np.split(predicted, parts), strict=True)
        ends = bootstrap.bootstrap_sequences(
            np.stack([metrics.confusion(*pair, classes) for pair in pairs]), task.metric
        )
    return [float(end) for end in ends] if np.isfinite(ends).all() else None


def write_predictions(
    path: Path, data: Labelled, predicted: np.ndarray, about: dict[str, str], fold: int | None = None
) -> None:
    """Write the predictions as parquet, a line an item: row of the split, label or labels, score or scores, any fold.

    Probabilities of many labels are kept as 16-bit floats; of a base only its most probable class is kept.
    """
    import pyarrow
    import pyarrow.parquet

    labels = labels_of(data)
    if data.kind == "per_base":
        offsets = _column(np.concatenate([[0], np.cumsum(data.lengths)]).astype(np.int32))
        bases = {"label": labels.astype(np.uint8), "predicted": predicted}
        columns = {name: pyarrow.ListArray.from_arrays(offsets, _column(values)) for name, values in bases.items()}
    else:
        wide = data.kind == "multilabel"
        scores = predicted.astype(np.float16 if wide else np.float32)
        columns = {"label": _column(labels.astype(np.uint8) if wide else labels), "score": _column(scores)}
    if fold is not None:
        columns["fold"] = _column(np.full(len(data), fold, np.int8))
    table = pyarrow.table({"row": _column(data.rows), **columns}).replace_schema_metadata(about)
    with atomic(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _column(values: np.ndarray):  # noqa: ANN202 - pyarrow is imported where it is used
    """A numpy array as one of Arrow's, a matrix as lists. Not `pyarrow.array`, which takes its time to load pandas."""
    import pyarrow

    kind, buffer = pyarrow.from_numpy_dtype(values.dtype), pyarrow.py_buffer(np.ascontiguousarray(values))
    column = pyarrow.Array.from_buffers(kind, values.size, [None, buffer])
    return column if values.ndim == 1 else pyarrow.FixedSizeListArray.from_arrays(column, values.shape[1])
