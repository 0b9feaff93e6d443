"""Memory of this process: its peak, where it ends, and what becomes of that which is freed."""

import ctypes
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
