"""Training in several processes, one a GPU, as `torchrun` starts them: on one node or on several.

The batch of a step does not depend on the number of processes. Each takes its share of the rows, and the gradients of
all are summed. The first process decides and writes. A `world` of 1 needs no process group.

    convnova pretrain --processes 4 ...                                             which is, on one node,
    torchrun --standalone --nproc-per-node 4 --no-python -- convnova pretrain ...
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from this one: its number `rank` among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a small tensor over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def from_first(self, compute: Callable[[], Any]) -> Any:
        """The result of `compute` in the first process, sent to all."""
        result = [compute() if self.first else None]
        if self.world > 1:
            dist.broadcast_object_list(result, src=0)
        return result[0]


ALONE = Processes()
"""A training in one process."""


@contextmanager
def processes() -> Iterator[Processes]:
    """The process group that torchrun started this process in; outside torchrun a group of one.

    Small tensors on the CPU go by gloo, those on a GPU by NCCL.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
