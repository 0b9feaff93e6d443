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
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from convnova.adamw import AdamW
from convnova.batches import Batch
from convnova.checkpoint import load_state, save_state
from convnova.distributed import ALONE, Processes
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.graphs import SAME_SHAPE, Graphs
from convnova.hyperparameters import Training
from convnova.memory import peak_resident
from convnova.progress import log, progress
from convnova.randomness import torch_seed
from convnova.signals import Stopped, signals

LOG_COLUMNS = (
    "step", "epoch", "split", "loss", "lr", "bases", "seconds", "bases_per_second", "memory_mb", "seconds_left"
)  # fmt: skip
LOG_ROWS = 500
LOG_SECONDS = 10.0
"""Between two writings of the log."""
CHECKPOINT_SECONDS = float(os.environ.get("CONVNOVA_CHECKPOINT_SECONDS", "300"))
"""Between two checkpoints of a training."""
CPU_BASES = 16384
"""Bases at once on a CPU: more are no faster."""


class Objective(Protocol):
    """What is trained for: data, loss, and when a model is better."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """What a step reads: a pure function of `step`."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the losses of the batch's targets."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`score`, higher is better, and whatever else the log should have (`loss`)."""


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
    fits: int = sys.maxsize
    """Sequences at once that did fit into memory, where more did not."""


class Interrupted(ConvNovaError):
    """Training was asked to stop; a checkpoint is written and the same command continues from it."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and the scales of norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(step: int, total: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine from `lr` down to `final_lr` of it at the last of `total` steps."""
    warmup = round(settings.warmup * total)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    share = (step - warmup) / max(1, total - 1 - warmup)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * share)) / 2)


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
        Interrupted: SIGTERM or SIGUSR1 came; a checkpoint is written.
    """
    device = next(model.parameters()).device
    groups = parameter_groups(model, settings.weight_decay)
    optimizer = AdamW(groups, betas=(settings.beta1, settings.beta2))
    history = History(**(load_state(checkpoints, model, optimizer) or {}))
    total = settings.epochs * objective.steps_per_epoch
    every = max(1, total // LOG_ROWS)
    losses = torch.zeros(every, device=device)
    losses[: len(history.unlogged)] = torch.tensor(history.unlogged)
    parallel, graphs = processes.parallel(model), Graphs.of(model) if processes.world == 1 else None
    began, saved, logged = time.monotonic() - history.seconds, time.monotonic(), time.monotonic()

    def check() -> None:
        """Stop where a loss since the last row is not finite."""
        _check_finite(losses[: (history.step - 1) % every + 1], history.step, objective, checkpoints)

    def save() -> None:
        if history.step:
            check()
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            raise _diverged("a weight is not finite after", history.step - 1, objective, checkpoints)
        history.unlogged = losses[: history.step % every].tolist()
        if processes.first:
            save_state(checkpoints, history.step, model, optimizer, vars(history))

    def read(step: int) -> tuple[int, Batch]:
        batch = objective.batch(step)
        own = batch.share(processes) if graphs is None else batch.filled(SAME_SHAPE)
        return batch.tokens.numel(), own.to(device)

    def goes_on(leave: Callable[[], AbstractContextManager]) -> bool:
        """Evaluate, where an epoch has ended. Whether training goes on."""
        epoch, place = divmod(history.step, objective.steps_per_epoch)
        if place or len(history.evaluations) == epoch:
            return True
        _evaluate(model, objective, history, settings, processes, leave)
        if processes.first:
            write_log(history, log_file)
        return not _out_of_patience(history, settings)

    with progress(label, total, "steps", history.step) as bar, signals() as asked:
        # among several processes none may leave before the others
        leave = asked.leaving if processes.world == 1 and device.type == "cpu" else nullcontext
        try:
            going = goes_on(leave)
            for bases, batch in ahead(read, range(history.step, total if going else history.step), workers):
                place = (history.step,) if processes.first else (history.step, processes.rank)
                at_once = min(history.fits, sequences_at_once(settings, batch.tokens, device))
                loss, fitted = take_step(
                    parallel, objective, batch, optimizer, learning_rate(history.step, total, settings), settings,
                    at_once, processes, graphs, torch_seed(seed, "dropout", *place), leave,
                )  # fmt: skip
                history.fits = fitted if fitted < at_once else history.fits
                losses[history.step % every] = loss
                history.step += 1
                history.bases += bases
                history.seconds = time.monotonic() - began
                ended = history.step % objective.steps_per_epoch == 0
                if device.type == "cpu" or ended or history.step % every == 0:
                    check()
                if history.step % every == 0:
                    _log_row(history, objective, "train", losses.mean().item(), settings)
                    if processes.first and time.monotonic() - logged > LOG_SECONDS:
                        write_log(history, log_file)
                        logged = time.monotonic()
                bar.update(1, f"loss {history.rows[-1]['loss']:.3f}" if history.rows else "")
                if not goes_on(leave):
                    break
                if processes.any(asked.received):
                    raise Stopped
                if time.monotonic() - saved > checkpoint_seconds:
                    save()
                    saved = time.monotonic()
        except Stopped:
            save()
            raise Interrupted(
                f"{label}: stopped by a signal at step {history.step} of {total}; run it again to continue"
            ) from None
    if not history.best_weights:
        raise ConvNovaError(f"{label}: no epoch had a finite score; lower the learning rate")
    return history


def seed_dropout(seed: int) -> None:
    """What `torch.manual_seed` does, a millisecond sooner: that formats a traceback for every kind of device there is
    not, and keeps it."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def sequences_at_once(settings: Training, tokens: Tensor, device: torch.device) -> int:
    """Sequences of a step whose activations are in memory together, if no less has to do.

    On a CPU large batches go in equal parts, of half of CPU_BASES to all: in less memory, and no slower.
    """
    count, length = tokens.shape
    small = device.type == "cuda" or count * length < CPU_BASES
    parts = 1 if small else max(2, math.ceil(count * length / CPU_BASES))
    return min(count, settings.micro_batch or math.ceil(count / parts))


def take_step(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    optimizer: AdamW,
    rate: float,
    settings: Training,
    at_once: int,
    processes: Processes = ALONE,
    graphs: Graphs | None = None,
    seed: int = 0,
    leave: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[Tensor, int]:
    """One step of the optimizer, its gradient summed over micro-batches of at most `at_once` sequences.

    Where these do not fit into memory, halves are tried until one sequence does not; but not among several processes,
    which would wait for the one that tries again. `seed` is dropout's. While gradients are computed the step can be
    left without a trace, by an exception out of the block that `leave` makes.

    Returns:
        The mean loss over all targets, detached, and how many sequences at once did fit.

    Raises:
        ConvNovaError: not even one sequence fits, or, in one of several processes, not as many as the settings say.
    """
    while True:
        seed_dropout(seed)
        try:
            with leave():
                loss = _accumulate(model, objective, batch, settings, at_once, processes, graphs)
            break
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if processes.world > 1:
                raise ConvNovaError(f"{at_once} sequences at once do not fit; set `micro_batch` below that") from error
        optimizer.zero_grad()
        torch.cuda.empty_cache()
        if at_once == 1:
            raise ConvNovaError(
                f"one sequence of {batch.tokens.shape[1]} bases does not fit into memory in training; "
                "set `checkpointing: true`, or take a shorter length or a narrower model"
            )
        at_once = -(-at_once // 2)
        log(f"out of memory: from here on at most {at_once} sequences at once, with the same result")
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step(rate)
    optimizer.zero_grad()
    return loss, at_once


def _accumulate(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    settings: Training,
    at_once: int,
    processes: Processes,
    graphs: Graphs | None,
) -> Tensor:
    """Leave the gradient of the mean loss over the whole batch's targets in the model; return that loss.

    DistributedDataParallel gives the mean over processes, of which the sum is wanted: hence `world`.
    """
    device = next(model.parameters()).device
    if not model.training:
        model.train()

    def backward(part: Batch, count: int | Tensor) -> Tensor:
        with in_precision(settings, device):
            loss = objective.loss(model, part) * (processes.world * bool(batch.count)) / count
        loss.backward()
        return loss.detach()

    parts, count = list(batch.split(at_once)), max(1, batch.count)
    if graphs is not None and len(parts) == 1 and (loss := graphs.run(backward, batch, count)) is not None:
        return loss
    total = torch.zeros((), device=device)
    for part in parts:
        with processes.unsynchronised(model, part is not parts[-1]):
            total += backward(part, count) / processes.world
    return processes.total(total)


def in_precision(settings: Training, device: torch.device) -> AbstractContextManager:
    """A block in which a model computes in the precision that the settings say, trained or not."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether it came from a GPU's or the CPU's allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


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


def _evaluate(
    model: nn.Module,
    objective: Objective,
    history: History,
    settings: Training,
    processes: Processes,
    leave: Callable[[], AbstractContextManager],
) -> None:
    """Score the model at the end of an epoch and keep its weights if it is the best so far."""
    epoch = history.step // objective.steps_per_epoch
    model.eval()
    with leave(), torch.inference_mode(), in_precision(settings, next(model.parameters()).device):
        result = processes.from_first(lambda: objective.evaluate(model))
    history.evaluations.append({"epoch": epoch, **result})
    _log_row(history, objective, "valid", result.get("loss", math.nan), settings)
    if result["score"] > history.best_score:
        history.best_score, history.best_epoch = result["score"], epoch
        history.best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    log(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in result.items()))


def _out_of_patience(history: History, settings: Training) -> bool:
    epochs = len(history.evaluations) - history.best_epoch
    return settings.patience is not None and epochs >= settings.patience


def _check_finite(losses: Tensor, step: int, objective: Objective, checkpoints: Path) -> None:
    """Of `losses`, those of the steps before `step`, the first that is not finite stops the training."""
    if losses.isfinite().all():
        return
    first = int(losses.isfinite().int().argmin())
    raise _diverged(f"the loss is {losses[first]} at", step - len(losses) + first, objective, checkpoints)


def _diverged(what: str, step: int, objective: Objective, checkpoints: Path) -> ConvNovaError:
    good, rows = max(checkpoints.glob("step-*"), default="none"), objective.batch(step).rows or "unnamed"
    return ConvNovaError(
        f"{what} step {step + 1} (its rows: {rows}; last good checkpoint: {good}); lower the learning rate"
    )


def _log_row(history: History, objective: Objective, split: str, loss: float, settings: Training) -> None:
    on_gpu = torch.cuda.is_available()
    memory = torch.cuda.max_memory_allocated() if on_gpu else peak_resident()
    total = settings.epochs * objective.steps_per_epoch
    rate = learning_rate(history.step - 1, total, settings)
    speed = history.bases / max(history.seconds, 1e-9)
    left = (total - history.step) * history.seconds / history.step
    epoch = history.step / objective.steps_per_epoch
    values = (history.step, epoch, split, loss, rate, history.bases, history.seconds, speed, memory / 1e6, left)
    history.rows.append(dict(zip(LOG_COLUMNS, values, strict=True)))


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
