import json
import math
from pathlib import Path

import pytest
from made_up_scores import MADE

from convnova.config.load import load
from convnova.errors import ConvNovaError
from convnova.reporting.aggregate import write_scores
from convnova.reporting.scores import check, plan_of, read_scores

CATALOGUE = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"run": "x", "models": ["cnn"], "seeds": [1, 2], "protocols": ["heldout"]}
    return load(content | {"suites": {"nucleotide_transformer": ["H3"], "chromatin_profile": None}}, [], CATALOGUE)


def write(config, job, **changes) -> Path:
    """A metrics file with scores that tell the job."""
    content = {
        **job._asdict(), "metric": config.task(job).metric, "mcc": job.seed / 10, "auroc": 0.5, "best_epoch": 2,
        "parameters": 7, "receptive_field": 193, "rows": {"test": 9}, "seconds": 1.5, "simulated": False,
        "epochs": [{"epoch": 1, "score": 0.3, "test": 0.6}, {"epoch": 2, "score": 0.4, "test": job.seed / 10}],
        "per_batch": {"batch_size": 8, "file": 0.08, "shuffled": 0.09, "sorted": 0.01},
        "groups": {name: {"auroc": 0.1 * i + job.seed, "auroc_mean": 7 + i}
                   for i, name in enumerate(("DHS", "TF", "HM"))},
        "interval": [0.0, 0.4], "provenance": MADE | {"settings": config.job_fingerprint(job)},
    } | changes  # fmt: skip
    path = Path(job.folder("x")) / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_one_row_a_run_and_one_a_group_of_labels(config):
    for job in config.jobs():
        write(config, job)
    write_scores(config, Path("scores.tsv"))
    scores = read_scores("scores.tsv")
    assert scores["row"].tolist() == ["H3", "H3", "DHS", "TF", "HM", "DHS", "TF", "HM"]
    assert scores["score"].tolist() == pytest.approx([0.1, 0.2, 1, 1.1, 1.2, 2, 2.1, 2.2])
    assert scores["auroc_mean"].tolist()[2:] == [7, 8, 9] * 2 and scores["auroc_mean"].isna().sum() == 2
    assert scores["test_best"].tolist()[:2] == [0.6, 0.6] and scores["test_best"].isna().sum() == 6
    assert scores["per_batch"].tolist()[:2] == [0.08, 0.08] and scores["per_batch_sorted"].tolist()[:2] == [0.01, 0.01]
    assert scores["low"].tolist()[:2] == [0, 0] and scores["high"].tolist()[:2] == [0.4, 0.4]
    assert scores["low"].isna().sum() == 6
    assert scores["path"][0] == "results/x/runs/nucleotide_transformer/H3/cnn/heldout/seed=1/metrics.json"


def test_a_group_without_a_score_is_left_out_and_named(config, capsys):
    jobs = list(config.jobs())
    for job in jobs:
        write(config, job)
    write(config, jobs[-1], groups={"DHS": {"auroc": 0.7}, "TF": {"n_left_out": 690}, "HM": {"auroc": 0.6}})
    write_scores(config, Path("scores.tsv"))
    assert read_scores("scores.tsv")["row"].tolist()[-2:] == ["DHS", "HM"]
    assert "TF: no label with both classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"provenance": {"settings": "0123456789abcdef"}}, "made with other settings (hash 0123456789abcdef"),
        ({"mcc": math.nan}, "mcc is nan"),
        ({"mcc": None}, "mcc is None"),
        ({"metric": "other"}, "other is None"),
        ({"provenance": {}}, "not a metrics file of this version"),
    ],
)
def test_foreign_old_and_failed_results_are_left_out_and_named(config, changes, told, capsys):
    first, *others = config.jobs()
    path = write(config, first, **changes)
    for job in others:
        write(config, job)
    write_scores(config, Path("scores.tsv"))
    assert read_scores("scores.tsv")["seed"].tolist() == [2, 1, 1, 1, 2, 2, 2]
    assert f"left out: {path}: {told}" in capsys.readouterr().err


def test_missing_results_are_named_and_none_at_all_is_an_error(config, capsys):
    with pytest.raises(ConvNovaError, match="results/x/runs: expected results of 4 fine-tunings, found none"):
        write_scores(config, Path("scores.tsv"))
    assert capsys.readouterr().err.count("missing") == 4
    assert not Path("scores.tsv").exists()


def test_the_folds_of_cross_validation_are_seeds_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"run": "x", "models": ["cnn"], "seeds": [7], "protocols": ["heldout", "cv"]}
    config = load(content | {"suites": {"nucleotide_transformer": ["H3"], "genomic_benchmarks": None}}, [], CATALOGUE)
    seeds = {(suite, protocol): [] for suite in config.suites for protocol in config.protocols}
    for job in config.jobs():
        if job.task in ("H3", "human_nontata_promoters"):
            seeds[job.suite, job.protocol].append(job.seed)
            write(config, job)
    assert seeds["nucleotide_transformer", "cv"] == list(range(1, 11))
    assert seeds["genomic_benchmarks", "cv"] == [1, 2, 3, 4, 5]
    assert seeds["nucleotide_transformer", "heldout"] == [7]
    write_scores(config, Path("scores.tsv"))
    check(read_scores("scores.tsv"), plan_of(config))
