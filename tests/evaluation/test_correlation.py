"""Scores of numbers, compared with scipy and scikit-learn."""

import warnings
from functools import partial

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import r2_score

from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import resampled_interval, resampled_weights
from convnova.evaluation.correlation import REGRESSION_METRICS, by_target, mean_over_targets, regression
from convnova.evaluation.model_comparison import paired_numbers

THEIRS = {
    "pearson": lambda labels, predicted: pearsonr(labels, predicted).statistic,
    "spearman": lambda labels, predicted: spearmanr(labels, predicted).statistic,
    "r2": r2_score,
}


def numbers(rows: int = 40, targets: int = 3, values: int = 1, digits: int = 1, offset: float = 0.0):
    """Labels and predictions (rows, targets, values) with ties, the first target in other units than the others."""
    random = np.random.default_rng(0)
    labels = random.normal(size=(rows, targets, values)).round(digits)
    predicted = (labels + random.normal(size=labels.shape)).round(digits)
    scale = np.array([1000.0, *[1.0] * (targets - 1)])[None, :, None]
    return labels * scale + offset, predicted * scale + offset


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
@pytest.mark.parametrize(("values", "offset"), [(1, 0.0), (5, 0.0), (1, 1e6)])
def test_each_score_is_that_of_scipy_or_scikit_learn(metric, values, offset):
    """Bins of all rows are pooled, and the mean is over targets."""
    labels, predicted = numbers(values=values, offset=offset)
    theirs = [THEIRS[metric](labels[:, t].ravel(), predicted[:, t].ravel()) for t in range(3)]
    np.testing.assert_allclose(by_target(metric, labels, predicted), theirs, rtol=1e-9)
    assert mean_over_targets(metric, labels, predicted) == pytest.approx(np.mean(theirs), rel=1e-9)
    result = regression(labels, predicted)
    assert result[metric] == pytest.approx(np.mean(theirs)) and result["n_left_out"] == 0
    assert [of_target[metric] for of_target in result["by_target"]] == pytest.approx(theirs)


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
@pytest.mark.parametrize("values", [1, 4])
def test_a_resample_has_the_score_of_its_rows_written_out(metric, values, monkeypatch):
    monkeypatch.setattr("convnova.evaluation.correlation.RANKS_AT_ONCE", 300)  # several parts
    labels, predicted = numbers(rows=12, targets=2, values=values)
    (weights,) = resampled_weights(12, 30, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of a constant
        theirs = [
            [THEIRS[metric](*(np.repeat(part, w, 0)[:, t].ravel() for part in (labels, predicted))) for t in (0, 1)]
            for w in weights
        ]
    np.testing.assert_allclose(by_target(metric, labels, predicted, weights), theirs, rtol=1e-9)


def test_the_interval_is_that_of_a_plain_loop():
    labels, predicted = numbers(rows=30, targets=1)
    random, scores = np.random.default_rng(3), []
    for _ in range(200):
        rows = random.integers(30, size=30)
        scores.append(pearsonr(labels[rows, 0, 0], predicted[rows, 0, 0]).statistic)
    ours = resampled_interval(30, partial(mean_over_targets, "pearson", labels, predicted), resamples=200, seed=3)
    np.testing.assert_allclose(ours, np.quantile(scores, [0.025, 0.975]), rtol=1e-9)


def test_a_constant_target_is_left_out_and_constant_predictions_have_no_correlation():
    labels, predicted = numbers(targets=3)
    labels[:, 1], predicted[:, 2] = 0.1, 0.7
    result = regression(labels, predicted)
    assert result["n_left_out"] == 1 and result["by_target"][1] == {}
    assert result["by_target"][2]["pearson"] == result["by_target"][2]["spearman"] == 0
    assert result["pearson"] == pytest.approx(pearsonr(labels[:, 0, 0], predicted[:, 0, 0]).statistic / 2)
    assert result["by_target"][2]["r2"] == pytest.approx(r2_score(labels[:, 2, 0], predicted[:, 2, 0]))
    alone = regression(labels[:, 1:2], predicted[:, 1:2])
    assert alone == {"n_left_out": 1}
    weights = np.array([[40, *[0] * 39], [0, 20, 20, *[0] * 37]])  # a resample of one row has no correlation
    resampled = mean_over_targets("spearman", labels, predicted, weights)
    assert np.isnan(resampled[0]) and not np.isnan(resampled[1])


def test_what_is_no_number_for_a_number_is_refused():
    labels, predicted = numbers()
    with pytest.raises(ConvNovaError, match="row 4"):
        regression(labels, np.where(np.arange(40)[:, None, None] == 4, np.nan, predicted))
    with pytest.raises(ConvNovaError, match="as many predictions"):
        regression(labels, predicted[1:])


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
def test_a_model_that_predicts_better_is_told_apart_and_one_that_is_the_same_is_not(metric):
    random = np.random.default_rng(0)
    labels = random.normal(size=(80, 2, 1))
    good, poor = (labels + random.normal(size=(2, 80, 2, 1)) * noise for noise in (0.3, 2.0))
    result = paired_numbers(labels, good, poor, metric, ("good", "poor"), resamples=300)
    means = [np.mean([regression(labels, of_seed)[metric] for of_seed in of]) for of in (good, poor)]
    assert result.difference == pytest.approx(means[0] - means[1]) and result.higher == result.seeds == 2
    assert result.low < result.difference < result.high and result.low > 0 and result.p < 0.02
    same = paired_numbers(labels, good, good, metric, resamples=50)
    assert (same.difference, same.p) == (0, 1)
