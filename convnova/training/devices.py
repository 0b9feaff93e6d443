"""GPUs and memory of a process: each GPU serves one process at a time, by a lock that ends with the process."""

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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from convnova.errors import ConvNovaError
from convnova.log import debug, log

SECONDS_BETWEEN_TRIES = 1.0
VISIBLE = "CUDA_VISIBLE_DEVICES"
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEPT_BYTES, LARGEST_KEPT_BLOCK = 1 << 30, 32 << 20
"""Freed memory that stays with the process, in all and of one tensor; 32 MiB is the most that mallopt takes."""

_gpu_locks: list[ExitStack] = []


def load_torch(threads: int) -> None:
    """Import torch, with memory, determinism and GPUs as every job needs them.

    Without the garbage collector, which walks all of torch several times, the import takes 0.25 s less.

    Args:
        threads: those that torch computes with on a CPU.
    """
    gc.disable()
    began = time.monotonic()
    import torch

    gc.freeze()
    gc.enable()
    debug(f"torch {torch.__version__} with {threads} threads, imported in {time.monotonic() - began:.2f} s")
    torch.set_num_threads(threads)
    keep_freed_memory()
    if os.environ.get("CONVNOVA_DETERMINISTIC"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.use_deterministic_algorithms(True)
    if torch.version.cuda:
        take_gpus()


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, which schedulers set, or all."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def take_gpus(count: int = 1) -> list[str]:
    """Wait until `count` GPUs are free of other processes on this machine, and let CUDA see only those.

    Call this before CUDA starts. A process takes all its GPUs at once or none, so that two trainings never wait for
    each other. A process of torchrun gets the GPU of its rank, which the process that started torchrun has locked.

    Returns:
        Names of the GPUs; none on a machine without GPUs.

    Raises:
        ConvNovaError: there are fewer GPUs than `count`.
    """
    names = visible_gpus()
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
        if not (locked := _lock_gpus(names, count)):
            log(f"waiting for {count} of the GPUs {', '.join(names)}: other processes hold too many of them")
        while not locked:
            time.sleep(SECONDS_BETWEEN_TRIES * random.uniform(0.5, 1))
            locked = _lock_gpus(names, count)
        names = locked
    if names:
        os.environ[VISIBLE] = ",".join(names)
        debug(f"GPUs of this process: {', '.join(names)}")
    return names


def _lock_gpus(names: list[str], count: int) -> list[str]:
    """Lock the first `count` free GPUs and return their names; lock none if there are fewer.

    A lock is an abstract socket: the kernel knows it by name alone, it outlives an exec, and no file is left. Each job
    of Slurm may count its GPUs from 0, so there the job's number is part of the name.
    """
    job = os.environ.get("SLURM_JOB_ID", "") if VISIBLE in os.environ else ""
    locked = []
    with ExitStack() as sockets:
        for name in names:
            lock = sockets.enter_context(socket.socket(socket.AF_UNIX))
            lock.set_inheritable(True)
            with suppress(OSError):  # another process has the name
                lock.bind(f"\0convnova-gpu-{job}-{name}")
                locked.append(name)
            if len(locked) == count:
                _gpu_locks.append(sockets.pop_all())
                return locked
    return []


def keep_freed_memory() -> None:
    """Let this process keep up to a GiB of freed memory instead of giving it back to Linux, which clears each page.

    Every training step on a CPU frees its activations and allocates them again. With this a step of ConvNova (128
    channels, 16 sequences of 500 bp) takes 760 ms of one core instead of 840 ms. Nothing changes without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def peak_resident() -> int:
    """The most memory that this process held since it started, in bytes, without what was swapped out.

    On Linux VmHWM of proc(5), since `getrusage` includes the peak of the parent process there.
    """
    in_kb = 1 if sys.platform == "darwin" else 1024
    return _proc_bytes("/proc/self/status", "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * in_kb


@contextmanager
def limit_to_available_memory() -> Iterator[None]:
    """A block in which an allocation beyond the machine's memory raises an error.

    Linux grants such an allocation and kills the process (SIGKILL) when it is used, so a measurement of what fits into
    memory would end without a result. Nothing changes on other systems.
    """
    available = _proc_bytes("/proc/meminfo", "MemAvailable")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if available:
        limit = _proc_bytes("/proc/self/status", "VmData") + available
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _proc_bytes(path: str, name: str) -> int:
    """A value that a file below /proc states in kB, in bytes; 0 where it is missing."""
    text = Path(path).read_text() if Path(path).is_file() else ""
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
