"""The `convnova` command: every step of the pipeline by hand."""

import argparse
import logging
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from convnova import __version__
from convnova.cli import data, results, run, train, use
from convnova.cli.common import Command
from convnova.errors import ConvNovaError, nearest
from convnova.files import damaged_moved_aside
from convnova.log import debug, logging_to
from convnova.training.devices import peak_resident

GROUPS = {
    "Use a model": ("embed", "predict", "score-variants", "mutagenesis", "export"),
    "Run": ("init", "config", "plan", "run", "simulate"),
    "Look at a run": ("status", "explain", "recipes", "sources"),
    "Steps of the pipeline": (
        "fetch", "tokenize-genome", "training-rows", "tokenize-task", "label-genes", "audit", "pretrain", "finetune",
        "score-task", "cost", "tables", "figures", "report",
    ),
}  # fmt: skip
"""Commands as `convnova --help` lists them."""


class _Parser(argparse.ArgumentParser):
    """A parser that knows what a mistyped command may have meant."""

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if action.dest == "command" and value not in action.choices:
            self.exit(2, f"convnova: error: no command {value!r}; {nearest(value, list(action.choices))}\n")
        super()._check_value(action, value)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; without one, print the help.

    A mistake of the user's, or of the file system, is one line on standard error and in the log, and exit code 1. A
    mistake of this program's own is a line in the log and a traceback.
    """
    top = parser()
    options = top.parse_args(arguments)
    if options.completion:
        from shtab import complete  # a tenth of a second

        print(complete(top, options.completion))
        return 0
    if options.command is None:
        top.print_help()
        return 0
    if options.log and (rank := int(os.environ.get("RANK", 0))):  # torchrun: a log a process
        options.log = options.log.with_suffix(f".rank{rank}{options.log.suffix}")
    level = logging.DEBUG if options.verbose else logging.ERROR if options.quiet else logging.INFO
    logging.getLogger("convnova").setLevel(level)
    try:
        with logging_to(options.log):
            return _logged(options)
    except BrokenPipeError:  # the reader of the output wanted no more of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ConvNovaError, OSError) as error:  # of the command, or of its log
        print(f"convnova {options.command}: error: {error}", file=sys.stderr)
        return 1


def _logged(options: argparse.Namespace) -> int:
    """Run the command; its end is the last line of the log, as far as that can be written."""
    logger, began = logging.getLogger("convnova"), time.monotonic()
    debug(f"convnova {__version__} on Python {platform.python_version()}, in {Path.cwd()}")
    try:
        with damaged_moved_aside():
            options.function(options)
        debug(f"{options.command}: {time.monotonic() - began:.2f} s, {peak_resident() / 1e6:,.0f} MB of memory at most")
        return 0
    except BrokenPipeError:
        raise
    except (ConvNovaError, OSError) as error:
        if options.log:
            with suppress(OSError):
                logger.error("error: %s", error)
        raise
    except KeyboardInterrupt:
        logger.error("interrupted")
        return 130
    except Exception as error:
        with suppress(OSError):
            logger.error("error: %s: %s", type(error).__name__, " ".join(str(error).split()))
        raise


def parser() -> argparse.ArgumentParser:
    """The command line: one subcommand a step, in the order of the pipeline."""
    top = _Parser(
        prog="convnova",
        usage="convnova [--log FILE] [--quiet | --verbose] COMMAND ...",
        description="From the raw genome to the ConvNova paper's comparison tables.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"convnova {__version__}")
    top.add_argument("--log", type=Path, metavar="FILE", help="write progress to FILE as plain lines")
    amount = top.add_mutually_exclusive_group()
    amount.add_argument("--quiet", action="store_true", help="no progress, only errors")
    amount.add_argument("--verbose", action="store_true", help="progress, files read and written, choices, times")
    top.add_argument("--completion", choices=("bash", "zsh", "tcsh"), help="print what completes commands in a shell")
    commands = top.add_subparsers(dest="command", prog="convnova", parser_class=Command)
    for stage in (use, run, data, train, results):
        stage.add_commands(commands)
    if listed_by_argparse := top._subparsers:
        top._action_groups.remove(listed_by_argparse)
    top.epilog = "\n\n".join(text for group in GROUPS.items() if (text := _help_of(*group, commands.choices)))
    return top


def _help_of(title: str, names: Iterable[str], choices: Mapping[str, argparse.ArgumentParser]) -> str:
    """A group of commands, a line each."""
    said = {name: choices[name].description.removesuffix(".") for name in names if name in choices}
    lines = [f"  {name:16} {text[0].lower()}{text[1:]}" for name, text in said.items()]
    return "\n".join([f"{title}:", *lines]) if lines else ""


if __name__ == "__main__":
    sys.exit(main())
