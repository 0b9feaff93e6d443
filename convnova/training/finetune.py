"""One fine-tuning: a model, a task, a protocol and a seed give predictions and one set of scores."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    opposite_strands,
    rows_of_step,
)
from convnova.data.splits import split_rows
from convnova.data.task_dataset import TaskDataset, check_metric
from convnova.evaluation.metrics_file import write_metrics
from convnova.evaluation.predict import Numbers, predict
from convnova.evaluation.prediction_file import write_predictions
from convnova.evaluation.scoring import interval, labels_of, per_batch, score
from convnova.models.weights import load_strictly, save_weights
from convnova.training.loop import Trainer
from convnova.training.optimization import CPU_BASES, in_precision
from convnova.training.provenance import Provenance

EVALUATION_BASES = 1 << 17
"""Bases predicted together at most, so that long sequences take no more memory than in training."""


def finetune(
    model: nn.Module,
    dataset: TaskDataset,
    task: Task,
    settings: Training,
    protocol: str,
    seed: int,
    out: Path,
    *,
    strands: str = "forward",
    label: str = "fine-tuning",
    checkpoints: Path | None = None,
    about: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
) -> dict[str, Any]:
    """Train, choose the epoch, predict the test split, and write the results to `out`.

    A training that was stopped continues from its checkpoints. `model` has the weights of the chosen epoch at the end.

    Args:
        model: tokens (B, L) to logits, with its initial weights, on the device to train on.
        dataset: the tokenized task.
        task: its kind, its metric and the longest sequence to read.
        settings: hyperparameters of the training.
        protocol: which rows choose the epoch. `heldout`: the task's validation split, or a tenth of the training rows,
            drawn by the seed. `cv`: fold number `seed` of the training rows. `released`: the test rows, as in the
            authors' code, where also padding counts in the mean, all parameters are decayed and the schedule is
            theirs (`Training.of_protocol`). The test score of every epoch is written for the audit; only with
            `released` does it choose.
        seed: of order, strands and dropout.
        out: folder for `metrics.json`, `predictions.parquet` and `log.csv`.
        strands: `both` to predict the mean over a sequence and its reverse complement.
        label: shown in the progress bar and in messages.
        checkpoints: folder for the state of the training, deleted at the end; default: below `out`.
        about: what else `metrics.json` says.
        network: the arguments of `models.build_predictor` that build the model. With them `weights.safetensors` and its
            JSON are written too, from which `convnova.load` makes the model again.
        provenance: what the result was made from.

    Returns:
        The content of `metrics.json`, without its checksums.

    Raises:
        ConvNovaError: a loss that is not finite, too few rows, or a metric that is not defined for the classes.
        Interrupted: a signal came; a checkpoint is written.
    """
    provenance, settings = provenance or Provenance(), settings.of_protocol(protocol)
    if task.kind == "classes":  # the dataset may have been made when the task had another metric
        counts = np.bincount(dataset.split("test").labels, minlength=len(dataset.classes or ()))
        check_metric(task.metric, counts, dataset.path)
    splits = split_rows(dataset, protocol, seed, task.max_length)
    padding = padding_of(model, settings, splits["test"])
    objective = Supervised(task, settings, seed, splits, padding, strands)
    trainer = Trainer(model, objective, settings, seed, label, out, checkpoints)
    history = trainer.run()
    load_strictly(model, history.best_weights, "the best epoch")
    with in_precision(history.precision, next(model.parameters()).device):
        predicted = predict(model, splits["test"], padding, objective.evaluation_batch, strands, objective.numbers)
    labels = labels_of(splits["test"])
    metrics = {
        **(about or {}),
        "metric": task.metric,
        **score(task, labels, predicted),
        "interval": interval(task, splits["test"], predicted),
        "strands": strands,
        "training": settings.model_dump(exclude={"source"}),
        "best_epoch": history.best_epoch,
        "epochs": history.evaluations,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "seconds": round(history.seconds, 3),
        "per_batch": per_batch(task, labels, predicted, settings.batch_size),
        "provenance": provenance.describe(history.precision, history.attempts),
    }
    fold = seed if protocol == "cv" else None
    write_predictions(out / "predictions.parquet", splits["test"], predicted, provenance.fingerprint, fold)
    if network is not None:
        use = {"classes": dataset.classes, "max_length": task.max_length, "padding": asdict(padding)}
        use |= {"numbers": asdict(objective.numbers)} if objective.numbers else {}
        save_weights(history.best_weights, out / "weights.safetensors", {"network": dict(network), **use, **metrics})
    write_metrics(out, metrics)
    shutil.rmtree(trainer.checkpoints, ignore_errors=True)
    return metrics


def job_network(config: RunConfig, job: Job, outputs: int, length: int) -> dict[str, Any]:
    """The arguments of `models.build_predictor` for the network of a job.

    Args:
        config: the run.
        job: one of `config.jobs()`.
        outputs: as of `TaskDataset.outputs`.
        length: bases of the longest sequence.
    """
    about, training = config.models[job.model], config.training(job).of_protocol(job.protocol)
    return {
        "architecture": about.architecture,
        "settings": config.settings(job.model, job.suite, job.task),
        "kind": config.task(job).kind,
        "outputs": outputs,
        "length": length,
        **about.model_dump(include={"pooling", "head", "frozen"}),
        "pool_padding": training.padding != "masked",
        **training.model_dump(include={"lora"}),
        **config.task(job).model_dump(include={"bin_size"}),
    }


def padding_of(model: nn.Module, settings: Training, rows: LabelledSequences) -> Padding:
    """How batches are padded.

    Args:
        model: its `fixed_length`, where it has one, is the least length of a batch.
        settings: `padding`, decided (`Training.of_protocol`).
        rows: with padding that counts, each batch is as long as the longest sequence, except for labels of bases and
            of bins.

    Returns:
        Length, letter and side.
    """
    style, length = settings.padding, model.fixed_length
    if style != "masked" and rows.kind != "per_base" and not getattr(model, "bin_size", None):
        length = max(length or 0, rows.max_length)
    return Padding(length, counted=style != "masked", left=style == "pooled")


@dataclass
class Supervised:
    """The objective of fine-tuning: cross entropy over classes of sequences or bases, or over independent labels; of
    numbers the squared error or the Poisson deviance.

    Attributes:
        task: its kind, metric and loss.
        settings: batch size, micro-batch and whether strands are drawn.
        seed: of the order of rows and of the strands.
        splits: `train`, `valid` and `test`.
        padding: how batches are padded.
        strands: which strands predictions are the mean over.
        numbers: of a task of numbers, how they are scaled.
    """

    task: Task
    settings: Training
    seed: int
    splits: dict[str, LabelledSequences]
    padding: Padding
    strands: str = "forward"
    numbers: Numbers | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.task.kind == "regression":
            self.numbers = Numbers.of(self.task, labels_of(self.splits["train"]))
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
        if self.numbers:
            batch = replace(batch, targets=self.numbers.scaled(batch.targets))
        if not self.settings.reverse_complement:
            return batch
        tokens = augment_reverse_complement(batch.tokens, data.lengths[rows], self.padding, self.seed, step)
        if self.task.bin_size:  # the first bin of a strand is the last of the other
            is_opposite = opposite_strands(len(rows), self.seed, step)
            return replace(batch, tokens=tokens, targets=torch.where(is_opposite, batch.targets.flip(1), batch.targets))
        return replace(batch, tokens=tokens)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed cross entropy or other loss, in float32."""
        logits = model(batch.tokens).float()
        if self.task.kind == "regression":
            if self.task.loss == "poisson":
                return F.poisson_nll_loss(logits, batch.targets, log_input=True, reduction="sum")
            return F.mse_loss(logits, batch.targets, reduction="sum")
        if self.task.kind == "multilabel":
            return F.binary_cross_entropy_with_logits(logits, batch.targets, reduction="sum")
        return F.cross_entropy(
            logits.flatten(0, -2), batch.targets.flatten(), reduction="sum", ignore_index=IGNORE_INDEX
        )

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The task's metric after an epoch.

        Returns:
            `score`: on the part that chooses the epoch; -inf where it is not a number. `test`: on the test part, for
            the audit alone, where that is another part and the metric is a number.
        """
        valid, test = self.splits["valid"], self.splits["test"]
        parts = {"score": valid} if test is valid else {"score": valid, "test": test}
        results = {"score": -np.inf}
        for name, data in parts.items():
            predicted = predict(model, data, self.padding, self.evaluation_batch, self.strands, self.numbers)
            value = score(self.task, labels_of(data), predicted).get(self.task.metric, np.nan)
            if np.isfinite(value):
                results[name] = float(value)
        return results
