"""The `convnova` command: every step of the pipeline by hand."""

import argparse
import os
import sys
from pathlib import Path

from convnova import __version__
from convnova.cli import data, results, train
from convnova.errors import ConvNovaError
from convnova.log import log, logging_to


def main(arguments: list[str] | None = None) -> int:
    """Run one command. A mistake of the user's, or of the file system, is one line on standard error and in the log,
    and exit code 1; one of this program's own is a line in the log and a traceback."""
    options = parser().parse_args(arguments)
    if options.log and (rank := int(os.environ.get("RANK", 0))):  # torchrun: a log a process
        options.log = options.log.with_suffix(f".rank{rank}{options.log.suffix}")
    with logging_to(options.log):
        try:
            options.run(options)
        except (ConvNovaError, OSError) as error:
            log(f"error: {error}")
            if options.log:
                print(f"convnova {options.command}: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            log("interrupted")
            return 130
        except Exception as error:
            log(f"error: {type(error).__name__}: {' '.join(str(error).split())}")
            raise
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: one subcommand a step, in the order of the pipeline."""
    top = argparse.ArgumentParser(
        prog="convnova", description="From the raw genome to the ConvNova paper's comparison tables, step by step."
    )
    top.add_argument("--version", action="version", version=f"convnova {__version__}")
    top.add_argument("--log", type=Path, metavar="FILE", help="write progress to FILE as plain lines")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage in (data, train, results):
        stage.add_commands(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
