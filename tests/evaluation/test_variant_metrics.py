"""Scores of variants: scikit-learn's over a plain loop of chromosomes, and TraitGym's own worked example."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from convnova.errors import ConvNovaError
from convnova.evaluation import variant_metrics

EXAMPLE = [
    (210, 0.285684), (230, 0.317321), (310, 0.151283), (20, 1.0), (30, 0.347619), (210, 0.192152), (70, 0.120540),
    (240, 0.086625), (190, 0.183487), (480, 0.285151), (30, 0.5), (210, 0.466352), (40, 0.125368), (80, 0.467061),
    (60, 0.558547), (400, 0.324191), (50, 0.441667), (20, 0.5), (500, 0.629526),
]  # fmt: skip
WEIGHTED = 0.3304637185530955
"""Variants and AUPRC of each chromosome, and their weighted average, as printed in TraitGym.ipynb of
songlab-cal/TraitGym (4d80fe8): a zero-shot score of the Mendelian variants."""


def drawn(seed: int = 0, n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, chromosomes = (rng.random(n) < 0.2).astype(int), rng.integers(0, 7, n)
    return labels, np.round(rng.normal(size=n) + labels, 1), chromosomes


def test_the_worked_example_of_traitgym(monkeypatch):
    sizes, precisions = np.array([size for size, _ in EXAMPLE]), np.array([value for _, value in EXAMPLE])
    monkeypatch.setattr(variant_metrics, "by_chromosome", lambda *rows: (precisions, sizes))
    labels, scores, chromosomes = drawn()
    result = variant_metrics.score(labels, scores, chromosomes)
    assert result["auprc_by_chromosome"] == pytest.approx(WEIGHTED, abs=1e-6)
    rng, means = np.random.default_rng(5), []
    for _ in range(4000):  # as `bootstrap_se` there: rows of the table with replacement, weights anew
        rows = rng.integers(len(sizes), size=len(sizes))
        means.append((precisions[rows] * sizes[rows]).sum() / sizes[rows].sum())
    assert result["auprc_se"] == pytest.approx(np.std(means, ddof=1), rel=0.1)


def test_scores_are_those_of_scikit_learn_chromosome_by_chromosome():
    labels, scores, chromosomes = drawn()
    result = variant_metrics.score(labels, scores, chromosomes)
    expected, n = 0.0, 0
    for chromosome in range(7):
        rows = chromosomes == chromosome
        expected += rows.sum() * average_precision_score(labels[rows], scores[rows])
        n += rows.sum()
    assert result["auprc_by_chromosome"] == pytest.approx(expected / n, abs=1e-12)
    assert result["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert result["auprc"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert (result["chromosomes"], result["left_out"]) == (7, 0)


def test_a_chromosome_with_one_label_is_left_out_and_counted():
    labels, scores, chromosomes = drawn()
    with_one = np.append(chromosomes, [9] * 50), np.append(labels, [0] * 50), np.append(scores, np.arange(50.0))
    known = variant_metrics.score(labels, scores, chromosomes)
    result = variant_metrics.score(with_one[1], with_one[2], with_one[0])
    assert result["auprc_by_chromosome"] == known["auprc_by_chromosome"]
    assert (result["chromosomes"], result["left_out"]) == (7, 1)


def test_without_two_chromosomes_there_is_no_standard_error():
    labels, scores, _ = drawn()
    result = variant_metrics.score(labels, scores, np.zeros(len(labels), int))
    assert result["auprc_by_chromosome"] == pytest.approx(result["auprc"]) and "auprc_se" not in result
    assert variant_metrics.interval(labels, scores, np.zeros(len(labels), int), "auprc_by_chromosome") is None


@pytest.mark.parametrize("metric", ["auroc", "auprc", "auprc_by_chromosome"])
def test_intervals_hold_the_score_and_narrow_with_more_variants(metric):
    widths = []
    for n in (300, 4800):
        labels, scores, chromosomes = drawn(1, n)
        low, high = variant_metrics.interval(labels, scores, chromosomes, metric)
        assert low < variant_metrics.score(labels, scores, chromosomes)[metric] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_score_that_is_not_finite_is_refused():
    labels, scores, chromosomes = drawn()
    scores[17] = np.nan
    with pytest.raises(ConvNovaError, match="row 17"):
        variant_metrics.score(labels, scores, chromosomes)
