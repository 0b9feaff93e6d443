"""What made a result, from what, and at what cost: the part of every result that explains its numbers."""

import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convnova import __version__
from convnova.training.devices import peak_resident

PACKAGES = ("torch", "numpy", "safetensors", "pydantic")


def git_commit() -> tuple[str, bool]:
    """The commit of this code, and whether tracked files differ from it or the package has files of no commit.

    Results in the repository do not count, since a run writes them anew. Outside a checkout, as in a container, the
    commit is the value of `CONVNOVA_COMMIT`.
    """

    def git(*words: str) -> str:
        folder = Path(__file__).resolve().parent
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
        added = git("ls-files", "--others", "--exclude-standard")
        return git("rev-parse", "HEAD"), bool(changed or added)
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("CONVNOVA_COMMIT", ""), False


def hardware() -> dict[str, Any]:
    """Processor, memory and, where there is one, GPU of this machine."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.*)", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return {
        "processor": name[1].strip() if name else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


@dataclass
class Provenance:
    """Made when the work begins, and described when it ends.

    Attributes:
        inputs: name of each file read, to its `path` and `sha256`.
        fingerprint: hash of the settings.
        host: the machine's name, if it shall be in results.
    """

    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    fingerprint: str = ""
    host: str = ""
    started: float = field(default_factory=time.time)

    def describe(self, precision: str, attempts: Sequence[dict[str, float]] = ()) -> dict[str, Any]:
        """Everything that a number needs to explain itself, up to now.

        Args:
            precision: what was computed in.
            attempts: `threads` and `seconds` of each process that took part in a training, this one as the last.
        """
        import torch

        commit, dirty = git_commit()
        return {
            "convnova": __version__,
            "commit": commit,
            "dirty": dirty,
            "settings": self.fingerprint,
            "inputs": self.inputs,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "host": self.host,
            "hardware": hardware(),
            "precision": precision,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started + sum(attempt["seconds"] for attempt in attempts[:-1]), 3),
            "attempts": [attempt | {"seconds": round(attempt["seconds"], 3)} for attempt in attempts],
            "peak_memory_mb": peak_resident() // 10**6,
            "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() // 10**6 if torch.cuda.is_available() else None,
        }
