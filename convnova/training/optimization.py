"""How the loop optimizes: the optimizer, its learning rate, precision, micro-batches, compilation."""

import math
import os
import shutil
import sys
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from convnova.config.hyperparameters import Training
from convnova.errors import ConvNovaError
from convnova.log import debug

CPU_BASES = 8192
"""Bases computed together on a CPU in float32; more are no faster. In bfloat16 it is half as many again."""
RELEASED_FIRST_LR = 1e-6
EPS = 1e-8
"""Adam's term for numerical stability, as in PyTorch."""


class AdamW:
    """Adam with decoupled weight decay of matrices and kernels, and of biases and norms where all are `decayed`.

    The update is `torch.optim`'s own function. The class `torch.optim.AdamW` gives the same bits, but it imports
    torch._dynamo, which takes 0.9 s: as long as many of the small jobs train.

    Args:
        model: its parameters that require a gradient are trained.
        settings: `weight_decay`, what is `decayed`, `beta1` and `beta2`. A parameter that its model marks with an
            attribute `no_decay` is never decayed.
    """

    fused = False
    """Update in PyTorch's fused form: on a CPU in a third of the time, and with other bits."""

    def __init__(self, model: nn.Module, settings: Training):
        self.betas, self.steps, least = (settings.beta1, settings.beta2), 0, 0 if settings.decayed == "all" else 2
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for p in model.parameters():
            if p.requires_grad:
                (decayed if p.ndim >= least and not hasattr(p, "no_decay") else others).append(p)
        self.groups = [(decayed, settings.weight_decay), (others, 0.0)]
        self.parameters = [parameter for parameters, _ in self.groups for parameter in parameters]
        self.means = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self.parameters]
        self.squares = [torch.zeros_like(mean) for mean in self.means]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every parameter that has a gradient, and delete the gradients."""
        self.steps += 1
        state = iter(zip(self.means, self.squares, strict=True))
        for group, weight_decay in self.groups:
            rows = [(p, p.grad, *next(state)) for p in group]
            rows = [row for row in rows if row[1] is not None]
            if rows:
                steps_before = list(torch.full((len(rows),), float(self.steps - 1)).unbind())
                parameters, gradients, means, squares = (list(column) for column in zip(*rows, strict=True))
                adamw(
                    parameters, gradients, means, squares, [], steps_before,
                    amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=lr,
                    weight_decay=weight_decay, eps=EPS, maximize=False, foreach=not self.fused, fused=self.fused,
                )  # fmt: skip
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state from which `load_state_dict` continues exactly."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of `state_dict`."""
        self.steps = state["steps"]
        for tensor, saved in zip([*self.means, *self.squares], [*state["means"], *state["squares"]], strict=True):
            tensor.copy_(saved)


def learning_rate(step: int, total: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine from `lr` to `final_lr` times `lr`.

    Args:
        step: from 0 to `total` - 1.
        total: steps of the training.
        settings: `lr`, `final_lr` and `warmup`, the share of steps with a rising rate. With the schedule `released`
            the first step has a rate of 1e-6, and the cosine begins at step 0, not where the warm-up ends: timm's
            `CosineLRScheduler` as the released code sets it.

    Returns:
        The learning rate of the step.
    """
    if settings.schedule == "released":
        warmup, progress = settings.warmup * total, step / total
        if step < warmup:
            return RELEASED_FIRST_LR + (settings.lr - RELEASED_FIRST_LR) * step / warmup
    else:
        warmup = round(settings.warmup * total)
        if step < warmup:
            return settings.lr * (step + 1) / warmup
        progress = (step - warmup) / max(1, total - 1 - warmup)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * progress)) / 2)


def sequences_at_once(settings: Training, tokens: Tensor, device: torch.device, precision: str = "float32") -> int:
    """How many sequences of a step to compute together, before memory is known to be short.

    Args:
        settings: `micro_batch`, if set, is the most.
        tokens: (B, L), the batch of the step.
        device: a CPU computes large batches in equal parts of CPU_BASES / 2 to CPU_BASES bases, with less memory and
            no slower.
        precision: in `bfloat16` a CPU's parts are half as large again, which takes less memory than in float32.

    Returns:
        Sequences, 1 to B.
    """
    count, length = tokens.shape
    most = CPU_BASES if precision == "float32" else 3 * CPU_BASES // 2
    small = device.type == "cuda" or count * length < most
    parts = 1 if small else max(2, math.ceil(count / max(1, most // length)))
    return min(count, settings.micro_batch or math.ceil(count / parts))


def resolve_precision(precision: str, device: torch.device) -> str:
    """What `auto` stands for: `bfloat16` where the device computes it natively, else `float32`.

    Native are GPUs of compute capability 8 or more, and CPUs with AVX512-BF16 or AMX. Another `precision` is kept.
    """
    if precision != "auto":
        return precision
    native_on_cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    native = native_on_cpu if device.type == "cpu" else torch.cuda.get_device_capability(device) >= (8, 0)
    chosen = "bfloat16" if native else "float32"
    debug(f"precision auto: {chosen}, for bfloat16 is {'' if native else 'not '}native on this {device.type}")
    return chosen


def in_precision(precision: str, device: torch.device) -> AbstractContextManager:
    """A block in which a model computes in `float32` or `bfloat16`; weights, optimizer and loss stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def compile_in_place(model: nn.Module) -> None:
    """Have calls of `model` compiled by `torch.compile`; its parts and the names of its weights do not change.

    PyTorch compiles each shape of batch for itself, so that results do not depend on which shape came first, up to
    eight shapes; it computes others uncompiled.

    Raises:
        ConvNovaError: the model is on a CPU, and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if next(model.parameters()).device.type == "cpu" and shutil.which(compiler.split()[0]) is None:
        raise ConvNovaError(f"compile = true: expected a C++ compiler, found no {compiler}; install it or leave it out")
    model.compile(dynamic=False)
