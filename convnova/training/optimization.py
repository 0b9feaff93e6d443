"""One step of training: gradients over micro-batches, clipping, and the optimizer."""

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.errors import ConvNovaError
from convnova.log import log
from convnova.training.cuda_graphs import Graphs
from convnova.training.distributed import ALONE, Processes

CPU_BASES = 8192
"""Bases at once on a CPU: more are no faster."""


EPS = 1e-8


class AdamW:
    """Adam with decoupled weight decay, in groups of parameters that differ in their decay.

    Args:
        groups: mappings with `params` and `weight_decay`.
        betas: decay of the running means of the gradient and of its square.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float]):
        self.groups, self.betas, self.steps = list(groups), betas, 0
        self.means = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self._parameters()]
        self.squares = [torch.zeros_like(mean) for mean in self.means]

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.groups for parameter in group["params"]]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every parameter that has a gradient."""
        self.steps += 1
        state = iter(zip(self.means, self.squares, strict=True))
        for group in self.groups:
            rows = [(p, p.grad, *next(state)) for p in group["params"]]
            rows = [row for row in rows if row[1] is not None]
            if rows:
                before = list(torch.full((len(rows),), float(self.steps - 1)).unbind())
                parameters, gradients, means, squares = (list(column) for column in zip(*rows, strict=True))
                adamw(
                    parameters, gradients, means, squares, [], before,
                    amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=lr,
                    weight_decay=group["weight_decay"], eps=EPS, maximize=False, foreach=True,
                )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on exactly."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.steps = state["steps"]
        for own, saved in zip([*self.means, *self.squares], [*state["means"], *state["squares"]], strict=True):
            own.copy_(saved)


class Objective(Protocol):
    """What is trained for: data, loss, and when a model is better."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """What a step reads: a pure function of `step`."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the losses of the batch's targets."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`score`, higher is better, and whatever else the log should have (`loss`)."""


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
    parts = 1 if small else max(2, math.ceil(count / max(1, CPU_BASES // length)))
    return min(count, settings.micro_batch or math.ceil(count / parts))


def in_precision(settings: Training, device: torch.device) -> AbstractContextManager:
    """A block in which a model computes in the precision that the settings say, trained or not."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def compile_in_place(model: nn.Module) -> None:
    """Have calls of `model` compiled by `torch.compile`; its parts, and the names of its weights, stay as they are.

    Kernels are made for each shape of batch, so that results do not depend on which came first; PyTorch stops after
    eight shapes and computes others without.

    Raises:
        ConvNovaError: a model on a CPU, and no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if next(model.parameters()).device.type == "cpu" and shutil.which(compiler.split()[0]) is None:
        raise ConvNovaError(
            f"compile = true: expected a C++ compiler, found no {compiler}; install it or leave this out"
        )
    model.compile(dynamic=False)


def training_step(
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
        except (RuntimeError, MemoryError) as error:
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


def _out_of_memory(error: Exception) -> bool:
    """Whether it came from an allocator: a GPU's, the CPU's, or that of oneDNN, which cannot make a primitive then."""
    told = ("DefaultCPUAllocator", "bad_alloc", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)
