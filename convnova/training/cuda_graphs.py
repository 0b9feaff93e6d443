"""A step's forward and backward pass as a CUDA graph: recorded once for each shape of batch, then replayed.

The kernels of a small model run for less time than Python needs to start them; a graph starts hundreds at once
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). A replay reads the recorded batch's memory, into
which each new batch is copied first. The results are those of the same step without a graph.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from convnova.data.batches import Batch

MAX_SHAPES = 16
"""Shapes that are recorded; steps of any others are taken without a graph."""
SHAPE_MULTIPLE = 1024
"""Positions with an output in a batch are filled up to a multiple of this, so that the shapes are few."""

Backward = Callable[[Batch, Tensor], Tensor]
"""The loss of a batch by the number of its targets; leaves the gradients in the parameters."""


class Recorded(NamedTuple):
    """A graph, the tensors it reads, and the tensors it writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    count: Tensor
    loss: Tensor
    gradients: list[Tensor | None]


class Graphs:
    """The graphs of one training.

    Args:
        parameters: those that are trained, on a GPU.
    """

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters, self.recorded, self.pool = parameters, {}, torch.cuda.graph_pool_handle()

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """The graphs of a model on a GPU whose parts all declare that no step waits for the GPU (`recordable`)."""
        parts = [part.recordable for part in model.modules() if hasattr(part, "recordable")]
        on_gpu = next(model.parameters()).is_cuda
        return cls([p for p in model.parameters() if p.requires_grad]) if on_gpu and parts and all(parts) else None

    def run(self, backward: Backward, batch: Batch, count: int) -> Tensor | None:
        """Replay the graph of the batch's shape; record it first, where the shape is new.

        Args:
            backward: what to record.
            batch: on the GPU.
            count: targets of the batch that have a loss.

        Returns:
            The loss, its gradients in the parameters; None if enough other shapes are recorded.
        """
        tensors = _tensors(batch)
        shape = tuple(tensor.shape for tensor in tensors)
        if shape not in self.recorded:
            if len(self.recorded) == MAX_SHAPES:
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
        positions = None if batch.target_positions is None else batch.target_positions.clone()
        static = replace(batch, tokens=batch.tokens.clone(), targets=batch.targets.clone(), target_positions=positions)
        count, random_state = torch.ones((), device=batch.tokens.device), torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            backward(static, count)  # compiles and allocates, which must not happen while a graph is recorded
        torch.cuda.current_stream().wait_stream(stream)
        for parameter in self.parameters:
            parameter.grad = None  # so that the recorded pass allocates gradients of its own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            loss = backward(static, count)
        gradients = [parameter.grad for parameter in self.parameters]
        torch.cuda.set_rng_state(random_state)
        return Recorded(graph, static, count, loss, gradients)


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for tensor in (batch.tokens, batch.targets, batch.target_positions) if tensor is not None]
