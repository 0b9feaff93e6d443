"""An average of the weights over a training: less noise than the last step's, at the cost of one more copy of them."""

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, step: int, memory: float) -> None:
    """Take the weights after a step into the average, in place.

    Up to `memory` steps it is their plain mean, later exponential: what is `memory` steps old counts 1/e.

    Args:
        average: by name, of shared tensors by the first one; empty before the first step.
        model: with the weights after the step.
        step: its number, from 1.
        memory: in steps.
    """
    share, taken = max(1 / step, -math.expm1(-1 / memory)), set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in taken:  # another name of a shared tensor, which must not be exchanged twice
            continue
        taken.add(tensor.data_ptr())
        if name in average and tensor.is_floating_point():  # batch norm has a count too
            average[name].lerp_(tensor, share)
        else:
            average[name] = tensor.clone()


@torch.no_grad()
def exchange(model: nn.Module, average: dict[str, Tensor]) -> None:
    """Exchange the weights of the model and their average, in place; where there is no average, nothing changes."""
    weights = model.state_dict()
    for name, mean in average.items():
        own = weights[name].clone()
        weights[name].copy_(mean)
        mean.copy_(own)
