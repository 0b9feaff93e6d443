"""Predictions of one fine-tuning to its scores."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convnova.config.schema import Task
from convnova.evaluation import bootstrap, correlation, metrics
from convnova.randomness import generator

if TYPE_CHECKING:  # it imports torch, which those who read predictions need not wait for
    from convnova.data.batches import LabelledSequences


def labels_of(data: "LabelledSequences") -> np.ndarray:
    """The labels that predictions are compared with, in the order of `convnova.evaluation.predict.predict`.

    Returns:
        classes: class ids (n,). multilabel: 0 or 1, (n, labels). per_base: the class of each base, row after row.
        regression: numbers (n, targets or bins).
    """
    if data.kind != "per_base":
        return np.asarray(data.labels[data.rows])
    starts = data.offsets[data.rows]
    return np.concatenate([data.labels[s : s + n] for s, n in zip(starts, data.lengths, strict=True)])


def score(task: Task, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """All metrics of a task's kind, over all predictions at once.

    Args:
        task: its kind and its groups of labels.
        labels: as `labels_of`.
        predicted: as `convnova.evaluation.predict.predict`.

    Returns:
        Metric to value; see `convnova.evaluation.metrics`.

    Raises:
        ConvNovaError: predictions that are not finite, or do not fit the labels.
    """
    if task.kind == "per_base":
        return metrics.per_base(labels, predicted)
    if task.kind == "multilabel":
        return metrics.multilabel(labels, predicted, task.groups)
    if task.kind == "regression":
        return correlation.regression(values_of_targets(task, labels), values_of_targets(task, predicted))
    return metrics.classification(labels, predicted)


def values_of_targets(task: Task, numbers: np.ndarray) -> np.ndarray:
    """Numbers (..., n, targets or bins) as (..., n, targets, values): bins are values of one target."""
    return np.expand_dims(numbers, -2 if task.bin_size else -1)


def per_batch(task: Task, labels: np.ndarray, predicted: np.ndarray, size: int) -> dict[str, Any] | None:
    """The mean of the metric over batches of test rows, as some codes report it.

    Args:
        task: its kind and metric.
        labels: class ids (n,).
        predicted: probabilities (n, classes).
        size: rows a batch.

    Returns:
        batch_size, and the mean for the batches of the file's order, of a shuffled order and of test sorted by class;
        None unless the metric is one of a confusion matrix and each sequence has one class.
    """
    if task.kind != "classes" or task.metric not in metrics.CONFUSION_METRICS:
        return None
    orders = {
        "file": np.arange(len(labels)),
        "shuffled": generator(0, "per batch").permutation(len(labels)),
        "sorted": np.argsort(labels, kind="stable"),
    }
    ids, classes = predicted.argmax(1), predicted.shape[1]
    means: dict[str, Any] = {"batch_size": size}
    for name, order in orders.items():
        batches = np.split(order, range(size, len(order), size))
        confusions = np.stack([metrics.confusion(labels[rows], ids[rows], classes) for rows in batches])
        means[name] = float(np.mean(metrics.from_confusion(task.metric, confusions)))
    return means


def interval(task: Task, data: "LabelledSequences", predicted: np.ndarray) -> list[float] | None:
    """95% bootstrap interval of the task's metric over test sequences.

    Args:
        task: its kind and metric.
        data: the test rows.
        predicted: as `convnova.evaluation.predict.predict`.

    Returns:
        The lower and the upper end; None for many labels, or where no resample has the metric.
    """
    if task.kind == "multilabel":
        return None
    labels = labels_of(data)
    if task.kind == "classes":
        ends = bootstrap.bootstrap_interval(labels, predicted, task.metric)
    elif task.kind == "regression":
        numbers = (values_of_targets(task, part) for part in (labels, predicted))
        ends = bootstrap.resampled_interval(len(labels), partial(correlation.mean_over_targets, task.metric, *numbers))
    else:
        classes = 1 + int(max(labels.max(), predicted.max()))
        confusions = metrics.sequence_confusions(labels, predicted, data.lengths, classes)
        ends = bootstrap.resampled_interval(
            len(confusions), lambda weights: metrics.from_confusion(task.metric, np.tensordot(weights, confusions, 1))
        )
    return list(ends) if np.isfinite(ends).all() else None
