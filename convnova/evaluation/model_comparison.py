"""Whether two models differ: over the rows of a test set, and over tasks."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, combinations
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np

from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import LEVEL, RESAMPLES, WEIGHTS_AT_ONCE, percentiles, resampled_weights
from convnova.evaluation.correlation import mean_over_targets
from convnova.evaluation.metrics import CONFUSION_METRICS, check_probabilities, from_confusion, mean_area

SMALLEST_ERROR = 1e-12
"""Of DeLong's standard error; below it is rounding of zero."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two models on the same test rows or tasks."""

    a: str
    b: str
    n: int
    """How many rows, sequences or tasks."""
    difference: float
    """Score of a minus score of b: mean over seeds, or over tasks."""
    p: float
    p_holm: float = math.nan
    """Adjusted for all pairs that were tested together."""
    pairs: int = 1


@dataclass(frozen=True, kw_only=True)
class PairedOverTestRows(Paired):
    """Two models on the same test rows, each by the mean over its seeds of the score."""

    metric: str
    test: str
    unit: str
    """What was drawn: test rows, or test sequences whose bases have classes."""
    seeds: int
    higher: int
    """Seeds by which a scores higher."""
    low: float
    """Of the 95% interval of the difference."""
    high: float
    only_a: float = math.nan
    """Rows that a alone predicts right, mean over seeds: the effect in plain numbers; NaN for sequences of bases."""
    only_b: float = math.nan


@dataclass(frozen=True, kw_only=True)
class PairedOverTasks(Paired):
    """Two models on the same tasks."""

    wins: int
    losses: int
    effect: float
    """Matched-pairs rank-biserial correlation, -1 to 1: Kerby 2014, doi:10.2466/11.IT.3.1."""


def compare_over_tasks(scores: Mapping[str, np.ndarray]) -> list[PairedOverTasks]:
    """Compare every pair of models over tasks: Wilcoxon signed-rank, two-sided, Holm over all pairs.

    Args:
        scores: model to its score on each task (tasks,), NaN where it was not run; such a task is left out
            of the pairs of that model.

    Returns:
        One result a pair with a task in common, in the order of the models.

    Source: Demsar 2006, https://jmlr.org/papers/v7/demsar06a.html; Holm 1979.
    """
    from scipy.stats import rankdata, wilcoxon

    results = []
    for a, b in combinations(scores, 2):
        gaps = np.asarray(scores[a]) - np.asarray(scores[b])
        gaps = gaps[~np.isnan(gaps)]
        if not gaps.size:
            continue
        numbers = {"n": gaps.size, "wins": int((gaps > 0).sum()), "losses": int((gaps < 0).sum())}
        unequal, effect, p = gaps[gaps != 0], 0.0, 1.0
        if unequal.size:
            ranks = rankdata(np.abs(unequal))
            effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
            p = float(wilcoxon(unequal).pvalue)
        results.append(PairedOverTasks(a=a, b=b, difference=float(gaps.mean()), effect=effect, p=p, **numbers))
    return with_holm(results)


def holm(p: np.ndarray) -> np.ndarray:
    """P values (tests,) adjusted so that the chance of any false positive among them stays at the level.

    Holm 1979, https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


AnyPaired = TypeVar("AnyPaired", bound=Paired)


def with_holm(results: list[AnyPaired]) -> list[AnyPaired]:
    """The results with their p values adjusted for one another."""
    adjusted = holm(np.array([result.p for result in results]))
    return [replace(r, p_holm=float(p), pairs=len(results)) for r, p in zip(results, adjusted, strict=True)]


def compare_over_test_rows(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    metric: str,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedOverTestRows:
    """Compare two models on the same test rows: DeLong for the AUROC of two classes, else a paired bootstrap.

    With several seeds what is tested is the difference of the means over seeds: rows are drawn once for all of them,
    and DeLong's placement values are averaged over them. The chance in the rows is tested, that of training is not.

    Args:
        labels: class ids (n,).
        scores_a: probabilities (n, classes), or of several seeds (seeds, n, classes).
        scores_b: the same of the other model, with as many seeds.
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.
        names: of the models, for the result.
        resamples: how many times n rows are drawn.
        seed: of the draws.

    Returns:
        The difference of a minus b, its interval and its p value.

    Raises:
        ConvNovaError: as `convnova.evaluation.metrics.classification`; or AUROC with one class in test.

    Example:
        >>> labels = np.tile([0, 1], 200)
        >>> right, wrong = np.eye(2)[labels], np.eye(2)[np.where(np.arange(400) < 60, 1 - labels, labels)]
        >>> result = compare_over_test_rows(labels, right, wrong, "accuracy")
        >>> round(result.difference, 3), result.p < 0.01, result.only_a
        (0.15, True, 60.0)
    """
    labels = np.asarray(labels)
    a, b = (scores if scores.ndim == 3 else scores[None] for scores in map(np.asarray, (scores_a, scores_b)))
    for of_seed in (*a, *b):
        check_probabilities(labels, of_seed)
    if a.shape != b.shape:
        raise ConvNovaError(f"expected scores of the same seeds and classes, found {a.shape} and {b.shape}")
    predicted_a, predicted_b = a.argmax(-1), b.argmax(-1)
    right_a, right_b = predicted_a == labels, predicted_b == labels
    pair = {"a": names[0], "b": names[1], "metric": metric, "unit": "test rows", "n": len(labels)}
    pair["only_a"] = float((right_a & ~right_b).sum(1).mean())
    pair["only_b"] = float((right_b & ~right_a).sum(1).mean())
    if metric == "auroc" and a.shape[2] == 2:
        by_seed, error = delong(labels, a[..., 1], b[..., 1])
        over_seeds = _over_seeds(by_seed)
        difference, reach = over_seeds["difference"], NormalDist().inv_cdf((1 + LEVEL) / 2) * error
        if error > SMALLEST_ERROR:  # else models that are both perfect, or at chance for every row: by bootstrap
            p = math.erfc(abs(difference) / error / math.sqrt(2))
            interval = {"low": difference - reach, "high": difference + reach}
            return PairedOverTestRows(**pair, **over_seeds, **interval, test="DeLong", p=p)
    if metric in CONFUSION_METRICS:
        return _by_confusions(pair, *_patterns(labels, predicted_a, predicted_b, a.shape[2]), resamples, seed)
    areas = [partial(mean_area, labels, of_seed, metric) for of_seed in (*a, *b)]
    return _over_rows(pair, areas, resamples, seed)


def paired_over_sequences(
    confusions_a: np.ndarray,
    confusions_b: np.ndarray,
    metric: str,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedOverTestRows:
    """Compare two models on pooled bases by a paired bootstrap over whole sequences.

    Args:
        confusions_a: counts of each sequence (seeds, sequences, classes, classes).
        confusions_b: the same of the other model, with as many seeds.
        metric: mcc, f1_macro, f1_binary or accuracy.
        names: of the models, for the result.
        resamples: how many times the sequences are drawn.
        seed: of the draws.

    Returns:
        The difference of a minus b, its interval and its p value.
    """
    n = confusions_a.shape[1]
    pair = {"a": names[0], "b": names[1], "metric": metric, "unit": "test sequences", "n": n}
    cells = np.concatenate([confusions_a, confusions_b]).swapaxes(0, 1)
    return _by_confusions(pair, np.ones(n, np.int64), cells, resamples, seed)


def paired_numbers(
    labels: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    metric: str,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedOverTestRows:
    """Compare two models that predict numbers by a paired bootstrap over test rows.

    Args:
        labels: (n, targets, values).
        predicted_a: of each seed (seeds, n, targets, values).
        predicted_b: the same of the other model, with as many seeds.
        metric: pearson, spearman or r2.
        names: of the models, for the result.
        resamples: how many times n rows are drawn.
        seed: of the draws.

    Returns:
        The difference of a minus b, its interval and its p value.
    """
    pair = {"a": names[0], "b": names[1], "metric": metric, "unit": "test rows", "n": len(labels)}
    scores = [partial(mean_over_targets, metric, labels, of_seed) for of_seed in (*predicted_a, *predicted_b)]
    return _over_rows(pair, scores, resamples, seed)


def _patterns(
    labels: np.ndarray, predicted_a: np.ndarray, predicted_b: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with one label and the same predictions by all seeds, taken together.

    Args:
        labels: (n,).
        predicted_a, predicted_b: classes (seeds, n).

    Returns:
        How many rows each pattern has (patterns,), and the confusions of one of them (patterns, 2 seeds, c, c).
    """
    patterns, counts = np.unique(np.stack([labels, *predicted_a, *predicted_b], 1), axis=0, return_counts=True)
    true, predicted = (ids[..., None] == np.arange(classes) for ids in (patterns[:, :1], patterns[:, 1:]))
    return counts, true[..., :, None] & predicted[..., None, :]


def _by_confusions(
    pair: dict[str, Any], counts: np.ndarray, cells: np.ndarray, resamples: int, seed: int
) -> PairedOverTestRows:
    """Paired bootstrap of a metric of confusion matrices.

    Args:
        counts: how many rows or sequences of each kind there are (kinds,).
        cells: confusions of one of the kind by the seeds of a, then of b (kinds, 2 seeds, classes, classes).
    """
    flat = cells.reshape(len(cells), -1).astype(np.float64)

    def scores(weights: np.ndarray) -> np.ndarray:
        confusions = (weights.astype(np.float64) @ flat).reshape(-1, *cells.shape[1:])
        return from_confusion(pair["metric"], confusions)

    # Drawing n rows with replacement draws the counts of kinds from a multinomial.
    generator, n = np.random.default_rng(seed), int(counts.sum())
    at_once = max(1, WEIGHTS_AT_ONCE // max(flat.shape))
    sizes = (min(at_once, resamples - start) for start in range(0, resamples, at_once))
    return _by_bootstrap(pair, scores, counts, (generator.multinomial(n, counts / n, size) for size in sizes))


def _over_rows(
    pair: dict[str, Any], scores: list[Callable[[np.ndarray], np.ndarray]], resamples: int, seed: int
) -> PairedOverTestRows:
    """Paired bootstrap over test rows, of each of which there is one, by a score for each seed of a, then of b."""
    n, together = pair["n"], lambda weights: np.stack([score(weights) for score in scores], 1)
    return _by_bootstrap(pair, together, np.ones(n, np.int64), resampled_weights(n, resamples, seed))


def _by_bootstrap(
    pair: dict[str, Any], scores: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, drawn: Iterable[np.ndarray]
) -> PairedOverTestRows:
    """Interval and two-sided p value of the mean difference over seeds.

    Args:
        scores: weights (resamples, kinds) to scores by the seeds of a, then of b (resamples, 2 seeds).
        counts: the weights of the test set itself (kinds,).
        drawn: the weights of the resamples, in parts.
    """
    a, b = np.split(np.concatenate(list(map(scores, chain([counts[None]], drawn)))), 2, axis=1)
    by_seed, resampled = a[0] - b[0], (a - b)[1:].mean(1)
    defined = resampled[~np.isnan(resampled)]
    # Twice the share of resamples on the other side of zero; 1 is added so that p is never 0.
    below, above = 1 + (defined <= 0).sum(), 1 + (defined >= 0).sum()
    p = float(min(1.0, 2 * min(below, above) / (len(defined) + 1)))
    low, high = percentiles(resampled)
    return PairedOverTestRows(**pair, **_over_seeds(by_seed), test="paired bootstrap", low=low, high=high, p=p)


def _over_seeds(by_seed: np.ndarray) -> dict[str, Any]:
    """What a result says of the differences by each seed (seeds,)."""
    return {"seeds": len(by_seed), "higher": int((by_seed > 0).sum()), "difference": float(by_seed.mean())}


def delong(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> tuple[np.ndarray, float]:
    """Differences of AUROCs on the same rows, and the standard error of their mean over seeds.

    Args:
        labels: 0 or 1 (n,).
        scores_a: of class 1 (seeds, n).
        scores_b: of class 1 (seeds, n).

    Returns:
        The difference by each seed (seeds,), and the standard error.

    Raises:
        ConvNovaError: fewer than two rows of either class.

    Source: DeLong 1988, doi:10.2307/2531595, by ranks as Sun and Xu 2014, doi:10.1109/LSP.2014.2337313; a mean over
    seeds is a U-statistic of the mean kernel, so its placement values are the means over seeds.
    """
    from scipy.stats import rankdata

    positive = np.asarray(labels) == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if min(n, m) < 2:
        raise ConvNovaError(f"expected two test rows or more of either class for AUROC, found {n} and {m}")
    share_below, share_above = [], []
    for scores in (scores_a, scores_b):
        # A rank among all less the rank among its own class is how many of the other class score lower.
        ranks = rankdata(scores, axis=-1)
        share_below.append((ranks[:, positive] - rankdata(scores[:, positive], axis=-1)) / m)
        share_above.append(1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=-1)) / n)
    differences = share_below[0] - share_below[1], share_above[0] - share_above[1]
    variance = np.var(differences[0].mean(0), ddof=1) / n + np.var(differences[1].mean(0), ddof=1) / m
    return differences[0].mean(1), float(np.sqrt(variance))
