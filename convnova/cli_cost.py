"""The commands that measure what models cost."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from convnova.errors import ConvNovaError


def add_commands(commands: argparse._SubParsersAction, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add them to the command line; arguments as for `cli_results.add_commands`."""
    cost = command(commands, "cost", run_cost, "measure one model at one length: operations, throughput, memory")
    cost.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    cost.add_argument("--model", required=True, help="a model of the config")
    cost.add_argument("--length", type=int, required=True, help="bases a sequence")
    cost.add_argument("--out", type=Path, required=True, metavar="FILE")
    cost.add_argument("--threads", type=int, default=os.cpu_count())

    tables = command(commands, "cost-tables", run_cost_tables, "costs side by side as TSV, Markdown, HTML and a figure")
    tables.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    tables.add_argument("--scores", type=Path, metavar="FILE", help="what `aggregate` wrote, for score against cost")
    tables.add_argument("--tables", type=Path, required=True, metavar="DIR")
    tables.add_argument("--figures", type=Path, required=True, metavar="DIR")
    tables.add_argument("costs", nargs="+", type=Path, metavar="FILE", help="what `cost` wrote")


def run_cost(options: argparse.Namespace) -> None:
    """`convnova cost`"""
    from convnova.catalogue import load_file, nearest

    config = load_file(options.config)
    if options.model not in config.models:
        raise ConvNovaError(f"model {options.model!r}: {nearest(options.model, list(config.models))}")
    if options.length < 1:
        raise ConvNovaError(f"--length {options.length}: expected 1 or more")
    import torch

    torch.set_num_threads(options.threads)
    from convnova.cost import write_cost

    write_cost(config, options.model, options.length, options.out)


def run_cost_tables(options: argparse.Namespace) -> None:
    """`convnova cost-tables`"""
    from convnova.catalogue import load_file
    from convnova.cost_page import mean_scores, read_costs, write_costs
    from convnova.scores import read_scores

    config = load_file(options.config)
    scores = mean_scores(read_scores(options.scores)) if options.scores else {}
    write_costs(read_costs(options.costs), scores, config.simulate is not None, options.tables, options.figures)
