"""Comparisons of models, against scipy, scikit-learn, definitions and simulated sets."""

import doctest
import math

import numpy as np
import pytest
from made_up_scores import made_up
from scipy.special import expit, softmax
from scipy.stats import binomtest, norm, wilcoxon
from sklearn import metrics as sklearn

from convnova.errors import ConvNovaError
from convnova.evaluation import model_comparison
from convnova.evaluation.metrics import classification, confusion
from convnova.evaluation.model_comparison import (
    compare_over_tasks,
    compare_over_test_rows,
    delong,
    holm,
    paired_over_sequences,
)

SETS = 500


def test_the_examples_run():
    assert doctest.testmod(model_comparison).attempted and not doctest.testmod(model_comparison).failed


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_models_over_tasks():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 18)
    scores = {"ConvNova": base + 0.03, "CNN": base + rng.normal(0, 0.005, 18), "LegNet": base.copy()}
    scores["LegNet"][3] = np.nan
    first, second, third = compare_over_tasks(scores)
    assert (first.a, first.b, first.n, first.wins, first.losses, first.effect) == ("ConvNova", "CNN", 18, 18, 0, 1)
    p = wilcoxon(scores["ConvNova"], scores["CNN"]).pvalue
    assert (first.p, first.p_holm) == pytest.approx((p, 3 * p))
    assert (second.n, third.n, second.difference) == (17, 17, pytest.approx(0.03))


def test_effect_over_tasks_by_hand():
    """Differences 0, 1, -2, 3, 4: ranks for 8, against 2, so (8 - 2) / 10; no rank for the tie."""
    (result,) = compare_over_tasks({"a": np.array([0, 1.0, -2, 3, 4]), "b": np.zeros(5)})
    assert (result.n, result.wins, result.losses, result.pairs) == (5, 3, 1, 1)
    assert (result.effect, result.difference) == pytest.approx((0.6, 1.2))


def test_equal_models_and_models_without_a_common_task():
    (same,) = compare_over_tasks({"a": np.ones(5), "b": np.ones(5)})
    assert (same.p, same.effect, same.wins) == (1, 0, 0)
    assert compare_over_tasks({"a": np.array([1, np.nan]), "b": np.array([np.nan, 1])}) == []


def five_percent(hits: int) -> bool:
    """Whether `hits` in SETS fit a rate of 5% within sampling error."""
    return binomtest(hits, SETS, 0.05).pvalue > 0.001


def test_false_positives_over_tasks_are_five_percent():
    rng = np.random.default_rng(11)
    families = [compare_over_tasks({name: rng.normal(size=18) for name in "abc"}) for _ in range(SETS)]
    assert five_percent(sum(first.p < 0.05 for first, *_ in families))
    assert 0.01 < np.mean([min(result.p_holm for result in results) < 0.05 for results in families]) < 0.07


def several_seeds(rng, n: int, seeds: int, skill: float) -> np.ndarray:
    """Probabilities (seeds, n, 2) for `n` rows whose first half is of class 0; the seeds share half of their noise."""
    shared, noise = rng.normal(size=n), rng.normal(size=(seeds, n))
    logits = skill * (np.arange(n) >= n // 2) + shared + noise
    return expit(np.stack([-logits, logits], -1))


@pytest.mark.parametrize(("metric", "seeds"), [("auroc", 1), ("mcc", 1), ("auroc", 3), ("accuracy", 3)])
def test_false_positives_over_rows_are_five_percent(metric, seeds):
    """Two models of equal skill."""
    rng = np.random.default_rng(13)
    labels, hits = (np.arange(300) >= 150).astype(int), 0
    for seed in range(SETS):
        a, b = (several_seeds(rng, 300, seeds, 1.0) for _ in range(2))
        hits += compare_over_test_rows(labels, a, b, metric, seed=seed, resamples=300).p < 0.05
    assert five_percent(hits)


def test_delong_equals_the_definition():
    """Placement values by comparing every positive with every negative, as DeLong wrote them."""
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=120)
    scores = [np.round(rng.normal(size=120) + labels, 1) for _ in range(2)]
    gaps = [np.subtract.outer(values[labels == 1], values[labels == 0]) for values in scores]
    rows, columns = ([((gap > 0) + 0.5 * (gap == 0)).mean(axis) for gap in gaps] for axis in (1, 0))
    covariance = np.cov(rows) / (labels == 1).sum() + np.cov(columns) / (labels == 0).sum()
    known = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    (difference,), error = delong(labels, *(values[None] for values in scores))
    aurocs = [sklearn.roc_auc_score(labels, values) for values in scores]
    assert difference == pytest.approx(aurocs[0] - aurocs[1], abs=1e-12)
    assert error == pytest.approx(math.sqrt(known), rel=1e-9)
    result = compare_over_test_rows(labels, *(expit(np.stack([-v, v], 1)) for v in scores), "auroc")
    assert (result.difference, result.p) == pytest.approx((difference, 2 * norm.sf(abs(difference) / error)))
    assert (result.low, result.high) == pytest.approx(norm.interval(0.95, difference, error))


@pytest.mark.parametrize("metric", ["mcc", "accuracy", "auroc", "auprc"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_better_model_is_seen_over_rows(metric, classes):
    labels, worse = made_up(1, 1500, classes, skill=0.7)
    noise = 0.1 * np.random.default_rng(2).normal(size=worse.shape)
    better = softmax(np.log(worse) + np.eye(classes)[labels] + noise, axis=1)
    result = compare_over_test_rows(labels, better, worse, metric, ("ConvNova", "CNN"))
    known = classification(labels, better)[metric] - classification(labels, worse)[metric]
    assert result.difference == pytest.approx(known, abs=1e-12)
    assert 0 < result.low <= known <= result.high and result.p < 0.01
    assert result.only_a == ((better.argmax(1) == labels) & (worse.argmax(1) != labels)).sum()
    assert (result.n, result.seeds, result.pairs, result.unit) == (1500, 1, 1, "test rows")
    assert result.test == ("DeLong" if metric == "auroc" and classes == 2 else "paired bootstrap")


def test_a_model_does_not_differ_from_itself():
    labels, scores = made_up(1, 200)
    for metric in ("auroc", "mcc"):
        result = compare_over_test_rows(labels, scores, scores, metric)
        assert (result.difference, result.p) == (0, 1)


def test_a_perfect_model_differs_from_one_at_chance():
    """There DeLong's standard error is zero: the bootstrap decides."""
    labels = np.arange(200) % 2
    perfect, chance = np.eye(2)[labels], np.full((200, 2), 0.5)
    result = compare_over_test_rows(labels, perfect, chance, "auroc")
    assert (result.difference, result.test) == (0.5, "paired bootstrap") and result.p < 0.01
    assert compare_over_test_rows(labels, chance, perfect, "auroc").p < 0.01


def test_what_cannot_be_compared_is_refused():
    labels, scores = made_up(1, 50)
    with pytest.raises(ConvNovaError, match=r"\(1, 50, 2\) and \(1, 50, 3\)"):
        compare_over_test_rows(labels, scores, np.full((50, 3), 1 / 3), "mcc")
    for positives in (0, 1):
        with pytest.raises(ConvNovaError, match=f"found {positives} and {50 - positives}"):
            compare_over_test_rows((np.arange(50) < positives).astype(int), scores, scores, "auroc")
    assert compare_over_test_rows((np.arange(50) < 2).astype(int), scores, scores, "auroc").p == 1


@pytest.mark.parametrize("metric", ["mcc", "auroc", "auprc"])
def test_several_seeds_are_compared_by_their_mean_scores_on_rows_drawn_once_for_all(metric):
    """Against drawing rows one by one and scoring every seed on them."""
    rng = np.random.default_rng(5)
    labels = (np.arange(160) >= 80).astype(int)
    a, b = (several_seeds(rng, 160, 3, skill) for skill in (2.0, 1.5))

    def difference(rows: np.ndarray) -> float:
        means = [np.mean([classification(labels[rows], one[rows])[metric] for one in of]) for of in (a, b)]
        return means[0] - means[1]

    result = compare_over_test_rows(labels, a, b, metric, resamples=4000)
    assert result.difference == pytest.approx(difference(np.arange(160)), abs=1e-12)
    by_seed = [classification(labels, x)[metric] - classification(labels, y)[metric] for x, y in zip(a, b, strict=True)]
    assert (result.seeds, result.higher) == (3, sum(gap > 0 for gap in by_seed))
    drawn = [difference(rng.integers(160, size=160)) for _ in range(300)]
    assert (result.low, result.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_rows_that_one_model_alone_has_right_are_counted_by_the_mean_over_seeds():
    """A is right on all four rows by both seeds; B is wrong on one by the first seed, on two by the second."""
    labels = np.array([0, 0, 1, 1])
    wrong = [np.array([0, 0, 1, 0]), np.array([1, 0, 1, 0])]
    a, b = (np.stack([np.eye(2)[of] for of in predicted]) for predicted in ([labels, labels], wrong))
    result = compare_over_test_rows(labels, a, b, "accuracy")
    assert (result.only_a, result.only_b) == (1.5, 0)
    single = compare_over_test_rows(labels, a, b, "accuracy", resamples=1)
    assert single.low == single.high  # the test set itself is no resample


def test_bases_are_compared_by_whole_sequences():
    """A hundred alike bases a sequence tell no more than one."""
    rng = np.random.default_rng(3)
    labels = rng.integers(2, size=200)
    predicted = [np.where(rng.random(200) < right, labels, 1 - labels) for right in (0.85, 0.7)]
    cells = [np.stack([confusion(labels[[i]], of[[i]], 2) for i in range(200)])[None] for of in predicted]
    over_rows = compare_over_test_rows(labels, *(np.eye(2)[of] for of in predicted), "mcc", resamples=4000)
    result = paired_over_sequences(*(100 * of for of in cells), "mcc", resamples=4000)
    assert result.difference == pytest.approx(over_rows.difference)
    assert (result.low, result.high) == pytest.approx((over_rows.low, over_rows.high), abs=0.01)
