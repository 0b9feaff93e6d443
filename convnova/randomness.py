"""Randomness as arithmetic: every draw is a function of the seed, its purpose and where in training it is made.

Nothing here has a state, so a run that was stopped goes on exactly as if it had not been, and batches do not
depend on how many workers make them.
"""

import zlib
from functools import lru_cache

import numpy as np


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """A fresh generator for one purpose at one place (epoch, step, rank, ...): same arguments, same draws."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *place])))


@lru_cache(maxsize=2)
def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits `count` items: int64 (count,), read-only."""
    items = generator(seed, "order", epoch).permutation(count)
    items.flags.writeable = False
    return items


def torch_seed(seed: int, purpose: str, *place: int) -> int:
    """A seed for PyTorch's own generators (initial weights, dropout)."""
    return int(generator(seed, purpose, *place).integers(2**63))
