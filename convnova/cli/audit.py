"""The command that looks for what splits share: audit."""

import argparse
from pathlib import Path

from convnova.cli.common import config_of, of_run
from convnova.cli.data import files_by_role, suite_and_task


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    text = "count what is in a task's splits, and which test rows overlap train or pretraining data"
    audit = of_run(commands, "audit", run_audit, text)
    audit.add_argument("--task", required=True, metavar="SUITE/TASK")
    audit.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    audit.add_argument("--genome", type=Path, metavar="DIR", help="tokenized genome that models are pretrained on")
    audit.add_argument("--out", type=Path, required=True, metavar="FILE")
    audit.add_argument("files", nargs="*", metavar="ROLE=FILE", help="the task's files, if they hold intervals")


def run_audit(options: argparse.Namespace) -> None:
    """`convnova audit`"""
    from convnova.data.task_dataset import read_task
    from convnova.evaluation.leakage.split_audit import Pretraining, audit
    from convnova.files import write_json

    config = config_of(options)
    suite, task = suite_and_task(config, options.task, options.config)
    pretraining = None
    if options.genome:
        read = config.pretrain.length if config.pretrain.coverage == "first" else None
        same = config.suites[suite].genome == config.genome
        files = files_by_role(options.files) if same else {}
        pretraining = Pretraining(config.genome or "", options.genome, read, config.suites[suite].format, files)
    write_json(options.out, {"suite": suite, "task": task, **audit(read_task(options.dataset), pretraining)})
