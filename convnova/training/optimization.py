"""One step of training: gradients over micro-batches, clipping, and the optimizer."""

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
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
"""Bases computed together on a CPU; more are no faster."""
EPS = 1e-8
"""Adam's term for numerical stability, as in PyTorch."""
ALLOCATION_ERRORS = ("DefaultCPUAllocator", "bad_alloc", "could not create a primitive")
"""Words of a RuntimeError that means too little memory: of the CPU's allocator, C++, and oneDNN."""


class AdamW:
    """Adam with decoupled weight decay, in groups of parameters that differ in their decay.

    The update is `torch.optim`'s own function. The class `torch.optim.AdamW` gives the same bits, but it imports
    torch._dynamo, which takes 0.9 s: as long as many of the small jobs train.

    Args:
        groups: mappings with `params` and `weight_decay`.
        betas: decay of the running means of the gradient and of its square.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float]):
        self.groups, self.betas, self.steps = list(groups), betas, 0
        self.parameters = [parameter for group in self.groups for parameter in group["params"]]
        self.means = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self.parameters]
        self.squares = [torch.zeros_like(mean) for mean in self.means]

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for parameter in self.parameters:
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
                steps_before = list(torch.full((len(rows),), float(self.steps - 1)).unbind())
                parameters, gradients, means, squares = (list(column) for column in zip(*rows, strict=True))
                adamw(
                    parameters, gradients, means, squares, [], steps_before,
                    amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=lr,
                    weight_decay=group["weight_decay"], eps=EPS, maximize=False, foreach=True,
                )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """The state from which `load_state_dict` continues exactly."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of `state_dict`."""
        self.steps = state["steps"]
        for tensor, saved in zip([*self.means, *self.squares], [*state["means"], *state["squares"]], strict=True):
            tensor.copy_(saved)


class Objective(Protocol):
    """What a model is trained for: data, loss, and a score that chooses the epoch."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """The batch of a step: a pure function of `step`."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the losses of the batch's targets."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`score`, higher is better, and whatever else the log should have, such as `loss`."""


@dataclass(frozen=True)
class StepPlan:
    """How one step is taken.

    Attributes:
        settings: precision and clipping.
        learning_rate: of this step.
        max_sequences: sequences whose activations are in memory together (a micro-batch).
        dropout_seed: seed of dropout.
        processes: those that share the step.
        graphs: recorded CUDA graphs, where steps are replayed.
        interruptible: makes a block in which an exception may end the step; weights and optimizer are then unchanged.
    """

    settings: Training
    learning_rate: float
    max_sequences: int
    dropout_seed: int = 0
    processes: Processes = ALONE
    graphs: Graphs | None = None
    interruptible: Callable[[], AbstractContextManager] = nullcontext


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and the scales of norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(step: int, total: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine from `lr` to `final_lr` times `lr`.

    Args:
        step: from 0 to `total` - 1.
        total: steps of the training.
        settings: `lr`, `final_lr` and `warmup`, the share of steps with a rising rate.

    Returns:
        The learning rate of the step.
    """
    warmup = round(settings.warmup * total)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * progress)) / 2)


def sequences_at_once(settings: Training, tokens: Tensor, device: torch.device) -> int:
    """How many sequences of a step to compute together, before memory is known to be short.

    Args:
        settings: `micro_batch`, if set, is the most.
        tokens: (B, L), the batch of the step.
        device: a CPU computes large batches in equal parts of CPU_BASES / 2 to CPU_BASES bases, with less memory and
            no slower.

    Returns:
        Sequences, 1 to B.
    """
    count, length = tokens.shape
    small = device.type == "cuda" or count * length < CPU_BASES
    parts = 1 if small else max(2, math.ceil(count / max(1, CPU_BASES // length)))
    return min(count, settings.micro_batch or math.ceil(count / parts))


def in_precision(settings: Training, device: torch.device) -> AbstractContextManager:
    """A block in which a model computes in the precision of the settings, in training and evaluation."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def compile_in_place(model: nn.Module) -> None:
    """Have calls of `model` compiled by `torch.compile`; its parts and the names of its weights do not change.

    PyTorch compiles each shape of batch for itself, so that results do not depend on which shape came first, up to
    eight shapes; it computes others uncompiled.

    Raises:
        ConvNovaError: the model is on a CPU, and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if next(model.parameters()).device.type == "cpu" and shutil.which(compiler.split()[0]) is None:
        raise ConvNovaError(
            f"compile = true: expected a C++ compiler, found no {compiler}; install it or leave this out"
        )
    model.compile(dynamic=False)


def training_step(
    model: nn.Module, objective: Objective, batch: Batch, optimizer: AdamW, plan: StepPlan
) -> tuple[Tensor, int]:
    """One step of the optimizer, its gradient summed over micro-batches.

    Where `plan.max_sequences` do not fit into memory, the step tries half as many, down to one. Several processes do
    not try again: the others would wait for the one that does.

    Args:
        model: on its device; its weights change in place.
        objective: gives the loss of the model on a batch.
        batch: the rows of this process, on the model's device.
        optimizer: over the model's parameters.
        plan: how the step is taken.

    Returns:
        The mean loss over all targets, detached, and how many sequences at once did fit.

    Raises:
        ConvNovaError: not even one sequence fits, or, with several processes, not as many as planned.
    """
    while True:
        # torch.manual_seed does the same in 0.2 ms: it formats a traceback for each kind of device that is not there
        torch.default_generator.manual_seed(plan.dropout_seed)
        if batch.tokens.is_cuda:
            torch.cuda.manual_seed(plan.dropout_seed)
        try:
            with plan.interruptible():
                loss = _accumulate_gradient(model, objective, batch, plan)
            break
        except (RuntimeError, MemoryError) as error:
            out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not out_of_memory and not any(words in str(error) for words in ALLOCATION_ERRORS):
                raise
            if plan.processes.world > 1:
                raise ConvNovaError(
                    f"{plan.max_sequences} sequences at once do not fit; set `micro_batch` below that"
                ) from error
        optimizer.zero_grad()
        torch.cuda.empty_cache()
        if plan.max_sequences == 1:
            raise ConvNovaError(
                f"one sequence of {batch.tokens.shape[1]} bases does not fit into memory in training; "
                "set `checkpointing: true`, or take a shorter length or a narrower model"
            )
        plan = replace(plan, max_sequences=-(-plan.max_sequences // 2))
        log(f"out of memory: from here on at most {plan.max_sequences} sequences at once, with the same result")
    if plan.settings.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), plan.settings.clip)
    optimizer.step(plan.learning_rate)
    optimizer.zero_grad()
    return loss, plan.max_sequences


def _accumulate_gradient(model: nn.Module, objective: Objective, batch: Batch, plan: StepPlan) -> Tensor:
    """Leave the gradient of the mean loss over the whole batch's targets in the model; return that loss."""
    device, processes = next(model.parameters()).device, plan.processes
    if not model.training:
        model.train()

    def backward(part: Batch, count: int | Tensor) -> Tensor:
        # DistributedDataParallel gives the mean over processes, and the sum is wanted: hence `world`.
        # A batch without targets (count 0) takes part in the communication with a loss of 0.
        scale = processes.world if batch.count else 0
        with in_precision(plan.settings, device):
            loss = objective.loss(model, part) * scale / count
        loss.backward()
        return loss.detach()

    parts, count = list(batch.split(plan.max_sequences)), max(1, batch.count)
    if plan.graphs is not None and len(parts) == 1:
        loss = plan.graphs.run(backward, batch, count)
        if loss is not None:
            return loss
    total = torch.zeros((), device=device)
    for part in parts:
        # only the last backward pass sums the gradients over processes
        last = processes.world == 1 or part is parts[-1]
        with nullcontext() if last else model.no_sync():
            total += backward(part, count) / processes.world
    return processes.sum(total)
