"""What a run's tables and figures are called: names and titles, by its config alone.

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
ITEMS, ITEMS_TITLE = "items", "Pairs of models over test rows"
"""The table that reads predictions, and so is made apart from those of scores."""

LONG_RANGE = ("chromatin_profile", "gene_finding")


def extra_table_titles(config: "RunConfig") -> dict[str, str]:
    """Every table of a run besides those of its suites: name to title, in the order in which they are shown."""
    several, nt = len(config.models) > 1, "nucleotide_transformer"
    titles = {
        "protocols": ("Protocol against protocol", bool(config.suites)),
        "comparisons": ("Pairs of models over tasks", several),
        **{
            name: (f"{table.published}, and ours by {table.protocol}", _has(config, table))
            for name, table in PAPER_TABLES.items()
        },
        "convnova_tables_3_10": ("ConvNova Tables 3 and 10: long range", not {*LONG_RANGE}.isdisjoint(config.suites)),
        "convnova_table_9": ("ConvNova Table 9: gated blocks a task", nt in config.suites),
        "convnova_ablations": ("All models and their settings, as in ConvNova Tables 4, 5, 11, 12", several),
    }
    return {name: title for name, (title, wanted) in titles.items() if wanted and config.suites}


def _has(config: "RunConfig", table: PaperTable) -> bool:
    return table.suite in config.suites and table.protocol in config.protocols


def test_row_tasks(config: "RunConfig") -> list[tuple[str, str]]:
    """Suite and task of whatever models are compared on over test rows; none where there is one model."""
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
    """Every pretraining: name to the title of its model, with the suite if it has one; several models: the name."""
    suites = config.suites or [None]
    starts = {(config.backbone(model, suite), model) for model in config.models for suite in suites}
    users = [name for name, model in starts if config.models[model].pretrained]

    def title(name: str, model: str, suite: str | None) -> str:
        of_suite = f", {config.suite_titles[suite]}" if suite else ""
        return config.models[model].title + of_suite if users.count(name) == 1 else name

    return {name: title(name, *of) for name, of in config.backbones().items()}
