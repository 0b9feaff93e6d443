import math
from pathlib import Path

import pandas as pd
import pytest
from made_up_scores import write_result

from convnova.config.load import load
from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.reporting.scores import COLUMNS, check, read_scores, write_scores

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
SCORES = Path(__file__).parent / "golden" / "tables" / "scores.tsv"

CONFIG = RunConfig(
    run="mine",
    seeds=[1, 2],
    protocols=["heldout"],
    models={"convnova": {"title": "ConvNova", "architecture": "convnova"}},
    suites={"mine": {"format": "csv", "tasks": {"NA": {"train": "train.csv", "test": "test.csv"}}}},
)


def one(**changes: object) -> dict[str, object]:
    known = {"suite": "mine", "task": "NA", "row": "NA", "model": "convnova", "protocol": "heldout", "seed": 1}
    known |= {"metric": "mcc", "score": 0.5, "simulated": "false", "path": "runs/metrics.json"}
    return {**dict.fromkeys(COLUMNS, ""), **known, **changes}


def write(path: Path, *rows: dict[str, object]) -> Path:
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, sep="\t", index=False)
    return path


def test_scores_come_back_typed():
    scores = read_scores(SCORES)
    assert scores.loc[0, ["seed", "score", "simulated", "n_test"]].tolist() == [1, 0.8, False, 1497]
    assert scores["low"].isna().sum() == 6
    assert list(scores.columns) == COLUMNS


def test_a_task_named_na_stays_a_name(tmp_path):
    scores = read_scores(write(tmp_path / "scores.tsv", one(simulated="true")))
    assert (scores["task"][0], scores["simulated"][0]) == ("NA", True)
    check(scores, CONFIG)


def test_an_empty_table_is_read_and_what_is_no_table_of_scores_is_refused(tmp_path):
    assert read_scores(write(tmp_path / "scores.tsv")).empty
    with pytest.raises(ConvNovaError, match="none.tsv.*convnova tables scores"):
        read_scores(tmp_path / "none.tsv")
    (tmp_path / "few.tsv").write_text("suite\ttask\nmine\tH3\n")
    with pytest.raises(ConvNovaError, match="few.tsv: .*row, model, .* missing"):
        read_scores(tmp_path / "few.tsv")
    with pytest.raises(ConvNovaError, match="line 3: .*score.*'good'"):
        read_scores(write(tmp_path / "text.tsv", one(), one(seed=2, score="good")))
    with pytest.raises(ConvNovaError, match="line 2: .*seed.*''"):
        read_scores(write(tmp_path / "seed.tsv", one(seed="")))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "cnn"}, "runs/metrics.json: .* model cnn"),
        ({"protocol": "released"}, "protocol released"),
        ({"seed": 9}, "seed 9"),
        ({"task": "H4", "row": "H4"}, "row mine/H4 by mcc"),
        ({"metric": "accuracy"}, "row mine/NA by accuracy"),
        ({"score": ""}, "runs/metrics.json: .* none"),
        ({"seed": 2, "score": 0.6}, "mine/NA/NA/convnova/heldout/2 twice"),
    ],
)
def test_a_score_of_another_config_or_there_twice_is_named_never_averaged_in(tmp_path, changes, named):
    scores = read_scores(write(tmp_path / "scores.tsv", one(seed=2), one(**changes)))
    with pytest.raises(ConvNovaError, match=named):
        check(scores, CONFIG)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"run": "x", "models": ["cnn"], "seeds": [1, 2], "protocols": ["heldout"]}
    return load(content | {"suites": {"nucleotide_transformer": ["H3"], "chromatin_profile": None}}, [], CATALOGUE)


def write_run(config, job, **changes) -> Path:
    """A result with scores that tell the job; its `metrics.json`."""
    content = {
        **job._asdict(), "metric": config.task(job).metric, "mcc": job.seed / 10, "auroc": 0.5, "best_epoch": 2,
        "parameters": 7, "rows": {"test": 9}, "seconds": 1.5, "simulated": False,
        "epochs": [{"epoch": 1, "score": 0.3, "test": 0.6}, {"epoch": 2, "score": 0.4, "test": job.seed / 10}],
        "per_batch": {"batch_size": 8, "file": 0.08, "shuffled": 0.09, "sorted": 0.01}, "interval": [0.0, 0.4],
        "groups": {name: {"auroc": 0.1 * i + job.seed / 4, "auroc_mean": 7 + i}
                   for i, name in enumerate(("DHS", "TF", "HM"))},
    }  # fmt: skip
    return write_result(config, job, **content | changes) / "metrics.json"


def test_one_row_a_run_and_one_a_group_of_labels(config):
    for job in config.jobs():
        write_run(config, job)
    write_scores(config, Path())
    scores = read_scores("tables/scores.tsv")
    assert scores["row"].tolist() == ["H3", "H3", "DHS", "TF", "HM", "DHS", "TF", "HM"]
    assert scores["score"].tolist() == pytest.approx([0.1, 0.2, 0.25, 0.35, 0.45, 0.5, 0.6, 0.7])
    assert scores["auroc_mean"].tolist()[2:] == [7, 8, 9] * 2 and scores["auroc_mean"].isna().sum() == 2
    # Only of whole tasks: the best epoch on test, means over batches, and the interval.
    of_task = scores[["test_best", "per_batch", "per_batch_sorted", "low", "high"]]
    assert of_task[:2].to_numpy().tolist() == [[0.6, 0.08, 0.01, 0, 0.4]] * 2 and of_task[2:].isna().all(axis=None)
    assert scores["path"][0] == "results/x/runs/nucleotide_transformer/H3/cnn/heldout/seed=1/metrics.json"


def test_a_group_without_a_score_is_left_out_and_named(config, capsys):
    for job in config.jobs():
        write_run(config, job)
    write_run(config, job, groups={"DHS": {"auroc": 0.7}, "TF": {"n_left_out": 690}, "HM": {"auroc": 0.6}})
    write_scores(config, Path())
    assert read_scores("tables/scores.tsv")["row"].tolist()[-2:] == ["DHS", "HM"]
    assert "TF: no label with both classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"provenance": {"settings": "0123456789abcdef"}}, "made with other settings (hash 0123456789abcdef"),
        ({"mcc": math.nan}, "mcc is nan"),
        ({"mcc": None}, "mcc is None"),
        ({"metric": "other"}, "other is None"),
    ],
)
def test_foreign_old_and_failed_results_are_left_out_and_named(config, changes, reason, capsys):
    first, *others = config.jobs()
    path = write_run(config, first, **changes)
    for job in others:
        write_run(config, job)
    write_scores(config, Path())
    assert read_scores("tables/scores.tsv")["seed"].tolist() == [2, 1, 1, 1, 2, 2, 2]
    assert f"left out: {path}: {reason}" in capsys.readouterr().err


def test_missing_results_are_named_and_none_at_all_is_an_error(config, capsys):
    with pytest.raises(ConvNovaError, match="results/x/runs: .* 4 fine-tunings"):
        write_scores(config, Path())
    assert capsys.readouterr().err.count("missing") == 4
    assert not Path("tables").exists()


def test_the_folds_of_cross_validation_are_seeds_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"run": "x", "models": ["cnn"], "seeds": [7], "protocols": ["heldout", "cv"]}
    config = load(content | {"suites": {"nucleotide_transformer": ["H3"], "genomic_benchmarks": None}}, [], CATALOGUE)
    for job in config.jobs():
        if job.task in ("H3", "human_nontata_promoters"):
            write_run(config, job, accuracy=0.5)
    write_scores(config, Path())
    check(scores := read_scores("tables/scores.tsv"), config)
    assert scores.groupby(["suite", "protocol"])["seed"].apply(list).to_dict() == {
        ("nucleotide_transformer", "cv"): list(range(1, 11)), ("nucleotide_transformer", "heldout"): [7],
        ("genomic_benchmarks", "cv"): [1, 2, 3, 4, 5], ("genomic_benchmarks", "heldout"): [7],
    }  # fmt: skip


def test_r2_may_be_far_below_0_and_no_other_score_below_minus_1(tmp_path):
    read = read_scores(write(tmp_path / "scores.tsv", one(metric="r2", score=-7.5)))
    assert read["score"].tolist() == [-7.5]
    for metric, score in (("pearson", -1.5), ("r2", 1.5)):
        with pytest.raises(ConvNovaError, match="line 2: expected a score from -1 to 1"):
            read_scores(write(tmp_path / "scores.tsv", one(metric=metric, score=score)))
