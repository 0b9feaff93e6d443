"""The one training loop: pretraining, fine-tuning and baselines differ in data, loss and head only.

Everything a step does follows from the seed and the number of the step. So a run that was stopped and continued ends
with the same weights, bit for bit, as one that was not (on a CPU with the same number of threads).
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
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
    StepPlan,
    compile_in_place,
    in_precision,
    learning_rate,
    parameter_groups,
    sequences_at_once,
    training_step,
)
from convnova.training.signals import SignalState, Stopped, catch_signals

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
    """What a training leaves besides the model; a checkpoint holds it.

    Attributes:
        rows: of the log, a mapping of LOG_COLUMNS each.
        evaluations: `epoch` and the results of `Objective.evaluate`, one an epoch.
        best_epoch: the epoch with the best score, from 1.
        best_score: its score.
        best_weights: the model's weights after it.
        step: steps taken.
        bases: read so far.
        seconds: trained so far, over all parts of a training that was stopped.
        unlogged: losses of the steps since the last row.
        max_sequences_in_memory: sequences at once that did fit into memory, where more did not.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    bases: int = 0
    seconds: float = 0.0
    unlogged: list[float] = field(default_factory=list)
    max_sequences_in_memory: int = sys.maxsize


class Interrupted(ConvNovaError):
    """A signal stopped the training; a checkpoint is written, and the same command continues from it."""


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
        model: on the device to train on.
        objective: data, loss and score.
        settings: hyperparameters.
        seed: of dropout.
        label: shown in the progress bar and in messages.
        log_file: CSV with a row every so many steps and one an evaluation.
        checkpoints: folder for the state of the training, written every `checkpoint_seconds` and on a signal.
        workers: threads that make batches ahead; the batches do not depend on their number.
        checkpoint_seconds: between two checkpoints.
        processes: those that share the work of each step; the first one evaluates and writes.

    Returns:
        The history; `best_weights` are those of the epoch with the best score.

    Raises:
        ConvNovaError: a loss or a weight is not finite, or no score is.
        Interrupted: SIGTERM, SIGUSR1 or SIGINT (Ctrl-C) came; a checkpoint is written.
    """
    trainer = Trainer(model, objective, settings, seed, label, log_file, checkpoints, processes)
    return trainer.run(workers, checkpoint_seconds)


@dataclass
class Trainer:
    """A training under way; the fields are arguments of `train`."""

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
        self.steps_per_row = max(1, self.total // LOG_ROWS)
        self.losses = torch.zeros(self.steps_per_row, device=self.device)
        self.losses[: len(self.history.unlogged)] = torch.tensor(self.history.unlogged)
        if settings.compile:
            compile_in_place(model)
        self.parallel_model = processes.data_parallel(model)
        self.graphs = None if processes.world > 1 or settings.compile else Graphs.of(model)
        self.interruptible: Callable = nullcontext
        self.started, self.log_written = time.monotonic() - self.history.seconds, time.monotonic()

    def run(self, workers: int, checkpoint_seconds: float) -> History:
        """Take all steps that are left; arguments and errors are those of `train`."""
        history = self.history
        with progress(self.label, self.total, "steps", history.step) as bar, catch_signals() as signal_state:
            # Several processes must stop at the same step, and neither the compiler nor a GPU may be interrupted.
            if self.processes.world == 1 and self.device.type == "cpu" and not self.settings.compile:
                self.interruptible = signal_state.interruptible
            try:
                self._steps(bar, signal_state, workers, checkpoint_seconds)
            except Stopped:
                self._save()
                place = f"step {history.step} of {self.total}"
                raise Interrupted(f"{self.label}: stopped by a signal at {place}; run it again to continue") from None
        if not history.best_weights:
            raise ConvNovaError(f"{self.label}: no epoch had a finite score; lower the learning rate")
        return history

    def _steps(self, bar: Any, signal_state: SignalState, workers: int, checkpoint_seconds: float) -> None:
        history, saved = self.history, time.monotonic()
        if self._end_of_epoch():  # a checkpoint may lie between an epoch's last step and its evaluation
            return
        for bases, batch in ahead(self._read, range(history.step, self.total), workers):
            self._step(batch, bases)
            bar.update(1, f"loss {history.rows[-1]['loss']:.3f}" if history.rows else "")
            if self._end_of_epoch():
                return
            if self.processes.any(signal_state.received):
                raise Stopped
            if time.monotonic() - saved > checkpoint_seconds:
                self._save()
                saved = time.monotonic()

    def _read(self, step: int) -> tuple[int, Batch]:
        """The number of bases of a step, and this process's rows of it."""
        batch = self.objective.batch(step)
        if self.graphs is None:
            rows = batch.rows_for_rank(self.processes.rank, self.processes.world)
        else:
            rows = batch.pad_targets_to_multiple(SHAPE_MULTIPLE)
        return batch.tokens.numel(), rows.to(self.device)

    def _step(self, batch: Batch, bases: int) -> None:
        history = self.history
        stream = (history.step,) if self.processes.first else (history.step, self.processes.rank)
        plan = StepPlan(
            self.settings,
            learning_rate(history.step, self.total, self.settings),
            min(history.max_sequences_in_memory, sequences_at_once(self.settings, batch.tokens, self.device)),
            torch_seed(self.seed, "dropout", *stream),
            self.processes,
            self.graphs,
            self.interruptible,
        )
        loss, fitted = training_step(self.parallel_model, self.objective, batch, self.optimizer, plan)
        if fitted < plan.max_sequences:
            history.max_sequences_in_memory = fitted
        self.losses[history.step % self.steps_per_row] = loss
        history.step += 1
        history.bases += bases
        history.seconds = time.monotonic() - self.started
        row, epoch = history.step % self.steps_per_row == 0, history.step % self.objective.steps_per_epoch == 0
        if row or epoch or self.device.type == "cpu":  # reading a loss waits for a GPU, so not every step
            self._check_losses()
        if row:
            self._log("train", self.losses.mean().item())

    def _end_of_epoch(self) -> bool:
        """Where an epoch has ended, score the model and keep its weights if they are the best so far.

        Returns:
            Whether to end the training early: as many epochs as `patience` allows were no better.
        """
        history = self.history
        epoch, steps_beyond = divmod(history.step, self.objective.steps_per_epoch)
        if steps_beyond or len(history.evaluations) == epoch:
            return False
        self.model.eval()
        with self.interruptible(), torch.inference_mode(), in_precision(self.settings, self.device):
            result = self.processes.from_first(lambda: self.objective.evaluate(self.model))
        history.evaluations.append({"epoch": epoch, **result})
        if result["score"] > history.best_score:
            history.best_score, history.best_epoch = result["score"], epoch
            history.best_weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in result.items()))
        self.log_written = -math.inf
        self._log("valid", result.get("loss", math.nan))
        return self.settings.patience is not None and epoch - history.best_epoch >= self.settings.patience

    def _log(self, split: str, loss: float) -> None:
        """Add a row to the log, and write the log if the last writing is long ago."""
        history = self.history
        memory = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else peak_resident()
        values = (
            history.step, history.step / self.objective.steps_per_epoch, split, loss,
            learning_rate(history.step - 1, self.total, self.settings), history.bases, history.seconds,
            history.bases / max(history.seconds, 1e-9), memory / 1e6,
            (self.total - history.step) * history.seconds / history.step,
        )  # fmt: skip
        history.rows.append(dict(zip(LOG_COLUMNS, values, strict=True)))
        if self.processes.first and time.monotonic() - self.log_written > LOG_SECONDS:
            write_log(history, self.log_file)
            self.log_written = time.monotonic()

    def _save(self) -> None:
        """Write a checkpoint, unless a loss or a weight is not finite."""
        if self.history.step:
            self._check_losses()
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise self._diverged("a weight is not finite after", self.history.step - 1)
        self.history.unlogged = self.losses[: self.history.step % self.steps_per_row].tolist()
        if self.processes.first:
            save_state(self.checkpoints, self.history.step, self.model, self.optimizer, vars(self.history))

    def _check_losses(self) -> None:
        """Stop the training at the first loss since the last row that is not finite."""
        losses = self.losses[: (self.history.step - 1) % self.steps_per_row + 1]
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
    """Results of `make`, made by threads before they are needed.

    Args:
        make: called with each step.
        steps: in this order.
        workers: number of threads; up to twice as many results wait.

    Yields:
        `make(step)` for each step, in order.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: deque[Future] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def write_log(history: History, path: Path) -> None:
    """Write the CSV log: one row every so many steps, and one an evaluation."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return "" if math.isnan(value) else f"{value:.6g}"

    rows = [",".join(cell(value) for value in row.values()) for row in history.rows]
    write_text(path, "\n".join([",".join(LOG_COLUMNS), *rows]) + "\n")
