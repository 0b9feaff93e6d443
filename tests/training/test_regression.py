"""Fine-tuning on numbers: what it learns, in which units it predicts, how it is stopped and resumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from stopping import stopped

import convnova
from convnova.cli.train import finetune_job
from convnova.config.hyperparameters import Training
from convnova.config.load import load
from convnova.config.run import Job
from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences, Padding
from convnova.data.dna import encode, reverse_complement
from convnova.data.prepare_task import tokenize_task
from convnova.evaluation.metrics_file import METRICS, read_metrics
from convnova.evaluation.predict import Numbers, predict
from convnova.training.finetune import Supervised

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
MOTIF, PLACES = "TGACTCA", (3, 16, 29, 42)
SETTINGS = {"width": 8, "kernel": 7, "blocks": 2}


def sequences(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Random sequences of 50 bases, and how often each has the motif, 0 to 4 times."""
    random = np.random.default_rng(seed)
    counts, letters = random.integers(0, 5, count), []
    for times in counts:
        text = "".join(random.choice(list("ACGT"), 50))
        for place in random.choice(PLACES, times, replace=False):
            text = text[:place] + MOTIF + text[place + 7 :]
        letters.append(text)
    return letters, counts


class Setting:
    """Two targets that are linear in the motif's count, in units far apart, and one call to fine-tune on them."""

    def __init__(self, folder: Path, counts: bool = False, **training):
        self.folder, self.test, self.runs = folder, sequences(100, seed=2)[0], 0
        for name, count, seed in (("train", 400, 1), ("test", 100, 2)):
            letters, motifs = sequences(count, seed)
            random = np.random.default_rng(seed + 10)
            a = 5000 + 300 * motifs + random.normal(size=count) * 60
            b = -0.01 * motifs + random.normal(size=count) * 0.002
            if counts:
                a, b = random.poisson(np.exp(motifs)), random.poisson(3 * np.exp(0.5 * motifs))
            rows = zip(letters, a.tolist(), b.tolist(), strict=True)
            (folder / f"{name}.csv").write_text("sequence,a,b\n" + "".join(f"{s},{x},{y}\n" for s, x, y in rows))
        files = {split: str(folder / f"{split}.csv") for split in ("train", "test")}
        task = {"kind": "regression", "label_column": ["a", "b"], **files} | ({"loss": "poisson"} if counts else {})
        models = {"convnova_scratch": {"settings": SETTINGS}, "cnn": None, "kmers": None}
        finetune = {"epochs": 8, "batch_size": 16, "lr": 1e-2, "precision": "float32"} | training
        suites = {"own": {"format": "csv", "tasks": {"motif": task}}}
        content = {
            "run": "x",
            "models": models,
            "finetune": finetune,
            "suites": suites,
            "protocols": ["heldout", "cv", "released"],
        }
        self.config = load(content, [], CATALOGUE)
        tokenize_task(
            self.config.suites["own"].tasks["motif"], "csv", {k: Path(v) for k, v in files.items()}, folder / "t.st"
        )

    def run(self, model: str = "convnova_scratch", protocol: str = "heldout") -> Path:
        self.runs += 1
        out = self.folder / f"out{self.runs}"
        finetune_job(self.config, Job("own", "motif", model, protocol, 1), self.folder / "t.st", out)
        return out


def predictions(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions (n, targets) of a fine-tuning."""
    table = pyarrow.parquet.read_table(out / "predictions.parquet")
    return tuple(np.array(table[name].to_pylist()) for name in ("label", "score"))


def test_the_count_of_a_planted_motif_is_learned_and_predicted_in_the_users_units(tmp_path):
    setting = Setting(tmp_path)
    out = setting.run()
    metrics, (labels, predicted) = read_metrics(out / METRICS), predictions(out)
    for name, theirs in (("pearson", pearsonr), ("spearman", spearmanr)):
        both = [theirs(*pair).statistic for pair in zip(labels.T, predicted.T, strict=True)]
        assert metrics[name] == pytest.approx(np.mean(both)) and [
            part[name] for part in metrics["by_target"]
        ] == pytest.approx(both)
    assert metrics["r2"] == pytest.approx(r2_score(labels, predicted))
    motifs = sequences(100, seed=2)[1][:, None]
    known = r2_score(labels, LinearRegression().fit(motifs, labels).predict(motifs))  # by somebody who knows the motif
    assert metrics["r2"] > 0.9 * known and metrics["interval"][0] < metrics["pearson"] < metrics["interval"][1]
    np.testing.assert_allclose(predicted.mean(0), labels.mean(0), rtol=0.1)
    table = convnova.load(out).predict(setting.test)
    assert list(table.columns) == ["name", "a", "b"]
    np.testing.assert_allclose(table[["a", "b"]].to_numpy(), predicted, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "protocol"), [("cnn", "cv"), ("kmers", "released"), ("convnova_scratch", "released")]
)
def test_other_models_and_protocols_predict_numbers_too(tmp_path, model, protocol):
    metrics = read_metrics(Setting(tmp_path, epochs=4).run(model, protocol) / METRICS)
    assert metrics["pearson"] > 0.3 and metrics["rows"]["test"] == 100 and metrics["per_batch"] is None


def test_counts_are_learned_with_a_poisson_loss_and_are_never_negative(tmp_path):
    out = Setting(tmp_path, counts=True).run()
    labels, predicted = predictions(out)
    assert (predicted > 0).all() and read_metrics(out / METRICS)["spearman"] > 0.8
    motifs = sequences(100, seed=2)[1]
    for times in range(2, 5):
        rates = [np.exp(times), 3 * np.exp(0.5 * times)]
        np.testing.assert_allclose(predicted[motifs == times].mean(0), rates, rtol=0.4)
    model = convnova.load(out)
    table = model.predict(sequences(100, seed=2)[0])
    np.testing.assert_allclose(table[["a", "b"]].to_numpy(), predicted, rtol=1e-5)
    tokens = encode(sequences(100, seed=2)[0][0])[0]
    logits = model.network.logits([tokens], [0], "forward")
    np.testing.assert_allclose(np.exp(logits[0]), predicted[0], rtol=1e-5)


def test_stopped_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, monkeypatch):
    setting = Setting(tmp_path, epochs=2)
    whole = setting.run()
    stopped(monkeypatch, 24, setting.run)
    setting.runs -= 1  # into the same folder
    parts = setting.run()
    np.testing.assert_array_equal(predictions(parts)[1], predictions(whole)[1])
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def rows(labels: np.ndarray, length: int = 60) -> LabelledSequences:
    random, count = np.random.default_rng(0), len(labels)
    tokens = random.integers(0, 4, count * length).astype(np.uint8)
    return LabelledSequences(tokens, np.arange(count + 1) * length, labels, "regression", np.arange(count), length)


def objective(task: Task, labels: np.ndarray, **training) -> Supervised:
    data = rows(labels)
    train = replace(data, rows=np.arange(len(labels) - 2))
    parts = {"train": train, "valid": data, "test": data}
    return Supervised(task, Training(batch_size=4, **training), 1, parts, Padding())


def test_the_scale_is_that_of_the_training_rows_alone():
    labels = np.random.default_rng(0).normal(1e6, 3, size=(10, 2))
    made = objective(Task(kind="regression"), labels)
    train = labels[:8]
    np.testing.assert_allclose(made.numbers.mean, train.mean(0))
    np.testing.assert_allclose(made.numbers.scale, train.std(0))
    batch = made.batch(0)
    unscaled = made.numbers.unscaled(batch.targets)
    assert batch.targets.dtype == torch.float32
    np.testing.assert_allclose(np.sort(unscaled.numpy().ravel())[-1], np.sort(train.ravel())[-8:].max(), atol=3)
    assert all(np.isclose(train, value, atol=1e-3, rtol=0).any() for value in unscaled.numpy().ravel())
    counts = np.arange(20.0).reshape(10, 2)
    of_counts = objective(Task(kind="regression", loss="poisson"), counts).numbers
    assert of_counts == Numbers("poisson", [0.0, 0.0], counts[:8].mean(0).tolist(), None)
    bins = objective(Task(kind="regression", bin_size=20, signal="s.bw"), labels[:, [0, 1, 0]]).numbers
    assert bins.mean == [pytest.approx(labels[:8][:, [0, 1, 0]].mean())] and bins.bin_size == 20
    constant = objective(Task(kind="regression"), np.ones((10, 1))).numbers
    assert (constant.mean, constant.scale) == ([1.0], [1.0])


class Counting(torch.nn.Module):
    """The share of C less that of A, in each bin of 20 bases or in the whole: not the same on both strands."""

    def __init__(self, bin_size: int | None = None):
        super().__init__()
        self.weight, self.bin_size = torch.nn.Parameter(torch.ones(())), bin_size

    def forward(self, tokens):
        values = (tokens == 1).float() - (tokens == 0).float()
        return self.weight * (values.unflatten(1, (-1, 20)).mean(-1) if self.bin_size else values.mean(1, keepdim=True))


@pytest.mark.parametrize("bin_size", [None, 20])
def test_both_strands_are_averaged_bin_by_bin(bin_size):
    numbers = Numbers("mse", [7.0], [2.0], bin_size)
    data = rows(np.zeros((3, 3 if bin_size else 1)))
    predicted = predict(Counting(bin_size), data, Padding(), 2, "both", numbers)

    def by_hand(tokens: np.ndarray) -> float:
        opposite = reverse_complement(tokens)
        shares = [np.mean(strand == 1) - np.mean(strand == 0) for strand in (tokens, opposite)]
        return 7 + 2 * sum(shares) / 2

    size = bin_size or 60
    expected = [by_hand(data.tokens[start : start + size]) for start in range(0, 180, size)]
    np.testing.assert_allclose(predicted.ravel(), expected, rtol=1e-6)


def test_a_sequence_that_is_read_from_the_other_strand_has_its_bins_in_the_other_order():
    """A training row, augmented or not, goes with its bins."""
    data = np.arange(30.0).reshape(10, 3)
    task = Task(kind="regression", bin_size=20, signal="s.bw")
    plain, drawn = (objective(task, data, reverse_complement=augmented) for augmented in (False, True))
    was_reversed = []
    for step in range(2):
        before, after = plain.batch(step), drawn.batch(step)
        for row in range(4):
            is_same = torch.equal(before.tokens[row], after.tokens[row])
            was_reversed.append(not is_same)
            expected = before.targets[row] if is_same else before.targets[row].flip(0)
            assert torch.equal(after.targets[row], expected)
    assert 0 < sum(was_reversed) < 8


@pytest.mark.parametrize("loss", ["mse", "poisson"])
def test_the_loss_is_that_of_its_formula(loss):
    labels = np.random.default_rng(0).poisson(5, (10, 2)).astype(float)
    made = objective(Task(kind="regression", loss=loss), labels)
    batch, outputs = made.batch(0), torch.randn(4, 2)
    targets = batch.targets.double()
    value = made.loss(lambda tokens: outputs, batch)
    by_hand = (outputs - targets) ** 2 if loss == "mse" else outputs.exp() - targets * outputs
    assert value.item() == pytest.approx(by_hand.sum().item(), rel=1e-5) and batch.count == 8
