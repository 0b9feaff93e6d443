"""The commands that read a run: items, study, search, recipes, report, explain, status, crate, tensorboard."""

import argparse
from collections.abc import Callable
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add them to the command line.

    Args:
        command: makes one, from `commands`, its name, what it runs and its description.
    """
    items = command(commands, "items", run_items, "pairs of models over the test items of each task")
    items.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    items.add_argument("--out", type=Path, required=True, metavar="DIR")

    study = command(commands, "study", run_study, "variants of a model beside it, by validation score")
    study.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    study.add_argument("--tables", type=Path, required=True, metavar="DIR")
    study.add_argument("--figures", type=Path, required=True, metavar="DIR")

    search = command(commands, "search", run_search, "the best of a grid of settings for each task, as recipes")
    search.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    search.add_argument("--out", type=Path, required=True, metavar="DIR", help="for tables/search.* and recipes/")

    recipes = command(commands, "recipes", run_recipes, "every hyperparameter of every model and task, with its source")
    recipes.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    recipes.add_argument("--task", metavar="SUITE/TASK", help="this one alone")
    recipes.add_argument("--model", metavar="MODEL", help="this one alone")
    recipes.add_argument("--out", type=Path, metavar="DIR", help="write a recipe a task and model here instead")

    report = command(commands, "report", run_report, "one HTML page of a run: tables, figures, and every way back")
    report.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
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

    crate = command(commands, "crate", run_crate, "describe a run, its files and its workflow as an RO-Crate")
    crate.add_argument("--run", dest="name", required=True, help="name of the run, or its config")
    crate.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="copy the files here; or ro-crate-metadata.json: do not"
    )

    events = command(commands, "tensorboard", run_tensorboard, "write the logs of a run's trainings for TensorBoard")
    events.add_argument("--run", dest="name", required=True, help="name of the run")
    events.add_argument("--out", type=Path, required=True, metavar="DIR")


def run_items(options: argparse.Namespace) -> None:
    """`convnova items`"""
    from convnova.catalogue import load_file
    from convnova.item_tables import write_items

    write_items(load_file(options.config), options.out)


def run_study(options: argparse.Namespace) -> None:
    """`convnova study`"""
    from convnova.catalogue import load_file
    from convnova.study import write_study

    write_study(load_file(options.config), options.tables, options.figures)


def run_search(options: argparse.Namespace) -> None:
    """`convnova search`"""
    from convnova.catalogue import load_file
    from convnova.search import write_search

    write_search(load_file(options.config), options.out)


def run_recipes(options: argparse.Namespace) -> None:
    """`convnova recipes`"""
    from convnova.catalogue import load_file
    from convnova.progress import log
    from convnova.recipes import as_text, write_recipes

    config = load_file(options.config)
    if options.out is None:
        print(as_text(config, options.task, options.model))
    else:
        log(f"{options.out}: {len(write_recipes(config, options.out))} recipes")


def run_report(options: argparse.Namespace) -> None:
    """`convnova report`"""
    from convnova.catalogue import load_file
    from convnova.report import write_report

    write_report(load_file(options.config), options.published, options.out)


def run_explain(options: argparse.Namespace) -> None:
    """`convnova explain`"""
    from convnova.explain import explain

    print(explain(options.results), end="")


def run_status(options: argparse.Namespace) -> None:
    """`convnova status`"""
    from convnova.status import as_json, as_text, runs, steps

    found = [(config, steps(config)) for config in runs(options.config)]
    if options.json:
        print(as_json({config.run: of_run for config, of_run in found}))
    else:
        print("\n\n".join(as_text(config, of_run) for config, of_run in found))


def run_crate(options: argparse.Namespace) -> None:
    """`convnova crate`"""
    from convnova.crate import write_crate
    from convnova.status import runs

    (config,) = runs(options.name)
    print(write_crate(config, options.out))


def run_tensorboard(options: argparse.Namespace) -> None:
    """`convnova tensorboard`"""
    from convnova.tensorboard import write_events

    write_events(Path("results", options.name).rglob("log.csv"), options.out)
