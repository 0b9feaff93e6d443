"""Whether two models differ: over the items of a test set, and over tasks.

Imports numpy alone; scipy is imported where it is needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import LEVEL, RESAMPLES, WEIGHTS_AT_ONCE, item_weights, percentiles, weighted_areas
from convnova.evaluation.metrics import FROM_CONFUSION, check_probabilities


@dataclass(frozen=True)
class PairedOverTestRows:
    """Two models on the same test rows, each by the mean over its seeds of the score."""

    a: str
    b: str
    metric: str
    test: str
    items: str
    """What the items are: test rows, or test sequences."""
    n: int
    seeds: int
    higher: int
    """Seeds by which a scores higher."""
    difference: float
    """Score of a minus score of b, mean over seeds."""
    low: float
    """Of the 95% interval of the difference."""
    high: float
    p: float
    only_a: float = math.nan
    """Items that a alone predicts right, mean over seeds: the effect in plain numbers; NaN for sequences of bases."""
    only_b: float = math.nan
    p_holm: float = math.nan
    """Adjusted for all pairs that were tested together."""
    pairs: int = 1

    def sentence(self) -> str:
        """The result, ready to quote."""
        p = self.p_holm if self.pairs > 1 else self.p
        seeds = f", mean of {self.seeds} seeds, {self.a} higher in {self.higher}" if self.seeds > 1 else ""
        alone = f"; right alone: {self.a} on {_mean(self.only_a)}, {self.b} on {_mean(self.only_b)}"
        alone *= self.only_a == self.only_a and self.test != "DeLong"
        return (
            f"{_compared(self.a, self.b, self.difference, p)} on {self.n:,} {self.items} "
            f"({self.metric} difference {self.difference:+.3f}{seeds}, "
            f"95% interval {self.low:+.3f} to {self.high:+.3f}; {self.test} {_p(self.p)}"
            f"{_adjusted(self.pairs, p)}{alone})."
        )


@dataclass(frozen=True)
class PairedOverTasks:
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
        tasks = f"{self.n} task{'s' * (self.n != 1)}"
        smallest = 2.0 ** (1 - self.n)
        few = f"; with {tasks} p cannot be below {smallest:.3g}" if smallest > 1 - LEVEL else ""
        return (
            f"{_compared(self.a, self.b, self.difference, self.p_holm)} over {tasks} "
            f"({self.wins} won, {self.losses} lost, mean difference {self.difference:+.3f}, "
            f"rank-biserial correlation {self.effect:+.2f}; Wilcoxon signed-rank {_p(self.p)}"
            f"{_adjusted(self.pairs, self.p_holm)}{few})."
        )


def _compared(a: str, b: str, difference: float, p: float) -> str:
    if p > 1 - LEVEL:
        return f"{a} and {b} do not differ at the 5% level"
    return f"{a} scores {'higher' if difference > 0 else 'lower'} than {b}"


def _adjusted(pairs: int, p: float) -> str:
    return f", Holm-adjusted over {pairs} pairs {_p(p)}" if pairs > 1 else ""


def _mean(count: float) -> str:
    """A count, which is a mean over seeds: with a decimal where it is not whole."""
    return f"{count:.1f}".removesuffix(".0")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def compare_over_tasks(scores: Mapping[str, np.ndarray]) -> list[PairedOverTasks]:
    """Compare every pair of models over tasks: Wilcoxon signed-rank, two-sided, Holm over all pairs.

    Args:
        scores: model to its score on each task (tasks,), NaN where it was not run; such a task is left out
            of the pairs of that model.

    Returns:
        One result a pair with a task in common, in the order of the models.

    Source: Demsar 2006, https://jmlr.org/papers/v7/demsar06a.html; Holm 1979.
    """
    results = [_signed_rank(a, b, np.asarray(scores[a]) - np.asarray(scores[b])) for a, b in combinations(scores, 2)]
    return with_holm([result for result in results if result.n])


def _signed_rank(a: str, b: str, differences: np.ndarray) -> PairedOverTasks:
    from scipy.stats import rankdata, wilcoxon

    differences = differences[~np.isnan(differences)]
    unequal = differences[differences != 0]
    ranks = rankdata(np.abs(unequal))
    effect = float((ranks * np.sign(unequal)).sum() / ranks.sum()) if unequal.size else 0.0
    return PairedOverTasks(
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


Pair = TypeVar("Pair", PairedOverTestRows, PairedOverTasks)


def with_holm(results: list[Pair]) -> list[Pair]:
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

    With several seeds what is tested is the difference of the means over seeds: items are drawn once for all of them,
    and DeLong's placement values are averaged over them. The chance in the items is tested, that of training is not.

    Args:
        labels: class ids (n,).
        scores_a, scores_b: probabilities (n, classes), or of as many seeds each (seeds, n, classes).
        metric: mcc, f1_macro, f1_binary, accuracy, auroc or auprc.

    Raises:
        ConvNovaError: as `convnova.evaluation.metrics.classification`; or AUROC with one class in test.
    """
    labels = np.asarray(labels)
    a, b = (scores if scores.ndim == 3 else scores[None] for scores in map(np.asarray, (scores_a, scores_b)))
    for of_seed in (*a, *b):
        check_probabilities(labels, of_seed)
    if a.shape != b.shape:
        raise ConvNovaError(f"expected scores of the same seeds and classes, found {a.shape} and {b.shape}")
    right_a, right_b = (scores.argmax(-1) == labels for scores in (a, b))
    only = [float((one & ~other).sum(1).mean()) for one, other in ((right_a, right_b), (right_b, right_a))]
    about = (*names, metric), ("test rows", len(labels)), only
    if metric == "auroc" and a.shape[2] == 2:
        by_seed, error = delong(labels, a[..., 1], b[..., 1])
        difference = float(by_seed.mean())
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
        p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
        return _over_items(*about, "DeLong", by_seed, (difference - reach, difference + reach), p)
    if metric in FROM_CONFUSION:
        patterns = _patterns(labels, a.argmax(-1), b.argmax(-1), a.shape[2])
        by_seed, drawn = _drawn_counts(*patterns, metric, resamples, seed)
    else:
        by_seed, drawn = _drawn_areas(labels, a, b, metric, resamples, seed)
    return _over_items(*about, "paired bootstrap", by_seed, percentiles(drawn), _p_of_draws(drawn))


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
        confusions_a, confusions_b: counts of each sequence (seeds, sequences, classes, classes).
        metric: mcc, f1_macro, f1_binary or accuracy.
    """
    n = confusions_a.shape[1]
    cells = np.concatenate([confusions_a, confusions_b]).swapaxes(0, 1)
    by_seed, drawn = _drawn_counts(np.ones(n, np.int64), cells, metric, resamples, seed)
    about = (*names, metric), ("test sequences", n), (math.nan, math.nan)
    return _over_items(*about, "paired bootstrap", by_seed, percentiles(drawn), _p_of_draws(drawn))


def _over_items(
    names: tuple[str, str, str],
    items: tuple[str, int],
    only: Sequence[float],
    test: str,
    by_seed: np.ndarray,
    ends: tuple[float, float],
    p: float,
) -> PairedOverTestRows:
    return PairedOverTestRows(
        *names, test, *items, len(by_seed), int((by_seed > 0).sum()), float(by_seed.mean()), *ends, p, *only
    )


def _p_of_draws(drawn: np.ndarray) -> float:
    """Two-sided p value of zero among resampled differences."""
    drawn = drawn[~np.isnan(drawn)]
    below, above = 1 + (drawn <= 0).sum(), 1 + (drawn >= 0).sum()
    return float(min(1.0, 2 * min(below, above) / (len(drawn) + 1)))


def _patterns(
    labels: np.ndarray, predicted_a: np.ndarray, predicted_b: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Items with one label and the same predictions by all seeds, taken together.

    Args:
        labels: (n,).
        predicted_a, predicted_b: classes (seeds, n).

    Returns:
        How many items each pattern has (patterns,), and the confusions of one of them (patterns, 2 seeds, c, c).
    """
    found, counts = np.unique(np.stack([labels, *predicted_a, *predicted_b], 1), axis=0, return_counts=True)
    true, predicted = (ids[..., None] == np.arange(classes) for ids in (found[:, :1], found[:, 1:]))
    return counts, true[..., :, None] & predicted[..., None, :]


def _drawn_counts(
    counts: np.ndarray, cells: np.ndarray, metric: str, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Differences of scores by seed (seeds,), and their mean over seeds in each resample (resamples,).

    Args:
        counts: how often each kind of item is there (kinds,).
        cells: confusions of an item of the kind by the seeds of a, then of b (kinds, 2 seeds, classes, classes).
    """
    generator, n = np.random.default_rng(seed), int(counts.sum())
    flat = cells.reshape(len(cells), -1).astype(np.float64)

    def differences(times: np.ndarray) -> np.ndarray:
        of_nets = FROM_CONFUSION[metric]((times @ flat).reshape(-1, *cells.shape[1:]))
        a, b = np.split(of_nets, 2, axis=1)
        return a - b

    at_once = max(1, WEIGHTS_AT_ONCE // max(flat.shape))
    parts = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    drawn = [differences(generator.multinomial(n, counts / n, size).astype(np.float64)).mean(1) for size in parts]
    return differences(counts[None])[0], np.concatenate(drawn)


def _drawn_areas(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, metric: str, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `_drawn_counts`, for metrics of `FROM_RANKING`; a and b are probabilities (seeds, n, classes)."""

    def differences(weights: np.ndarray) -> np.ndarray:
        of_a, of_b = (
            np.stack([weighted_areas(labels, of_seed, metric, weights) for of_seed in scores], 1) for scores in (a, b)
        )
        return of_a - of_b

    drawn = [differences(weights).mean(1) for weights in item_weights(len(labels), resamples, seed)]
    return differences(np.ones((1, len(labels)), np.int64))[0], np.concatenate(drawn)


def delong(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> tuple[np.ndarray, float]:
    """Differences of AUROCs on the same items, and the standard error of their mean over seeds.

    Args:
        labels: 0 or 1 (n,).
        scores_a, scores_b: of class 1 (seeds, n).

    Returns:
        The difference by each seed (seeds,), and the standard error.

    Raises:
        ConvNovaError: fewer than two items of either class.

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
        ranks = rankdata(scores, axis=-1)
        share_below.append((ranks[:, positive] - rankdata(scores[:, positive], axis=-1)) / m)
        share_above.append(1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=-1)) / n)
    differences = share_below[0] - share_below[1], share_above[0] - share_above[1]
    variance = np.var(differences[0].mean(0), ddof=1) / n + np.var(differences[1].mean(0), ddof=1) / m
    return differences[0].mean(1), float(np.sqrt(variance))
