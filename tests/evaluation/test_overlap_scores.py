"""Rows planted at known places: which overlap, and the scores without them, against scikit-learn."""

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
from convnova.data.genome import read_genome, tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import bootstrap_interval
from convnova.evaluation.leakage.genome_search import Hit
from convnova.evaluation.leakage.overlap_scores import UNPLACED, most_shared_bases, overlap_scores, overlapping_bases
from convnova.runs.outputs import tokenized_genome, tokenized_task

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
LENGTH = 200
TRAIN = [0, 1000, 2000, 2050, 6000]
TEST = [0, 1100, 1201, 2180, 3000, 5801, 6199, 8000, 9000, 9500]
"""Where the windows begin; the last test row is replaced by one that the genome lacks."""
SHARED = [200, 100, 0, 70, 0, 1, 1, 0, 0, UNPLACED]
ONLY = {"run": "leaky", "seeds": [1, 2], "protocols": ["heldout"], "models": ["cnn"]}


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """A genome of two chromosomes, windows of the first on both strands, and a tokenized task of them."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    chromosomes = {name: "".join(np.array(list("ACGT"))[random.integers(0, 4, 10_000)]) for name in "ab"}
    Path("genome.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases in chromosomes.items()))
    tokenize_genome(Path("genome.fa"), Path("genome"))
    tokens = read_genome(Path("genome"))["a"]
    for split, starts in (("train", TRAIN), ("test", TEST)):
        rows = [decode(tokens[start : start + LENGTH]) for start in starts]
        rows[1] = decode(reverse_complement(tokens[starts[1] : starts[1] + LENGTH]))
        if split == "test":
            rows[-1] = decode(random.integers(0, 4, LENGTH).astype(np.uint8))
        lines = [f"{row},{number % 2}" for number, row in enumerate(rows)]
        Path(f"{split}.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    task = {"train": "train.csv", "test": "test.csv", "classes": ["0", "1"]}
    config = load({**ONLY, "suites": {"mine": {"format": "csv", "tasks": {"one": task}}}}, [], CATALOGUE)
    save(config, "config.yaml")
    files = {split: Path(f"{split}.csv") for split in ("train", "test")}
    tokenize_task(config.suites["mine"].tasks["one"], "csv", files, Path("one.st"))
    shutil.copytree("genome", Path(tokenized_genome(config)).parent)
    Path(tokenized_task(config, "mine", "one")).parent.mkdir(parents=True)
    shutil.copy("one.st", tokenized_task(config, "mine", "one"))
    return config


def score(config) -> dict:
    """The only line of the table."""
    (row,) = overlap_scores(config, Path("genome"), {("mine", "one"): Path("one.st")}).to_dict("records")
    return row


def test_shared_bases_are_with_one_known_place_at_a_time():
    """Row 0 has two places; row 1 shares 4 and 5 bases with two known places; row 2 touches one; row 3 has no place."""
    hits = [Hit(0, "a", 0, 10), Hit(0, "b", 0, 10), Hit(1, "a", 20, 30), Hit(2, "a", 40, 50)]
    known = [Hit(0, "b", 7, 17), Hit(1, "a", 16, 24), Hit(2, "a", 25, 35), Hit(3, "a", 50, 60)]
    assert most_shared_bases(hits, known, 4).tolist() == [3, 5, 0, UNPLACED]
    assert most_shared_bases(hits, [], 4).tolist() == [0, 0, 0, UNPLACED]
    assert most_shared_bases([], known, 1).tolist() == [UNPLACED]


def predict(config, seed):
    """Predictions as `finetune` writes them; every seed is wrong on other rows."""
    labels = np.arange(len(TEST)) % 2
    right = np.random.default_rng(seed).random(len(TEST)) < 0.7
    ones = np.where(right, labels, 1 - labels).astype(np.float32)
    (job,) = (job for job in config.jobs() if job.seed == seed)
    write_result(config, job, {"label": labels, "score": np.stack([1 - ones, ones], 1).tolist()})
    return labels, ones


def test_scores_with_and_without_the_rows_that_overlap(leaky):
    assert overlapping_bases(read_task(Path("one.st")), read_genome(Path("genome"))).tolist() == SHARED
    predicted = [predict(leaky, seed) for seed in (1, 2)]
    assert main(["tables", "leakage", "--run", "config.yaml", "--out", "."]) == 0
    (row,) = pd.read_csv("tables/leaks.tsv", sep="\t").to_dict("records")
    assert [row[name] for name in ("suite", "task", "model", "metric")] == ["mine", "one", "CNN", "mcc"]
    assert (row["test_rows"], row["placed"], row["leaking"], row["half_leaking"], row["seeds"]) == (10, 9, 5, 2, 2)
    shared, expected = np.array(SHARED), {}
    for name, part in (("score", shared > -2), ("clean", shared == 0), ("leaking_score", shared > 0)):
        expected[name] = np.array([matthews_corrcoef(labels[part], ones[part]) for labels, ones in predicted])
        assert row[name] == pytest.approx(expected[name].mean(), abs=1e-6)
    gain = expected["clean"] - expected["score"]
    assert (row["clean_minus_all"], row["sd"]) == pytest.approx((gain.mean(), gain.std(ddof=1)), abs=2e-6)
    probabilities = ((labels[shared == 0], np.stack([1 - ones, ones], 1)[shared == 0]) for labels, ones in predicted)
    ends = np.mean([bootstrap_interval(*clean, "mcc") for clean in probabilities], axis=0)
    assert (row["clean_low"], row["clean_high"]) == pytest.approx(ends, abs=1e-6)
    assert Path("tables/leaks.md").exists()


@pytest.mark.parametrize(("shared", "missing"), [(200, ["clean", "clean_minus_all"]), (0, ["leaking_score"])])
def test_there_is_no_score_without_two_classes(leaky, monkeypatch, shared, missing):
    """Nine rows of the ten with a place, all of them or none on training rows."""
    overlaps = np.array([shared] * 9 + [UNPLACED])
    monkeypatch.setattr("convnova.evaluation.leakage.overlap_scores.overlapping_bases", lambda *_: overlaps)
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
