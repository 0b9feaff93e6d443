"""Scores of predicted numbers: Pearson's and Spearman's correlation, and the share of variance explained (R2).

Labels and predictions are (n, targets, values): of each row one value a target, or of its only target one a bin; the
values of all rows are pooled. A score is the mean over targets. A target that is the same in all rows has none and is
left out; predictions that are all the same have a correlation of 0, as they have an MCC of 0. The tests hold all of it
equal to scipy and scikit-learn.
"""

import numpy as np

from convnova.errors import ConvNovaError
from convnova.evaluation.metrics import check_scores

REGRESSION_METRICS = ("pearson", "spearman", "r2")
SMALLEST_VARIANCE = 1e-12
"""Of values in units of their standard deviation over all rows: what rounding leaves of a constant is below."""
RANKS_AT_ONCE = 1_000_000
"""In memory, of resamples: some ten times 8 MB."""


def regression(labels: np.ndarray, predicted: np.ndarray) -> dict[str, object]:
    """All scores of a task of numbers.

    Args:
        labels: (n, targets, values).
        predicted: the same.

    Returns:
        pearson, spearman and r2, the means over targets, where they are defined; n_left_out, how many targets have
        none; and where there are several targets `by_target`, the scores of each in their order.

    Raises:
        ConvNovaError: shapes that differ, or a number that is not finite.
    """
    if labels.shape != predicted.shape or labels.ndim != 3 or not labels.size:
        raise ConvNovaError(f"expected labels and as many predictions, found {labels.shape} and {predicted.shape}")
    for numbers in (labels, predicted):
        check_scores(numbers.reshape(len(numbers), -1))
    scores = {name: by_target(name, labels, predicted).tolist() for name in REGRESSION_METRICS}
    targets = [dict(zip(scores, of_target, strict=True)) for of_target in zip(*scores.values(), strict=True)]
    defined = [of_target for of_target in targets if not np.isnan(of_target["r2"])]
    result: dict[str, object] = {"n_left_out": len(targets) - len(defined)}
    for name in REGRESSION_METRICS if defined else ():
        result[name] = float(np.mean([of_target[name] for of_target in defined]))
    if len(targets) > 1:
        result["by_target"] = [of_target if of_target in defined else {} for of_target in targets]
    return result


def mean_over_targets(
    metric: str, labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """The mean over targets of a score, of all rows or of resamples of them.

    Args:
        metric: one of `REGRESSION_METRICS`.
        labels: (n, targets, values).
        predicted: the same.
        weights: how often each row counts (resamples, n); once by default.

    Returns:
        float64 () or (resamples,); NaN where no target has the score.
    """
    scores = by_target(metric, labels, predicted, weights)
    is_defined = ~np.isnan(scores)
    total, count = np.where(is_defined, scores, 0).sum(-1), is_defined.sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def by_target(metric: str, labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """A score of each target; arguments as of `mean_over_targets`.

    Args:
        metric: one of `REGRESSION_METRICS`.
        labels: (n, targets, values).
        predicted: the same.
        weights: how often each row counts (resamples, n); once by default.

    Returns:
        float64 (targets,) or (resamples, targets); NaN where a target is the same in all rows.
    """
    if metric == "spearman" and weights is not None:
        columns = zip(labels.swapaxes(0, 1), predicted.swapaxes(0, 1), strict=True)
        return np.stack([_resampled_spearman(*pair, weights) for pair in columns], -1)
    if metric == "spearman":
        labels, predicted = (_ranks(numbers) for numbers in (labels, predicted))
    y, scale = _standardized(labels)
    p, _ = _standardized(predicted)
    error = (labels - predicted) / scale
    # All three scores follow from sums over rows, so a resample of rows is a weighted sum.
    sums = np.stack([np.ones_like(y), y, p, y * y, p * p, y * p, error * error], -1).sum(2)  # (n, targets, 7)
    return _from_sums(metric, sums.sum(0) if weights is None else np.tensordot(weights.astype(np.float64), sums, 1))


def _from_sums(metric: str, sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation, of values or of ranks, or R2, from sums (..., 7) to (...)."""
    n, y, p, yy, pp, yp, errors = np.moveaxis(sums, -1, 0)
    spread, spread_predicted = yy - y * y / n, pp - p * p / n
    varies = spread > SMALLEST_VARIANCE * n
    if metric == "r2":
        return 1 - np.divide(errors, spread, out=np.full(n.shape, np.nan), where=varies)
    both = varies & (spread_predicted > SMALLEST_VARIANCE * n)
    product = np.sqrt(np.where(both, spread * spread_predicted, 1))
    return np.divide(yp - y * p / n, product, out=np.where(varies, 0.0, np.nan), where=both)


def _standardized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, targets, values) less their mean in units of their standard deviation, and these (1, targets, 1)."""
    values = values.astype(np.float64)
    is_constant = values.min((0, 2), keepdims=True) == values.max((0, 2), keepdims=True)
    scale = np.where(is_constant, 1, values.std((0, 2), keepdims=True))
    return np.where(is_constant, 0, (values - values.mean((0, 2), keepdims=True)) / scale), scale


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value (n, targets, values) among those of its target, equal ones by their mean rank."""
    from scipy.stats import rankdata

    by_column = values.swapaxes(0, 1)
    return rankdata(by_column.reshape(len(by_column), -1), axis=1).reshape(by_column.shape).swapaxes(0, 1)


def _resampled_spearman(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's correlation (resamples,) of one target (n, values), ranked anew in every resample of the rows."""
    count, parts = labels[0].size, []
    at_once = max(1, RANKS_AT_ONCE // labels.size)
    for some in (weights[first : first + at_once] for first in range(0, len(weights), at_once)):
        repeated = np.repeat(some, count, 1)
        a, b = (_centred_ranks(numbers.ravel(), repeated) for numbers in (labels, predicted))
        spread, spread_predicted, covariance = ((repeated * x * y).sum(1) for x, y in ((a, a), (b, b), (a, b)))
        product = np.sqrt(spread * spread_predicted)
        parts.append(np.divide(covariance, product, out=np.where(spread > 0, 0.0, np.nan), where=product > 0))
    return np.concatenate(parts)


def _centred_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank of each value (n,) where value i is there `weights[:, i]` times, less the mean rank: (resamples, n)."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    equal = np.add.reduceat(weights[:, order], starts, axis=1)  # how often each different value is there
    ends = np.cumsum(equal, axis=1)
    ranks = ends - (equal - 1) / 2 - (ends[:, -1:] + 1) / 2
    result = np.empty(weights.shape)
    result[:, order] = np.repeat(ranks, np.diff(np.append(starts, len(values))), axis=1)
    return result
