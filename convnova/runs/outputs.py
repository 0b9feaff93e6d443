"""Names and titles of the tables and figures that a run makes, from its config alone.

Imports nothing heavy: every job of the workflow reads the Snakefile, which asks here.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


class PaperTable(NamedTuple):
    """A published table, and how ours may be set beside it."""

    published: str
    """Its name in published.csv."""
    suite: str
    protocol: str
    f1: str
    """What that paper's F1 is."""


PAPER_TABLES = {
    "convnova_table_1": PaperTable("ConvNova Table 1", "nucleotide_transformer", "released", "f1_macro"),
    "convnova_table_2": PaperTable("ConvNova Table 2", "genomic_benchmarks", "released", "f1_macro"),
    "caduceus_table_1": PaperTable("Caduceus Table 1", "genomic_benchmarks", "cv", "f1_binary"),
    "caduceus_table_2": PaperTable("Caduceus Table 2", "nucleotide_transformer", "cv", "f1_binary"),
    "janusdna_table_1": PaperTable("JanusDNA Table 1", "genomic_benchmarks", "cv", "f1_binary"),
    "janusdna_table_2": PaperTable("JanusDNA Table 2", "nucleotide_transformer", "cv", "f1_binary"),
}
TEST_ROW_TABLE, TEST_ROW_TITLE = "items", "Pairs of models over test rows"
"""The table that is made from predictions; the others are made from scores."""

LONG_RANGE = ("chromatin_profile", "gene_finding")
"""Suites of the paper's tables 3 and 10."""


def extra_table_titles(config: "RunConfig") -> dict[str, str]:
    """Every table of a run besides those of its suites: name to title, in the order in which they are shown."""
    if not config.suites:
        return {}
    titles = {"protocols": "Protocol against protocol"}
    if len(config.models) > 1:
        titles["comparisons"] = "Pairs of models over tasks"
    for name, table in PAPER_TABLES.items():
        if table.suite in config.suites and table.protocol in config.protocols:
            titles[name] = f"{table.published}, and ours by {table.protocol}"
    if not config.suites.keys().isdisjoint(LONG_RANGE):
        titles["convnova_tables_3_10"] = "ConvNova Tables 3 and 10: long range"
    if "nucleotide_transformer" in config.suites:
        titles["convnova_table_9"] = "ConvNova Table 9: gated blocks a task"
    if len(config.models) > 1:
        titles["convnova_ablations"] = "All models and their settings, as in ConvNova Tables 4, 5, 11, 12"
    return titles


def test_row_tasks(config: "RunConfig") -> list[tuple[str, str]]:
    """Suite and task whose test rows models are compared on; none if the run has one model."""
    return [
        (suite, task)
        for suite, content in config.suites.items()
        for task, spec in content.tasks.items()
        if spec.kind != "multilabel" and len(config.models) > 1
    ]


def comparison_titles(config: "RunConfig") -> dict[str, str]:
    """Every figure of all suites together: name to title."""
    if not config.suites:
        return {}
    several = {
        "overview": "Mean scores of all tasks",
        "ranks": "Ranks of models over tasks",
        "differences": "Paired differences of models",
    }
    return (several if len(config.models) > 1 else {}) | {"learning": "Scores of every epoch"}


def figure_titles(config: "RunConfig") -> dict[str, str]:
    """Every figure of a run: name to title."""
    pretraining = {"pretraining": "Pretraining"} if config.backbones() else {}
    return config.suite_titles | comparison_titles(config) | pretraining


def pretraining_titles(config: "RunConfig") -> dict[str, str]:
    """Every pretraining: name to the title of its model, with the suite if it has settings of its own for one.

    One that several models share has its name as title.
    """
    users = {
        (config.backbone(model, suite), model)
        for model, content in config.models.items()
        for suite in config.suites or [None]
        if content.pretrained
    }
    titles = {}
    for name, (model, suite) in config.backbones().items():
        title = config.model_titles[model] + (f", {config.suite_titles[suite]}" if suite else "")
        titles[name] = title if sum(user[0] == name for user in users) == 1 else name
    return titles
