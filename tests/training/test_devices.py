"""The lock on GPUs, tested without any: other processes are real ones. Memory of a process: its peak, its end, what it
keeps."""

import json
import os
import platform
import subprocess
import sys

import pytest

from convnova.training.devices import visible_gpus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CUDA, abstract sockets and /proc are Linux's")

TAKE = """
import os, signal, sys
from convnova.errors import ConvNovaError
from convnova.training.devices import take_gpus
signal.alarm(60)  # a test that would wait for ever fails
try:
    taken = take_gpus(int(sys.argv[1]))
except ConvNovaError as error:
    sys.exit(f"refused: {error}")
print(",".join(taken) or None, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if sys.argv[2:]:
    os.execv(sys.executable, [sys.executable, "-c", "input()"])
input()
"""


@pytest.fixture
def take():
    """Start a process that takes GPUs and keeps them until it is ended; their names are this test's own."""
    started = []

    def start(devices: str, count: int = 1, *words: str, **variables: str) -> subprocess.Popen:
        inherited = {name: value for name, value in os.environ.items() if name not in ("SLURM_JOB_ID", "LOCAL_RANK")}
        environment = inherited | {"CUDA_VISIBLE_DEVICES": devices} | variables
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", TAKE, str(count), *words]
        started.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def names(tmp_path) -> list[str]:
    """Names of four GPUs that no other test knows."""
    return [f"{tmp_path.parent.name}-{tmp_path.name}-{number}" for number in range(4)]


def taken(process: subprocess.Popen) -> str:
    """The GPUs that the process has, which are those that CUDA sees."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    names, visible = line.rstrip("\n").split(" ")
    assert names in (visible, "None")
    return names


def test_processes_take_different_gpus_and_the_third_waits_until_one_is_killed(take, names):
    both = ",".join(names[:2])
    first, second = take(both), take(both)
    locked = {process: taken(process) for process in (first, second)}
    assert sorted(locked.values()) == names[:2]
    third = take(both)
    assert "waiting for 1 of the GPUs " in third.stderr.readline()
    first.kill()
    assert taken(third) == locked[first]


def test_jobs_of_slurm_that_count_their_gpus_from_0_do_not_wait_for_each_other(take, names):
    """Two processes of one job do."""
    first, second = take(names[0], SLURM_JOB_ID="7"), take(names[0], SLURM_JOB_ID="8")
    assert taken(first) == taken(second) == names[0]
    assert "waiting for 1 of the GPUs" in take(names[0], SLURM_JOB_ID="7").stderr.readline()


def test_two_trainings_that_want_all_gpus_do_not_hold_half_of_them_each(take, names):
    """The one that finds three of four free holds none, so a third process has one; an exec keeps what is held."""
    all_, three = ",".join(names), ",".join(names[1:])
    first = take(names[0], 1, "exec")
    assert taken(first) == names[0]
    second = take(all_, 4)
    assert "waiting for 4 of the GPUs" in second.stderr.readline()
    third = take(three, 3)
    assert taken(third) == three
    third.kill()
    third.wait()
    first.kill()
    assert taken(second) == all_


def test_processes_of_torchrun_have_the_gpu_of_their_rank(take, names):
    all_ = ",".join(names)
    assert taken(take(all_, 4)) == all_
    assert [taken(take(all_, LOCAL_RANK=str(rank))) for rank in range(4)] == names
    refused = take(all_, LOCAL_RANK="4").stderr.read()
    assert "refused: expected 5 GPUs" in refused and "found 4" in refused and "--processes" in refused


def test_a_gpu_of_any_name_is_taken_and_where_none_is_visible_none_is(take):
    assert taken(take("GPU-8a5f")) == "GPU-8a5f"
    assert taken(take("")) == "None"


@pytest.mark.parametrize("variable, names", [("0, 1", ["0", "1"]), ("", []), ("-1", []), ("NoDevFiles", [])])
def test_visible_gpus_are_those_of_the_environment(monkeypatch, variable, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == names


PARENT = """
import json, subprocess, sys
from convnova.training.devices import peak_resident
before = peak_resident()
held = bytearray(b"x") * 300_000_000
child = subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, check=True).stdout
print(json.dumps([before, peak_resident(), int(child)]))
"""
CHILD = "from convnova.training.devices import peak_resident; print(peak_resident())"


def test_peak_memory_grows_with_what_is_held_and_a_child_begins_anew():
    before, after, child = json.loads(subprocess.check_output([sys.executable, "-c", PARENT, CHILD]))
    assert after - before > 250_000_000
    assert 5_000_000 < child < 100_000_000


HALVES = """
import re
from pathlib import Path
import torch
from convnova.training.devices import limit_to_available_memory
size = 600 * int(re.search(r"MemAvailable:\\s+(\\d+)", Path("/proc/meminfo").read_text())[1])

def hold() -> str:
    try:
        first, second = torch.empty(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
        return "granted"
    except RuntimeError as error:
        return "memory" if "memory" in str(error) else str(error)

with limit_to_available_memory():
    within = hold()
print(within, hold())
"""


def test_what_there_is_no_memory_for_is_refused_rather_than_granted():
    """Twice 0.6 of what is available, none of it used."""
    assert subprocess.check_output([sys.executable, "-c", HALVES], text=True).split() == ["memory", "granted"]


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


@pytest.mark.parametrize("variable, deterministic", [("1", True), ("", False)])
def test_deterministic_algorithms_alone_where_the_environment_says_so(variable, deterministic):
    script = "from convnova.training.devices import load_torch; load_torch(1); import torch"
    script += "; print(torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())"
    environment = os.environ | {"CONVNOVA_DETERMINISTIC": variable, "OMP_NUM_THREADS": "2"}
    printed = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert printed.split() == [str(deterministic), "1"]
