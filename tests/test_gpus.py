"""The lock on GPUs, which needs none: other processes are real ones."""

import os
import subprocess
import sys

import pytest

from convnova.gpus import visible

TAKE = """
import os
from convnova.gpus import take_gpu
print(take_gpu(), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
input()
"""


@pytest.fixture
def take(tmp_path):
    """Start a process that takes a GPU and keeps it until it is ended."""
    started = []

    def start(devices: str) -> subprocess.Popen:
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(tmp_path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, "-c", TAKE], env=environment, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_processes_take_different_gpus_and_the_third_waits_until_one_is_killed(take):
    first, second = take("3,5"), take("3,5")
    told = {process: process.stdout.readline().split() for process in (first, second)}
    assert sorted(map(tuple, told.values())) == [("3", "3"), ("5", "5")]
    third = take("3,5")
    assert "waiting for one of the GPUs 3, 5" in third.stderr.readline()
    first.kill()
    assert third.stdout.readline().split() == told[first]


def test_a_gpu_given_by_a_scheduler_is_taken_and_where_none_is_visible_none_is(take):
    assert take("GPU-8a5f").stdout.readline().split() == ["GPU-8a5f", "GPU-8a5f"]
    assert take("").stdout.readline().split() == ["None"]


@pytest.mark.parametrize("told, names", [("0,1", ["0", "1"]), ("", []), ("-1", []), ("NoDevFiles", [])])
def test_what_the_environment_lets_see(monkeypatch, told, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible() == names
