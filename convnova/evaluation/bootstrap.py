"""How sure a score is: bootstrap intervals over test rows."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

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
    return resampled_interval(len(labels), partial(mean_area, labels, scores, metric), resamples, seed)


def resampled_interval(
    n: int, score: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of any score, over what is drawn whole: rows, or sequences of bases.

    Args:
        n: how many there are, and are drawn each time.
        score: from how often each is drawn, int64 (resamples, n), to the scores of these resamples.
        resamples: how many times they are drawn.
        seed: of the draws.

    Returns:
        The lower and the upper end; NaN where no resample has the score.
    """
    return percentiles(np.concatenate([score(weights) for weights in resampled_weights(n, resamples, seed)]))


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
