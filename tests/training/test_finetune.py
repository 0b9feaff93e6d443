import itertools
import json
import os
import re
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from convnova.config.load import load
from convnova.config.run import Job
from convnova.data.prepare_task import tokenize_task
from convnova.data.splits import split_rows
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict
from convnova.models import build_backbone
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import load_weights, save_weights
from convnova.training.finetune import Classification, finetune
from convnova.training.loop import Interrupted, train

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
SETTINGS = {"width": 8, "kernel": 5, "blocks": 2}
MOTIF = "TATAAAAGC"


def sequences(count: int, seed: int) -> list[tuple[str, int]]:
    """Random sequences of 40 to 60 bases; those of class 1 hold the motif twice."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        letters = "".join(random.choice(list("ACGT"), random.integers(40, 61)))
        rows.append((MOTIF + letters[9:-9] + MOTIF if i % 2 else letters, i % 2))
    return rows


def write(path: Path, rows: list[tuple[str, int]]) -> None:
    path.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in rows))


class Setting:
    """A small task on disk, and one call to fine-tune on it."""

    def __init__(self, folder: Path, **changes):
        self.folder = folder
        self.test = sequences(60, seed=2)
        write(folder / "train.csv", sequences(160, seed=1))
        task = {"train": str(folder / "train.csv"), "test": str(folder / "test.csv"), "max_length": 55}
        models = {"convnova": {"settings": SETTINGS}, "convnova_scratch": {"settings": SETTINGS}, "cnn": None}
        training = {"epochs": 6, "batch_size": 16, "lr": 1e-2}
        content = {"run": "x", "genome": "g.fa", "models": models, "finetune": training | changes}
        self.config = load(content | {"suites": {"own": {"format": "csv", "tasks": {"motif": task}}}}, [], CATALOGUE)
        self.sharded = 0

    def run(self, model="convnova_scratch", protocol="heldout", seed=1, weights=None, test=None) -> Path:
        write(self.folder / "test.csv", test or self.test)
        task = self.config.suites["own"].tasks["motif"]
        self.sharded += 1
        shard, out = self.folder / f"{self.sharded}.safetensors", self.folder / f"out{self.sharded}"
        tokenize_task(task, "csv", {"train": self.folder / "train.csv", "test": self.folder / "test.csv"}, shard)
        finetune(self.config, Job("own", "motif", model, protocol, seed), shard, out, weights)
        return out


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path)


def metrics(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def predictions(out: Path):
    table = pyarrow.parquet.read_table(out / "predictions.parquet")
    return table["row"].to_numpy(), table["label"].to_numpy(), np.stack(table["score"].to_numpy(zero_copy_only=False))


def test_scores_are_scikit_learns_over_all_saved_predictions(setting):
    out = setting.run()
    told, (rows, labels, scores) = metrics(out), predictions(out)
    assert rows.tolist() == list(range(60))
    assert labels.tolist() == [label for _, label in setting.test]
    predicted = scores.argmax(1)
    assert told["mcc"] == pytest.approx(matthews_corrcoef(labels, predicted))
    assert told["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert told["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert told["auroc"] == pytest.approx(roc_auc_score(labels, scores[:, 1]))
    assert told["accuracy"] > 0.8


def test_a_metrics_file_explains_itself(setting):
    told = metrics(setting.run(seed=3))
    assert [told[key] for key in Job._fields] == ["own", "motif", "convnova_scratch", "heldout", 3]
    assert told["rows"] == {"train": 144, "valid": 16, "test": 60}
    provenance = told["provenance"]
    assert provenance["settings"] == setting.config.job_fingerprint(
        Job("own", "motif", "convnova_scratch", "heldout", 3)
    )
    assert provenance["inputs"]["task"]["path"].endswith("1.safetensors")
    assert len(provenance["inputs"]["task"]["sha256"]) == 64
    assert provenance["hardware"]["threads"] == 1
    assert told["simulated"] is False


def test_heldout_does_not_look_at_the_test_labels_and_released_does(setting):
    """With other test labels the heldout model is the same; the released protocol then chooses another epoch."""
    flipped = [(sequence, 1 - label) for sequence, label in setting.test]
    for protocol, same in (("heldout", True), ("released", False)):
        straight, crooked = setting.run(protocol=protocol), setting.run(protocol=protocol, test=flipped)
        assert np.array_equal(predictions(straight)[2], predictions(crooked)[2]) == same
        assert (metrics(straight)["best_epoch"] == metrics(crooked)["best_epoch"]) == same
    assert metrics(setting.run(protocol="released"))["rows"] == {"train": 160, "valid": 60, "test": 60}


def test_the_same_seed_gives_the_same_scores_and_another_does_not(setting):
    first, again, other = (predictions(setting.run(seed=seed))[2] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def losses(out: Path) -> list[list[str]]:
    """What the log says of every step and evaluation, without the times."""
    return [line.split(",")[:4] for line in (out / "log.csv").read_text().splitlines()]


def test_stopped_and_continued_is_bit_for_bit_the_undisturbed_run(setting, monkeypatch, capsys):
    whole, loss, calls = setting.run(), Classification.loss, itertools.count(1)

    def stopping(self, model, batch):
        if next(calls) == 25:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, model, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Classification, "loss", stopping)
        with pytest.raises(Interrupted, match="at step 24 of"):
            setting.run()
    setting.sharded -= 1  # into the same folder
    monkeypatch.setattr("convnova.training.finetune.train", partial(train, workers=3))
    parts = setting.run()
    assert np.array_equal(predictions(parts)[2], predictions(whole)[2])
    assert metrics(parts)["epochs"] == metrics(whole)["epochs"] and losses(parts) == losses(whole)
    assert re.search("continuing from .*/step-000000024", capsys.readouterr().err)


def test_micro_batches_change_nothing_but_rounding(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole = predictions(Setting(tmp_path / "a", epochs=2).run())[2]
    parts = predictions(Setting(tmp_path / "b", epochs=2, micro_batch=5).run())[2]
    assert not np.array_equal(whole, parts)
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_a_pretrained_model_starts_from_its_weights(setting):
    torch.manual_seed(0)
    model = MaskedLanguageModel(build_backbone("convnova", SETTINGS))
    weights = setting.folder / "weights.safetensors"
    save_weights(model.state_dict(), weights, {})
    out = setting.run("convnova", weights=weights)
    assert metrics(out)["provenance"]["inputs"]["weights"]["path"] == str(weights)
    assert not np.array_equal(predictions(out)[2], predictions(setting.run("convnova_scratch"))[2])
    save_weights(model.state_dict() | {"backbon.stem.bias": torch.zeros(8)}, weights, {})
    with pytest.raises(ConvNovaError, match=r"left over \['backbon.stem.bias'\]"):
        setting.run("convnova", weights=weights)
    save_weights(MaskedLanguageModel(build_backbone("convnova", SETTINGS | {"ffn": True})).state_dict(), weights, {})
    with pytest.raises(ConvNovaError, match=r"left over \['blocks.0.ffn.0.bias'"):
        setting.run("convnova", weights=weights)
    with pytest.raises(ConvNovaError, match="convnova: expected pretrained weights, found None"):
        setting.run("convnova")


@pytest.mark.parametrize("protocol", ["heldout", "released"])
def test_the_mean_over_both_strands_is_the_same_for_the_opposite_strand(setting, protocol):
    """Trained alike, scored on test rows and on their reverse complements."""
    letters = str.maketrans("ACGT", "TGCA")
    whole = [(sequence[:55], label) for sequence, label in setting.test]  # the task reads 55 bases, from either end
    flipped = [(sequence.translate(letters)[::-1], label) for sequence, label in whole]
    results = {}
    for strands in ("forward", "both"):
        models = {"convnova_scratch": setting.config.models["convnova_scratch"].model_copy(update={"strands": strands})}
        setting.config = setting.config.model_copy(update={"models": setting.config.models | models})
        outs = [setting.run(protocol=protocol, test=rows) for rows in (whole, flipped)]
        assert metrics(outs[0])["strands"] == strands and metrics(outs[0])["receptive_field"] == 17
        results[strands] = [predictions(out)[2] for out in outs]
    np.testing.assert_allclose(*results["both"], atol=1e-5)
    assert not np.allclose(*results["forward"], atol=1e-3)


def test_frozen_embeddings_keep_the_pretrained_weights_and_train_a_head(setting, monkeypatch):
    torch.manual_seed(0)
    weights = setting.folder / "weights.safetensors"
    save_weights(MaskedLanguageModel(build_backbone("convnova", SETTINGS)).state_dict(), weights, {})
    model = setting.config.models["convnova"].model_copy(update={"frozen": True, "head": "cnn"})
    setting.config = setting.config.model_copy(update={"models": {"convnova": model}})
    trained = []
    monkeypatch.setattr(
        "convnova.training.finetune.predict", lambda model, *rest: trained.append(model) or predict(model, *rest)
    )
    told = metrics(setting.run("convnova", weights=weights))
    assert (told["frozen"], told["head"]) == (True, "cnn") and len({epoch["score"] for epoch in told["epochs"]}) > 1
    found, _ = load_weights(weights)
    assert all(torch.equal(t, found[f"backbone.{n}"]) for n, t in trained[-1].backbone.state_dict().items())


@pytest.mark.parametrize("protocol", ["heldout", "released"])
def test_the_cnn_baseline_runs_in_both_protocols(setting, protocol):
    told = metrics(setting.run("cnn", protocol))
    assert told["parameters"] > 17_000
    assert len(told["epochs"]) == 6


def test_ten_folds_choose_in_turn_and_no_test_row_is_trained_on(setting):
    task, jobs = (
        setting.config.suites["own"].tasks["motif"],
        [Job("own", "motif", "cnn", "cv", n) for n in range(1, 11)],
    )
    files = {split: setting.folder / f"{split}.csv" for split in ("train", "test")}
    write(files["test"], setting.test)
    tokenize_task(task, "csv", files, setting.folder / "cv.safetensors")
    data = read_task(setting.folder / "cv.safetensors")
    found = [split_rows(data, task, job) for job in jobs]
    assert sorted(row for splits in found for row in splits["valid"].rows) == list(range(160))
    train, test = data.split("train"), data.split("test")
    for splits in found:
        assert sorted([*splits["train"].rows, *splits["valid"].rows]) == list(range(160))
        assert np.bincount(splits["valid"].labels[splits["valid"].rows]).tolist() == [8, 8]
        assert all(splits[name].tokens is train.tokens or np.shares_memory(splits[name].tokens, train.tokens)
                   for name in ("train", "valid"))  # fmt: skip
        assert np.array_equal(splits["test"].tokens, test.tokens) and len(splits["test"]) == 60


@pytest.mark.parametrize(
    ("protocol", "rows"), [("heldout", (160, 40, 60)), ("released", (160, 60, 60)), ("cv", (144, 16, 60))]
)
def test_a_tasks_own_validation_rows_are_used_by_heldout_alone(setting, protocol, rows):
    files = {split: setting.folder / f"{split}.csv" for split in ("train", "valid", "test")}
    write(files["test"], setting.test)
    write(files["valid"], sequences(40, seed=3))
    task = setting.config.suites["own"].tasks["motif"]
    tokenize_task(task, "csv", files, setting.folder / "own.safetensors")
    found = split_rows(read_task(setting.folder / "own.safetensors"), task, Job("own", "motif", "cnn", protocol, 1))
    assert tuple(len(found[name]) for name in ("train", "valid", "test")) == rows


def test_a_fold_is_told_with_its_predictions_and_choosing_it_takes_no_look_at_test(tmp_path):
    setting = Setting(tmp_path, epochs=2)
    out = setting.run(protocol="cv", seed=3)
    assert set(pyarrow.parquet.read_table(out / "predictions.parquet")["fold"].to_pylist()) == {3}
    assert metrics(out)["rows"] == {"train": 144, "valid": 16, "test": 60}
    flipped = setting.run(protocol="cv", seed=3, test=[(sequence, 1 - label) for sequence, label in setting.test])
    assert np.array_equal(predictions(out)[2], predictions(flipped)[2])


def test_the_test_score_of_every_epoch_is_kept_and_that_of_the_chosen_one_is_the_score(tmp_path):
    setting = Setting(tmp_path, epochs=2)
    told = metrics(setting.run())
    assert [set(epoch) for epoch in told["epochs"]] == [{"epoch", "score", "test"}] * 2
    assert told["epochs"][told["best_epoch"] - 1]["test"] == pytest.approx(told["mcc"])
    released = metrics(setting.run(protocol="released"))
    assert released["epochs"][released["best_epoch"] - 1] == {"epoch": released["best_epoch"], "score": released["mcc"]}


@pytest.mark.parametrize("protocol, padding", [("heldout", "pooled"), ("released", "masked")])
def test_padding_may_be_set_apart_from_the_protocol(tmp_path, protocol, padding):
    told = metrics(Setting(tmp_path, epochs=1, padding=padding).run(protocol=protocol))
    plain = metrics(Setting(tmp_path, epochs=1).run(protocol=protocol))
    assert told["training"]["padding"] == padding
    assert told["auroc"] != plain["auroc"]


def test_in_a_job_of_slurm_a_finished_result_that_was_deleted_is_taken_back_for_the_same_settings(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    setting, job, shard = (
        Setting(tmp_path, epochs=1),
        Job("own", "motif", "convnova_scratch", "heldout", 1),
        "1.safetensors",
    )
    out = setting.run()
    files = [out / name for name in ("log.csv", "predictions.parquet", "metrics.json")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    finetune(setting.config, job, tmp_path / shard, out, None)
    assert [file.read_bytes() for file in files] == before
    finetune(Setting(tmp_path, epochs=2).config, job, tmp_path / shard, out, None)
    assert len(metrics(out)["epochs"]) == 2 and files[-1].read_bytes() != before[-1]


def test_a_metric_that_the_shards_classes_do_not_have_is_refused_before_training(setting, tmp_path):
    """The shard was made when the task had another metric, which it does not depend on."""
    write(tmp_path / "test.csv", [("ACGT" * 10, 1)] * 20)
    files = {split: tmp_path / f"{split}.csv" for split in ("train", "test")}
    suite = setting.config.suites["own"]
    tokenize_task(suite.tasks["motif"], "csv", files, tmp_path / "a.safetensors")
    task = suite.tasks["motif"].model_copy(update={"metric": "auroc"})
    suites = {"own": suite.model_copy(update={"tasks": {"motif": task}})}
    config, job = setting.config.model_copy(update={"suites": suites}), Job("own", "motif", "cnn", "heldout", 1)
    with pytest.raises(ConvNovaError, match="a.safetensors: metric = auroc: expected test rows of two classes"):
        finetune(config, job, tmp_path / "a.safetensors", tmp_path / "out", None)
    assert not (tmp_path / "out" / "log.csv").exists()
