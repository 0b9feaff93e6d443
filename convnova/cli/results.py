"""The commands that read a run: tables and figures, items, study, search, recipes, report, explain, status and more."""

import argparse
from pathlib import Path

from convnova.cli.common import command, config_of, of_run


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    aggregate = of_run(commands, "aggregate", run_aggregate, "gather the scores of a run's fine-tunings")
    aggregate.add_argument("--out", type=Path, required=True, metavar="FILE")

    for name, run, text in (
        ("tables", run_tables, "comparison tables, as TSV, Markdown, LaTeX and HTML"),
        ("figures", run_figures, "comparison figures, as PDF, SVG and PNG"),
    ):
        made = of_run(commands, name, run, text)
        made.add_argument("--scores", type=Path, required=True, metavar="FILE", help="what `aggregate` wrote")
        made.add_argument("--published", type=Path, default=Path("config/published.csv"), metavar="FILE")
        made.add_argument("--out", type=Path, required=True, metavar="DIR")

    items = of_run(commands, "items", run_items, "pairs of models over the test rows of each task")
    items.add_argument("--out", type=Path, required=True, metavar="DIR")

    study = of_run(commands, "study", run_study, "variants of a model beside it, by validation score")
    study.add_argument("--tables", type=Path, required=True, metavar="DIR")
    study.add_argument("--figures", type=Path, required=True, metavar="DIR")

    search = of_run(commands, "search", run_search, "the best of a grid of settings for each task, as recipes")
    search.add_argument("--out", type=Path, required=True, metavar="DIR", help="for tables/search.* and recipes/")

    recipes = of_run(commands, "recipes", run_recipes, "every hyperparameter of every model and task, with its source")
    recipes.add_argument("--task", metavar="SUITE/TASK", help="this one alone")
    recipes.add_argument("--model", metavar="MODEL", help="this one alone")
    recipes.add_argument("--out", type=Path, metavar="DIR", help="write a recipe a task and model here instead")

    report = of_run(commands, "report", run_report, "one HTML page of a run: tables, figures, and every way back")
    report.add_argument("--published", type=Path, default=Path("config/published.csv"), metavar="FILE")
    report.add_argument("--out", type=Path, required=True, metavar="FILE")

    explain = command(
        commands, "explain", run_explain, "where a number comes from: settings, code, data, machine, commands"
    )
    explain.add_argument(
        "results", nargs="+", metavar="RESULT", help="metrics.json, weights, or a table and ROW MODEL PROTOCOL SEED"
    )

    status = command(commands, "status", run_status, "what of the runs is done, running, failed and missing")
    status.add_argument("--config", metavar="FILE|RUN", help="config or name of a run; default: every run in results/")
    status.add_argument("--json", action="store_true", help="every step as JSON")


def run_aggregate(options: argparse.Namespace) -> None:
    """`convnova aggregate`"""
    from convnova.reporting.scores import write_scores

    write_scores(config_of(options), options.out)


def run_tables(options: argparse.Namespace) -> None:
    """`convnova tables`"""
    from convnova.reporting.comparison_tables import write_sheets
    from convnova.reporting.published import read_published
    from convnova.reporting.scores import read_scores
    from convnova.reporting.suite_tables import write_tables
    from convnova.runs.provenance_table import provenance_sentence, read_provenance

    config = config_of(options)
    given = (read_scores(options.scores), read_published(options.published), config)
    made = provenance_sentence(config, read_provenance(options.scores))
    write_tables(*given, options.out, made)
    write_sheets(*given, options.out, made)


def run_figures(options: argparse.Namespace) -> None:
    """`convnova figures`"""
    from convnova.reporting.comparison_figures import write_comparisons
    from convnova.reporting.figures import write_figures, write_pretraining
    from convnova.reporting.published import read_published
    from convnova.reporting.scores import read_scores
    from convnova.runs.outputs import pretraining_titles

    config = config_of(options)
    scores = read_scores(options.scores)
    scores["path"] = scores["path"].map(config.local_path)
    write_figures(scores, read_published(options.published), config, options.out)
    write_comparisons(scores, config, options.out)
    logs = {name: config.results / "pretrain" / name / "log.csv" for name in config.backbones()}
    if logs:
        write_pretraining(logs, pretraining_titles(config), config.simulated, options.out)


def run_items(options: argparse.Namespace) -> None:
    """`convnova items`"""
    from convnova.reporting.test_row_comparison import write_items

    write_items(config_of(options), options.out)


def run_study(options: argparse.Namespace) -> None:
    """`convnova study`"""
    from convnova.reporting.ablation_table import write_study

    write_study(config_of(options), options.tables, options.figures)


def run_search(options: argparse.Namespace) -> None:
    """`convnova search`"""
    from convnova.reporting.hyperparameter_search import write_search

    write_search(config_of(options), options.out)


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

    write_report(config_of(options), options.published, options.out)


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
