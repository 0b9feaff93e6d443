import doctest
import math
from statistics import NormalDist

import numpy as np
import pytest
from made_up_scores import made_up

from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap
from convnova.evaluation.bootstrap import bootstrap_interval, resampled_interval, resampled_weights
from convnova.evaluation.metrics import classification, confusion, from_confusion

SETS = 1000


def test_the_examples_run():
    assert doctest.testmod(bootstrap).attempted and not doctest.testmod(bootstrap).failed


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", ["mcc", "auroc", "auprc"])
def test_the_interval_is_that_of_drawing_rows_one_by_one(metric, classes):
    labels, scores = made_up(1, 150, classes)
    rng = np.random.default_rng(2)
    resamples = (rng.integers(len(labels), size=len(labels)) for _ in range(1000))
    slow = np.quantile([classification(labels[rows], scores[rows])[metric] for rows in resamples], [0.025, 0.975])
    assert bootstrap_interval(labels, scores, metric, resamples=4000) == pytest.approx(slow, abs=0.012)


def test_the_interval_is_the_same_each_time_and_undefined_with_one_class():
    labels, scores = made_up(1, 100)
    assert bootstrap_interval(labels, scores, "auroc") == bootstrap_interval(labels, scores, "auroc")
    assert bootstrap_interval(labels, scores, "auroc") != bootstrap_interval(labels, scores, "auroc", seed=1)
    assert all(map(math.isnan, bootstrap_interval(np.zeros(100, int), scores, "auroc")))
    with pytest.raises(ConvNovaError, match="found f1"):
        bootstrap_interval(labels, scores, "f1")


def test_weights_do_not_depend_on_how_many_are_in_memory(monkeypatch):
    whole = np.concatenate(list(resampled_weights(30, 50, seed=3)))
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_ONCE", 7 * 30)
    parts = list(resampled_weights(30, 50, seed=3))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole.sum(1) == 30).all() and whole.std() == pytest.approx(1, abs=0.1)


TRUTHS = {
    "accuracy": 0.72,
    # Gorodkin's formula by hand: (0.72 - sum t p) / sqrt((1 - sum t^2)(1 - sum p^2))
    "mcc": (0.72 - 0.5 * 0.49 - 0.3 * 0.31 - 0.2 * 0.2) / math.sqrt((1 - 0.38) * (1 - 0.49**2 - 0.31**2 - 0.04)),
    "f1_macro": (2 * 0.40 / 0.99 + 2 * 0.20 / 0.61 + 2 * 0.12 / 0.40) / 3,
    "auroc": NormalDist().cdf(1 / math.sqrt(2)),
}


@pytest.mark.parametrize("metric", TRUTHS)
def test_intervals_cover_the_truth_in_95_percent_of_simulated_sets(metric):
    """Three classes of a known joint distribution of label and prediction; or two normal distributions, one apart."""
    joint, rng, covered = np.array([[40, 7, 3], [5, 20, 5], [4, 4, 12]]) / 100, np.random.default_rng(7), 0
    for seed in range(SETS):
        if metric == "auroc":
            labels = np.repeat([0, 1], 60)
            probability = 1 / (1 + np.exp(-(rng.normal(size=120) + labels)))
            scores = np.stack([1 - probability, probability], 1)
        else:
            labels, predicted = np.divmod(rng.choice(9, size=600, p=joint.ravel()), 3)
            scores = np.eye(3)[predicted]
        low, high = bootstrap_interval(labels, scores, metric, resamples=300, seed=seed)
        covered += low <= TRUTHS[metric] <= high
    assert 0.93 <= covered / SETS <= 0.97


def test_sequences_are_drawn_whole():
    """A hundred alike bases a sequence tell no more than one: the interval is that of the sequences."""
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(2, size=80), rng.integers(2, size=80)
    predicted[:50] = labels[:50]
    single = np.stack([confusion(labels[[i]], predicted[[i]], 2) for i in range(80)])
    of_rows = bootstrap_interval(labels, np.eye(2)[predicted], "accuracy", resamples=4000)
    of_sequences = resampled_interval(
        80, lambda weights: from_confusion("accuracy", np.tensordot(weights, single * 100, 1)), resamples=4000
    )
    assert of_sequences == pytest.approx(of_rows, abs=0.02)
