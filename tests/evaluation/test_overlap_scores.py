"""Rows planted at known places: which share bases, and the scores without them, against scikit-learn."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_scores import write_result
from sklearn.metrics import matthews_corrcoef

from convnova.cli.main import main
from convnova.config.load import load, save
from convnova.data.dna import decode, reverse_complement
from convnova.data.prepare_task import tokenize_task
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import bootstrap_interval
from convnova.evaluation.leakage.overlap_scores import leaking_rows, overlap_scores
from convnova.runs.outputs import tokenized_task

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
LENGTH = 200
TRAIN = [0, 1000, 2000, 2050, 6000]
TEST = [0, 1100, 1201, 2180, 3000, 5832, 6169, 8000, 9000, 9500]
"""Where the windows begin: the sixth and the seventh share 32 and 31 bases with the last of training."""
LEAKS = np.array([True, True, False, True, False, True, False, False, False, False])
ONLY = {"run": "leaky", "seeds": [1, 2], "protocols": ["heldout"], "models": ["cnn"]}


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """Windows of a chromosome, one of each split from the other strand, and a tokenized task of them."""
    monkeypatch.chdir(tmp_path)
    tokens = np.random.default_rng(3).integers(0, 4, 10_000).astype(np.uint8)
    for split, starts in (("train", TRAIN), ("test", TEST)):
        rows = [decode(tokens[start : start + LENGTH]) for start in starts]
        rows[1] = decode(reverse_complement(tokens[starts[1] : starts[1] + LENGTH]))
        lines = [f"{row},{number % 2}" for number, row in enumerate(rows)]
        Path(f"{split}.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    task = {"train": "train.csv", "test": "test.csv", "classes": ["0", "1"]}
    config = load({**ONLY, "suites": {"mine": {"format": "csv", "tasks": {"one": task}}}}, [], CATALOGUE)
    save(config, "config.yaml")
    files = {split: Path(f"{split}.csv") for split in ("train", "test")}
    tokenize_task(config.suites["mine"].tasks["one"], "csv", files, Path("one.st"))
    Path(tokenized_task(config, "mine", "one")).parent.mkdir(parents=True)
    shutil.copy("one.st", tokenized_task(config, "mine", "one"))
    return config


def score(config) -> dict:
    """The only line of the table."""
    (row,) = overlap_scores(config, {("mine", "one"): Path("one.st")}).to_dict("records")
    return row


def predict(config, seed):
    """Predictions as `finetune` writes them; every seed is wrong on other rows."""
    labels = np.arange(len(TEST)) % 2
    right = np.random.default_rng(seed).random(len(TEST)) < 0.7
    ones = np.where(right, labels, 1 - labels).astype(np.float32)
    (job,) = (job for job in config.jobs() if job.seed == seed)
    write_result(config, job, {"label": labels, "score": np.stack([1 - ones, ones], 1).tolist()})
    return labels, ones


def test_scores_with_and_without_the_rows_that_overlap(leaky):
    assert leaking_rows(read_task(Path("one.st"))).tolist() == LEAKS.tolist()
    predicted = [predict(leaky, seed) for seed in (1, 2)]
    assert main(["tables", "leakage", "--run", "config.yaml", "--out", "."]) == 0
    (row,) = pd.read_csv("tables/leaks.tsv", sep="\t").to_dict("records")
    assert [row[name] for name in ("suite", "task", "model", "metric")] == ["mine", "one", "CNN", "mcc"]
    assert (row["test_rows"], row["leaking"], row["leaking_classes"], row["seeds"]) == (10, 4, "1 / 3", 2)
    expected = {}
    for name, part in (("score", LEAKS | True), ("clean", ~LEAKS), ("leaking_score", LEAKS)):
        expected[name] = np.array([matthews_corrcoef(labels[part], ones[part]) for labels, ones in predicted])
        assert row[name] == pytest.approx(expected[name].mean(), abs=1e-6)
    gain = expected["clean"] - expected["score"]
    assert (row["clean_minus_all"], row["sd"]) == pytest.approx((gain.mean(), gain.std(ddof=1)), abs=2e-6)
    probabilities = ((labels[~LEAKS], np.stack([1 - ones, ones], 1)[~LEAKS]) for labels, ones in predicted)
    ends = np.mean([bootstrap_interval(*clean, "mcc") for clean in probabilities], axis=0)
    assert (row["clean_low"], row["clean_high"]) == pytest.approx(ends, abs=1e-6)
    assert Path("tables/leaks.md").exists()


@pytest.mark.parametrize(("all_leak", "missing"), [(True, ["clean", "clean_minus_all"]), (False, ["leaking_score"])])
def test_there_is_no_score_without_two_classes(leaky, monkeypatch, all_leak, missing):
    leaks = np.full(len(TEST), all_leak)
    monkeypatch.setattr("convnova.evaluation.leakage.overlap_scores.leaking_rows", lambda _: leaks)
    predict(leaky, 1)
    row = score(leaky)
    names = ("score", "clean", "leaking_score", "clean_minus_all")
    assert [name for name in names if np.isnan(row[name])] == missing


def test_missing_predictions_and_predictions_of_other_rows_are_refused(leaky):
    with pytest.raises(ConvNovaError, match="leaky/runs: .* found none"):
        score(leaky)
    write_result(leaky, next(iter(leaky.jobs())), {"label": [0] * 9, "score": [[0.5, 0.5]] * 9})
    with pytest.raises(ConvNovaError, match=r"predictions\.parquet: .* 10 test rows, found 9"):
        score(leaky)
