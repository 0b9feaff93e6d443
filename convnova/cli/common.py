"""What commands share: how one is added, and the config that it is given."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

GENERAL = ("command", "log", "quiet", "completion", "run")
"""Options that are no arguments of a command's function."""


class Command(argparse.ArgumentParser):
    """The parser of a command. One that is verbatim has options for its help, and keeps all words as they are."""

    is_verbatim = False

    def parse_known_args(self, args: list[str], namespace: argparse.Namespace | None = None) -> tuple[Any, list[str]]:
        """What argparse calls."""
        if not self.is_verbatim or {"-h", "--help"} & {*args}:
            return super().parse_known_args(args, namespace)
        return argparse.Namespace(**self._defaults, words=args), []


def command(commands: argparse._SubParsersAction, name: str, run: Callable | str, text: str) -> argparse.ArgumentParser:
    """Add a command to the command line.

    Args:
        commands: the commands of the command line.
        name: what a user types.
        run: a function of the parsed options, or `module:function`, whose arguments have the options' names.
        text: what the command does, a sentence that begins small and has no full stop.
    """

    def call(options: argparse.Namespace) -> None:
        module, function = run.split(":")  # imported when it is called: a command waits for no other one's imports
        arguments = {key: value for key, value in vars(options).items() if key not in GENERAL}
        getattr(import_module(module), function)(**arguments)

    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=call if isinstance(run, str) else run)
    return parser


def command_of_run(
    commands: argparse._SubParsersAction, name: str, run: Callable, text: str
) -> argparse.ArgumentParser:
    """Add a command that needs the config of a run.

    Args:
        commands: the commands of the command line.
        name: what a user types.
        run: a function of the config and of the parsed options.
        text: as of `command`.
    """

    def call(options: argparse.Namespace) -> None:
        from convnova.config.load import load_config

        run(load_config(options.config), options)

    parser = command(commands, name, call, text)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    return parser
