"""Who made a result, from what, with what: the part of every metrics file that explains the numbers."""

import ctypes
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convnova import __version__
from convnova.training.devices import peak_resident

PACKAGES = ("torch", "numpy", "safetensors", "pydantic")
RAPL = Path("/sys/class/powercap")


def git_commit() -> tuple[str, bool]:
    """The commit of this code, and whether files differ from it, or the package has some that are not in it.

    Results that are kept in the repository do not count: a run writes them anew. Outside a checkout, such as in a
    container, it is what `CONVNOVA_COMMIT` says; empty if that says nothing.
    """
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
        added = _git("ls-files", "--others", "--exclude-standard")
        return _git("rev-parse", "HEAD"), bool(changed or added)
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("CONVNOVA_COMMIT", ""), False


def _git(*words: str) -> str:
    folder = Path(__file__).resolve().parent
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """Processor, memory and, where there is one, GPU of this machine."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9, 1),
        "gpu": gpu,
    }


def joules() -> dict[str, float]:
    """What the machine's own counters say has been used so far, by processors and by the GPU in use.

    A counter that is not there, or that this user may not read, is left out. Processors: RAPL of Linux
    (https://docs.kernel.org/power/powercap/powercap.html), for root alone on most machines. GPU: NVML.
    """
    zones = [path.parent for path in RAPL.glob("intel-rapl:*/name") if path.read_text().startswith("package")]
    counters = [zone / "energy_uj" for zone in zones]
    found = {}
    if counters and all(os.access(path, os.R_OK) for path in counters):
        found["processors"] = sum(int(path.read_text()) for path in counters) / 1e6
    if (of_gpu := _gpu_joules()) is not None:
        found["gpu"] = of_gpu
    return found


def _gpu_joules() -> float | None:
    """Since the driver was loaded, of the first GPU that this process sees, by nvmlDeviceGetTotalEnergyConsumption."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}".encode()
        failed = (
            nvml.nvmlInit_v2()
            or nvml.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle))
            or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        )
    except (OSError, AttributeError):
        return None
    return None if failed else millijoules.value / 1000


def used(before: dict[str, float]) -> dict[str, float]:
    """Joules since `joules()` gave `before`; a counter that began again at zero in between is left out."""
    differences = {name: round(now - before[name], 1) for name, now in joules().items() if name in before}
    return {name: difference for name, difference in differences.items() if difference >= 0}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def describe(
    started: float, inputs: dict[str, dict[str, str]], fingerprint: str, energy: dict[str, float] | None = None
) -> dict[str, Any]:
    """Everything that a number needs to explain itself.

    Args:
        started: `time.time()` at the beginning of the work.
        inputs: name of each file read, to its path and sha256.
        fingerprint: hash of the settings.
        energy: what `joules` gave at the beginning of the work; the counters are of the whole machine, so what other
            processes used meanwhile is in it.
    """
    import torch

    commit, dirty = git_commit()
    on_gpu = torch.cuda.is_available()
    return {
        "convnova": __version__,
        "commit": commit,
        "dirty": dirty,
        "settings": fingerprint,
        "inputs": inputs,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "host": platform.node(),
        "hardware": hardware(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "peak_memory_mb": peak_resident() // 10**6,
        "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() // 10**6 if on_gpu else None,
        "joules": used(energy or {}),
    }
