"""Differences of validation scores: compared with scipy, and nothing of test among them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_scores import write_validation_scores
from scipy import stats

from convnova.cli.main import main
from convnova.config.load import load, save
from convnova.errors import ConvNovaError
from convnova.reporting.ablation_table import (
    ablation_figure,
    paired_differences,
    validation_scores,
    write_ablation_figure,
)
from convnova.runs.outputs import figure_titles

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
TASK = {"train": "a.csv", "test": "b.csv"}
TITLES = {"base": "the base", "other": "another"}
CONFIG = {
    "run": "study", "ablation": {"baseline": "base"}, "seeds": [1, 2, 3], "protocols": ["heldout"],
    "models": {
        "base": {"like": "convnova_scratch", "title": "the base"},
        "other": {"like": "convnova_scratch", "title": "another", "settings": {"blocks": 2}},
    },
    "suites": {"mine": {"format": "csv", "tasks": {"one": TASK, "two": TASK}}},
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of made-up results, and what each scored by validation."""
    monkeypatch.chdir(tmp_path)
    config = load(CONFIG, [], CATALOGUE)
    save(config, "config.yaml")
    return config, write_validation_scores(config)


def test_differences_are_paired_and_their_interval_is_that_of_the_paired_t_test(run):
    config, best = run
    table = paired_differences(validation_scores(config), "base", TITLES)
    pairs = [(task, seed) for task in ("one", "two") for seed in (1, 2, 3)]
    base, other = ([best[task, model, seed] for task, seed in pairs] for model in ("base", "other"))
    expected = stats.ttest_rel(other, base).confidence_interval(0.95)
    line = table[table["model"] == "other"].iloc[0]
    assert line["difference"] == pytest.approx(np.mean(other) - np.mean(base))
    assert (line["low"], line["high"]) == pytest.approx((expected.low, expected.high))
    assert line["pairs"] == 6 and table["low"].isna().tolist() == [True, False]


def test_a_model_is_compared_to_the_one_that_is_named(run):
    config, _ = run
    table = paired_differences(validation_scores(config), "base", TITLES, {"base": "other"})
    assert table["compared_to"].tolist() == ["another", "the base"]
    assert table["difference"].tolist() == pytest.approx([-table["difference"][1], table["difference"][1]])
    for ablation in ({"baseline": "base", "compare_to": {"other": "nobody"}}, {"baseline": "nobody"}):
        with pytest.raises(ConvNovaError, match="ablation: .* nobody"):
            load({**CONFIG, "ablation": ablation}, [], CATALOGUE)


def test_the_figure_has_each_difference_and_its_interval_and_no_baseline(run):
    config, _ = run
    table = paired_differences(validation_scores(config), "base", TITLES)
    (axes,) = ablation_figure(table, simulated=False).axes
    dots, lines = axes.collections[1].get_offsets(), axes.collections[0].get_segments()
    other = table[table["model"] == "other"].iloc[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["another"]
    assert np.asarray(dots).tolist() == [[other["difference"], 0]]
    assert lines[0][:, 0].tolist() == [other["low"], other["high"]]
    assert figure_titles(config)["ablation"] == "What moves the score"
    write_ablation_figure(config, Path("figures"))
    assert all(Path(f"figures/ablation.{form}").stat().st_size for form in ("pdf", "svg", "png"))


def test_the_command_writes_the_table_and_test_scores_are_not_in_it(run):
    _, best = run
    assert main(["tables", "ablation", "--run", "config.yaml", "--out", "."]) == 0
    table = pd.read_csv("tables/ablation.tsv", sep="\t")
    assert table["model"].tolist() == ["base", "other"] and table["score"].max() < 1
    assert f"\t{table['score'][1]:.6f}\t" in Path("tables/ablation.tsv").read_text()
    text = Path("tables/ablation.md").read_text()
    one, two = (np.mean([best[task, "other", seed] for seed in (1, 2, 3)]) for task in ("one", "two"))
    assert f"| another | 12 | 193 bp | 3 | {one:.3f} | {two:.3f} | " in text and "7.0" not in text


def test_results_of_other_settings_are_left_out_and_named_and_damaged_ones_are_refused(run, capsys):
    config, _ = run
    damaged, gone = (Path(job.folder("study")) / "metrics.json" for job in list(config.jobs())[:2])
    gone.unlink()
    assert len(validation_scores(config)) == 11 and f"left out: {gone}: missing" in capsys.readouterr().err
    assert validation_scores(load({**CONFIG, "finetune": {"lr": 0.5}}, [], CATALOGUE)).empty
    assert capsys.readouterr().err.count("made with other settings (hash ") == 11
    damaged.write_text('{"metric": "mcc", ')
    with pytest.raises(ConvNovaError, match=str(damaged)):
        validation_scores(config)


def test_a_missing_base_is_refused(run):
    config, _ = run
    for path in Path("results/study/runs").rglob("base/heldout/*/metrics.json"):
        path.unlink()
    with pytest.raises(ConvNovaError, match="base: .* other"):
        paired_differences(validation_scores(config), "base", {"base": "the base"})
