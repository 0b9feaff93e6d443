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


def run_audit_tables(options: argparse.Namespace) -> None:
    """`convnova audit-tables`"""
    from convnova.reporting.audit_table import audit_table, read_audits
    from convnova.reporting.render import write

    simulated = config_of(options).simulate is not None
    write(audit_table(read_audits(options.audits), simulated), options.out, ("tsv", "md", "html"))


def run_leaks(options: argparse.Namespace) -> None:
    """`convnova leaks`"""
    from convnova.evaluation.leakage.overlap_scores import write_leaks

    config = config_of(options)
    named = [word.partition("=") for word in options.shards]
    shards = {suite_and_task(config, name, options.config): Path(path) for name, _, path in named}
    write_leaks(config, options.genome, shards, options.out)
=======
>>>>>>> 8e388d3 (wip workflow)
