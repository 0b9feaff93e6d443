from pathlib import Path

import pandas as pd
import pytest

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.reporting.scores import COLUMNS, Plan, Row, check, plan_of, read_scores

SCORES = Path(__file__).parent / "golden" / "tables" / "scores.tsv"

PLAN = Plan(
    suites={"mine": "Mine"},
    rows={"mine": [Row("NA", "NA", "mcc")]},
    models={"convnova": "ConvNova"},
    published={},
    protocols=["heldout"],
    seeds=[1, 2],
    simulated=False,
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
    first = scores.iloc[0]
    assert (first["seed"], first["score"], first["simulated"], first["n_test"]) == (1, 0.8, False, 1497)
    assert scores["low"].isna().sum() == 6
    assert list(scores.columns) == COLUMNS


def test_a_task_named_na_stays_a_name(tmp_path):
    scores = read_scores(write(tmp_path / "scores.tsv", one(simulated="true")))
    assert (scores["task"][0], scores["simulated"][0]) == ("NA", True)
    check(scores, PLAN)


def test_an_empty_table_is_read(tmp_path):
    assert read_scores(write(tmp_path / "scores.tsv")).empty


def test_what_is_no_table_of_scores_is_refused(tmp_path):
    with pytest.raises(ConvNovaError, match="convnova aggregate"):
        read_scores(tmp_path / "none.tsv")
    (tmp_path / "few.tsv").write_text("suite\ttask\nmine\tH3\n")
    with pytest.raises(ConvNovaError, match="row, model, .* missing"):
        read_scores(tmp_path / "few.tsv")
    with pytest.raises(ConvNovaError, match="line 3: expected a number as score, found 'good'"):
        read_scores(write(tmp_path / "text.tsv", one(), one(seed=2, score="good")))
    with pytest.raises(ConvNovaError, match="line 2: expected a number as seed, found ''"):
        read_scores(write(tmp_path / "seed.tsv", one(seed="")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "cnn"}, "runs/metrics.json: .* found model cnn"),
        ({"protocol": "released"}, "found protocol released"),
        ({"seed": 9}, "found seed 9"),
        ({"task": "H4", "row": "H4"}, "found row mine/H4 by mcc"),
        ({"metric": "accuracy"}, "found row mine/NA by accuracy"),
        ({"score": ""}, "expected a score, found none"),
    ],
)
def test_a_score_of_another_config_is_named_never_averaged_in(tmp_path, changes, said):
    scores = read_scores(write(tmp_path / "scores.tsv", one(seed=2), one(**changes)))
    with pytest.raises(ConvNovaError, match=said):
        check(scores, PLAN)


def test_a_run_that_is_there_twice_is_refused(tmp_path):
    scores = read_scores(write(tmp_path / "scores.tsv", one(), one(score=0.6)))
    with pytest.raises(ConvNovaError, match="found mine/NA/NA/convnova/heldout/1 twice"):
        check(scores, PLAN)


def test_the_plan_of_a_config():
    files = {"train": "train.csv", "test": "test.csv"}
    groups = {"DHS": (0, 2), "TF": (2, 5)}
    config = RunConfig(
        run="mine",
        seeds=[3, 4],
        models={"cnn": {"title": "CNN", "architecture": "cnn", "published": "CNN"}},
        suites={
            "chromatin_profile": {
                "format": "deepsea",
                "title": "Chromatin",
                "tasks": {"profile": {"kind": "multilabel", "metric": "auroc", "groups": groups, **files}},
            },
            "marks": {"format": "csv", "title": "Marks", "tasks": {"H3": files}},
        },
    )
    plan = plan_of(config)
    assert plan.rows == {
        "chromatin_profile": [Row("profile", "DHS", "auroc"), Row("profile", "TF", "auroc")],
        "marks": [Row("H3", "H3", "mcc")],
    }
    titles = [row.metric_title for rows in plan.rows.values() for row in rows]
    assert titles == ["median AUROC", "median AUROC", "MCC"]
    assert (plan.suites, plan.models) == ({"chromatin_profile": "Chromatin", "marks": "Marks"}, {"cnn": "CNN"})
    assert (plan.published, plan.seeds, plan.protocols) == ({"cnn": "CNN"}, [3, 4], ["heldout", "released"])
    assert not plan.simulated
