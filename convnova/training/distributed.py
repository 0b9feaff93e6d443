"""Training in several processes, one a GPU, as `torchrun` starts them: on one node or on several.

The batch of a step is the same however many processes there are. Each takes its share of the rows; the gradients of
all are added up; what is decided or written is decided and written by the first. `world` of 1 is no group at all.

    convnova pretrain --processes 4 ...                                             which is, on one node,
    torchrun --standalone --nproc-per-node 4 --no-python -- convnova pretrain ...
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """This process's place among those of one training."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass adds the gradients of all processes up; `model` itself if there is but one."""
        if self.world == 1:
            return model
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def unsynchronised(self, model: nn.Module, wanted: bool) -> Any:
        """A block whose backward pass leaves the gradients to a later one to add up."""
        return model.no_sync() if wanted and self.world > 1 else nullcontext()

    def total(self, value: Tensor) -> Tensor:
        """The sum of a small tensor over all processes, on the CPU where `value` is there."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process; all get the same answer."""
        return bool(self.total(torch.tensor(int(flag)))) if self.world > 1 else flag

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the first process, in all of them."""
        found = [make() if self.first else None]
        if self.world > 1:
            dist.broadcast_object_list(found, src=0)
        return found[0]


ALONE = Processes()
"""A training in one process."""


@contextmanager
def processes() -> Iterator[Processes]:
    """The group that torchrun has started this process in; outside torchrun a group of one.

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
