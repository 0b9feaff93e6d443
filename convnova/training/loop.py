"""The one training loop: pretraining, fine-tuning and baselines differ in data, loss and head only.

Everything a step does follows from the seed and the number of the step, so a run that was stopped and continued
ends with the same weights, bit for bit, as one that was not (on CPU with the same number of threads).
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.log import log, progress
from convnova.randomness import torch_seed
from convnova.training.checkpoint import load_state, save_state
from convnova.training.cuda_graphs import SHAPE_MULTIPLE, Graphs
from convnova.training.devices import peak_resident
from convnova.training.distributed import ALONE, Processes
from convnova.training.optimization import (
    AdamW,
    Objective,
    compile_in_place,
    in_precision,
    learning_rate,
    parameter_groups,
    sequences_at_once,
    training_step,
)
from convnova.training.signals import Stopped, signals

LOG_COLUMNS = (
    "step", "epoch", "split", "loss", "lr", "bases", "seconds", "bases_per_second", "memory_mb", "seconds_left"
)  # fmt: skip
LOG_ROWS = 500
LOG_SECONDS = 10.0
"""Between two writings of the log."""
CHECKPOINT_SECONDS = float(os.environ.get("CONVNOVA_CHECKPOINT_SECONDS", "300"))
"""Between two checkpoints of a training."""


@dataclass
class History:
    """What a training leaves behind besides the model."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    bases: int = 0
    seconds: float = 0.0
    unlogged: list[float] = field(default_factory=list)
    """Losses of the steps since the last row."""
    max_sequences_in_memory: int = sys.maxsize
    """Sequences at once that did fit into memory, where more did not."""


class Interrupted(ConvNovaError):
    """Training was asked to stop; a checkpoint is written and the same command continues from it."""


def train(
    model: nn.Module,
    objective: Objective,
    settings: Training,
    seed: int,
    label: str,
    log_file: Path,
    checkpoints: Path,
    workers: int = 1,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    processes: Processes = ALONE,
) -> History:
    """Train `model` in place, from the newest checkpoint if there is one.

    Args:
        label: what the progress bar says.
        log_file: CSV with a row every so many steps and one an evaluation.
        checkpoints: folder for the state of training under way, written every `checkpoint_seconds` and on a signal.
        workers: threads that make batches ahead; the batches do not depend on it.
        processes: those that share the work of each step; the first one evaluates and writes.

    Returns:
        The history; `best_weights` are those of the epoch with the best score.

    Raises:
        ConvNovaError: a loss or a weight is not finite, or no score is.
        Interrupted: SIGTERM, SIGUSR1 or SIGINT (Ctrl-C) came; a checkpoint is written.
    """
    return _Loop(model, objective, settings, seed, label, log_file, checkpoints, processes).run(
        workers, checkpoint_seconds
    )


@dataclass
class _Loop:
    """A training under way."""

    model: nn.Module
    objective: Objective
    settings: Training
    seed: int
    label: str
    log_file: Path
    checkpoints: Path
    processes: Processes

    def __post_init__(self) -> None:
        model, settings, processes = self.model, self.settings, self.processes
        self.device = next(model.parameters()).device
        groups = parameter_groups(model, settings.weight_decay)
        self.optimizer = AdamW(groups, betas=(settings.beta1, settings.beta2))
        self.history = History(**(load_state(self.checkpoints, model, self.optimizer) or {}))
        self.total = settings.epochs * self.objective.steps_per_epoch
        self.every = max(1, self.total // LOG_ROWS)
        self.losses = torch.zeros(self.every, device=self.device)
        self.losses[: len(self.history.unlogged)] = torch.tensor(self.history.unlogged)
        if settings.compile:
            compile_in_place(model)
        replayed = processes.world == 1 and not settings.compile
        self.parallel, self.graphs = processes.parallel(model), Graphs.of(model) if replayed else None
        self.began, self.written = time.monotonic() - self.history.seconds, time.monotonic()

    def run(self, workers: int, checkpoint_seconds: float) -> History:
        """All steps that are left."""
        history, saved = self.history, time.monotonic()
        with progress(self.label, self.total, "steps", history.step) as bar, signals() as asked:
            # among several processes none may leave before the others, and nothing may while it compiles
            alone = self.processes.world == 1 and self.device.type == "cpu" and not self.settings.compile
            leave = asked.leaving if alone else nullcontext
            try:
                left = range(history.step, self.total if self._goes_on(leave) else history.step)
                for bases, batch in ahead(self._read, left, workers):
                    self._step(batch, bases, leave)
                    bar.update(1, f"loss {history.rows[-1]['loss']:.3f}" if history.rows else "")
                    if not self._goes_on(leave):
                        break
                    if self.processes.any(asked.received):
                        raise Stopped
                    if time.monotonic() - saved > checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
            except Stopped:
                self._save()
                place = f"step {history.step} of {self.total}"
                raise Interrupted(f"{self.label}: stopped by a signal at {place}; run it again to continue") from None
        if not history.best_weights:
            raise ConvNovaError(f"{self.label}: no epoch had a finite score; lower the learning rate")
        return history

    def _read(self, step: int) -> tuple[int, Batch]:
        """The bases of a step, and what of them this process takes."""
        batch = self.objective.batch(step)
        own = (
            batch.rows_for_rank(self.processes.rank, self.processes.world)
            if self.graphs is None
            else batch.pad_targets_to_multiple(SHAPE_MULTIPLE)
        )
        return batch.tokens.numel(), own.to(self.device)

    def _step(self, batch: Batch, bases: int, leave: Callable[[], AbstractContextManager]) -> None:
        history, settings = self.history, self.settings
        place = (history.step,) if self.processes.first else (history.step, self.processes.rank)
        at_once = min(history.max_sequences_in_memory, sequences_at_once(settings, batch.tokens, self.device))
        loss, fitted = training_step(
            self.parallel, self.objective, batch, self.optimizer, learning_rate(history.step, self.total, settings),
            settings, at_once, self.processes, self.graphs, torch_seed(self.seed, "dropout", *place), leave,
        )  # fmt: skip
        history.max_sequences_in_memory = fitted if fitted < at_once else history.max_sequences_in_memory
        self.losses[history.step % self.every] = loss
        history.step += 1
        history.bases += bases
        history.seconds = time.monotonic() - self.began
        row, epoch = history.step % self.every == 0, history.step % self.objective.steps_per_epoch == 0
        if row or epoch or self.device.type == "cpu":  # a GPU is not waited for every step
            self._check_losses()
        if row:
            self._log("train", self.losses.mean().item())

    def _goes_on(self, leave: Callable[[], AbstractContextManager]) -> bool:
        """Where an epoch has ended, score the model and keep its weights if it is the best so far.

        Returns:
            False after as many epochs without a better one as the settings allow.
        """
        history = self.history
        epoch, place = divmod(history.step, self.objective.steps_per_epoch)
        if place or len(history.evaluations) == epoch:
            return True
        self.model.eval()
        with leave(), torch.inference_mode(), in_precision(self.settings, self.device):
            result = self.processes.from_first(lambda: self.objective.evaluate(self.model))
        history.evaluations.append({"epoch": epoch, **result})
        if result["score"] > history.best_score:
            history.best_score, history.best_epoch = result["score"], epoch
            history.best_weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in result.items()))
        self.written = -math.inf
        self._log("valid", result.get("loss", math.nan))
        return self.settings.patience is None or epoch - history.best_epoch < self.settings.patience

    def _log(self, split: str, loss: float) -> None:
        """Add a row to the log, and write it if that was not done lately."""
        history = self.history
        memory = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else peak_resident()
        values = (
            history.step, history.step / self.objective.steps_per_epoch, split, loss,
            learning_rate(history.step - 1, self.total, self.settings), history.bases, history.seconds,
            history.bases / max(history.seconds, 1e-9), memory / 1e6,
            (self.total - history.step) * history.seconds / history.step,
        )  # fmt: skip
        history.rows.append(dict(zip(LOG_COLUMNS, values, strict=True)))
        if self.processes.first and time.monotonic() - self.written > LOG_SECONDS:
            write_log(history, self.log_file)
            self.written = time.monotonic()

    def _save(self) -> None:
        """Write a checkpoint, unless what would be in it is spoilt."""
        if self.history.step:
            self._check_losses()
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise self._diverged("a weight is not finite after", self.history.step - 1)
        self.history.unlogged = self.losses[: self.history.step % self.every].tolist()
        if self.processes.first:
            save_state(self.checkpoints, self.history.step, self.model, self.optimizer, vars(self.history))

    def _check_losses(self) -> None:
        """The first loss since the last row that is not finite stops the training."""
        losses = self.losses[: (self.history.step - 1) % self.every + 1]
        if not losses.isfinite().all():
            first = int(losses.isfinite().int().argmin())
            raise self._diverged(f"the loss is {losses[first]} at", self.history.step - len(losses) + first)

    def _diverged(self, what: str, step: int) -> ConvNovaError:
        good = max(self.checkpoints.glob("step-*"), default="none")
        rows = self.objective.batch(step).rows or "unnamed"
        return ConvNovaError(
            f"{what} step {step + 1} (its rows: {rows}; last good checkpoint: {good}); lower the learning rate"
        )


def ahead(make: Callable[[int], Any], steps: range, workers: int) -> Iterator[Any]:
    """Yield `make(step)` for each step in order, made by threads before they are needed."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = []
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def write_log(history: History, path: Path) -> None:
    """Write the CSV log: one row every so many steps, and one an evaluation."""
    lines = [",".join(LOG_COLUMNS)]
    for row in history.rows:
        lines.append(",".join(_cell(value) for value in row.values()))
    write_text(path, "\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"
