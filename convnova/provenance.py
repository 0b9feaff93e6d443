"""Who made a result, from what, with what: the part of every metrics file that explains the numbers."""

import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convnova import __version__

PACKAGES = ("torch", "numpy", "safetensors", "pydantic")


def git_commit() -> str:
    """The commit of this code, with `-dirty` where files differ from it; empty outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


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


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def describe(started: float, inputs: dict[str, dict[str, str]], fingerprint: str) -> dict[str, Any]:
    """Everything that a number needs to explain itself.

    Args:
        started: `time.time()` at the beginning of the work.
        inputs: name of each file read, to its path and sha256.
        fingerprint: hash of the settings.
    """
    return {
        "convnova": __version__,
        "commit": git_commit(),
        "settings": fingerprint,
        "inputs": inputs,
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "host": platform.node(),
        "hardware": hardware(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
