"""A cluster that cannot serve the profile as it is, or that does not answer, and a machine without one."""

import os
import re
import sys
from pathlib import Path

import cluster
import pytest
from own_run import own_data

import workflow
from convnova.errors import ConvNovaError
from convnova.runs.slurm import check_slurm

COMMANDS = {"sbatch", "sinfo", "squeue", "sacct", "scancel", "scontrol", "srun", "sacctmgr"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One node without a GPU: two cores, eight gigabytes."""
    if why := cluster.missing():
        pytest.skip(why)
    with cluster.running(tmp_path_factory.mktemp("small"), nodes=1, cpus=2, memory_mb=8000, gpus=0) as running:
        yield running


def refused(folder: Path, environment: dict[str, str], **filled: object) -> str:
    """The one line that the command says before it submits anything."""
    folder.mkdir(exist_ok=True)
    own_data(folder)
    code, printed = workflow.run(folder, workflow.fill_in(folder, **filled), environment=environment)
    (line,) = (line for line in printed.splitlines() if line.startswith("slurm: "))
    assert code == 1 and "Traceback" not in printed and "submitted" not in printed
    return line


@pytest.mark.parametrize(
    "filled, named",
    [
        ({}, "--gpus=1 .*`gpus`"),
        ({"gpus": 0, "pretrain_gb": 5, "finetune_gb": 1}, "rule pretrain asks for .*--mem=20000.*`largest_gb`"),
        ({"gpus": 0, "pretrain_gb": 1, "finetune_gb": 1, "gpu_partition": "nope"}, "--partition=nope.*`gpu_partition`"),
        ({"gpus": 0, "pretrain_gb": 1, "finetune_gb": 1, "partition": "nope", "gpu_partition": "gpu"}, "nope"),
    ],
    ids=["untouched", "a later attempt", "no partition for trainings", "no partition for the rest"],
)
def test_a_profile_that_does_not_fit_is_one_line_before_anything_is_submitted(small, tmp_path, filled, named):
    line = refused(tmp_path, workflow.ENVIRONMENT, **filled | ({"threads": 1} if filled else {}))
    assert re.search(named, line) and "slurm/config.yaml" in line
    fits = {"cpus-per-task": 2, "mem": 8000}
    check_slurm([("pretrain", fits | {"time": 1440}), ("finetune", fits | {"time": 480})], tmp_path, "run")


@pytest.mark.slow
def test_a_controller_that_is_down_is_one_line(small):
    """Slurm's commands try for as long as SlurmctldTimeout says."""
    small.stop_controller()
    try:
        with pytest.raises(ConvNovaError, match="controller does not answer sbatch"):
            check_slurm([("all", {})], Path.cwd(), "run")
    finally:
        small.start_controller()
        small.wait_for(1)


def test_a_controller_that_never_answers_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("convnova.runs.slurm.SECONDS_TO_ANSWER", 0.1)
    with pytest.raises(ConvNovaError, match="controller does not answer sbatch"):
        check_slurm([("all", {})], Path.cwd(), "run")


def test_without_slurm_the_command_says_so_in_one_line(tmp_path):
    (tmp_path / "bin").mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if program.name not in COMMANDS and not (tmp_path / "bin" / program.name).is_symlink():
                (tmp_path / "bin" / program.name).symlink_to(program)
    path = f"{Path(sys.executable).parent}{os.pathsep}{tmp_path / 'bin'}"
    line = refused(tmp_path / "run", workflow.ENVIRONMENT | {"PATH": path})
    assert line.startswith("slurm: expected the command sbatch, found none; ") and "`snakemake --cores all" in line
