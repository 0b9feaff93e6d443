"""One fine-tuning: a task, a model, a protocol and a seed become predictions and one set of scores."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.config.hyperparameters import Training
from convnova.config.run import Job, RunConfig
from convnova.config.schema import Task
from convnova.data.batches import (
    IGNORE_INDEX,
    Batch,
    LabelledSequences,
    Padding,
    augment_reverse_complement,
    collate,
    rows_of_step,
)
from convnova.data.prepare_task import check_metric
from convnova.data.splits import split_rows
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict
from convnova.evaluation.prediction_file import write_predictions
from convnova.evaluation.scoring import interval, labels_of, per_batch, score
from convnova.files import atomic, sha256, write_json
from convnova.log import log
from convnova.models import build_predictor, checkpoint_activations, receptive_field
from convnova.models.weights import load_strictly, load_weights
from convnova.randomness import torch_seed
from convnova.training.checkpoint import checkpoints_of
from convnova.training.loop import History, train, write_log
from convnova.training.optimization import CPU_BASES, in_precision
from convnova.training.provenance import describe, joules

EVALUATION_BASES = 1 << 17
"""Bases that are predicted together, so that long sequences do not take more memory than training does."""
RESULTS = ("log.csv", "predictions.parquet", "metrics.json")


def finetune(config: RunConfig, job: Job, shard: Path, out: Path, weights: Path | None) -> None:
    """Train, choose the epoch, predict the test split, and write the results to `out`.

    `heldout`: a tenth of the training rows, drawn by the seed, chooses the epoch (or the task's own validation
    split), and the test split is scored once. `cv`: the same with a fold of the training rows, the one that the seed
    names. `released`: as the authors' code does, all of train, the epoch that is best on test, sequences padded at the
    left with N that counts in the mean. The test score of every epoch is kept for the audit and chooses nothing.

    Args:
        shard: the tokenized task.
        out: folder for `metrics.json`, `predictions.parquet` and `log.csv`.
        weights: the pretrained model, for models that start from one.

    Raises:
        ConvNovaError: weights that do not fit, a loss that is not finite, a task without rows, or whose metric its
            classes do not have.
    """
    started, energy = time.time(), joules()
    paths = {"task": shard} | ({"weights": weights} if weights else {})
    inputs = {name: {"path": config.relative_path(path), "sha256": sha256(path)} for name, path in paths.items()}
    made_for = config.fingerprint(config.job_fingerprint(job), [about["sha256"] for about in inputs.values()])
    if restored(out, made_for):
        return
    task, settings, data = config.task(job), config.training(job), read_task(shard)
    if task.kind == "classes":  # the shard may have been made for another metric
        check_metric(task.metric, np.bincount(data.split("test").labels, minlength=len(data.classes or ())), shard)
    splits = split_rows(data, task, job)
    model = build(config, job, data, splits, weights)
    style = padding_style(settings, job)
    pooled = style != "masked"
    padding = Padding(padded_length(model, pooled, splits), counted=pooled, left=style == "pooled")
    strands = config.strands(job.model, job.suite)
    objective = Classification(task, settings, job.seed, splits, padding, strands)
    checkpoints = checkpoints_of(config, out, made_for)
    history = train(model, objective, settings, job.seed, job.name, out / "log.csv", checkpoints)
    load_strictly(model, history.best_weights, "the best epoch")
    with in_precision(settings, next(model.parameters()).device):
        predicted = predict(model, splits["test"], padding, objective.evaluation_batch, strands)
    scores = score(task, labels_of(splits["test"]), predicted)
    about = {**job._asdict(), "metric": task.metric, **scores, "interval": interval(task, splits["test"], predicted)}
    about |= summary(history, model, splits, config, job)
    about["per_batch"] = per_batch(task, labels_of(splits["test"]), predicted, settings.batch_size)
    provenance = describe(started, inputs, config.job_fingerprint(job), energy)
    fold = job.seed if job.protocol == "cv" else None
    write_predictions(out / "predictions.parquet", splits["test"], predicted, provenance["settings"], fold)
    write_log(history, out / "log.csv")
    write_json(out / "metrics.json", {**about, "provenance": provenance})
    shutil.rmtree(checkpoints.parent, ignore_errors=True)
    if "SLURM_JOB_ID" in os.environ:
        keep(out, made_for)


def keep(out: Path, made_for: str) -> None:
    """Give the results a second name, until the whole run has ended well.

    Where one of several fine-tunings in a job fails, Snakemake deletes the results of all and runs all again.
    """
    kept = out / ".finished" / made_for
    shutil.rmtree(kept.parent, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in RESULTS:
        os.link(out / name, kept / name)


def restored(out: Path, made_for: str) -> bool:
    """Take back what `keep` kept of the same settings and inputs, if it did."""
    kept = out / ".finished" / made_for
    if not (kept / RESULTS[-1]).exists():
        return False
    for name in RESULTS:
        os.utime(kept / name)
        with atomic(out / name) as path:
            path.unlink()
            os.link(kept / name, path)
    log(f"finished before, by an attempt of this run that failed later; taken from {kept}")
    return True


def summary(
    history: History, model: nn.Module, splits: dict[str, LabelledSequences], config: RunConfig, job: Job
) -> dict[str, Any]:
    """What a reader wants to know of a run besides its scores."""
    about, settings = config.models[job.model], config.job_settings(job)
    return {
        "architecture": about.architecture,
        "settings": settings,
        "receptive_field": receptive_field(about.architecture, settings, config.task(job).kind),
        **about.model_dump(include={"frozen", "head"}),
        "strands": config.strands(job.model, job.suite),
        "training": config.training(job).model_dump(exclude={"source"}),
        "best_epoch": history.best_epoch,
        "epochs": history.evaluations,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "seconds": round(history.seconds, 3),
        "simulated": config.simulate is not None,
    }


def padding_style(settings: Training, job: Job) -> str:
    """Whether padding counts in the mean, and on which side it is: as the settings say, else by `released` alone."""
    return settings.padding or ("pooled" if job.protocol == "released" else "masked")


def padded_length(model: nn.Module, pooled: bool, splits: dict[str, LabelledSequences]) -> int | None:
    """A length common to all batches, where the model wants one or padding counts."""
    longest = max(rows.max_length for rows in splits.values())
    if pooled and splits["test"].kind != "per_base":
        return max(model.fixed_length or 0, longest)
    return model.fixed_length


def build(
    config: RunConfig, job: Job, data: TaskDataset, splits: dict[str, LabelledSequences], weights: Path | None
) -> nn.Module:
    """The job's network with its initial weights, on the best device there is.

    Raises:
        ConvNovaError: pretrained weights that are missing, not wanted, or do not fit; a model that cannot do what its
            settings ask for.
    """
    torch.manual_seed(torch_seed(job.seed, "weights"))
    pretrained = config.is_pretrained(job)
    if pretrained != (weights is not None):
        raise ConvNovaError(f"{job.model}: expected {'pretrained' if pretrained else 'no'} weights, found {weights}")
    about, settings = config.models[job.model], config.job_settings(job)
    outputs = data.split("train").labels.shape[1] if data.kind == "multilabel" else len(data.classes)
    longest = max(rows.max_length for rows in splits.values())
    pooled = padding_style(config.training(job), job) != "masked"
    options = {"pool_padding": pooled, "pooling": about.pooling, "head": about.head, "frozen": about.frozen}
    model = build_predictor(about.architecture, settings, data.kind, outputs, longest, **options)
    if config.training(job).checkpointing:
        checkpoint_activations(model)
    if weights is not None:
        found, _ = load_weights(weights)
        backbone = {name.removeprefix("backbone."): found[name] for name in found if not name.startswith("head.")}
        load_strictly(model.backbone, backbone, str(weights))
        log(f"backbone from {weights}; its language-model head ({len(found) - len(backbone)} tensors) is not used here")
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Classification:
    """The objective of fine-tuning: cross entropy over classes of sequences or bases, or over independent labels."""

    task: Task
    settings: Training
    seed: int
    splits: dict[str, LabelledSequences]
    padding: Padding
    strands: str = "forward"

    def __post_init__(self) -> None:
        self.steps_per_epoch = -(-len(self.splits["train"]) // self.settings.batch_size)
        longest = max(rows.max_length for rows in self.splits.values())
        fast = max(CPU_BASES // longest, 2 * (self.settings.micro_batch or self.settings.batch_size))
        self.evaluation_batch = max(1, min(EVALUATION_BASES // longest, fast))

    def batch(self, step: int) -> Batch:
        """The rows of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        data = self.splits["train"]
        rows = rows_of_step(data, self.settings.batch_size, self.seed, epoch, place)
        batch = collate(data, rows, self.padding)
        if self.settings.reverse_complement:
            return augment_reverse_complement(batch, data.lengths[rows], self.padding, self.seed, step)
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed cross entropy, in float32."""
        logits = model(batch.tokens).float()
        if self.task.kind == "multilabel":
            return F.binary_cross_entropy_with_logits(logits, batch.targets, reduction="sum")
        return F.cross_entropy(
            logits.flatten(0, -2), batch.targets.flatten(), reduction="sum", ignore_index=IGNORE_INDEX
        )

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`score`: the task's own metric on the part that chooses the epoch, not a number counts as worst.

        `test`: the same on test, for the audit alone; only `score` is ever compared.
        """
        valid, test = self.splits["valid"], self.splits["test"]
        value = self._score(model, valid)
        told = {"score": value if np.isfinite(value) else -np.inf}
        if valid is not test and np.isfinite(on_test := self._score(model, test)):
            told["test"] = on_test
        return told

    def _score(self, model: nn.Module, data: LabelledSequences) -> float:
        predicted = predict(model, data, self.padding, self.evaluation_batch, self.strands)
        return float(score(self.task, labels_of(data), predicted).get(self.task.metric, np.nan))
