"""The commands that measure what models cost."""

import argparse
import os
from pathlib import Path

from convnova.cli.common import config_of, of_run
from convnova.errors import ConvNovaError
from convnova.training.devices import load_torch


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    cost = of_run(commands, "cost", run_cost, "measure one model at one length: operations, throughput, memory")
    cost.add_argument("--model", required=True, help="a model of the config")
    cost.add_argument("--length", type=int, required=True, help="bases a sequence")
    cost.add_argument("--out", type=Path, required=True, metavar="FILE")
    cost.add_argument("--threads", type=int, default=os.cpu_count())


def run_cost(options: argparse.Namespace) -> None:
    """`convnova cost`"""
    from convnova.errors import nearest

    config = config_of(options)
    if options.model not in config.models:
        raise ConvNovaError(f"model {options.model!r}: {nearest(options.model, list(config.models))}")
    if options.length < 1:
        raise ConvNovaError(f"--length {options.length}: expected 1 or more")
    load_torch(options.threads)
    from convnova.training.compute_cost import write_cost

    write_cost(config, options.model, options.length, options.out)
