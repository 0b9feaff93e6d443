"""Scores of variants: how well a number a variant tells those of label 1 from their controls.

The main one is TraitGym's: average precision within each chromosome, averaged with the chromosome's variants as
weights, and its standard error over chromosomes drawn with replacement (https://github.com/songlab-cal/TraitGym,
`workflow/rules/model.smk`). A chromosome where one label alone occurs has no average precision and is left out.
"""

from typing import Any

import numpy as np

from convnova.evaluation.bootstrap import RESAMPLES, percentiles, resampled_interval, resampled_weights
from convnova.evaluation.metrics import RANKING_METRICS, check_scores, from_ranking, ranking_counts

BY_CHROMOSOME = "auprc_by_chromosome"


def score(labels: np.ndarray, scores: np.ndarray, chromosomes: np.ndarray) -> dict[str, Any]:
    """All scores of a task of variants.

    Args:
        labels: 0 or 1 (n,).
        scores: what is higher for label 1 (n,).
        chromosomes: a number a chromosome (n,).

    Returns:
        auroc and auprc over all variants; auprc_by_chromosome with its standard error, auprc_se; `chromosomes`, how
        many are scored, and `left_out`, how many have one label alone. What is not defined is left out.

    Raises:
        ConvNovaError: a score that is not finite.
    """
    check_scores(scores[:, None])
    counts = ranking_counts(labels == 1, scores)
    values = {metric: float(from_ranking(metric, *counts)) for metric in RANKING_METRICS}
    precisions, sizes = by_chromosome(labels, scores, chromosomes)
    result = {name: value for name, value in values.items() if not np.isnan(value)}
    if len(precisions):
        result[BY_CHROMOSOME] = float(np.average(precisions, weights=sizes))
    if len(precisions) > 1:
        result["auprc_se"] = float(_resampled_means(precisions, sizes).std(ddof=1))
    return result | {"chromosomes": len(precisions), "left_out": len(np.unique(chromosomes)) - len(precisions)}


def interval(labels: np.ndarray, scores: np.ndarray, chromosomes: np.ndarray, metric: str) -> list[float] | None:
    """95% bootstrap interval of a score: over chromosomes for that by chromosome, else over variants.

    Args:
        labels, scores, chromosomes: as of `score`.
        metric: auprc_by_chromosome, auprc or auroc.

    Returns:
        The lower and the upper end; None where there is none.
    """
    if metric == BY_CHROMOSOME:
        precisions, sizes = by_chromosome(labels, scores, chromosomes)
        if len(precisions) < 2:
            return None
        return list(percentiles(_resampled_means(precisions, sizes)))
    ends = resampled_interval(
        len(labels), lambda weights: from_ranking(metric, *ranking_counts(labels == 1, scores, weights))
    )
    return list(ends) if np.isfinite(ends).all() else None


def by_chromosome(labels: np.ndarray, scores: np.ndarray, chromosomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision of each chromosome that has both labels, float64 (k,), and its variants, int64 (k,).

    Args:
        labels, scores, chromosomes: as of `score`.
    """
    precisions, sizes = [], []
    for chromosome in np.unique(chromosomes):
        rows = chromosomes == chromosome
        precision = float(from_ranking("auprc", *ranking_counts(labels[rows] == 1, scores[rows])))
        if not np.isnan(precision):
            precisions.append(precision)
            sizes.append(int(rows.sum()))
    return np.array(precisions), np.array(sizes, np.int64)


def _resampled_means(precisions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The weighted mean over as many chromosomes, drawn with replacement, float64 (resamples,)."""
    weights = np.concatenate(list(resampled_weights(len(precisions), RESAMPLES, 0))) * sizes
    return weights @ precisions / weights.sum(axis=1)
