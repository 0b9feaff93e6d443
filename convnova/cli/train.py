"""The commands that train or measure a model: pretrain, finetune, cost. They unpack the config of a run."""

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convnova.cli.common import command_of_run, positive
from convnova.errors import ConvNovaError, nearest
from convnova.files import held
from convnova.training.devices import load_torch, take_gpus

if TYPE_CHECKING:
    from convnova.config.run import Job, RunConfig
    from convnova.data.task_dataset import TaskDataset
    from convnova.training.provenance import Provenance


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    text = "pretrain on masked bases; continues where it was stopped"
    pretrain = command_of_run(commands, "pretrain", run_pretrain, text, is_step=True)
    pretrain.add_argument("--backbone", required=True, help="which of the config's pretrainings")
    pretrain.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the tokenized genome")
    pretrain.add_argument("--out", type=Path, required=True, metavar="DIR")
    pretrain.add_argument("--threads", type=positive, default=os.cpu_count())
    pretrain.add_argument("--processes", type=positive, default=1, metavar="N", help="one a GPU, started by torchrun")

    finetune = command_of_run(commands, "finetune", run_finetune, "train on one task and score it", is_step=True)
    finetune.add_argument("--job", required=True, metavar="SUITE/TASK/MODEL/PROTOCOL/seed=N")
    finetune.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    finetune.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights, for a pretrained model")
    finetune.add_argument("--out", type=Path, required=True, metavar="DIR")
    finetune.add_argument("--threads", type=positive, default=os.cpu_count())

    text = "score a task's variants by a pretrained or a fine-tuned model"
    variants = command_of_run(commands, "score-task", run_score_task, text, is_step=True)
    variants.add_argument("--job", required=True, metavar="SUITE/TASK/MODEL/PROTOCOL/seed=N")
    variants.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    variants.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the tokenized genome")
    variants.add_argument("--weights", type=Path, metavar="FILE", help="of the model; the baseline has none")
    variants.add_argument("--out", type=Path, required=True, metavar="DIR")
    variants.add_argument("--threads", type=positive, default=os.cpu_count())

    text = "estimate time and disk of a run by some steps of it"
    plan = command_of_run(commands, "plan", run_plan, text)
    plan.add_argument("--cores", type=positive, default=os.cpu_count(), metavar="N", help="default: all")
    plan.add_argument("--json", action="store_true", help="the estimate as JSON")

    cost = command_of_run(
        commands, "cost", run_cost, "measure one model at one length: throughput, memory", is_step=True
    )
    cost.add_argument("--model", required=True, help="a model of the config")
    cost.add_argument("--length", type=positive, required=True, help="bases a sequence")
    cost.add_argument("--out", type=Path, required=True, metavar="FILE")
    cost.add_argument("--threads", type=positive, default=os.cpu_count())


def run_pretrain(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova pretrain`"""
    if options.backbone not in config.backbones():
        raise ConvNovaError(f"backbone {options.backbone!r}: {nearest(options.backbone, list(config.backbones()))}")
    if options.processes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
        take_gpus(options.processes)
        os.execv(sys.executable, [sys.executable, *launcher, "--no-python", "--", *sys.argv])
    load_torch(options.threads)
    first = int(os.environ.get("RANK", 0)) == 0  # of the processes that torchrun starts for one training
    with held(options.out) if first else nullcontext():
        pretrain_backbone(config, options.backbone, options.genome, options.out)


def run_finetune(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova finetune`"""
    job = _named_job(options, config.trainings())
    load_torch(options.threads)
    with held(options.out):
        finetune_job(config, job, options.dataset, options.out, options.weights)


def run_score_task(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova score-task`"""
    job = _named_job(options, set(config.jobs()) - set(config.trainings()))
    load_torch(options.threads)
    from convnova.inference.variant_task import score_task

    weights = {"weights": options.weights} if options.weights else {}
    inputs = {"task": options.dataset, "genome": options.genome / "genome.safetensors", **weights}
    with held(options.out):
        provenance, _ = _provenance(config, config.job_fingerprint(job), inputs, options.out)
        score_task(config, job, options.dataset, options.genome, options.out, options.weights, provenance)


def _named_job(options: argparse.Namespace, jobs: "Iterable[Job]") -> "Job":
    known = {job.name: job for job in jobs}
    if options.job not in known:
        raise ConvNovaError(f"job {options.job!r} is not in {options.config}; {nearest(options.job, list(known)[:12])}")
    return known[options.job]


def run_plan(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova plan`"""
    load_torch(1)  # as the workflow gives a training
    from convnova.reporting.plan import as_text, plan

    estimate = plan(config, options.cores)
    print(json.dumps(estimate, indent=2) if options.json else as_text(estimate))


def run_cost(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova cost`"""
    if options.model not in config.models:
        raise ConvNovaError(f"model {options.model!r}: {nearest(options.model, list(config.models))}")
    from convnova.config.run import BASELINE_OF_VARIANTS

    if config.models[options.model].architecture == BASELINE_OF_VARIANTS:
        raise ConvNovaError(f"model {options.model!r}: expected a network, found a regression that scores variants")
    load_torch(options.threads)
    from convnova.training.compute_cost import write_cost

    settings_hash = config.fingerprint(config.models[options.model], options.length)
    write_cost(options.model, config.models[options.model], options.length, options.out, settings_hash)


def pretrain_backbone(config: "RunConfig", backbone: str, genome: Path, out: Path) -> None:
    """Train one of the run's backbones.

    Args:
        config: the run.
        backbone: one of `config.backbones()`.
        genome: folder of the tokenized genome.
        out: folder for the results of `training.pretrain.pretrain`.

    Raises:
        ConvNovaError: no windows, or a loss that is not finite.
    """
    from convnova.data.windows import windows
    from convnova.models import build_backbone, new_model
    from convnova.models.heads import MaskedLanguageModel
    from convnova.training.pretrain import pretrain

    inputs = {"genome": genome / "genome.safetensors"}
    provenance, checkpoints = _provenance(config, config.pretraining_fingerprint(backbone), inputs, out)
    name, suite = config.backbones()[backbone]
    architecture, settings = config.models[name].architecture, config.pretraining(name)
    model_settings = config.settings(name, suite) | settings.settings
    model = new_model(
        lambda: MaskedLanguageModel(build_backbone(architecture, model_settings)), settings.seed, settings.checkpointing
    )
    parts = {split: windows(genome, split, settings.length, settings.coverage) for split in ("train", "valid")}
    about = {"architecture": architecture, "settings": model_settings, "simulated": config.simulated}
    label = f"pretrain {backbone}"
    pretrain(model, parts, settings, out, label=label, checkpoints=checkpoints, about=about, provenance=provenance)
    shutil.rmtree(checkpoints.parent, ignore_errors=True)  # those of other settings too


def finetune_job(config: "RunConfig", job: "Job", dataset: Path, out: Path, weights: Path | None = None) -> None:
    """Make one number of the run.

    Args:
        config: the run.
        job: one of `config.jobs()`.
        dataset: the tokenized task.
        out: folder for the results of `training.finetune.finetune`.
        weights: the pretrained model, for models that start from one.

    Raises:
        ConvNovaError: weights that are missing, not wanted or do not fit, or an error of the training.
    """
    from convnova.data.task_dataset import read_task
    from convnova.models import receptive_field
    from convnova.runs.slurm import keep_results, restore_results
    from convnova.training.finetune import finetune, job_network
    from convnova.training.provenance import git_commit

    inputs = {"task": dataset} | ({"weights": weights} if weights else {})
    provenance, checkpoints = _provenance(config, config.job_fingerprint(job), inputs, out)
    made_by, keep = checkpoints.name, job.protocol in config.keep_weights
    if "SLURM_JOB_ID" in os.environ or (out / ".finished").is_dir():  # git takes a while
        made_by += "-".join(map(str, git_commit()))
    if restore_results(out, made_by, keep):
        return
    data, task, about = read_task(dataset), config.task(job), config.models[job.model]
    network = job_network(config, job, data.outputs, data.longest(task.max_length))
    description = {
        **job._asdict(),
        "architecture": about.architecture,
        "settings": network["settings"],
        "receptive_field": receptive_field(about.architecture, network["settings"], task.kind, task.bin_size),
        "frozen": about.frozen,
        "head": about.head,
        "simulated": config.simulated,
    }
    finetune(
        build_job_model(config, job, data, weights), data, task, config.training(job), job.protocol, job.seed, out,
        strands=config.strands(job.model, job.suite, job.task), label=job.name, checkpoints=checkpoints,
        about=description, network=network if keep else None, provenance=provenance,
    )  # fmt: skip
    shutil.rmtree(checkpoints.parent, ignore_errors=True)  # those of other settings too
    if "SLURM_JOB_ID" in os.environ:
        keep_results(out, made_by, keep)


def build_job_model(config: "RunConfig", job: "Job", data: "TaskDataset", weights: Path | None) -> Any:
    """The network of a job with its initial weights, on the GPU if there is one.

    Args:
        config: the run.
        job: one of `config.jobs()`.
        data: the tokenized task.
        weights: the pretrained model, for models that start from one.

    Returns:
        A module, tokens (B, L) to logits.

    Raises:
        ConvNovaError: pretrained weights that are missing, not wanted, or do not fit; a model that cannot do what its
            settings ask for.
    """
    from convnova.models import build_predictor, new_model
    from convnova.models.weights import load_backbone
    from convnova.training.finetune import job_network

    pretrained = config.models[job.model].pretrained
    if pretrained != (weights is not None):
        raise ConvNovaError(f"{job.model}: expected {'pretrained' if pretrained else 'no'} weights, found {weights}")
    network = job_network(config, job, data.outputs, data.longest(config.task(job).max_length))
    model = new_model(lambda: build_predictor(**network), job.seed, config.training(job).checkpointing)
    if weights is not None:
        load_backbone(model, weights)
    return model


def _provenance(config: "RunConfig", fingerprint: str, inputs: dict[str, Path], out: Path) -> tuple["Provenance", Path]:
    """What a training is made from, and the folder for the checkpoints of these settings and inputs."""
    from convnova.files import sha256
    from convnova.training.checkpoint import checkpoint_folder
    from convnova.training.provenance import Provenance

    files = {name: {"path": config.relative_path(path), "sha256": sha256(path)} for name, path in inputs.items()}
    settings_and_inputs = config.fingerprint(fingerprint, [file["sha256"] for file in files.values()])
    folder = checkpoint_folder(out, config.relative_path(out), settings_and_inputs)
    return Provenance(files, fingerprint, platform.node() if config.host else ""), folder
