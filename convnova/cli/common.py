"""What commands share: how one is added, and the config that it is given."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

GENERAL = ("command", "log", "quiet", "verbose", "completion", "function")
"""Options that are no arguments of a command's function."""

WHICH_RUN: dict[str, Any] = {"metavar": "NAME_OR_FILE", "help": "name of a run in results/, or a config file"}
"""Of the option `--run`, which `config_file` finds."""


def positive(text: str) -> int:
    """A whole number of 1 or more, as the type of an option."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


class Command(argparse.ArgumentParser):
    """The parser of a command. One that is verbatim has options for its help, and keeps all words as they are."""

    is_verbatim = False

    def parse_known_args(self, args: list[str], namespace: argparse.Namespace | None = None) -> tuple[Any, list[str]]:
        """What argparse calls."""
        if "--run" in self._option_string_actions and any(word.split("=")[0] == "--config" for word in args):
            self.error("no option --config; say which run by --run NAME_OR_FILE")
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
    parser.set_defaults(function=call if isinstance(run, str) else run)
    return parser


def command_of_run(
    commands: argparse._SubParsersAction, name: str, run: Callable, text: str, is_step: bool = False
) -> argparse.ArgumentParser:
    """Add a command that needs the config of a run, which `--run` names.

    Args:
        commands: the commands of the command line.
        name: what a user types.
        run: a function of the config and of the parsed options.
        text: as of `command`.
        is_step: it makes files that a training or its data need. Such a step names all files that it reads, so the
            config is one too, by `--config`. (Snakemake would train anew if its line in the workflow were another.)
    """

    def call(options: argparse.Namespace) -> None:
        from convnova.config.load import config_file, load_config

        run(load_config(options.config if is_step else config_file(options.run)), options)

    parser = command(commands, name, call, text)
    if is_step:
        parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")
    else:
        parser.add_argument("--run", required=True, **WHICH_RUN)
    return parser
