"""Names and titles of what a run makes, by its config."""

import pytest
from made_up_scores import CONFIG, CP, GB, NT, changed, only
from own_config import CATALOGUE, own_config

from convnova.config.load import load
from convnova.runs import outputs
from convnova.runs.outputs import comparison_titles, extra_table_titles, figure_titles


@pytest.mark.parametrize(
    ("suite", "protocol", "tables"),
    [
        (NT, "heldout", []),
        (NT, "released", ["convnova_table_1"]),
        (GB, "cv", ["caduceus_table_1", "janusdna_table_1"]),
        (CP, "released", []),
    ],
)
def test_tables_are_those_of_the_suites_protocols_and_models(suite, protocol, tables):
    config = changed(only(CONFIG, suite), protocols=[protocol])
    assert list(extra_table_titles(config)) == ["protocols", "comparisons", *tables]
    assert list(extra_table_titles(only(config, "cnn"))) == ["protocols", *tables]
    assert extra_table_titles(changed(config, suites={})) == {}


def test_models_are_compared_on_test_rows_of_tasks_of_classes():
    assert outputs.test_row_tasks(CONFIG) == [(NT, "H3"), (NT, "promoter_tata"), (GB, "human_enhancers_cohn")]
    assert outputs.test_row_tasks(only(CONFIG, "cnn")) == []


def test_figures_are_one_a_suite_and_those_of_all_suites():
    assert list(comparison_titles(CONFIG)) == ["overview", "ranks", "differences", "learning"]
    assert list(comparison_titles(only(CONFIG, "cnn"))) == ["learning"]
    assert comparison_titles(changed(CONFIG, suites={})) == {}
    assert list(figure_titles(only(CONFIG, GB, "cnn"))) == [GB, "learning"]
    assert figure_titles(CONFIG)[GB] == "Genomic Benchmarks"
    pretrained = {"title": "ConvNova", "architecture": "convnova", "pretrained": True}
    assert "pretraining" in figure_titles(changed(CONFIG, models={"convnova": pretrained}, genome="hg38"))


def test_what_scores_variants_alone_has_no_cost_and_no_recipe():
    models = {"convnova_scratch": None, "variant_baseline": None}
    content = own_config(models=models, cost={"lengths": [64]}, search={"training": {"lr": [0.1, 0.2]}})
    config = load(content | {"suites": content["suites"] | {"traitgym": None}}, [], CATALOGUE)
    assert {"variant_baseline--lr-0.1"} < {job.model for job in config.jobs() if job.suite == "traitgym"}
    names = [f"convnova_scratch--lr-{lr}" for lr in (0.1, 0.2)]
    assert [path.split("/")[3] for path in outputs.costs(config)] == names
    assert list(outputs.recipes(config)) == [("mine", "H3", "convnova_scratch")]
