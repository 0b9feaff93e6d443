"""The commands that train: pretrain, finetune."""

import argparse
import os
import sys
from pathlib import Path

from convnova.cli.common import config_of, of_run
from convnova.errors import ConvNovaError
from convnova.training.devices import load_torch


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    pretrain = of_run(commands, "pretrain", run_pretrain, "masked-language pretraining; continues where it was stopped")
    pretrain.add_argument("--backbone", required=True, help="which of the config's pretrainings")
    pretrain.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the tokenized genome")
    pretrain.add_argument("--out", type=Path, required=True, metavar="DIR")
    pretrain.add_argument("--threads", type=int, default=os.cpu_count())
    pretrain.add_argument("--processes", type=int, default=1, metavar="N", help="one a GPU, started by torchrun")

    finetune = of_run(commands, "finetune", run_finetune, "train on one task and score it")
    finetune.add_argument("--job", required=True, metavar="SUITE/TASK/MODEL/PROTOCOL/seed=N")
    finetune.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    finetune.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights, for a pretrained model")
    finetune.add_argument("--out", type=Path, required=True, metavar="DIR")
    finetune.add_argument("--threads", type=int, default=os.cpu_count())


def run_pretrain(options: argparse.Namespace) -> None:
    """`convnova pretrain`"""
    from convnova.errors import nearest
    from convnova.training.devices import take_gpus

    config = config_of(options)
    if options.backbone not in config.backbones():
        raise ConvNovaError(f"backbone {options.backbone!r}: {nearest(options.backbone, list(config.backbones()))}")
    if options.processes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
        take_gpus(options.processes)
        os.execv(sys.executable, [sys.executable, *launcher, "--no-python", "--", *sys.argv])
    load_torch(options.threads)
    from convnova.training.pretrain import pretrain

    pretrain(config, options.backbone, options.genome, options.out)


def run_finetune(options: argparse.Namespace) -> None:
    """`convnova finetune`"""
    from convnova.errors import nearest

    config = config_of(options)
    jobs = {job.name: job for job in config.jobs()}
    if options.job not in jobs:
        raise ConvNovaError(f"job {options.job!r} is not in {options.config}; {nearest(options.job, list(jobs)[:12])}")
    load_torch(options.threads)
    from convnova.training.finetune import finetune

    finetune(config, jobs[options.job], options.dataset, options.out, options.weights)
