"""A step's forward and backward pass as a CUDA graph: recorded once for each shape of batch, then replayed.

The kernels of a small model run for less time than Python needs to start them; a graph starts hundreds at once
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). A replay does what was recorded with what is then in
the recorded batch's place: the results are those of the same step without a graph.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from convnova.data.batches import Batch

MOST = 16
"""Shapes that are recorded; steps of any others are taken without a graph."""
SHAPE_MULTIPLE = 1024
"""Positions with an output in a batch are filled up to a multiple of this, so that the shapes are few."""

Backward = Callable[[Batch, Tensor], Tensor]
"""The loss of a batch by the number of its targets; leaves the gradients in the parameters."""


class Recorded(NamedTuple):
    """A graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    count: Tensor
    loss: Tensor
    gradients: list[Tensor | None]


class Graphs:
    """The graphs of one training."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters, self.recorded, self.pool = parameters, {}, torch.cuda.graph_pool_handle()

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """For a model on a GPU all of whose parts say that nothing in a step waits for the GPU (`recordable`)."""
        parts = [part.recordable for part in model.modules() if hasattr(part, "recordable")]
        on_gpu = next(model.parameters()).is_cuda
        return cls([p for p in model.parameters() if p.requires_grad]) if on_gpu and parts and all(parts) else None

    def run(self, backward: Backward, batch: Batch, count: int) -> Tensor | None:
        """The loss of a batch, its gradients in the parameters; None if there are enough shapes without this one."""
        tensors = _tensors(batch)
        shape = tuple(tensor.shape for tensor in tensors)
        if shape not in self.recorded:
            if len(self.recorded) == MOST:
                return None
            self.recorded[shape] = self._record(backward, batch)
        graph, static, static_count, loss, gradients = self.recorded[shape]
        for tensor, place in zip(tensors, _tensors(static), strict=True):
            place.copy_(tensor)
        static_count.fill_(count)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss.clone()

    def _record(self, backward: Backward, batch: Batch) -> Recorded:
        at = None if batch.target_positions is None else batch.target_positions.clone()
        static = replace(batch, tokens=batch.tokens.clone(), targets=batch.targets.clone(), target_positions=at)
        count, random = torch.ones((), device=batch.tokens.device), torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            backward(static, count)  # what is compiled and allocated once is so before anything is recorded
        torch.cuda.current_stream().wait_stream(stream)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            loss = backward(static, count)
        gradients = [parameter.grad for parameter in self.parameters]
        self._forget()
        torch.cuda.set_rng_state(random)
        return Recorded(graph, static, count, loss, gradients)

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for tensor in (batch.tokens, batch.targets, batch.target_positions) if tensor is not None]
