"""Which GPUs a process may have: each is lent to one process at a time, by a lock that ends with the process."""

import ctypes
import gc
import os
import random
import re
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def load_torch(threads: int) -> None:
    """Import torch without the garbage collector, which goes through all of it many times: half a second of a job.

    Its process keeps freed memory, and has GPUs that no other one of this project has.
    """
    gc.disable()
    import torch

    gc.freeze()
    gc.enable()
    torch.set_num_threads(threads)
    keep_freed_memory()
    if os.environ.get("CONVNOVA_DETERMINISTIC"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
    if torch.version.cuda:
        take_gpus()


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


KEPT, LARGEST_KEPT = 1 << 30, 32 << 20
"""Bytes that stay with the process when freed, in all and of one tensor; mallopt takes no more for the second."""


def keep_freed_memory() -> None:
    """From here on what this process frees it keeps, up to a GiB, instead of giving it back to Linux.

    Linux clears each page that it hands out. A training step or a prediction on a CPU frees its activations and asks
    for as many again, which took up to a fifth of its time. Only glibc can be told; elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(TRIM_THRESHOLD, KEPT)


def peak_resident() -> int:
    """Bytes that this process held in memory at most since it was started, without those swapped out.

    On Linux VmHWM of proc(5): what `getrusage` tells there begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def no_more_than_available() -> Iterator[None]:
    """Within the block an allocation that the machine has no memory for fails; otherwise Linux would grant it, and end
    the process when it is used. Elsewhere than on Linux nothing changes."""
    told = Path("/proc/meminfo")
    if not told.is_file():
        yield
        return
    available = int(re.search(r"^MemAvailable:\s+(\d+) kB", told.read_text(), re.MULTILINE)[1]) * 1024
    held = int(re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held + available if hard == resource.RLIM_INFINITY else min(held + available, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
