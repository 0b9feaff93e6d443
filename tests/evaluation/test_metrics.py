"""Every metric against scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from made_up_scores import made_up
from sklearn import metrics as sklearn

from convnova.errors import ConvNovaError
from convnova.evaluation import metrics

EXACT = {"rel": 0, "abs": 1e-12}
HALVES = [0.5, 0.5]


def of_confusion(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "mcc": sklearn.matthews_corrcoef(labels, predicted),
        "f1_macro": sklearn.f1_score(labels, predicted, average="macro"),
        "accuracy": sklearn.accuracy_score(labels, predicted),
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("classes", "absent"), [(2, None), (3, None), (9, None), (4, 2)])
def test_scores_equal_scikit_learn(classes, absent, ties):
    """A class that is absent from test has no area, so it is left out of the means over classes."""
    labels, scores = made_up(classes, 400, classes)
    scores = np.random.default_rng(0).multinomial(8, scores) / 8 if ties else scores
    labels, scores = labels[labels != absent], scores[labels != absent]
    columns = [1] if classes == 2 else np.unique(labels)
    expected = of_confusion(labels, scores.argmax(1)) | {
        "auroc": np.mean([sklearn.roc_auc_score(labels == k, scores[:, k]) for k in columns]),
        "auprc": np.mean([sklearn.average_precision_score(labels == k, scores[:, k]) for k in columns]),
    }
    if classes == 2:
        expected["f1_binary"] = sklearn.f1_score(labels, scores.argmax(1))
    assert metrics.classification(labels, scores) == pytest.approx(expected, **EXACT)


def test_a_class_neither_true_nor_predicted_and_one_class_alone():
    labels, scores = np.array([0, 0, 1, 1]), np.array([[8, 1, 1], [1, 8, 1], [1, 8, 1], [2, 7, 1]]) / 10
    expected, result = of_confusion(labels, scores.argmax(1)), metrics.classification(labels, scores)
    assert {name: result[name] for name in expected} == pytest.approx(expected, **EXACT)
    expected = {"mcc": 0, "f1_macro": 0.4, "f1_binary": 0, "accuracy": 2 / 3}  # no areas
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    assert metrics.classification(np.zeros(3, int), scores) == pytest.approx(expected, **EXACT)


def test_mcc_of_a_large_confusion_matrix_keeps_its_digits():
    tn, fp, fn, tp = 10**9, 10**3, 10**4, 10**6
    known = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metrics.mcc_from_confusion(np.array([[tn, fp], [fn, tp]])) == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize("name", metrics.CONFUSION_METRICS)
def test_scores_of_many_confusion_matrices_at_once_equal_one_by_one(name):
    stack = np.random.default_rng(0).integers(0, 50, size=(7, 2, 2))
    single = [float(metrics.from_confusion(name, matrix)) for matrix in stack]
    assert metrics.from_confusion(name, stack) == pytest.approx(single, **EXACT)


def test_bases_are_pooled_and_counted_by_sequence():
    rng = np.random.default_rng(0)
    labels = rng.integers(9, size=5000)
    predicted = np.where(rng.random(5000) < 0.6, labels, rng.integers(9, size=5000))
    assert metrics.per_base(labels, predicted) == pytest.approx(of_confusion(labels, predicted), **EXACT)
    by_sequence = metrics.sequence_confusions(labels, predicted, np.array([1, 4000, 999]), 9)
    expected = [sklearn.confusion_matrix(labels[a:b], predicted[a:b], labels=range(9)) for a, b in [(0, 1), (1, 4001)]]
    assert len(by_sequence) == 3 and np.array_equal(by_sequence[:2], expected)


def made_up_labels(n: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = (rng.random((n, columns)) < 0.2).astype(np.uint8)
    return labels, np.round(rng.normal(size=(n, columns)) + labels, 1).astype(np.float32)


def test_multilabel_scores_equal_scikit_learn_label_by_label():
    labels, scores = made_up_labels(200, 130)
    labels[:, 3], labels[:, 100] = 0, 1
    scored = [column for column in range(130) if column not in (3, 100)]
    auroc = {k: sklearn.roc_auc_score(labels[:, k], scores[:, k]) for k in scored}
    auprc = np.mean([sklearn.average_precision_score(labels[:, k], scores[:, k]) for k in scored])
    result = metrics.multilabel(labels, scores, {"DHS": (0, 10), "TF": (10, 130), "none": (3, 4)})
    groups, values, dhs = result.pop("groups"), list(auroc.values()), [auroc[k] for k in scored if k < 10]
    expected = {"auroc": np.mean(values), "auroc_median": np.median(values), "auprc": auprc}
    assert result == pytest.approx(expected | {"n_labels": 128, "n_left_out": 2}, **EXACT)
    expected = {"auroc": np.median(dhs), "auroc_mean": np.mean(dhs), "n_labels": 9, "n_left_out": 1}
    assert groups["DHS"] == pytest.approx(expected, **EXACT)
    assert groups["TF"]["n_labels"] == 119 and groups["none"] == {"n_labels": 0, "n_left_out": 1}


@pytest.mark.parametrize(
    ("labels", "scores", "named"),
    [
        ([0, 1], [HALVES, [np.nan, 1]], "nan in row 1, column 0"), ([0, 1], [HALVES, [np.inf, 1]], "inf in row 1"),
        ([0, 2], [HALVES, [0, 1]], r"0\.\.1, found 2"), ([0, -1], [HALVES, [0, 1]], r"0\.\.1, found -1"),
        ([0, 1], [HALVES, [3.0, -2.5]], "row 1: .* 0.500"), ([0, 1], [HALVES, [1.5, -0.5]], "row 1: .* -0.500"),
        ([0, 1], [HALVES, [0.5, 0.53]], "row 1: .* 1.030"), ([0], [HALVES, [0, 1]], r"\(1,\) and \(2, 2\)"),
        ([0], [[1.0]], r"\(1,\) and \(1, 1\)"), ([], np.empty((0, 2)), "labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(labels, scores, named):
    with pytest.raises(ConvNovaError, match=named):
        metrics.classification(np.array(labels, int), np.array(scores))


LABELS, SCORES = made_up_labels(20, 70)
BROKEN = np.where(np.arange(1400).reshape(20, 70) == 4 * 70 + 66, np.nan, SCORES)


@pytest.mark.parametrize(
    ("score", "arguments", "named"),
    [
        (metrics.multilabel, (LABELS, BROKEN, {}), "nan in row 4, column 66"),
        (metrics.multilabel, (LABELS * 2, SCORES, {}), "from 0 to 2"),
        (metrics.multilabel, (LABELS.astype(int) - 1, SCORES, {}), "from -1 to 0"),
        (metrics.multilabel, (LABELS, SCORES[:, 1:], {}), r"\(20, 70\) and \(20, 69\)"),
        (metrics.per_base, ([0, 0, 0], [0, 0]), r"\(3,\) and \(2,\)"),
        (metrics.per_base, (LABELS[:0, 0], LABELS[:0, 0]), r"\(0,\)"), (metrics.per_base, ([0, -1], [0, 0]), "-1"),
    ],
)  # fmt: skip
def test_labels_and_bases_that_cannot_be_scored_are_refused(score, arguments, named):
    with pytest.raises(ConvNovaError, match=named):
        score(*arguments)


def test_a_job_that_scores_waits_for_numpy_alone():
    """Half a second for each of scipy and pandas, more for scikit-learn and torch."""
    code = (
        "import sys, convnova.evaluation.metrics, convnova.evaluation.bootstrap, convnova.evaluation.model_comparison;"
        "print(sorted({'sklearn', 'scipy', 'pandas', 'torch', 'matplotlib'} & set(sys.modules)));"
        "import convnova.evaluation.prediction_file, convnova.evaluation.leakage.overlap_scores;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
