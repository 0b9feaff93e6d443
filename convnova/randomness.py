"""Randomness as arithmetic: every draw is a function of the seed, its purpose and its place in training.

Nothing here has a state. So a run that was stopped goes on exactly as if it had not been stopped, and batches do not
depend on the number of workers.
"""

import zlib
from functools import lru_cache

import numpy as np


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """A new generator; the same arguments give the same draws.

    Args:
        seed: of the run.
        purpose: what is drawn, such as "order".
        place: where in training, such as epoch, step and rank.
    """
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *place])))


@lru_cache(maxsize=2)
def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits its rows.

    Args:
        count: number of rows.
        seed: of the run.
        epoch: number of the epoch.

    Returns:
        A permutation of the rows, int64 (count,), read-only.
    """
    rows = generator(seed, "order", epoch).permutation(count)
    rows.flags.writeable = False
    return rows


def torch_seed(seed: int, purpose: str, *place: int) -> int:
    """A seed for PyTorch's own generators (initial weights, dropout)."""
    return int(generator(seed, purpose, *place).integers(2**63))
