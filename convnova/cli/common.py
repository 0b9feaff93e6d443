"""What commands share: how one is added, the config that it is given, and PyTorch as its process is to have it."""

import argparse
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.training.memory import keep_freed_memory

if TYPE_CHECKING:
    from convnova.config.schema import RunConfig


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
    from convnova.config.load import load_file

    return load_file(options.config)


def load_torch(threads: int) -> None:
    """Import torch without the garbage collector, which goes through all of it many times: half a second of a job.

    Its process keeps freed memory, and has GPUs that no other one of this project has.
    """
    gc.disable()
    import torch

    gc.freeze()
    gc.enable()
    torch.set_num_threads(threads)
    keep_freed_memory()
    if os.environ.get("CONVNOVA_DETERMINISTIC"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
    if torch.version.cuda:
        from convnova.training.devices import take_gpus

        take_gpus()
