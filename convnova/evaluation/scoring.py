"""Predictions of one fine-tuning to its scores."""

from typing import Any

import numpy as np

from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences
from convnova.evaluation import bootstrap, metrics
from convnova.randomness import generator


def labels_of(data: LabelledSequences) -> np.ndarray:
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


def interval(task: Task, data: LabelledSequences, predicted: np.ndarray) -> list[float] | None:
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
