import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import metrics as sklearn

from convnova.errors import ConvNovaError
from convnova.evaluation import metrics

EXACT = {"rel": 0, "abs": 1e-12}


def made_up(seed: int, n: int, classes: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that know something of them; with ties, few distinct values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        scores = rng.multinomial(8, scores) / 8
    return labels, scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_binary_scores_equal_scikit_learn(seed, ties):
    labels, scores = made_up(seed, 300, 2, ties)
    predicted = scores.argmax(1)
    assert metrics.classification(labels, scores) == pytest.approx(
        {
            "mcc": sklearn.matthews_corrcoef(labels, predicted),
            "f1_macro": sklearn.f1_score(labels, predicted, average="macro"),
            "f1_binary": sklearn.f1_score(labels, predicted),
            "accuracy": sklearn.accuracy_score(labels, predicted),
            "auroc": sklearn.roc_auc_score(labels, scores[:, 1]),
            "auprc": sklearn.average_precision_score(labels, scores[:, 1]),
        },
        **EXACT,
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [3, 5, 9])
def test_scores_of_many_classes_equal_scikit_learn(classes, ties):
    labels, scores = made_up(classes, 400, classes, ties)
    predicted = scores.argmax(1)
    assert metrics.classification(labels, scores) == pytest.approx(
        {
            "mcc": sklearn.matthews_corrcoef(labels, predicted),
            "f1_macro": sklearn.f1_score(labels, predicted, average="macro"),
            "accuracy": sklearn.accuracy_score(labels, predicted),
            "auroc": sklearn.roc_auc_score(labels, scores, multi_class="ovr"),
            "auprc": np.mean([sklearn.average_precision_score(labels == k, scores[:, k]) for k in range(classes)]),
        },
        **EXACT,
    )


def test_a_class_absent_from_test_is_left_out_of_the_means():
    labels, scores = made_up(1, 400, 4, ties=False)
    present = labels != 2
    labels, scores = labels[present], scores[present]
    predicted = scores.argmax(1)
    found = metrics.classification(labels, scores)
    assert found["auroc"] == pytest.approx(
        np.mean([sklearn.roc_auc_score(labels == k, scores[:, k]) for k in (0, 1, 3)]), **EXACT
    )
    assert found["f1_macro"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"), **EXACT)
    assert found["mcc"] == pytest.approx(sklearn.matthews_corrcoef(labels, predicted), **EXACT)


def test_a_class_neither_true_nor_predicted_does_not_count_in_macro_f1():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    assert metrics.classification(labels, scores)["f1_macro"] == pytest.approx(
        sklearn.f1_score(labels, scores.argmax(1), average="macro"), **EXACT
    )


def test_one_class_in_test_leaves_the_areas_undefined_and_mcc_zero():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    assert metrics.classification(np.zeros(3, int), scores) == pytest.approx(
        {"mcc": 0, "f1_macro": 0.4, "f1_binary": 0, "accuracy": 2 / 3}, **EXACT
    )


def test_the_order_of_items_changes_nothing():
    labels, scores = made_up(3, 500, 2, ties=True)
    order = np.argsort(labels)
    assert metrics.classification(labels[order], scores[order]) == metrics.classification(labels, scores)


def test_mcc_of_a_large_confusion_matrix_keeps_its_digits():
    counts = np.array([[10**9, 10**3], [10**4, 10**6]])
    (tn, fp), (fn, tp) = counts.tolist()
    known = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metrics.mcc_from_confusion(counts) == pytest.approx(known, rel=1e-9)


def test_scores_of_many_confusion_matrices_at_once_equal_one_by_one():
    stack = np.random.default_rng(0).integers(0, 50, size=(7, 3, 3))
    for name in ("mcc", "f1_macro", "accuracy"):
        together = metrics.FROM_CONFUSION[name](stack)
        assert together == pytest.approx([float(metrics.FROM_CONFUSION[name](one)) for one in stack], **EXACT)


def test_per_base_pools_all_bases_and_leaves_padding_out():
    rng = np.random.default_rng(0)
    labels = rng.integers(9, size=(20, 300))
    scores = rng.normal(size=(20, 300, 9)) + 2 * np.eye(9)[labels]
    labels[:, 250:] = -1
    real, predicted = labels[:, :250].ravel(), scores.argmax(-1)[:, :250].ravel()
    known = {
        "mcc": sklearn.matthews_corrcoef(real, predicted),
        "f1_macro": sklearn.f1_score(real, predicted, average="macro"),
        "accuracy": sklearn.accuracy_score(real, predicted),
    }
    assert metrics.per_base(labels, scores) == pytest.approx(known, **EXACT)
    assert metrics.per_base(real, predicted) == pytest.approx(known, **EXACT)


def made_up_labels(n: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = (rng.random((n, columns)) < 0.2).astype(np.uint8)
    scores = np.round(rng.normal(size=(n, columns)) + labels, 1).astype(np.float32)
    return labels, scores


def test_multilabel_scores_equal_scikit_learn_label_by_label():
    labels, scores = made_up_labels(200, 130)
    labels[:, 3], labels[:, 100] = 0, 1
    scored = [column for column in range(130) if column not in (3, 100)]
    auroc = {k: sklearn.roc_auc_score(labels[:, k], scores[:, k]) for k in scored}
    found = metrics.multilabel(labels, scores, {"DHS": (0, 10), "TF": (10, 130), "none": (3, 4)})
    groups = found.pop("groups")
    assert found == pytest.approx(
        {
            "auroc": np.mean(list(auroc.values())),
            "auroc_median": np.median(list(auroc.values())),
            "auprc": np.mean([sklearn.average_precision_score(labels[:, k], scores[:, k]) for k in scored]),
            "n_labels": 128,
            "n_left_out": 2,
        },
        **EXACT,
    )
    dhs = [auroc[k] for k in scored if k < 10]
    assert groups["DHS"] == pytest.approx(
        {"auroc": np.median(dhs), "auroc_mean": np.mean(dhs), "n_labels": 9, "n_left_out": 1}, **EXACT
    )
    assert groups["TF"]["n_labels"] == 119
    assert groups["none"] == {"n_labels": 0, "n_left_out": 1}


def test_multilabel_is_quick():
    """919 labels of 450,000 rows are 2,000 times this; one of them must not take longer than its sort."""
    labels, scores = made_up_labels(20_000, 10)
    started = time.perf_counter()
    metrics.multilabel(labels, scores, {})
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "said"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "finite scores, found nan in row 1, column 0"),
        ([0, 1], [[0.5, 0.5], [np.inf, 1]], "found inf in row 1"),
        ([0, 2], [[0.5, 0.5], [0, 1]], "every label in 0..1, found 2"),
        ([0, -1], [[0.5, 0.5], [0, 1]], "every label in 0..1, found -1"),
        ([0, 1], [[0.5, 0.5], [3.0, -2.5]], "sum to 1, found 0.500 in row 1; apply softmax"),
        ([0], [[0.5, 0.5], [0, 1]], r"found \(1,\) and \(2, 2\)"),
        ([], np.empty((0, 2)), "labels"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, scores, said):
    with pytest.raises(ConvNovaError, match=said):
        metrics.classification(np.array(labels, int), np.array(scores))


def test_multilabel_refuses_nan_other_labels_and_other_shapes():
    labels, scores = made_up_labels(20, 70)
    broken = scores.copy()
    broken[4, 66] = np.nan
    with pytest.raises(ConvNovaError, match="found nan in row 4"):
        metrics.multilabel(labels, broken, {})
    with pytest.raises(ConvNovaError, match="labels 0 and 1, found 2"):
        metrics.multilabel(labels * 2, scores, {})
    with pytest.raises(ConvNovaError, match="alike"):
        metrics.multilabel(labels, scores[:, 1:], {})


def test_per_base_refuses_nan_and_other_shapes():
    with pytest.raises(ConvNovaError, match="found nan"):
        metrics.per_base(np.zeros(3, int), np.full((3, 2), np.nan))
    with pytest.raises(ConvNovaError, match="for each base"):
        metrics.per_base(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ConvNovaError, match="at least one"):
        metrics.per_base(np.full(3, -1), np.zeros(3, int))


def test_importing_metrics_loads_numpy_alone():
    code = (
        "import sys, convnova.evaluation.metrics, convnova.evaluation.bootstrap;"
        "print(sorted({'sklearn', 'scipy', 'pandas', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
