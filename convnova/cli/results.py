"""The commands that read a run: its tables, figures, report, recipes, status, and where its numbers come from."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.cli.common import command, config_of, of_run

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    tables = of_run(commands, "tables", run_tables, "make tables of a run: TSV, Markdown, LaTeX and HTML")
    tables.add_argument("names", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    figures = of_run(commands, "figures", run_figures, "make the figures of a run: PDF, SVG and PNG")
    report = of_run(commands, "report", run_report, "make report.html, one page of tables, figures, provenance")
    for each in (tables, figures, report):
        each.add_argument("--published", type=Path, default=Path("config/published.csv"), metavar="FILE")
        each.add_argument("--out", type=Path, metavar="DIR", help="default: the run's own folder of results")

    recipes = of_run(commands, "recipes", run_recipes, "every hyperparameter of every model and task, with its source")
    recipes.add_argument("--task", metavar="SUITE/TASK", help="this one alone")
    recipes.add_argument("--model", metavar="MODEL", help="this one alone")
    recipes.add_argument("--out", type=Path, metavar="DIR", help="write a recipe a task and model here instead")

    explain = command(
        commands, "explain", run_explain, "where a number comes from: settings, code, data, machine, commands"
    )
    explain.add_argument(
        "results", nargs="+", metavar="RESULT", help="metrics.json, weights, or a table and ROW MODEL PROTOCOL SEED"
    )

    status = command(commands, "status", run_status, "what of the runs is done, running, failed and missing")
    status.add_argument("--config", metavar="FILE|RUN", help="config or name of a run; default: every run in results/")
    status.add_argument("--json", action="store_true", help="every step as JSON")


def run_tables(options: argparse.Namespace) -> None:
    """`convnova tables`"""
    config = config_of(options)
    for name in options.names:
        TABLES[name](config, options.published, options.out or config.results)


def _scores(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.scores import write_scores

    write_scores(config, out / "tables" / "scores.tsv")


def _comparisons(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.comparison_tables import comparison_tables
    from convnova.reporting.published import read_published
    from convnova.reporting.render import write
    from convnova.reporting.scores import read_scores
    from convnova.reporting.suite_tables import suite_tables
    from convnova.runs.provenance_table import provenance_sentence, read_provenance

    scores = config.results / "tables" / "scores.tsv"
    given = (read_scores(scores), read_published(published), config)
    provenance = provenance_sentence(config, read_provenance(scores))
    for table in (*suite_tables(*given), *comparison_tables(*given)):
        write(table.with_provenance(provenance), out / "tables")


def _test_rows(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.paired_test_rows import compare_test_rows
    from convnova.reporting.render import write

    write(compare_test_rows(config), out / "tables")


def _ablation(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.ablation_table import write_study

    write_study(config, out / "tables", out / "figures")


def _search(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.hyperparameter_search import write_search

    write_search(config, out)


def _audit(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.audit_table import audit_table, read_audits
    from convnova.reporting.render import write
    from convnova.runs.targets import audits

    files = [config.local_path(path) for path in audits(config)]
    write(audit_table(read_audits(files), config.simulated), out / "tables", ("tsv", "md", "html"))


def _leakage(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.evaluation.leakage.overlap_scores import overlap_scores
    from convnova.reporting.leakage_table import leakage_table
    from convnova.reporting.render import write
    from convnova.runs.targets import class_tasks, tokenized_genome, tokenized_task

    tasks = {
        (suite, task): config.local_path(tokenized_task(config, suite, task)) for suite, task in class_tasks(config)
    }
    scores = overlap_scores(config, config.local_path(tokenized_genome(config)).parent, tasks)
    write(leakage_table(scores), out / "tables", ("tsv", "md"))


def _cost(config: "RunConfig", published: Path, out: Path) -> None:
    from convnova.reporting.cost_table import mean_scores, read_costs, write_costs
    from convnova.reporting.scores import read_scores
    from convnova.runs.targets import costs

    scores = mean_scores(read_scores(config.results / "tables" / "scores.tsv")) if config.suites else {}
    measured = read_costs([config.local_path(path) for path in costs(config)])
    write_costs(measured, scores, config.simulated, out / "tables", out / "figures")


TABLES = {
    "scores": _scores,
    "comparisons": _comparisons,
    "test_rows": _test_rows,
    "ablation": _ablation,
    "search": _search,
    "audit": _audit,
    "leakage": _leakage,
    "cost": _cost,
}
"""Name on the command line to what writes the table, from what is in the run's folder of results."""


def run_figures(options: argparse.Namespace) -> None:
    """`convnova figures`"""
    from convnova.reporting.comparison_figures import write_comparisons
    from convnova.reporting.figures import write_figures, write_pretraining
    from convnova.reporting.published import read_published
    from convnova.reporting.scores import read_scores
    from convnova.runs.outputs import pretraining_titles

    config = config_of(options)
    out = options.out or config.results
    scores = read_scores(config.results / "tables" / "scores.tsv")
    scores["path"] = scores["path"].map(config.local_path)
    write_figures(scores, read_published(options.published), config, out / "figures")
    write_comparisons(scores, config, out / "figures")
    logs = {name: config.results / "pretrain" / name / "log.csv" for name in config.backbones()}
    if logs:
        write_pretraining(logs, pretraining_titles(config), config.simulated, out / "figures")


def run_recipes(options: argparse.Namespace) -> None:
    """`convnova recipes`"""
    from convnova.log import log
    from convnova.reporting.hyperparameter_table import as_text, write_recipes

    config = config_of(options)
    if options.out is None:
        print(as_text(config, options.task, options.model))
    else:
        log(f"{options.out}: {len(write_recipes(config, options.out, options.task, options.model))} recipes")


def run_report(options: argparse.Namespace) -> None:
    """`convnova report`"""
    from convnova.reporting.report import write_report

    config = config_of(options)
    write_report(config, options.published, (options.out or config.results) / "report.html")


def run_explain(options: argparse.Namespace) -> None:
    """`convnova explain`"""
    from convnova.runs.explain import explain

    print(explain(options.results), end="")


def run_status(options: argparse.Namespace) -> None:
    """`convnova status`"""
    from convnova.runs.status import as_json, as_text, runs, steps

    found = [(config, steps(config)) for config in runs(options.config)]
    if options.json:
        print(as_json({config.run: of_run for config, of_run in found}))
    else:
        print("\n\n".join(as_text(config, of_run) for config, of_run in found))
