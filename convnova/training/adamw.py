"""AdamW (Loshchilov & Hutter, ICLR 2019): PyTorch's own arithmetic without `torch.optim.Optimizer`.

That class imports PyTorch's compiler at its first step, which takes a second: a third of a short fine-tuning, and
there are thousands of those.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

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
