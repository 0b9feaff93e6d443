"""What a config may say, part by part: combinations that cannot be, and tables that fit the code."""

from typing import get_args

import numpy as np
import pytest

from convnova.config.schema import METRICS_OF, Genome, Metric, Model, Recipe, Search, Suite, Task, files_of
from convnova.config.strict import ConfigMistake
from convnova.evaluation import metrics


def suite(form: str = "csv", **changes) -> dict:
    """A suite with one task."""
    return {"format": form, "tasks": {"H3": {"train": "a.csv", "test": "b.csv"} | changes}}


@pytest.mark.parametrize(
    "part, content, words",
    [
        (Task, {"metric": "f1_makro"}, "metric = 'f1_makro'.*'f1_macro'"),
        (Task, {"max_length": 0}, "max_length = 0.*greater"),
        (Task, {"metric": "f1_binary", "classes": ["x", "y", "z"]}, "f1_binary.* two classes, found 3; take f1_macro"),
        (Task, {"groups": {"TF": [0, 2]}}, "groups.* multilabel, found classes"),
        (Task, {"kind": "per_base", "metric": "auroc"}, "auroc.* per_base.* mcc, f1_macro, accuracy$"),
        (Task, {"kind": "multilabel", "metric": "auprc", "groups": {"TF": [0, 2]}}, "auprc.* AUROC"),
        (Suite, {"format": "csv", "tasks": {"H3": {"train": "a"}}}, "H3.* files test too.* csv"),
        (Suite, {"format": "csv", "tasks": {"H3": {}}}, "H3.* files train, test too"),
        (Suite, suite("bend", kind="per_base"), "H3.* files intervals, labels too"),
        (Suite, suite("gff", kind="per_base"), "H3.* files annotation too"),
        (Suite, suite("bed"), "bed.* expected `genome`"),
        (Suite, suite("bend", kind="per_base", intervals="a", labels="b"), "bend.* expected `genome`"),
        (Suite, suite(kind="per_base"), "H3.kind = per_base.*csv.*classes"),
        (Suite, suite("deepsea"), "H3.kind = classes.*deepsea.*multilabel"),
        (Suite, suite("fasta", label_column="y"), "H3.* fasta has no columns"),
        (
            Task,
            {"kind": "regression", "metric": "mcc"},
            "mcc: of kind regression.* pearson, spearman, r2",
        ),
        (Task, {"metric": "r2"}, "r2: of kind classes"),
        (Task, {"loss": "poisson"}, "loss = poisson: expected kind regression, found classes"),
        (Task, {"loss": "l1", "kind": "regression"}, "loss = 'l1'.* mse, poisson"),
        (Task, {"bin_size": 0, "kind": "regression"}, "bin_size = 0"),
        (
            Task,
            {"label_column": ["a", "b"]},
            "several columns as label_column: expected kind regression",
        ),
        (Task, {"label_column": ["a", "a"], "kind": "regression"}, "each only once, found sequence, a, a"),
        (Suite, suite(kind="regression", bin_size=8), "H3: expected both with format bigwig alone, found csv"),
        (Suite, suite(kind="regression", signal="s.bw"), "H3: expected both with format bigwig alone, found csv"),
        (Suite, suite("bigwig", kind="regression", bin_size=8), "H3.* files signal too"),
        (
            Suite,
            suite("bigwig", kind="regression", signal="s.bw"),
            "H3: expected both.* bin_size = None and",
        ),
        (Suite, suite("bigwig", kind="regression", signal="s.bw", bin_size=8), "bigwig.* expected `genome`"),
        (Suite, suite("bigwig", signal="s.bw"), "H3.kind = classes: format bigwig holds regression"),
        (Suite, suite("gff", kind="regression", annotation="a"), "H3.kind = regression: format gff holds per_base"),
        (Suite, {"format": "csv", "tasks": {}}, "tasks = {}.*at least 1"),
        (Suite, suite() | {"folds": 11}, "folds = 11.*10"),
        (Suite, suite() | {"folds": 1}, "folds = 1.*2"),
        (Model, {"title": "x", "architecture": "kmers"}, "architecture.* 'kmers'.*'kmer_regression'"),
        (Recipe, {"training": {"lr": 1.0}}, "source.* nothing"),
        (Recipe, {"training": {"lr": 1.0}, "settings": {"width": 2}, "source": {"lr": "x"}}, "source.* width too"),
        (Search, {"settings": {"width": []}}, "settings.width = .*at least 1"),
    ],
)
def test_what_cannot_be_is_refused(part, content, words):
    with pytest.raises(ConfigMistake, match=words):
        part.read(content)


def test_what_can_be_is_read():
    assert Task(classes=[0, 1], metric="f1_binary").classes == ["0", "1"]
    assert Task(kind="multilabel", metric="auroc", groups={"TF": (0, 2)}).groups == {"TF": (0, 2)}
    assert Task(train="a", labels="b").files() == {"train": "a", "labels": "b"}
    assert Genome(fasta="a", train=["I"]).files() == {"fasta": "a"}
    assert Genome(fasta="a", bed="b").files() == {"fasta": "a", "bed": "b"}
    assert Suite.read(suite("bed") | {"genome": "g"}).folds == 10
    known = ["a/x", "b/a/y", "a/b/z", "a"]
    assert files_of("a/", known) == ["a/x", "a/b/z"] and files_of("a", known) == ["a"]  # a folder's are those below it


def test_a_tokenized_task_does_not_depend_on_how_it_is_trained_and_scored():
    task = Task(train="a", max_length=5)
    assert task.dataset_fields() == task.changed({"metric": "accuracy", "training": {"lr": 0.5}}).dataset_fields()
    for changes in ({"train": "b"}, {"max_length": 6}, {"classes": ["a"]}, {"counts": {"train": 1}}):
        assert task.changed(changes).dataset_fields() != task.dataset_fields()


def test_candidates_are_every_combination():
    candidates = Search(training={"lr": [1, 2]}, settings={"width": [3, 4]}).candidates("cnn")
    assert list(candidates) == [f"cnn--lr-{lr}--width-{width}" for lr in (1, 2) for width in (3, 4)]
    assert candidates["cnn--lr-2--width-3"] == {"training": {"lr": 2}, "settings": {"width": 3}}


def test_every_kind_has_metrics_that_its_predictions_have():
    labels, scores = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    computed = {
        "classes": metrics.classification(labels, scores),
        "per_base": metrics.per_base(labels, scores.argmax(1)),
        "multilabel": metrics.multilabel(np.stack([labels, 1 - labels], 1), scores, {}),
    }
    for kind, values in computed.items():
        assert set(METRICS_OF[kind]) == set(get_args(Metric)) & set(values)


def test_a_task_of_numbers_has_a_metric_of_its_own_and_others_keep_their_fingerprint():
    """What is not set is not written, so results of before keep the hash of their settings."""
    task = Task.read({"kind": "regression", "label_column": ["a", "b"]})
    assert (task.metric, task.loss, task.columns) == ("pearson", "mse", ("sequence", "a", "b"))
    assert Task.read({}).changed({"kind": "regression"}).metric == "pearson"
    assert not {"loss", "bin_size", "signal", "label_column"} & Task.read({}).model_dump().keys()
    assert {"loss", "bin_size", "signal"} <= Task(
        kind="regression", loss="poisson", bin_size=8, signal="s.bw"
    ).dataset_fields().keys()
