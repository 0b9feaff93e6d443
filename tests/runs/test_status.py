import inspect
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from small_run import CATALOGUE, RUN, SHARD, TABLE, WEIGHTS, convnova, finetune

from convnova.config.load import load_config
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.runs.status import STOPPED, all_runs, as_text, steps, where_to_look
from convnova.training import loop

JOB = Job("nucleotide_transformer", "H3", "cnn", "released", 2)
NAME = "nucleotide_transformer/H3/cnn/released/seed=2"
FOLDER = Path(JOB.folder("small"))
LOG = Path(f"results/small/logs/finetune/{NAME}.log")


def states() -> dict[str, tuple[str, str]]:
    """Name of each step that is not done, to its state and detail."""
    config = load_config("results/small/config.yaml")
    return {step.name: (step.state, step.detail) for step in steps(config) if step.state != "done"}


def write_log(text: str, seconds_ago: float = 0) -> None:
    LOG.write_text(text)
    os.utime(LOG, (time.time() - seconds_ago,) * 2)


def test_a_finished_run_is_done(small):
    (config,) = all_runs()
    found = steps(config)
    assert len(found) == 1 + 2 * 2 * 2 and {step.state for step in found} == {"done"}
    head, *table, weights = as_text(config, found).splitlines()
    sizes = [path.stat().st_size for path in Path("results/small/runs").rglob("weights.safetensors")]
    assert len(sizes) == 4 and f"4 files, {sum(sizes) / 1e6:,.1f} MB" in weights
    assert head == "small (simulated genome): 9 of 9 results are in"
    assert [" ".join(line.split()) for line in table] == [
        "suite model done", "pretraining convnova 1",
        "nucleotide_transformer convnova 4", "nucleotide_transformer cnn 4",
    ]  # fmt: skip
    shutil.rmtree(FOLDER)
    LOG.unlink()
    assert states() == {NAME: ("missing", "")}


def test_a_failed_step_has_its_log_and_its_error(small):
    shutil.rmtree(FOLDER)
    shard = Path(SHARD)
    shard.write_bytes(shard.read_bytes()[:-9])
    config = load_config("results/small/config.yaml")
    assert finetune(config, JOB) == 1
    state, detail = states()[NAME]
    assert state == "failed" and "whole safetensors file" in detail
    text = as_text(config, steps(config))
    assert f"failed: {NAME}: {detail}\n  log: {LOG}" in text and "8 of 9 results are in" in text


def test_a_training_whose_loss_is_not_finite_is_failed_and_in_no_table(small):
    """By the real loop: a rate of 1e30 for the CNN, of which one seed is trained and the others are those of before."""
    path = Path("results/small/config.yaml")
    content = yaml.safe_load(path.read_text())
    content["models"]["cnn"]["training"] = {"lr": 1e30}
    path.write_text(yaml.safe_dump(content))
    config = load_config(path)
    shutil.rmtree(FOLDER)
    assert config.training(JOB).lr == 1e30 and finetune(config, JOB) == 1
    assert {file.name for file in FOLDER.glob("*")}.isdisjoint({"metrics.json", "predictions.parquet"})
    state, detail = states()[NAME]
    assert state == "failed" and re.search(r"error: the loss is (nan|inf) at step", detail)
    assert [state for state, _ in states().values()].count("stale") == 3
    assert f"failed: {NAME}: {detail}\n  log: {LOG}" in as_text(config, steps(config))
    words = ("--run", str(path), "--published", str(CATALOGUE / "published.csv"))
    assert convnova("tables", *words, "scores", "comparisons") == 0
    scores = Path("results/small/tables/scores.tsv")
    assert "/convnova/" in scores.read_text() and "/cnn/" not in scores.read_text()
    (line,) = [text for text in Path(TABLE).with_suffix(".md").read_text().splitlines() if text.startswith("| H3 ")]
    assert line.count("(n=0 of 2)") == 2


@pytest.mark.parametrize(
    "last, ago, state",
    [
        ("12:00:00 epoch 1: score 0.5\n", 5, "running"), ("12:00:00 interrupted\n", 5, "interrupted"),
        ("12:00:00 epoch 1: score 0.5\n", 7300, "interrupted"), ("", 5, "running"),
        ("12:00:00 error: x: stopped by a signal at step 3 of 9; run it again to continue\n", 5, "interrupted"),
        ("12:00:00 error: the loss is nan\n", 7300, "failed"),
        ("12:00:00 error: a try before\n12:00:09 epoch 1: score 0.5\n", 5, "running"),
    ],
)  # fmt: skip
def test_a_log_without_a_result_tells_by_its_end_and_age(small, last, ago, state):
    shutil.rmtree(FOLDER)
    write_log(last, ago)
    assert states()[NAME][0] == state
    if ago == 7300 and state == "interrupted":
        assert states()[NAME][1] == "last sign of life 2:01:40 ago"
        (FOLDER / "checkpoints" / "0123" / "step-000000004").mkdir(parents=True)
        assert states()[NAME][0] == "running"


def test_results_of_other_settings_are_stale(small):
    written = RUN | {"finetune": {"epochs": 2, "batch_size": 16}}
    Path("other.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    words = ("--run", "other.yaml", "--catalogue", str(CATALOGUE), "--out", "results/small/config.yaml")
    assert convnova("config", *words) == 0
    assert len(states()) == 8 and {state for state, _ in states().values()} == {"stale"}
    config = load_config("results/small/config.yaml")
    lines = as_text(config, steps(config)).splitlines()
    assert lines[1].split() == ["suite", "model", "done", "stale"] and lines[3].split()[-1] == "4"


@pytest.mark.parametrize("content", ['{"mcc": ', '{"mcc": 0.9, "provenance": {"settings": "a"}}', "[" * 100_000])
def test_a_damaged_result_and_weights_half_written_are_not_done(small, content):
    (FOLDER / "metrics.json").write_text(content)
    Path(WEIGHTS).unlink()
    found = states()
    assert found[NAME][0] == "failed" and "not a result of this version" in found[NAME][1]
    assert "pretraining/convnova" in found


def test_other_steps_that_failed_are_named(small):
    out = "resources/small/raw/hg38/hg38.ml.fa.gz"
    Path(out).unlink(), Path("resources/small/mirror/storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz").unlink()
    log = "results/small/logs/fetch/hg38/hg38.ml.fa.gz.log"
    words = ("--config", "results/small/config.yaml", "--source", "hg38", "--file", "hg38.ml.fa.gz", "--out", out)
    assert convnova("--log", log, "fetch", *words) == 1
    state, detail = states()["fetch/hg38/hg38.ml.fa.gz"]
    assert state == "failed" and "hg38.ml.fa.gz" in detail


def test_one_run_by_name_or_file_and_all(small, capsys):
    shutil.copytree("results/small", "results/other")
    for words in (["--run", "small"], ["--run", "results/small/config.yaml"]):
        assert convnova("status", *words) == 0 and capsys.readouterr().out.count(" results are in") == 1
    assert convnova("status") == 0 and capsys.readouterr().out.count(" results are in") == 2
    Path("results/other/config.yaml").write_text("resolved: true\nrun: other\nsedes: [1]\n")
    assert [config.run for config in all_runs()] == ["small"]
    assert "results/other/config.yaml: passed over: " in capsys.readouterr().err
    shutil.rmtree("results")
    with pytest.raises(ConvNovaError, match="^results: .*config.yaml"):
        all_runs()


def test_json_has_every_step(small, capsys):
    (FOLDER / "metrics.json").unlink()
    assert convnova("status", "--json") == 0
    run = json.loads(capsys.readouterr().out)["small"]
    assert run["counts"]["done"] == 8 and sum(run["counts"].values()) == len(run["steps"]) == 9
    (step,) = [step for step in run["steps"] if step["state"] != "done"]
    assert (step["suite"], step["model"], step["log"]) == ("nucleotide_transformer", "cnn", str(LOG))


def test_training_says_that_it_was_stopped_in_the_words_looked_for():
    assert STOPPED[1] in inspect.getsource(loop)


def test_the_end_of_a_run_says_how_long_it_took_what_was_made_and_where_to_begin(small):
    config = load_config("results/small/config.yaml")
    first, *paths = where_to_look(config, 200.4).splitlines()
    tables, figures = (len(list(Path("results/small").glob(f"{kind}"))) for kind in ("tables/*.tsv", "figures/*.svg"))
    assert max(map(len, [first, *paths])) <= 80
    assert first == f"small: done in 3 min 20 s: {tables} tables, {figures} figures. Begin with the first:"
    assert (
        tables > 5
        and figures > 4
        and [path.strip() for path in paths][-2:] == ["results/small/tables", "results/small/figures"]
    )
