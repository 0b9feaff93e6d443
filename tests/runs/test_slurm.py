"""What is asked of Slurm and what follows from its answers, with made-up commands; a real one: tests/slurm."""

import os
from pathlib import Path

import pytest
import torch

from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import write_metrics
from convnova.models.weights import save_weights
from convnova.runs.slurm import Controller, check_slurm, keep_results, restore_results, sbatch_options

SBATCH = """
case "$*" in
*--mem=900000*) echo "sbatch: error: x" >&2; echo "allocation failure: no such node" >&2; exit 1;;
*--test-only*--mem=800000*) echo "allocation failure: no such node" >&2; exit 1;;
*--begin*) echo "17;cluster";;
esac
"""
"""A node with 800 GB is drained; one with 900 GB there is not."""
SINFO = """printf 'short|30:00|8\\ncpu*|4:00:00|8\\ncpu*|4:00:00|64\\nlong|1-12:30:00|8\\ngpu|infinite|8\\n'"""
SQUEUE = """
[ -e cancelled ] || printf '7|{here}|rule_pretrain\\n8|{here}|mine\\n9|/elsewhere|rule_pretrain\\n'"""


@pytest.fixture
def calls(tmp_path, monkeypatch) -> Path:
    """A file with a line a call; the working directory is another one, whose jobs 7 and 8 are in the queue."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    scripts = {"sbatch": SBATCH, "sinfo": SINFO, "squeue": SQUEUE.format(here=Path.cwd()), "scancel": "touch cancelled"}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/calls\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path / "calls"


def test_resources_become_options():
    resources = {"gpu": 2, "mem_mb": 4000, "runtime": 90, "slurm_partition": "", "slurm_account": None}
    assert sbatch_options(resources, 4) == {"gpus": 2, "cpus-per-task": 4, "mem": 4000, "time": 90}
    named = {"gpu": 1, "gpu_model": "a100", "slurm_partition": "p", "slurm_account": "lab"}
    assert sbatch_options(named, 1) == {"partition": "p", "account": "lab", "gpus": "a100:1", "cpus-per-task": 1}
    assert "gpus" not in sbatch_options({"gpu": 0, "gpu_model": "a100"}, 1)


def test_each_kind_of_job_is_asked_about_once_and_old_jobs_of_the_folder_are_cancelled(calls):
    check_slurm([("a", {"mem": 10}), ("b", {"mem": 10}), ("c", {"partition": "gpu", "time": 10**6})], Path.cwd(), "run")
    assert [line for line in calls.read_text().splitlines() if line.startswith(("sbatch", "scancel"))] == [
        "sbatch --test-only --ntasks=1 --nodes=1 --mem=10 --wrap true",
        "sbatch --test-only --ntasks=1 --nodes=1 --partition=gpu --time=1000000 --wrap true",
        "scancel 7",
    ]


def test_jobs_of_another_run_of_the_folder_are_left_alone(calls):
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/run/report.html\nresources/raw/x\n")
    check_slurm([], Path.cwd(), "run")
    Path("cancelled").unlink()
    (locks / "1.output.lock").write_text("results/paper/report.html\n")
    with pytest.raises(ConvNovaError, match="one run at a time in .*found files of paper locked; .*another clone"):
        check_slurm([], Path.cwd(), "run")
    assert not Path("cancelled").exists()


def test_a_job_that_no_node_can_serve_now_is_one_that_waits(calls, capsys):
    """Slurm has it queued, to begin later, and it is cancelled: it was a question."""
    check_slurm([("audit", {"mem": 800_000})], Path.cwd(), "run")
    asked, messages = calls.read_text().splitlines(), capsys.readouterr().err
    assert asked[1].startswith("sbatch --parsable --begin=now+1hour ") and asked[1].endswith("--mem=800000 --wrap true")
    assert asked[2] == "scancel 17" and "rule audit will wait" in messages
    check_slurm([("audit", {"cpus-per-task": 64})], Path.cwd(), "run")
    for options, cores in (({}, 64), ({"partition": "gpu"}, 8)):
        with pytest.raises(ConvNovaError, match=f"have {cores} cores.*`threads`"):
            check_slurm([("audit", options | {"cpus-per-task": cores + 1})], Path.cwd(), "run")


@pytest.mark.parametrize("partition, minutes", [("", 240), ("cpu", 240), ("short", 30), ("long", 2190)])
def test_a_job_longer_than_its_partition_allows_is_refused(calls, partition, minutes):
    options = {"partition": partition} if partition else {}
    check_slurm([("finetune", options | {"time": minutes})], Path.cwd(), "run")
    with pytest.raises(ConvNovaError, match=f"rule finetune .*--time={minutes + 1}.* {minutes} minutes.*longest_hours"):
        check_slurm([("finetune", options | {"time": minutes + 1})], Path.cwd(), "run")


def test_all_refusals_are_one_line_that_names_keys_of_the_profile(calls):
    requests = [("pretrain", {"mem": 900_000}), ("audit", {}), ("finetune", {"mem": 900_000, "cpus-per-task": 2})]
    with pytest.raises(ConvNovaError) as caught:
        check_slurm(requests, Path.cwd(), "run")
    message = str(caught.value)
    assert message.count("no such node") == 2 and message.count("`largest_gb`") == 1 and "`threads`" in message
    assert "rule pretrain " in message and "rule finetune " in message and "audit" not in message
    assert "scancel" not in calls.read_text()


def test_jobs_that_do_not_end_and_a_controller_that_does_not_answer_are_errors(calls, monkeypatch):
    (calls.parent / "scancel").write_text("#!/bin/sh\n")
    monkeypatch.setattr("convnova.runs.slurm.SECONDS_TO_END", 0)
    with pytest.raises(ConvNovaError, match="jobs 7 of an earlier run"):
        check_slurm([], Path.cwd(), "run")
    (calls.parent / "sbatch").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(ConvNovaError, match="controller does not answer sbatch"):
        check_slurm([("all", {})], Path.cwd(), "run")


def test_a_controller_that_is_away_is_said_once_and_waited_for(calls, monkeypatch, capsys):
    monkeypatch.setattr("convnova.runs.slurm.SECONDS_BETWEEN_PINGS", 0)
    (calls.parent / "scontrol").write_text(f"#!/bin/sh\necho ping >> {calls}\n[ $(wc -l < {calls}) -gt 3 ]\n")
    (calls.parent / "scontrol").chmod(0o755)
    controller = Controller()
    controller.note(True)
    controller.wait()
    away, back = capsys.readouterr().err.splitlines()
    assert "does not answer" in away and "`scontrol ping`" in away and "answers again" in back
    assert calls.read_text().count("ping") == 4
    for answers in (False, False, True, True):
        controller.note(answers)
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("weights", [False, True])
def test_results_that_snakemake_deleted_are_taken_back_if_settings_and_inputs_are_the_same(tmp_path, weights):
    names = ["log.csv", "metrics.json", "predictions.parquet"] + weights * ["weights.json", "weights.safetensors"]
    for name in ("log.csv", "predictions.parquet"):
        (tmp_path / name).write_text(f"content of {name}")
    write_metrics(tmp_path, {"mcc": 0.5})
    if weights:
        save_weights({"w": torch.ones(2)}, tmp_path / "weights.safetensors", {})
    contents = {name: (tmp_path / name).read_bytes() for name in names}
    keep_results(tmp_path, "before", weights)
    keep_results(tmp_path, "now", weights)
    for name in names:
        (tmp_path / name).unlink()
    assert not restore_results(tmp_path, "before", weights) and not (tmp_path / "log.csv").exists()
    assert restore_results(tmp_path, "now", weights)
    assert {name: (tmp_path / name).read_bytes() for name in names} == contents
    assert sorted(path.name for path in tmp_path.iterdir()) == [".finished", *names]
    assert restore_results(tmp_path, "now", True) == weights, "not where the weights are wanted and were not kept"
    damaged = tmp_path / names[-1]
    damaged.write_bytes(contents[names[-1]][:-1] + b"!")
    assert not restore_results(tmp_path, "now", weights), "or every attempt would take back what is damaged"
