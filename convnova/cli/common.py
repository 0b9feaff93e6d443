"""What commands share: how one is added, the config that it is given, and PyTorch as its process is to have it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def command(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """Add a command to the command line, with what it runs and its description."""
    made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.set_defaults(run=run)
    return made


def of_run(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """Add a command that needs the config of a run; arguments as for `command`."""
    made = command(commands, name, run, text)
    made.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    return made


def config_of(options: argparse.Namespace) -> "RunConfig":
    """The config that `--config` names."""
    from convnova.config.load import load_config

    return load_config(options.config)
