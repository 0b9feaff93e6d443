"""How sure a score is: bootstrap intervals over test rows."""

import math
from collections.abc import Iterator

import numpy as np

from convnova.evaluation.correlation import mean_over_targets
from convnova.evaluation.metrics import CONFUSION_METRICS, check_probabilities, confusion, from_confusion, mean_area

LEVEL = 0.95
RESAMPLES = 1000
WEIGHTS_AT_ONCE = 4_000_000
"""Weights of rows in memory at a time: 32 MB."""


def bootstrap_interval(
    labels: np.ndarray, scores: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a score over test rows.

    Drawing n rows with replacement draws a confusion matrix from a multinomial, so a metric of a confusion matrix
    takes as long for a million rows as for a hundred.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.
        resamples: how many times n rows are drawn.
        seed: of the draws.

    Returns:
        The lower and the upper end; NaN where no resample has the score.

    Raises:
        ConvNovaError: as `convnova.evaluation.metrics.classification`.

    Example:
        >>> labels = np.array([0, 0, 1, 1] * 25)
        >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]] * 25)
        >>> low, high = bootstrap_interval(labels, scores, "accuracy")
        >>> low < 0.75 < high
        True
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    check_probabilities(labels, scores)
    if metric in CONFUSION_METRICS:
        counts, n = confusion(labels, scores.argmax(1), scores.shape[1]), len(labels)
        drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
        return percentiles(from_confusion(metric, drawn.reshape(resamples, *counts.shape)))
    parts = resampled_weights(len(labels), resamples, seed)
    return percentiles(np.concatenate([mean_area(labels, scores, metric, weights) for weights in parts]))


def bootstrap_sequences(
    confusions: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a pooled score per base, over whole sequences.

    Bases of one sequence are not independent, so sequences are drawn, not bases.

    Args:
        confusions: counts of each sequence (sequences, classes, classes).
        metric: mcc, f1_macro, f1_binary or accuracy.
        resamples: how many times the sequences are drawn.
        seed: of the draws.

    Returns:
        The lower and the upper end; NaN where no resample has the score.
    """
    cells = confusions.reshape(len(confusions), -1)
    drawn = np.concatenate([weights @ cells for weights in resampled_weights(len(cells), resamples, seed)])
    return percentiles(from_confusion(metric, drawn.reshape(-1, *confusions.shape[1:])))


def bootstrap_numbers(
    labels: np.ndarray, predicted: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval, over test rows, of a score of predicted numbers.

    Args:
        labels: (n, targets, values).
        predicted: the same.
        metric: pearson, spearman or r2.
        resamples: how many times n rows are drawn, each with all its values.
        seed: of the draws.

    Returns:
        The lower and the upper end; NaN where no resample has the score.
    """
    parts = resampled_weights(len(labels), resamples, seed)
    return percentiles(np.concatenate([mean_over_targets(metric, labels, predicted, weights) for weights in parts]))


def resampled_weights(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn, in parts that memory holds.

    Args:
        n: how many rows there are, and are drawn each time.
        resamples: how many times they are drawn, in all parts together.
        seed: of the draws.

    Yields:
        int64 (some of the resamples, n).
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        # Resample r counts in bins r * n to (r + 1) * n - 1.
        drawn = generator.integers(n, size=(count, n)) + np.arange(count)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The ends of the 95% interval of resampled values; NaN without any."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
