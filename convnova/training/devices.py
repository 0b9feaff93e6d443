"""Which GPUs a process may have: each is lent to one process at a time, by a lock that ends with the process."""

import os
import random
import socket
import time
from pathlib import Path

from convnova.errors import ConvNovaError
from convnova.log import log

SECONDS_BETWEEN_TRIES = 1.0
VISIBLE = "CUDA_VISIBLE_DEVICES"

_held: list[socket.socket] = []


def visible() -> list[str]:
    """Names of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, which schedulers set, or all."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def take_gpus(count: int = 1) -> list[str]:
    """Wait until `count` GPUs are held by no other process of this machine, and let CUDA see only those.

    To be called before CUDA is. All are taken at once or none, so that two trainings never wait for each other's. A
    process that torchrun has started has the one of its rank: whoever started torchrun has taken them.

    Returns:
        Their names; none on a machine without GPUs.

    Raises:
        ConvNovaError: more are wanted than there are.
    """
    names, waiting = visible(), False
    rank = int(os.environ.get("LOCAL_RANK", -1))
    wanted = max(count, rank + 1)
    if names and wanted > len(names):
        raise ConvNovaError(
            f"expected {wanted} GPUs, one for each process, found {len(names)}; ask for fewer with `--processes`, or "
            f"set `{VISIBLE}=` to train on CPUs"
        )
    if rank >= 0:
        names = names[rank : rank + 1]
    elif names:
        while len(taken := _take(names, count)) < count:
            if not waiting:
                log(f"waiting for {count} of the GPUs {', '.join(names)}: other processes hold too many of them")
                waiting = True
            time.sleep(SECONDS_BETWEEN_TRIES * random.uniform(0.5, 1))
        names = taken
    if names:
        os.environ[VISIBLE] = ",".join(names)
    return names


def _take(names: list[str], count: int) -> list[str]:
    """The first `count` GPUs that are free, now held; none if there are fewer."""
    found = {}
    for name in names:
        if len(found) < count and (held := _lock(name)):
            found[name] = held
    if len(found) < count:
        for held in found.values():
            held.close()
        return []
    _held.extend(found.values())
    return list(found)


def _lock(name: str) -> socket.socket | None:
    """What holds the GPU until it is closed, also across an exec; None if another process holds it.

    An abstract socket: the kernel knows it by its name alone, and no file is left. In a job of Slurm's the name belongs
    to the job, for there the GPUs of every job may be counted from 0.
    """
    job = os.environ.get("SLURM_JOB_ID", "") if VISIBLE in os.environ else ""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0convnova-gpu-{job}-{name}")
    except OSError:
        held.close()
        return None
    held.set_inheritable(True)
    return held
