"""The lock on GPUs, which needs none: other processes are real ones."""

import os
import subprocess
import sys

import pytest

from convnova.training.devices import visible

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CUDA and abstract sockets are Linux's")

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
    told, seen = line.rstrip("\n").split(" ")
    assert told in (seen, "None")
    return told


def test_processes_take_different_gpus_and_the_third_waits_until_one_is_killed(take, names):
    both = ",".join(names[:2])
    first, second = take(both), take(both)
    told = {process: taken(process) for process in (first, second)}
    assert sorted(told.values()) == names[:2]
    third = take(both)
    assert "waiting for 1 of the GPUs " in third.stderr.readline()
    first.kill()
    assert taken(third) == told[first]


def test_jobs_of_slurm_that_count_their_gpus_from_0_do_not_wait_for_each_other(take, names):
    """Two processes of one job do."""
    one, other = take(names[0], SLURM_JOB_ID="7"), take(names[0], SLURM_JOB_ID="8")
    assert taken(one) == taken(other) == names[0]
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
    assert "refused: expected 5 GPUs, one for each process, found 4; ask for fewer with `--processes`" in refused


def test_a_gpu_of_any_name_is_taken_and_where_none_is_visible_none_is(take):
    assert taken(take("GPU-8a5f")) == "GPU-8a5f"
    assert taken(take("")) == "None"


@pytest.mark.parametrize("told, names", [("0,1", ["0", "1"]), ("", []), ("-1", []), ("NoDevFiles", [])])
def test_what_the_environment_lets_see(monkeypatch, told, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible() == names
