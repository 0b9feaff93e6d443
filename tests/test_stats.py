import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon
from sklearn import metrics as sklearn

from convnova.errors import ConvNovaError
from convnova.metrics import classification, confusion
from convnova.stats import (
    bootstrap_interval,
    bootstrap_sequences,
    delong,
    holm,
    paired_over_items,
    paired_over_tasks,
)

SETS = 1000


def made_up(seed: int, n: int, classes: int = 2, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; class k's score is shifted by `skill` where it is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def one_hot(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[predicted]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", ["mcc", "f1_macro", "accuracy", "auroc", "auprc"])
def test_the_interval_is_that_of_drawing_items_one_by_one(metric, classes):
    labels, scores = made_up(1, 150, classes)
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(1000):
        items = rng.integers(len(labels), size=len(labels))
        drawn.append(classification(labels[items], scores[items])[metric])
    slow = np.quantile(drawn, [0.025, 0.975])
    assert bootstrap_interval(labels, scores, metric, resamples=4000) == pytest.approx(slow, abs=0.012)


def test_the_interval_is_the_same_each_time_and_undefined_with_one_class():
    labels, scores = made_up(1, 100)
    assert bootstrap_interval(labels, scores, "auroc") == bootstrap_interval(labels, scores, "auroc")
    assert all(map(math.isnan, bootstrap_interval(np.zeros(100, int), scores, "auroc")))


def covered(truth: float, intervals: list[tuple[float, float]]) -> float:
    return np.mean([low <= truth <= high for low, high in intervals])


@pytest.mark.parametrize("metric", ["accuracy", "mcc", "f1_macro"])
def test_intervals_cover_the_truth_in_95_percent_of_simulated_sets(metric):
    """Three classes with a known joint distribution of label and prediction, of which the truth is exact."""
    joint = np.array([[40, 7, 3], [5, 20, 5], [4, 4, 12]]) / 100
    truth = {
        "accuracy": 0.72,
        # Gorodkin's formula by hand: (0.72 - sum t p) / sqrt((1 - sum t^2)(1 - sum p^2))
        "mcc": (0.72 - 0.5 * 0.49 - 0.3 * 0.31 - 0.2 * 0.2) / math.sqrt((1 - 0.38) * (1 - 0.49**2 - 0.31**2 - 0.04)),
        "f1_macro": (2 * 0.40 / 0.99 + 2 * 0.20 / 0.61 + 2 * 0.12 / 0.40) / 3,
    }[metric]
    rng = np.random.default_rng(7)
    intervals = []
    for seed in range(SETS):
        cells = rng.choice(9, size=600, p=joint.ravel())
        intervals.append(bootstrap_interval(cells // 3, one_hot(cells % 3, 3), metric, seed=seed))
    assert 0.93 <= covered(truth, intervals) <= 0.97


@pytest.mark.slow
def test_intervals_of_auroc_cover_the_truth_in_95_percent_of_simulated_sets():
    """Two normal distributions one standard deviation apart have the AUROC Phi(1 / sqrt 2)."""
    truth = NormalDist().cdf(1 / math.sqrt(2))
    rng = np.random.default_rng(8)
    intervals = []
    for seed in range(SETS):
        labels = np.repeat([0, 1], 150)
        probability = 1 / (1 + np.exp(-(rng.normal(size=300) + labels)))
        intervals.append(bootstrap_interval(labels, np.stack([1 - probability, probability], 1), "auroc", seed=seed))
    assert 0.93 <= covered(truth, intervals) <= 0.97


def test_sequences_are_drawn_whole():
    """A hundred alike bases a sequence tell no more than one: the interval is that of the sequences."""
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(2, size=80), rng.integers(2, size=80)
    predicted[:50] = labels[:50]
    single = np.stack([confusion(labels[[i]], predicted[[i]], 2) for i in range(80)])
    of_items = bootstrap_interval(labels, one_hot(predicted, 2), "accuracy", resamples=4000)
    assert bootstrap_sequences(single * 100, "accuracy", resamples=4000) == pytest.approx(of_items, abs=0.02)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_models_over_tasks():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 18)
    scores = {"ConvNova": base + 0.03, "CNN": base + rng.normal(0, 0.005, 18), "LegNet": base.copy()}
    scores["LegNet"][3] = np.nan
    first, second, third = paired_over_tasks(scores)
    assert (first.a, first.b, first.n, first.wins, first.losses) == ("ConvNova", "CNN", 18, 18, 0)
    assert first.p == pytest.approx(wilcoxon(scores["ConvNova"], scores["CNN"]).pvalue)
    assert first.p_holm == pytest.approx(3 * first.p)
    assert first.effect == 1
    assert (second.n, third.n) == (17, 17)
    assert second.difference == pytest.approx(0.03)
    assert first.sentence().startswith("ConvNova scores higher than CNN over 18 tasks (18 won, 0 lost, mean difference")
    assert "Holm-adjusted over 3 pairs p < 0.001" in first.sentence()


def test_effect_over_tasks_by_hand():
    """Differences 1, -2, 3, 4: ranks for 8, against 2, so (8 - 2) / 10."""
    (result,) = paired_over_tasks({"a": np.array([1.0, -2, 3, 4]), "b": np.zeros(4)})
    assert result.effect == pytest.approx(0.6)
    assert "a and b do not differ at the 5% level over 4 tasks" in result.sentence()
    assert "with 4 tasks p cannot be below 0.125" in result.sentence()


def test_equal_models_and_models_without_a_common_task():
    (same,) = paired_over_tasks({"a": np.ones(5), "b": np.ones(5)})
    assert (same.p, same.effect, same.wins) == (1, 0, 0)
    assert paired_over_tasks({"a": np.array([1, np.nan]), "b": np.array([np.nan, 1])}) == []


def five_percent(hits: int) -> bool:
    """Whether `hits` in SETS fit a rate of 5% within sampling error."""
    return binomtest(hits, SETS, 0.05).pvalue > 0.001


def test_false_positives_over_tasks_are_five_percent():
    rng = np.random.default_rng(11)
    hits = family = 0
    for _ in range(SETS):
        results = paired_over_tasks({name: rng.normal(size=18) for name in "abc"})
        hits += results[0].p < 0.05
        family += any(result.p_holm < 0.05 for result in results)
    assert five_percent(hits)
    assert family / SETS < 0.07


@pytest.mark.parametrize("metric", ["auroc", "mcc"])
def test_false_positives_over_items_are_five_percent(metric):
    """Two models of equal skill, half of whose noise is shared."""
    rng = np.random.default_rng(12)
    hits = 0
    for seed in range(SETS):
        labels = rng.integers(2, size=400)
        shared = rng.normal(size=400)
        columns = [1 / (1 + np.exp(-(labels * 2 - 1 + shared + rng.normal(size=400)))) for _ in range(2)]
        scores = [np.stack([1 - column, column], 1) for column in columns]
        hits += paired_over_items(labels, *scores, metric, seed=seed).p < 0.05
    assert five_percent(hits)


def test_delong_equals_the_definition():
    """Placement values by comparing every positive with every negative, as DeLong wrote them."""
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=120)
    scores = [np.round(rng.normal(size=120) + labels, 1) for _ in range(2)]
    rows, columns = [], []
    for values in scores:
        wins = np.subtract.outer(values[labels == 1], values[labels == 0])
        kernel = (wins > 0) + 0.5 * (wins == 0)
        rows.append(kernel.mean(1))
        columns.append(kernel.mean(0))
    covariance = np.cov(rows) / (labels == 1).sum() + np.cov(columns) / (labels == 0).sum()
    known = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference, error = delong(labels, *scores)
    aurocs = [sklearn.roc_auc_score(labels, values) for values in scores]
    assert difference == pytest.approx(aurocs[0] - aurocs[1], abs=1e-12)
    assert error == pytest.approx(math.sqrt(known), rel=1e-9)


@pytest.mark.parametrize("metric", ["mcc", "accuracy", "auroc", "auprc"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_better_model_is_seen_over_items(metric, classes):
    labels, worse = made_up(1, 1500, classes, skill=0.7)
    rng = np.random.default_rng(2)
    logits = np.log(worse) + 1.0 * np.eye(classes)[labels] + 0.1 * rng.normal(size=worse.shape)
    better = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = paired_over_items(labels, better, worse, metric, ("ConvNova", "CNN"))
    known = classification(labels, better)[metric] - classification(labels, worse)[metric]
    assert found.difference == pytest.approx(known, abs=1e-12)
    assert found.low <= known <= found.high
    assert found.low > 0
    assert found.p < 0.01
    assert found.only_a == ((better.argmax(1) == labels) & (worse.argmax(1) != labels)).sum()
    assert found.test == ("DeLong" if metric == "auroc" and classes == 2 else "paired bootstrap")
    assert found.sentence().startswith("ConvNova scores higher than CNN on 1500 test items (")


def test_a_model_does_not_differ_from_itself():
    labels, scores = made_up(1, 200)
    for metric in ("auroc", "mcc"):
        found = paired_over_items(labels, scores, scores, metric)
        assert (found.difference, found.p) == (0, 1)
        assert "do not differ" in found.sentence()


def test_what_cannot_be_compared_is_refused():
    labels, scores = made_up(1, 50)
    with pytest.raises(ConvNovaError, match="same classes"):
        paired_over_items(labels, scores, np.full((50, 3), 1 / 3), "mcc")
    with pytest.raises(ConvNovaError, match="two test items or more of either class"):
        paired_over_items(np.zeros(50, int), scores, scores, "auroc")
