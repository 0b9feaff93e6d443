"""Which GPU a process may have: each is lent to one process at a time, by a lock that ends with the process."""

import fcntl
import os
import tempfile
import time
from pathlib import Path

from convnova.progress import log

SECONDS_BETWEEN_TRIES = 1.0
VISIBLE = "CUDA_VISIBLE_DEVICES"

_held: list[int] = []


def visible() -> list[str]:
    """Names of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, which schedulers set, or all."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def take_gpu() -> str | None:
    """Wait for a GPU that no other process of this machine holds, and let CUDA see only that.

    To be called before CUDA is. The lock is the kernel's (flock), so a killed process holds none.

    Returns:
        Its name, or None on a machine without one.
    """
    names, waiting = visible(), False
    while names:
        for name in names:
            if (handle := _lock(name)) is not None:
                _held.append(handle)
                os.environ[VISIBLE] = name
                return name
        if not waiting:
            log(f"waiting for one of the GPUs {', '.join(names)}: other processes hold them all")
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    return None


def _lock(name: str) -> int | None:
    """A descriptor that holds the GPU as long as it is open; None if another one does."""
    path = Path(tempfile.gettempdir()) / f"convnova-gpu-{name}.lock"
    # Not made anew where it is another user's: in a folder with the sticky bit that is refused.
    handle = os.open(path, os.O_RDONLY) if path.exists() else os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
