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
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.log import log, progress
from convnova.randomness import torch_seed
from convnova.training import optimization
from convnova.training.average import exchange, update_average
from convnova.training.checkpoint import load_state, save_state
from convnova.training.cuda_graphs import SHAPE_MULTIPLE, Graphs
from convnova.training.devices import peak_resident
from convnova.training.distributed import ALONE, Processes
from convnova.training.signals import SignalState, Stopped, catch_signals

LOG_ROWS = 500
LOG_SECONDS = 10.0
"""Between two writings of the log."""
CHECKPOINT_SECONDS = float(os.environ.get("CONVNOVA_CHECKPOINT_SECONDS", "300"))
"""Between two checkpoints of a training."""
ALLOCATION_ERRORS = ("DefaultCPUAllocator", "bad_alloc", "could not create a primitive")
"""Words of a RuntimeError that means too little memory: of the CPU's allocator, C++, and oneDNN."""


class Objective(Protocol):
    """What a model is trained for: data, loss, and a score that chooses the epoch.

    Attributes:
        steps_per_epoch: steps between two evaluations.
        batch: the batch of a step, a pure function of its number.
        loss: the sum of the losses of a batch's targets.
        evaluate: `score`, higher is better, and whatever else the log should have, such as `loss`.
    """

    steps_per_epoch: int
    batch: Callable[[int], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module], dict[str, float]]


@dataclass
class History:
    """What a training leaves besides the model; a checkpoint holds it.

    Attributes:
        rows: of the log, each from column to value.
        evaluations: `epoch` and the results of `Objective.evaluate`, one an epoch.
        best_epoch: the epoch with the best score, from 1.
        best_score: its score.
        best_weights: the model's weights after it, or their average.
        average: of the weights so far, with `average_epochs`.
        step: steps taken.
        bases: read so far.
        seconds: trained so far, over all parts of a training that was stopped.
        unlogged: losses of the steps since the last row.
        max_sequences_in_memory: sequences at once that did fit into memory, where more did not.
        precision: `float32` or `bfloat16`, in which the training began and goes on.
        attempts: `threads` and `seconds` of each process that took part, in order, without what it did after its last
            checkpoint.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    bases: int = 0
    seconds: float = 0.0
    unlogged: list[float] = field(default_factory=list)
    max_sequences_in_memory: int = sys.maxsize
    precision: str = ""
    attempts: list[dict[str, float]] = field(default_factory=list)


class Interrupted(ConvNovaError):
    """A signal stopped the training; a checkpoint is written, and the same command continues from it."""


@dataclass
class Trainer:
    """A training, from the newest checkpoint if there is one; `run` takes its steps.

    Attributes:
        model: trained in place, on its device.
        objective: data, loss and score.
        settings: hyperparameters.
        seed: of dropout.
        label: shown in the progress bar and in messages.
        out: folder for `log.csv`, which has a row every so many steps and one an evaluation.
        checkpoints: folder for the state of the training, written every `checkpoint_seconds` and on a signal; default:
            below `out`.
        checkpoint_seconds: between two checkpoints.
        processes: those that share the work of each step; the first one evaluates and writes.
    """

    model: nn.Module
    objective: Objective
    settings: Training
    seed: int
    label: str
    out: Path
    checkpoints: Path | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        model, settings, processes = self.model, self.settings, self.processes
        self.checkpoints = self.checkpoints or self.out / "checkpoints"
        self.device = next(model.parameters()).device
        model.train()  # all parts: a network of transformers begins without dropout, a frozen one with it
        self.optimizer = optimization.AdamW(model, settings)
        self.history = History(**(load_state(self.checkpoints, model, self.optimizer) or {}))
        self.history.average = {name: tensor.to(self.device) for name, tensor in self.history.average.items()}
        precision = optimization.resolve_precision(settings.precision, self.device)
        self.history.precision = self.history.precision or precision  # a training goes on as it began
        self.autocast = optimization.in_precision(self.history.precision, self.device)
        self.optimizer.fused = self.history.precision == "bfloat16" and self.device.type == "cpu"
        threads, before = torch.get_num_threads(), {attempt["threads"] for attempt in self.history.attempts}
        if before - {threads} and self.device.type == "cpu":
            used = ", ".join(map(str, sorted(before)))
            log(f"continuing with {threads} threads a training with {used}: the result may differ in rounding")
        self.history.attempts.append({"threads": threads, "seconds": 0.0})
        self.total = settings.epochs * self.objective.steps_per_epoch
        self.steps_per_row = max(1, self.total // LOG_ROWS)
        self.losses = torch.zeros(self.steps_per_row, device=self.device)
        self.losses[: len(self.history.unlogged)] = torch.tensor(self.history.unlogged)
        if settings.compile:
            optimization.compile_in_place(model)
        self.parallel_model, self.graphs = model, None
        if processes.world > 1:  # the backward pass averages gradients over processes
            self.parallel_model = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
        elif not settings.compile:
            self.graphs = Graphs.of(model)
        self.interruptible: Callable = nullcontext
        self.began = self.log_written = time.monotonic()
        self.seconds_before = self.history.seconds

    def run(self) -> History:
        """Take all steps that are left.

        Returns:
            The history; `best_weights` are those of the epoch with the best score.

        Raises:
            ConvNovaError: a loss or a weight is not finite, or no score is.
            Interrupted: SIGTERM, SIGUSR1 or SIGINT (Ctrl-C) came; a checkpoint is written.
        """
        history = self.history
        log(f"computing in {history.precision}")
        with progress(self.label, self.total, "steps", history.step) as bar, catch_signals() as signal_state:
            # Several processes must stop at the same step, and neither the compiler nor a GPU may be interrupted.
            if self.processes.world == 1 and self.device.type == "cpu" and not self.settings.compile:
                self.interruptible = signal_state.interruptible
            try:
                self._steps(bar, signal_state)
            except Stopped:
                self._save()
                place = f"step {history.step} of {self.total}"
                raise Interrupted(f"{self.label}: stopped by a signal at {place}; run it again to continue") from None
        if not history.best_weights:
            advice = "see that the rows that choose it are enough, and not of one label"
            raise ConvNovaError(f"{self.label}: no epoch had a finite score; {advice}")
        if self.processes.first:
            self._write_log()
        return history

    def _steps(self, bar: Any, signal_state: SignalState) -> None:
        history, saved = self.history, time.monotonic()
        if self._end_of_epoch():  # a checkpoint may lie between an epoch's last step and its evaluation
            return
        for bases, batch in ahead(self._read, range(history.step, self.total)):
            self.step(batch, bases)
            trained = (f"loss {row['loss']:.3f}" for row in reversed(history.rows) if row["split"] == "train")
            bar.update(1, next(trained, ""))
            if self._end_of_epoch():
                return
            if self.processes.sum(torch.tensor(int(signal_state.received))):  # all of them stop, or none
                raise Stopped
            if time.monotonic() - saved > self.checkpoint_seconds:
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

    def step(self, batch: Batch, bases: int) -> None:
        """Take one step: gradients, clipping and the optimizer; note the loss.

        Args:
            batch: the rows of this process, on the model's device.
            bases: of the batch, over all processes.

        Raises:
            ConvNovaError: too little memory, or a loss that is not finite.
        """
        history = self.history
        loss = self._gradient_in_memory(batch)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step(optimization.learning_rate(history.step, self.total, self.settings))
        self.losses[history.step % self.steps_per_row] = loss
        history.step += 1
        if self.settings.average_epochs is not None:
            memory = self.settings.average_epochs * self.objective.steps_per_epoch
            update_average(history.average, self.model, history.step, memory)
        history.bases += bases
        history.attempts[-1]["seconds"] = seconds = time.monotonic() - self.began
        history.seconds = self.seconds_before + seconds
        row, epoch = history.step % self.steps_per_row == 0, history.step % self.objective.steps_per_epoch == 0
        if row or epoch or self.device.type == "cpu":  # reading a loss waits for a GPU, so not every step
            self._check_losses()
        if row:
            self._log("train", self.losses.mean().item())

    def _gradient_in_memory(self, batch: Batch) -> Tensor:
        """Leave the gradient in the model and return the loss; where memory is short, with fewer sequences at once.

        Several processes do not try again: the others would wait for the one that does.
        """
        history, model = self.history, self.parallel_model
        rank = () if self.processes.first else (self.processes.rank,)
        dropout_seed = torch_seed(self.seed, "dropout", history.step, *rank)
        at_once = optimization.sequences_at_once(self.settings, batch.tokens, self.device, history.precision)
        at_once = min(at_once, history.max_sequences_in_memory)
        buffers = [buffer.clone() for buffer in self.model.buffers()]  # batch norm's change with what is read
        while True:
            # torch.manual_seed does the same in 0.2 ms: it formats a traceback for each kind of device that is missing
            torch.default_generator.manual_seed(dropout_seed)
            if batch.tokens.is_cuda:
                torch.cuda.manual_seed(dropout_seed)
            try:
                with self.interruptible():  # an exception here leaves weights and optimizer unchanged
                    return self._gradient(batch, at_once)
            except BaseException as error:
                for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                    buffer.copy_(before)
                if not isinstance(error, RuntimeError | MemoryError):
                    raise
                out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
                if not out_of_memory and not any(words in str(error) for words in ALLOCATION_ERRORS):
                    raise
                if self.processes.world > 1:
                    raise ConvNovaError(f"{at_once} sequences at once do not fit; lower `micro_batch`") from error
            model.zero_grad()
            torch.cuda.empty_cache()
            if at_once == 1:
                raise ConvNovaError(
                    f"one sequence of {batch.tokens.shape[1]} bases does not fit into memory in training; "
                    "set `checkpointing: true`, or take a shorter length or a narrower model"
                )
            at_once = history.max_sequences_in_memory = -(-at_once // 2)
            log(f"out of memory: from here on at most {at_once} sequences at once, with the same result")

    def _gradient(self, batch: Batch, at_once: int) -> Tensor:
        """Leave the gradient of the mean loss over the whole batch's targets in the model; return that loss."""
        model, world = self.parallel_model, self.processes.world
        if not self.model.training:  # since the evaluation; the parallel model's own flag does not say so
            self.model.train()

        def backward(part: Batch, count: int | Tensor) -> Tensor:
            # DistributedDataParallel gives the mean over processes, and the sum is wanted: hence `world`.
            # A batch without targets (count 0) takes part in the communication with a loss of 0.
            scale = world if batch.count else 0
            with self.autocast:
                loss = self.objective.loss(model, part) * scale / count
            loss.backward()
            return loss.detach()

        parts, count = list(batch.split(at_once)), max(1, batch.count)
        if self.graphs is not None and len(parts) == 1:
            loss = self.graphs.run(backward, batch, count)
            if loss is not None:
                return loss
        total = torch.zeros((), device=self.device)
        for part in parts:
            # only the last backward pass sums the gradients over processes
            last = world == 1 or part is parts[-1]
            with nullcontext() if last else model.no_sync():
                total += backward(part, count) / world
        return self.processes.sum(total)

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
        exchange(self.model, history.average)
        try:
            with self.interruptible(), torch.inference_mode(), self.autocast:
                result = self.processes.from_first(lambda: self.objective.evaluate(self.model))
            history.evaluations.append({"epoch": epoch, **result})
            if result["score"] > history.best_score:
                history.best_score, history.best_epoch = result["score"], epoch
                history.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        finally:
            exchange(self.model, history.average)
        log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in result.items()))
        self.log_written = -math.inf
        self._log("valid", result.get("loss", math.nan))
        return self.settings.patience is not None and epoch - history.best_epoch >= self.settings.patience

    def _log(self, split: str, loss: float) -> None:
        """Add a row to the log, and write the log if the last writing is long ago."""
        history = self.history
        memory = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else peak_resident()
        history.rows.append({
            "step": history.step, "epoch": history.step / self.objective.steps_per_epoch, "split": split, "loss": loss,
            "lr": optimization.learning_rate(history.step - 1, self.total, self.settings), "bases": history.bases,
            "seconds": history.seconds, "bases_per_second": history.bases / max(history.seconds, 1e-9),
            "memory_mb": memory / 1e6, "seconds_left": (self.total - history.step) * history.seconds / history.step,
        })  # fmt: skip
        if self.processes.first and time.monotonic() - self.log_written > LOG_SECONDS:
            self._write_log()

    def _write_log(self) -> None:
        def cell(value: Any) -> str:
            if not isinstance(value, float):
                return str(value)
            return "" if math.isnan(value) else f"{value:.6g}"

        rows = self.history.rows
        lines = [rows[0], *([cell(value) for value in row.values()] for row in rows)]
        write_text(self.out / "log.csv", "".join(",".join(line) + "\n" for line in lines))
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


def ahead(make: Callable[[int], Any], steps: range) -> Iterator[Any]:
    """Yield `make(step)` for each step, in order, made by a thread up to two steps before it is needed."""
    with ThreadPoolExecutor(1) as pool:
        futures = (pool.submit(make, step) for step in steps)
        waiting = deque(islice(futures, 2))
        try:
            while waiting:
                waiting.extend(islice(futures, 1))
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
