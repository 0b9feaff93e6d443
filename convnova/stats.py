"""How sure a score is, and whether two models differ: over test items, and over tasks.

Imports numpy alone; scipy is imported where it is needed.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist

import numpy as np

from convnova.errors import ConvNovaError
from convnova.metrics import FROM_CONFUSION, FROM_RANKING, check_probabilities, confusion, ranking

LEVEL = 0.95
RESAMPLES = 1000
WEIGHTS_AT_ONCE = 4_000_000
"""Weights of items held in memory at a time: 32 MB."""


def bootstrap_interval(
    labels: np.ndarray, scores: np.ndarray, metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a score over test items.

    Drawing n items with replacement draws a confusion matrix from a multinomial, so the metrics that need
    no more than that cost no more than their matrix, however many items there are.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.

    Returns:
        The lower and the upper end; NaN where no resample has the score.

    Raises:
        ConvNovaError: as `convnova.metrics.classification`.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    check_probabilities(labels, scores)
    if metric in FROM_CONFUSION:
        counts = confusion(labels, scores.argmax(1), scores.shape[1])
        return _percentiles(FROM_CONFUSION[metric](_resampled_cells(counts, resamples, seed)))
    weights = _item_weights(len(labels), resamples, seed)
    return _percentiles(np.concatenate([_weighted(labels, scores, metric, part) for part in weights]))


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
    drawn = np.concatenate([part @ cells for part in _item_weights(len(cells), resamples, seed)])
    return _percentiles(FROM_CONFUSION[metric](drawn.reshape(-1, *confusions.shape[1:])))


def _resampled_cells(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Counts of any shape, drawn anew: int64 (resamples, *shape)."""
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
    return drawn.reshape(resamples, *counts.shape)


def _item_weights(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n items is drawn, in pieces int64 (some resamples, n)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


def _weighted(labels: np.ndarray, scores: np.ndarray, metric: str, weights: np.ndarray) -> np.ndarray:
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


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class OverItems:
    """Two models on the same test items."""

    a: str
    b: str
    metric: str
    test: str
    n: int
    difference: float
    """Score of a minus score of b."""
    low: float
    """Of the 95% interval of the difference."""
    high: float
    p: float
    only_a: int
    """Items that a alone predicts right: the effect in plain numbers."""
    only_b: int

    def sentence(self) -> str:
        """The result, ready to quote."""
        said = f"{_compared(self.a, self.b, self.difference, self.p)} on {self.n} test items"
        return (
            f"{said} ({self.metric} difference {self.difference:+.3f}, "
            f"95% interval {self.low:+.3f} to {self.high:+.3f}; {self.test} {_p(self.p)}; "
            f"{self.a} alone is right on {self.only_a}, {self.b} alone on {self.only_b})."
        )


@dataclass(frozen=True)
class OverTasks:
    """Two models on the same tasks."""

    a: str
    b: str
    n: int
    wins: int
    losses: int
    difference: float
    """Mean over tasks of a minus b."""
    effect: float
    """Matched-pairs rank-biserial correlation, -1 to 1: Kerby 2014, doi:10.2466/11.IT.3.1."""
    p: float
    p_holm: float
    """Adjusted for all pairs that were tested together."""
    pairs: int

    def sentence(self) -> str:
        """The result, ready to quote."""
        said = f"{_compared(self.a, self.b, self.difference, self.p_holm)} over {self.n} tasks"
        adjusted = f", Holm-adjusted over {self.pairs} pairs {_p(self.p_holm)}" if self.pairs > 1 else ""
        smallest = 2.0 ** (1 - self.n)
        few = f"; with {self.n} tasks p cannot be below {smallest:.3g}" if smallest > 1 - LEVEL else ""
        return (
            f"{said} ({self.wins} won, {self.losses} lost, mean difference {self.difference:+.3f}, "
            f"rank-biserial correlation {self.effect:+.2f}; Wilcoxon signed-rank {_p(self.p)}{adjusted}{few})."
        )


def _compared(a: str, b: str, difference: float, p: float) -> str:
    if p > 1 - LEVEL:
        return f"{a} and {b} do not differ at the 5% level"
    return f"{a} scores {'higher' if difference > 0 else 'lower'} than {b}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def paired_over_tasks(scores: Mapping[str, np.ndarray]) -> list[OverTasks]:
    """Compare every pair of models over tasks: Wilcoxon signed-rank, two-sided, Holm over all pairs.

    Args:
        scores: model to its score on each task (tasks,), NaN where it was not run; such a task is left out
            of the pairs of that model.

    Returns:
        One result a pair with a task in common, in the order of the models.

    Source: Demsar 2006, https://jmlr.org/papers/v7/demsar06a.html; Holm 1979.
    """
    results = [_signed_rank(a, b, np.asarray(scores[a]) - np.asarray(scores[b])) for a, b in combinations(scores, 2)]
    results = [result for result in results if result.n]
    adjusted = holm(np.array([result.p for result in results]))
    return [replace(r, p_holm=float(p), pairs=len(results)) for r, p in zip(results, adjusted, strict=True)]


def _signed_rank(a: str, b: str, differences: np.ndarray) -> OverTasks:
    from scipy.stats import rankdata, wilcoxon

    differences = differences[~np.isnan(differences)]
    unequal = differences[differences != 0]
    ranks = rankdata(np.abs(unequal))
    effect = float((ranks * np.sign(unequal)).sum() / ranks.sum()) if unequal.size else 0.0
    return OverTasks(
        a,
        b,
        n=differences.size,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        difference=float(differences.mean()) if differences.size else math.nan,
        effect=effect,
        p=float(wilcoxon(unequal).pvalue) if unequal.size else 1.0,
        p_holm=math.nan,
        pairs=1,
    )


def holm(p: np.ndarray) -> np.ndarray:
    """P values (tests,) adjusted so that the chance of any false positive among them stays at the level.

    Holm 1979, https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def paired_over_items(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    metric: str,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> OverItems:
    """Compare two models on the same test items: DeLong for the AUROC of two classes, else a paired bootstrap.

    Args:
        labels: class ids (n,).
        scores_a, scores_b: probabilities (n, classes).
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.

    Raises:
        ConvNovaError: as `convnova.metrics.classification`; or AUROC with one class in test.
    """
    labels, scores_a, scores_b = map(np.asarray, (labels, scores_a, scores_b))
    for scores in (scores_a, scores_b):
        check_probabilities(labels, scores)
    if scores_a.shape != scores_b.shape:
        raise ConvNovaError(f"expected scores of the same classes, found {scores_a.shape} and {scores_b.shape}")
    right = [scores.argmax(1) == labels for scores in (scores_a, scores_b)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    if metric == "auroc" and scores_a.shape[1] == 2:
        difference, error = delong(labels, scores_a[:, 1], scores_b[:, 1])
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
        p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
        ends = difference - reach, difference + reach
        return OverItems(*names, metric, "DeLong", len(labels), difference, *ends, p, *only)
    observed, drawn = _paired_draws(labels, scores_a, scores_b, metric, resamples, seed)
    below, above = (1 + (drawn <= 0).sum()), (1 + (drawn >= 0).sum())
    p = float(min(1.0, 2 * min(below, above) / (len(drawn) + 1)))
    return OverItems(*names, metric, "paired bootstrap", len(labels), observed, *_percentiles(drawn), p, *only)


def _paired_draws(
    labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, metric: str, resamples: int, seed: int
) -> tuple[float, np.ndarray]:
    """The difference of the two scores, and the same in each resample (resamples,)."""
    if metric in FROM_CONFUSION:
        classes = scores_a.shape[1]
        both = np.zeros((classes,) * 3, dtype=np.int64)
        np.add.at(both, (labels, scores_a.argmax(1), scores_b.argmax(1)), 1)
        cells = np.concatenate([both[None], _resampled_cells(both, resamples, seed)])
        values = FROM_CONFUSION[metric](cells.sum(3)) - FROM_CONFUSION[metric](cells.sum(2))
        return float(values[0]), values[1:]
    once = np.ones((1, len(labels)), dtype=np.int64)
    values = np.concatenate(
        [
            _weighted(labels, scores_a, metric, part) - _weighted(labels, scores_b, metric, part)
            for part in (once, *_item_weights(len(labels), resamples, seed))
        ]
    )
    return float(values[0]), values[1:][~np.isnan(values[1:])]


def delong(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> tuple[float, float]:
    """Difference of two AUROCs on the same items, and its standard error.

    Args:
        labels: 0 or 1 (n,).
        scores_a, scores_b: of class 1 (n,).

    Raises:
        ConvNovaError: fewer than two items of either class.

    Source: DeLong 1988, doi:10.2307/2531595, by ranks as Sun and Xu 2014, doi:10.1109/LSP.2014.2337313.
    """
    from scipy.stats import rankdata

    positive = np.asarray(labels) == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if min(n, m) < 2:
        raise ConvNovaError(f"expected two test items or more of either class for AUROC, found {n} and {m}")
    share_below, share_above = [], []
    for scores in (scores_a, scores_b):
        ranks = rankdata(scores)
        share_below.append((ranks[positive] - rankdata(scores[positive])) / m)
        share_above.append(1 - (ranks[~positive] - rankdata(scores[~positive])) / n)
    differences = share_below[0] - share_below[1], share_above[0] - share_above[1]
    variance = np.var(differences[0], ddof=1) / n + np.var(differences[1], ddof=1) / m
    return float(differences[0].mean()), float(np.sqrt(variance))
