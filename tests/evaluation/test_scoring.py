import numpy as np
import pytest
from dna_strings import labelled
from made_up_scores import made_up
from sklearn.metrics import accuracy_score, matthews_corrcoef

from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences
from convnova.evaluation.bootstrap import bootstrap_interval
from convnova.evaluation.scoring import interval, labels_of, per_batch, score


def test_labels_are_those_of_the_rows_in_their_order():
    assert labels_of(labelled("per_base", [0, 1, 1, 0, 1, 0], [2, 1])).tolist() == [0, 1, 0, 1]
    assert labels_of(labelled("classes", [3, 4, 5], [2, 0])).tolist() == [5, 3]


def test_scores_are_those_of_the_kind():
    labels, scores = made_up(1, 60, 2)
    assert {"mcc", "auroc", "f1_binary"} <= score(Task(), labels, scores).keys()
    assert score(Task(kind="per_base"), labels, scores.argmax(1)).keys() == {"mcc", "f1_macro", "accuracy"}
    task = Task(kind="multilabel", metric="auroc", groups={"first": (0, 1)})
    assert score(task, np.stack([labels, labels], 1), scores)["groups"]["first"]["n_labels"] == 1


def test_means_over_batches_are_scikit_learns_in_the_stated_order():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 100)
    predicted = np.where(random.random(100) < 0.9, labels, 1 - labels)
    means = per_batch(Task(metric="mcc"), labels, np.eye(2)[predicted], 16)
    for name, order in (("file", np.arange(100)), ("sorted", np.argsort(labels, kind="stable"))):
        batches = [order[start : start + 16] for start in range(0, 100, 16)]
        expected = np.mean([matthews_corrcoef(labels[batch], predicted[batch]) for batch in batches])
        assert means[name] == pytest.approx(expected)
    assert means["batch_size"] == 16
    assert matthews_corrcoef(labels, predicted) > 0.6 > 0.3 > means["sorted"]
    assert means["shuffled"] not in (means["file"], means["sorted"])
    equal = per_batch(Task(metric="accuracy"), labels, np.eye(2)[predicted], 20)
    assert equal["shuffled"] == pytest.approx(accuracy_score(labels, predicted))
    assert per_batch(Task(metric="auroc"), labels, np.eye(2)[predicted], 16) is None
    assert per_batch(Task(kind="per_base"), labels, predicted, 16) is None


def test_the_interval_is_over_rows_or_whole_sequences():
    labels, scores = made_up(1, 60, 2)
    rows = LabelledSequences(np.zeros(60, np.uint8), np.arange(61), labels, "classes", np.arange(60), 1)
    assert interval(Task(metric="auroc"), rows, scores) == list(bootstrap_interval(labels, scores, "auroc"))
    # One sequence is right, the other wrong in half of its bases: accuracies of 1, 3/4 and 1/2 are drawn.
    labels = np.array([0, 1, 0, 1])
    pair = LabelledSequences(np.zeros(4, np.uint8), np.array([0, 2, 4]), labels, "per_base", np.arange(2), 2)
    assert interval(Task(kind="per_base", metric="accuracy"), pair, np.array([0, 1, 0, 0])) == [0.5, 1]
    assert interval(Task(metric="auroc"), rows, scores[:, ::-1])[1] < 0.5
    one_class = LabelledSequences(np.zeros(9, np.uint8), np.arange(10), np.zeros(9, int), "classes", np.arange(9), 1)
    assert interval(Task(metric="auroc"), one_class, scores[:9]) is None
    assert interval(Task(kind="multilabel", metric="auroc"), rows, scores) is None
