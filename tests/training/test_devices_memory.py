"""Memory: what a process itself has held, not the one that started it, where it ends, and what it keeps."""

import json
import os
import platform
import subprocess
import sys

import pytest

PARENT = """
import json, subprocess, sys
from convnova.training.devices import peak_resident
before = peak_resident()
held = bytearray(b"x") * 300_000_000
child = subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, check=True).stdout
print(json.dumps([before, peak_resident(), int(child)]))
"""
CHILD = "from convnova.training.devices import peak_resident; print(peak_resident())"


def test_it_grows_with_what_is_held_and_a_child_begins_anew():
    told = subprocess.run([sys.executable, "-c", PARENT, CHILD], capture_output=True, check=True, text=True).stdout
    before, after, child = json.loads(told)
    assert after - before > 250_000_000
    assert 5_000_000 < child < 100_000_000


HALVES = """
import re
from pathlib import Path
import torch
from convnova.training.devices import no_more_than_available
size = 600 * int(re.search(r"MemAvailable:\\s+(\\d+)", Path("/proc/meminfo").read_text())[1])

def hold() -> str:
    try:
        one, other = torch.empty(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
        return "granted"
    except RuntimeError as error:
        return "memory" if "memory" in str(error) else str(error)

with no_more_than_available():
    within = hold()
print(within, hold())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not Linux: allocations are not limited")
def test_what_there_is_no_memory_for_is_refused_rather_than_granted():
    """Twice 0.6 of what is available, none of it used."""
    told = subprocess.run([sys.executable, "-c", HALVES], capture_output=True, check=True, text=True).stdout
    assert told.split() == ["memory", "granted"]


STEPS = """
import resource, sys
import torch
from convnova.training.devices import load_torch
if "kept" in sys.argv:
    load_torch(1)

def cleared() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [torch.full((30 << 18,), 1.0) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

cleared()
print(min(cleared() for _ in range(3)))
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="not glibc: what is freed goes where it goes")
def test_a_training_does_not_have_its_memory_cleared_again_at_every_step():
    """Eight tensors of 30 MiB, made and freed again and again: 120 huge pages, or up to 61,440 of 4 KiB, or none.

    The environment has glibc do at any time what it does at first, before it guesses what to keep.
    """
    at_first = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}

    def cleared(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", STEPS, how], env=at_first))

    assert cleared("given back") > 50 > 10 > cleared("kept")
