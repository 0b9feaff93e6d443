"""The search: its grid, its winners by validation alone, and the recipes that a later run reads."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_scores import write_validation_scores

from convnova.cli.main import main
from convnova.config.hyperparameters import Training
from convnova.config.load import load, load_config, save
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.reporting.hyperparameter_search import grid, winners
from convnova.reporting.hyperparameter_table import hyperparameters, without_unset

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
TASK = {"train": "a.csv", "test": "b.csv"}
GRID = {"training": {"lr": [0.001, 0.004], "batch_size": [8, 16]}, "settings": {"blocks": [3, 5]}}
CONFIG = {
    "run": "mine", "seeds": [1, 2], "protocols": ["heldout"], "models": ["convnova_scratch"], "search": GRID,
    "suites": {"marks": {"format": "csv", "training": {"lr": 0.5, "epochs": 3}, "tasks": {"one": TASK, "two": TASK}}},
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A search whose results are made up, and what each job scored by validation."""
    monkeypatch.chdir(tmp_path)
    config = load(CONFIG, [], CATALOGUE)
    save(config, "config.yaml")
    return config, write_validation_scores(config)


def test_every_combination_is_a_model_of_its_own_with_these_values_alone_changed():
    config = load(CONFIG, [], CATALOGUE)
    plain = load({**CONFIG, "search": None}, [], CATALOGUE)
    found, other = set(), Job("marks", "one", "convnova_scratch", "heldout", 1)
    for name in config.models:
        job, searched = other._replace(model=name), {"lr", "batch_size", "source"}
        training, settings = config.training(job), config.settings(job.model, job.suite, job.task)
        found.add((training.lr, training.batch_size, settings["blocks"]))
        assert training.model_dump(exclude=searched) == plain.training(other).model_dump(exclude=searched)
        assert settings | {"blocks": 5} == plain.settings(other.model, other.suite, other.task)
    assert found == set(itertools.product([0.001, 0.004], [8, 16], [3, 5])) and len(config.models) == 8


def test_the_papers_search_is_over_rate_batch_weight_decay_and_blocks():
    search = load_config(CATALOGUE / "search.yaml").search
    tried = {**search.training, **search.settings}
    assert set(tried) == {"lr", "batch_size", "weight_decay", "blocks"}
    assert all(len(set(values)) == len(values) > 1 for values in tried.values())


def test_the_winner_has_the_best_mean_of_validation_scores(run):
    config, best = run
    table = winners(grid(config), 2)
    for task in ("one", "two"):
        means = {name: np.mean([best[task, name, seed] for seed in (1, 2)]) for name in config.models}
        (line,) = table[table["task"] == task].to_dict("records")
        assert line["candidate"] == max(means, key=means.get) and line["mean"] == pytest.approx(max(means.values()))


def test_the_command_keeps_the_whole_grid_and_its_recipes_are_read_by_another_run(run):
    config, _ = run
    assert main(["tables", "search", "--run", "config.yaml"]) == 0
    table = pd.read_csv("results/mine/tables/search.tsv", sep="\t")
    assert table["receptive field"].eq(193).all() and table["parameters"].eq(12).all()
    assert len(table) == 16 and table["validation score"].max() < 1
    text = Path("results/mine/tables/search.md").read_text()
    assert text.count("**0.") == 2
    assert "The same in all: convnova_scratch width 128, kernel 9, dilation_base 4, " in text and "blocks 5" not in text
    winner = winners(grid(config), 2).iloc[0]
    written = yaml.safe_load(Path("results/mine/recipes/marks/one/convnova_scratch.yaml").read_text())
    assert written["grid"] == "results/mine/tables/search.tsv" and written["training"]["lr"] == winner["training"]["lr"]
    elsewhere = {"marks": {**CONFIG["suites"]["marks"], "training": {"lr": 0.5, "epochs": 9}}}
    later = load({**CONFIG, "search": None, "recipes": "results/mine/recipes", "suites": elsewhere}, [], CATALOGUE)
    job = Job("marks", "one", "convnova_scratch", "heldout", 1)
    assert later.training(job).lr == winner["training"]["lr"] != 0.5
    as_searched, training = job._replace(model=winner["candidate"]), later.training(job)
    assert training.changed({"source": None}) == config.training(as_searched).changed({"source": None})
    assert training.epochs == 3 and training.source["lr"] == "our search"
    assert later.settings(job.model, "marks", "one") == config.settings(as_searched.model, "marks", "one")
    assert hyperparameters(later)["marks/one convnova_scratch"]["grid"][0] == "results/mine/tables/search.tsv"
    bare = load({**CONFIG, "search": None}, [], CATALOGUE)
    assert later.job_fingerprint(job) != bare.job_fingerprint(job) and bare.training(job).lr == 0.5


def test_what_is_none_by_choice_stays_in_a_recipe():
    training = Training(clip=None, patience=None).model_dump(exclude={"source"})
    kept = without_unset(training)
    assert kept["clip"] is None and "patience" not in kept and "micro_batch" not in kept


def test_a_candidate_without_all_seeds_does_not_win_and_a_task_without_any_is_an_error(run):
    config, _ = run
    first = winners(grid(config), 2).iloc[0]
    Path(Job("marks", "one", first["candidate"], "heldout", 2).folder("mine"), "metrics.json").unlink()
    assert winners(grid(config), 2).iloc[0]["candidate"] != first["candidate"]
    for path in Path("results/mine/runs/marks/two").rglob("metrics.json"):
        path.unlink()
    with pytest.raises(ConvNovaError, match="marks/two/convnova_scratch: .* 2 seeds"):
        winners(grid(config), 2)
    with pytest.raises(ConvNovaError, match="search: expected values to try"):
        grid(load({**CONFIG, "search": None}, [], CATALOGUE))


@pytest.mark.parametrize(
    "values, named",
    [({"rl": [1]}, " unknown key 'rl'.*'lr'"), ({"lr": []}, "lr.* at least 1"), ({"lr": [-1.0]}, "lr = -1.0")],
)
def test_a_wrong_grid_is_refused(values, named):
    with pytest.raises(ConvNovaError, match=f"search.training.{named}"):
        load({**CONFIG, "search": {"training": values}}, [], CATALOGUE)
