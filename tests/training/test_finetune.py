import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score
from stopping import stopped

from convnova.cli.train import finetune_job
from convnova.config.hyperparameters import Training
from convnova.config.load import load
from convnova.config.run import Job
from convnova.data.batches import Padding
from convnova.data.prepare_task import tokenize_task
from convnova.data.splits import split_rows
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict
from convnova.models import build_backbone, build_predictor
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import load_weights, save_weights
from convnova.randomness import torch_seed
from convnova.training.finetune import Supervised, finetune, padding_of
from convnova.training.optimization import in_precision

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
        training = {"epochs": 6, "batch_size": 16, "lr": 1e-2, "precision": "float32"}
        content = {"run": "x", "genome": "g.fa", "models": models, "finetune": training | changes}
        self.config = load(content | {"suites": {"own": {"format": "csv", "tasks": {"motif": task}}}}, [], CATALOGUE)
        self.runs = 0

    def change_model(self, name: str, **changes) -> None:
        model = self.config.models[name].model_copy(update=changes)
        self.config = self.config.model_copy(update={"models": self.config.models | {name: model}})

    def dataset(self, name: str, test: list[tuple[str, int]]) -> Path:
        write(self.folder / "test.csv", test)
        files = {split: self.folder / f"{split}.csv" for split in ("train", "test")}
        tokenize_task(self.config.suites["own"].tasks["motif"], "csv", files, self.folder / f"{name}.safetensors")
        return self.folder / f"{name}.safetensors"

    def run(self, model="convnova_scratch", protocol="heldout", seed=1, weights=None, test=None) -> Path:
        """Results, each run's in a folder of its own."""
        self.runs += 1
        out, dataset = self.folder / f"out{self.runs}", self.dataset(str(self.runs), test or self.test)
        finetune_job(self.config, Job("own", "motif", model, protocol, seed), dataset, out, weights)
        return out


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path)


def metrics(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def predictions(out: Path):
    table = pyarrow.parquet.read_table(out / "predictions.parquet")
    return table["row"].to_numpy(), table["label"].to_numpy(), np.stack(table["score"].to_numpy(zero_copy_only=False))


def flipped(rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The other label for each sequence."""
    return [(sequence, 1 - label) for sequence, label in rows]


def test_scores_are_scikit_learns_over_all_saved_predictions_and_explain_themselves(setting):
    out = setting.run(seed=3)
    result, (rows, labels, scores) = metrics(out), predictions(out)
    assert rows.tolist() == list(range(60))
    assert labels.tolist() == [label for _, label in setting.test]
    predicted = scores.argmax(1)
    assert result["mcc"] == pytest.approx(matthews_corrcoef(labels, predicted))
    assert result["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, predicted)) and result["accuracy"] > 0.8
    assert result["auroc"] == pytest.approx(roc_auc_score(labels, scores[:, 1]))
    assert [result[key] for key in Job._fields] == ["own", "motif", "convnova_scratch", "heldout", 3]
    assert result["rows"] == {"train": 144, "valid": 16, "test": 60}
    assert result["per_batch"]["batch_size"] == 16 and result["simulated"] is False
    provenance, job = result["provenance"], Job("own", "motif", "convnova_scratch", "heldout", 3)
    assert (provenance["settings"], provenance["hardware"]["threads"]) == (setting.config.job_fingerprint(job), 1)
    (attempt,) = provenance["attempts"]
    assert attempt["threads"] == 1 and 0 < attempt["seconds"] < provenance["seconds"]
    task = provenance["inputs"]["task"]
    assert task["path"].endswith("1.safetensors") and len(task["sha256"]) == 64


def test_from_python_a_model_a_dataset_and_settings_are_enough(setting):
    """The same numbers as a job of a run, and the model has the weights that they come from."""
    expected = metrics(setting.run("cnn", "released", seed=0))
    dataset, job = read_task(setting.folder / "1.safetensors"), Job("own", "motif", "cnn", "released", 0)
    task, settings = setting.config.task(job), setting.config.training(job)
    torch.manual_seed(torch_seed(0, "weights"))
    model = build_predictor("cnn", {}, "classes", 2, 55, pool_padding=True)
    out = setting.folder / "from python"
    result = finetune(model, dataset, task, settings, "released", 0, out)
    assert result["mcc"] == expected["mcc"] and result["epochs"] == expected["epochs"]
    assert result["parameters"] == expected["parameters"] == sum(p.numel() for p in model.parameters()) > 17_000
    assert {path.name for path in out.iterdir()} == {"log.csv", "predictions.parquet", "metrics.json"}


def test_weights_are_kept_by_the_protocols_that_the_config_names_and_change_no_other_result(setting):
    """The file beside them is enough to build the network again, and its predictions are those that were written."""
    out = setting.run()
    assert not (setting.run(protocol="released") / "weights.safetensors").exists()
    weights, about = load_weights(out / "weights.safetensors")
    result = metrics(out)
    assert about["form"] == 2 and about.items() >= {key: result[key] for key in result if "sha256" not in key}.items()
    assert (about["classes"], about["max_length"]) == (["0", "1"], 55)
    model = build_predictor(**about["network"])
    model.load_state_dict(weights)
    rows = split_rows(read_task(setting.folder / "1.safetensors"), "heldout", 1, about["max_length"])["test"]
    with in_precision(about["provenance"]["precision"], torch.device("cpu")):
        again = predict(model, rows, Padding(**about["padding"]), 60)
    np.testing.assert_allclose(again, predictions(out)[2], atol=1e-6)
    setting.config = setting.config.model_copy(update={"keep_weights": []})
    without = setting.run()
    assert {path.name for path in without.iterdir()} == {"log.csv", "predictions.parquet", "metrics.json"}
    assert np.array_equal(predictions(without)[2], predictions(out)[2])
    assert metrics(without)["epochs"] == result["epochs"] and metrics(without).keys() == result.keys()


def test_heldout_does_not_look_at_the_test_labels_and_released_does(setting):
    """With other test labels the heldout model is the same; the released protocol then chooses another epoch."""
    for protocol, same in (("heldout", True), ("released", False)):
        straight = setting.run(protocol=protocol)
        crooked = setting.run(protocol=protocol, test=flipped(setting.test))
        assert np.array_equal(predictions(straight)[2], predictions(crooked)[2]) == same
        assert (metrics(straight)["best_epoch"] == metrics(crooked)["best_epoch"]) == same
    assert metrics(straight)["rows"] == {"train": 160, "valid": 60, "test": 60}


def test_a_fold_is_written_with_its_predictions_and_chooses_without_test(tmp_path):
    setting = Setting(tmp_path, epochs=2)
    out = setting.run(protocol="cv", seed=3)
    assert set(pyarrow.parquet.read_table(out / "predictions.parquet")["fold"].to_pylist()) == {3}
    assert metrics(out)["rows"] == {"train": 144, "valid": 16, "test": 60}
    other = setting.run(protocol="cv", seed=3, test=flipped(setting.test))
    assert np.array_equal(predictions(out)[2], predictions(other)[2])


def test_the_same_seed_gives_the_same_scores_and_another_does_not(setting):
    first, again, other = (predictions(setting.run(seed=seed))[2] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stopped_and_continued_is_bit_for_bit_the_undisturbed_run(precision, tmp_path, monkeypatch, capsys):
    setting = Setting(tmp_path, precision=precision)
    whole = setting.run()
    stopped(monkeypatch, 24, setting.run)
    setting.runs -= 1  # into the same folder
    parts = setting.run()
    assert np.array_equal(predictions(parts)[2], predictions(whole)[2])
    log, log_of_whole = (  # without the times
        [line.split(",")[:4] for line in (out / "log.csv").read_text().splitlines()] for out in (parts, whole)
    )
    assert metrics(parts)["epochs"] == metrics(whole)["epochs"] and log == log_of_whole
    assert metrics(parts)["provenance"]["precision"] == precision
    assert re.search("continuing from .*/step-000000024", capsys.readouterr().err)
    assert not (parts / "checkpoints").exists()


def pretrained(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a language model, also as a file in the folder."""
    torch.manual_seed(0)
    weights = MaskedLanguageModel(build_backbone("convnova", SETTINGS)).state_dict()
    save_weights(weights, folder / "weights.safetensors", {})
    return weights


def test_a_pretrained_model_starts_from_its_weights(setting):
    file, weights = setting.folder / "weights.safetensors", pretrained(setting.folder)
    out = setting.run("convnova", weights=file)
    assert metrics(out)["provenance"]["inputs"]["weights"]["path"] == str(file)
    assert not np.array_equal(predictions(out)[2], predictions(setting.run("convnova_scratch"))[2])
    save_weights(weights | {"backbon.stem.bias": torch.zeros(8)}, file, {})
    for model, given, words in (
        ("convnova", file, 'Unexpected .*"backbon.stem.bias"'),
        ("convnova", None, "convnova: .* pretrained weights, found None"),
        ("cnn", file, "cnn: expected no weights, found .*weights.safetensors"),
    ):
        with pytest.raises(ConvNovaError, match=words):
            setting.run(model, weights=given)


def test_frozen_embeddings_keep_the_pretrained_weights_and_train_a_head(setting, monkeypatch):
    pretrained(setting.folder)
    setting.change_model("convnova", frozen=True, head="cnn")
    trained = []
    monkeypatch.setattr(
        "convnova.training.finetune.predict", lambda model, *rest: trained.append(model) or predict(model, *rest)
    )
    result = metrics(setting.run("convnova", weights=setting.folder / "weights.safetensors"))
    assert (result["frozen"], result["head"]) == (True, "cnn")
    assert len({epoch["score"] for epoch in result["epochs"]}) > 1
    weights, _ = load_weights(setting.folder / "weights.safetensors")
    assert all(torch.equal(t, weights[f"backbone.{n}"]) for n, t in trained[-1].backbone.state_dict().items())


def test_a_frozen_part_has_no_dropout_from_the_first_step_on(setting, monkeypatch):
    """So that a training that goes on after a few steps is the undisturbed one."""
    pretrained(setting.folder)
    setting.change_model("convnova", frozen=True, settings=SETTINGS | {"dropout": 0.5})
    modes, loss = [], Supervised.loss

    def noting(self, model, batch):
        modes.append((model.training, any(part.training for part in model.backbone.modules())))
        return loss(self, model, batch)

    monkeypatch.setattr(Supervised, "loss", noting)
    setting.run("convnova", weights=setting.folder / "weights.safetensors")
    assert set(modes) == {(True, False)}


@pytest.mark.parametrize("protocol", ["heldout", "released"])
def test_the_mean_over_both_strands_is_the_same_for_the_opposite_strand(setting, protocol):
    """Trained alike, scored on test rows and on their reverse complements."""
    letters = str.maketrans("ACGT", "TGCA")
    whole = [(sequence[:55], label) for sequence, label in setting.test]  # the task reads 55 bases, from either end
    opposite = [(sequence.translate(letters)[::-1], label) for sequence, label in whole]
    results = {}
    for strands in ("forward", "both"):
        setting.change_model("convnova_scratch", strands=strands)
        outs = [setting.run(protocol=protocol, test=rows) for rows in (whole, opposite)]
        assert metrics(outs[0])["strands"] == strands and metrics(outs[0])["receptive_field"] == 17
        results[strands] = [predictions(out)[2] for out in outs]
    np.testing.assert_allclose(*results["both"], atol=1e-5)
    assert not np.allclose(*results["forward"], atol=1e-3)


def test_the_test_score_of_every_epoch_is_kept_and_that_of_the_chosen_one_is_the_score(tmp_path):
    setting = Setting(tmp_path, epochs=2)
    result = metrics(setting.run())
    assert [set(epoch) for epoch in result["epochs"]] == [{"epoch", "score", "test"}] * 2
    assert result["epochs"][result["best_epoch"] - 1]["test"] == pytest.approx(result["mcc"])
    released = metrics(setting.run(protocol="released"))
    assert released["epochs"][released["best_epoch"] - 1] == {"epoch": released["best_epoch"], "score": released["mcc"]}


def test_a_score_that_is_not_a_number_is_the_worst_and_is_not_noted_for_the_audit(setting, monkeypatch):
    splits = split_rows(read_task(setting.dataset("a", setting.test)), "heldout", 1, 55)
    objective = Supervised(setting.config.suites["own"].tasks["motif"], Training(), 1, splits, Padding())
    monkeypatch.setattr("convnova.training.finetune.predict", lambda *_: None)
    for value, expected in ((0.5, {"score": 0.5, "test": 0.5}), (np.nan, {"score": -np.inf})):
        monkeypatch.setattr("convnova.training.finetune.score", lambda *_, value=value: {"mcc": value})
        assert objective.evaluate(torch.nn.Linear(1, 1)) == expected


@pytest.mark.parametrize("protocol, padding", [("heldout", "pooled"), ("released", "masked")])
def test_padding_may_be_set_apart_from_the_protocol(tmp_path, protocol, padding):
    result = metrics(Setting(tmp_path, epochs=1, padding=padding).run(protocol=protocol))
    plain = metrics(Setting(tmp_path, epochs=1).run(protocol=protocol))
    assert [result["training"][key] for key in ("padding", "schedule", "decayed")] == [
        padding, *{"heldout": ("warm", "kernels"), "released": ("released", "all")}[protocol]
    ]  # fmt: skip
    assert result["auroc"] != plain["auroc"]


PADDINGS = [
    ("heldout", None, Padding(None)), ("cv", "pooled_right", Padding(55, counted=True)),
    ("released", None, Padding(55, counted=True, left=True)), ("released", "masked", Padding(None)),
]  # fmt: skip


@pytest.mark.parametrize("protocol, padding, expected", PADDINGS)
def test_padding_that_counts_is_as_long_as_the_longest_sequence(protocol, padding, expected):
    """At the left as released; labels of bases, and a model of one length, have their own length."""
    settings, rows = Training(padding=padding).of_protocol(protocol), SimpleNamespace(kind="classes", max_length=55)
    assert padding_of(SimpleNamespace(fixed_length=None), settings, rows) == expected
    assert padding_of(SimpleNamespace(fixed_length=70), settings, rows) == replace(expected, to=70)
    rows.kind = "per_base"
    assert padding_of(SimpleNamespace(fixed_length=None), settings, rows) == replace(expected, to=None)


def test_in_a_job_of_slurm_a_finished_result_that_was_deleted_is_taken_back(tmp_path, monkeypatch):
    """For the same settings only."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    setting, job = Setting(tmp_path, epochs=1), Job("own", "motif", "convnova_scratch", "heldout", 1)
    out, dataset = setting.run(), tmp_path / "1.safetensors"
    files = [out / name for name in ("log.csv", "predictions.parquet", "metrics.json")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    finetune_job(setting.config, job, dataset, out)
    assert [file.read_bytes() for file in files] == before
    finetune_job(Setting(tmp_path, epochs=2).config, job, dataset, out)
    assert len(metrics(out)["epochs"]) == 2 and files[-1].read_bytes() != before[-1]


def test_a_metric_that_the_classes_do_not_have_is_refused_before_training(setting, tmp_path):
    """The dataset was made when the task had another metric, which it does not depend on."""
    dataset = setting.dataset("a", [("ACGT" * 10, 1)] * 20)
    suite = setting.config.suites["own"]
    task = suite.tasks["motif"].model_copy(update={"metric": "auroc"})
    suites = {"own": suite.model_copy(update={"tasks": {"motif": task}})}
    config, job = setting.config.model_copy(update={"suites": suites}), Job("own", "motif", "cnn", "heldout", 1)
    with pytest.raises(ConvNovaError, match="a.safetensors: metric = auroc: expected test rows of two classes"):
        finetune_job(config, job, dataset, tmp_path / "out")
    assert not (tmp_path / "out" / "log.csv").exists()
