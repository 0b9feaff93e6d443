"""The command that gives a model away: export."""

import argparse
from pathlib import Path

from convnova.cli.common import command


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add it to the command line."""
    export = command(commands, "export", run_export, "write a model as a folder of the Hugging Face hub")
    export.add_argument("model", metavar="MODEL", help="folder of a fine-tuning or a pretraining, or its weights")
    export.add_argument("--hub", type=Path, required=True, metavar="DIR", help="a new or an empty folder")


def run_export(options: argparse.Namespace) -> None:
    """`convnova export`"""
    from convnova.inference.load import load
    from convnova.log import log

    load(options.model, device="cpu").export(options.hub)
    log(f"{options.hub}: written; to give it to others: hf upload NAME {options.hub}")
