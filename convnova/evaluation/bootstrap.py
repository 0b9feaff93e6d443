"""How sure a score is: bootstrap intervals over test rows."""

import math
from collections.abc import Iterator

import numpy as np

from convnova.evaluation.metrics import FROM_CONFUSION, FROM_RANKING, check_probabilities, confusion, ranking

LEVEL = 0.95
RESAMPLES = 1000
WEIGHTS_AT_ONCE = 4_000_000
"""Weights of items held in memory at a time: 32 MB."""


def bootstrap_interval(
    labels: np.ndarray, scores: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a score over test rows.

    Drawing n items with replacement draws a confusion matrix from a multinomial, so the metrics that need
    no more than that cost no more than their matrix, however many items there are.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.

    Returns:
        The lower and the upper end; NaN where no resample has the score.

    Raises:
        ConvNovaError: as `convnova.evaluation.metrics.classification`.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    check_probabilities(labels, scores)
    if metric in FROM_CONFUSION:
        counts = confusion(labels, scores.argmax(1), scores.shape[1])
        return percentiles(FROM_CONFUSION[metric](_resampled_cells(counts, resamples, seed)))
    weights = item_weights(len(labels), resamples, seed)
    return percentiles(np.concatenate([weighted_areas(labels, scores, metric, part) for part in weights]))


def bootstrap_sequences(
    confusions: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a pooled score per base, over whole sequences.

    Bases of one sequence are not independent, so sequences are drawn, not bases.

    Args:
        confusions: counts of each sequence (sequences, classes, classes).
        metric: mcc, f1_macro, f1_binary or accuracy.
    """
    cells = confusions.reshape(len(confusions), -1)
    drawn = np.concatenate([part @ cells for part in item_weights(len(cells), resamples, seed)])
    return percentiles(FROM_CONFUSION[metric](drawn.reshape(-1, *confusions.shape[1:])))


def _resampled_cells(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Counts of any shape, drawn anew: int64 (resamples, *shape)."""
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
    return drawn.reshape(resamples, *counts.shape)


def item_weights(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n items is drawn, in pieces int64 (some resamples, n)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


def weighted_areas(labels: np.ndarray, scores: np.ndarray, metric: str, weights: np.ndarray) -> np.ndarray:
    """A metric of `FROM_RANKING` for each row of weights (resamples, n): (resamples,)."""
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = np.stack([_area(labels == of, scores[:, of], metric, weights) for of in classes])
    defined = ~np.isnan(areas)
    total = np.where(defined, areas, 0).sum(0)
    return np.divide(total, defined.sum(0), out=np.full(len(weights), np.nan), where=defined.any(0))


def _area(positive: np.ndarray, scores: np.ndarray, metric: str, weights: np.ndarray) -> np.ndarray:
    order, ends = ranking(scores)
    falling = weights[:, order]
    hits = np.cumsum(falling * positive[order], axis=1)[:, ends]
    misses = np.cumsum(falling * ~positive[order], axis=1)[:, ends]
    return FROM_RANKING[metric](hits, misses)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The ends of the 95% interval of resampled values; NaN without any."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
