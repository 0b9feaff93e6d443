"""The commands that read a run: its tables, figures, report, recipes, status, and where its numbers come from."""

import argparse
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.bundle import bundled
from convnova.cli.common import WHICH_RUN, command, command_of_run

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    tables = command_of_run(commands, "tables", run_tables, "make tables of a run: TSV, Markdown, LaTeX and HTML")
    tables.add_argument("names", nargs="+", choices=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    figures = command_of_run(commands, "figures", run_figures, "make the figures of a run: PDF, SVG and PNG")
    report = command_of_run(commands, "report", run_report, "make report.html: tables, figures, provenance")
    for each in (tables, figures, report):
        each.add_argument("--published", type=Path, default=bundled("config/published.csv"), metavar="FILE")
        each.add_argument("--out", type=Path, metavar="DIR", help="default: the run's own folder of results")

    text = "every hyperparameter of each model and task, with its source"
    recipes = command_of_run(commands, "recipes", run_recipes, text)
    recipes.add_argument("--task", metavar="SUITE/TASK", help="this one alone")
    recipes.add_argument("--model", metavar="MODEL", help="this one alone")
    recipes.add_argument("--json", action="store_true", help="value and source of each as JSON")
    recipes.add_argument("--out", type=Path, metavar="DIR", help="write a recipe a task and model here instead")

    explain = command(commands, "explain", run_explain, "where a number comes from: settings, code, data, commands")
    what = "metrics.json, weights, or a table and ROW MODEL PROTOCOL SEED; of a run also a name that status prints"
    explain.add_argument("results", nargs="*", metavar="RESULT", help=what)
    explain.add_argument("--run", **WHICH_RUN | {"help": f"{WHICH_RUN['help']}; without RESULT all its scores"})
    explain.add_argument("--json", action="store_true", help="all that is known as JSON")

    status = command(commands, "status", run_status, "what of the runs is done, running, failed and missing")
    status.add_argument("--run", **WHICH_RUN | {"help": f"{WHICH_RUN['help']}; default: every run in results/"})
    status.add_argument("--json", action="store_true", help="every step as JSON")


TABLES = {
    "scores": "scores:write_scores",
    "comparisons": "comparison_tables:write_tables",
    "test_rows": "paired_test_rows:write_test_rows",
    "ablation": "ablation_table:write_ablation",
    "search": "hyperparameter_search:write_search",
    "audit": "audit_table:write_audit_table",
    "leakage": "leakage_table:write_leakage_table",
    "cost": "cost_table:write_costs",
}
"""Name on the command line to the module in `convnova.reporting` and its function of a run and a folder for results."""


def run_tables(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova tables`"""
    for name in options.names:
        module, function = TABLES[name].split(":")
        published = {"published": options.published} if name == "comparisons" else {}
        write = getattr(import_module(f"convnova.reporting.{module}"), function)
        write(config, options.out or config.results, **published)


def run_figures(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova figures`"""
    from convnova.reporting.comparison_figures import write_comparisons
    from convnova.reporting.figures import write_figures, write_pretraining
    from convnova.reporting.predicted_figure import write_predicted
    from convnova.reporting.published import read_published
    from convnova.reporting.scores import read_scores

    out = options.out or config.results
    scores = read_scores(config.results / "tables" / "scores.tsv")
    scores["path"] = scores["path"].map(config.local_path)
    write_figures(scores, read_published(options.published), config, out / "figures")
    write_comparisons(scores, config, out / "figures")
    write_predicted(config, out / "figures")
    logs = {name: config.results / "pretrain" / name / "log.csv" for name in config.backbones()}
    if logs:
        write_pretraining(logs, config.simulated, out / "figures")
    if config.ablation:
        from convnova.reporting.ablation_table import write_ablation_figure

        write_ablation_figure(config, out / "figures")


def run_recipes(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova recipes`"""
    from convnova.log import log
    from convnova.reporting.hyperparameter_table import as_text, hyperparameters, write_recipes

    if options.out is None:
        found = hyperparameters(config, options.task, options.model)
        print(json.dumps(found, indent=2) if options.json else as_text(found))
    else:
        log(f"{options.out}: {len(write_recipes(config, options.out, options.task, options.model))} recipes")


def run_report(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova report`"""
    from convnova.reporting.report import write_report

    write_report(config, options.published, (options.out or config.results) / "report.html")


def run_explain(options: argparse.Namespace) -> None:
    """`convnova explain`"""
    from convnova.config.load import config_file, load_config
    from convnova.runs.explain import as_text, explain

    answers = explain(options.results, load_config(config_file(options.run)) if options.run else None)
    if options.json:
        print(json.dumps([asdict(answer) for answer in answers], indent=2))
    else:
        print("\n\n".join(map(as_text, answers)))


def run_status(options: argparse.Namespace) -> None:
    """`convnova status`"""
    from convnova.config.load import config_file, load_config
    from convnova.runs.status import all_runs, as_json, as_text, steps

    configs = [load_config(config_file(options.run))] if options.run else all_runs()
    found = [(config, steps(config)) for config in configs]
    if options.json:
        print(as_json({config.run: of_run for config, of_run in found}))
    else:
        print("\n\n".join(as_text(config, of_run) for config, of_run in found))
