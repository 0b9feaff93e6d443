"""`snakemake --profile slurm` on a real Slurm that the tests start; skipped where its programs are not."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import cluster
import pytest
import torch
import yte
from own_run import SHELL_WORDS, own_data, without_costs

import workflow
from convnova.cli.main import main
from convnova.cli.train import pretrain_backbone
from convnova.config.load import load_config
from convnova.errors import ConvNovaError
from convnova.models.weights import load_weights
from convnova.runs.slurm import check_slurm, sbatch_options

SMALL = {"threads": 1, "pretrain_gb": 2, "finetune_gb": 2}
TARGET = "results/own/pretrain/convnova/weights.safetensors"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Two nodes with two (pretended) GPUs each."""
    if why := cluster.missing():
        pytest.skip(why)
    with cluster.running(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def test_the_profile_is_for_the_paper_and_what_is_filled_in_reaches_the_jobs(tmp_path):
    profile = yte.process_yaml((workflow.ROOT / "slurm/config.yaml").read_text(), require_use_yte=True)
    assert (profile["executor"], profile["configfile"]) == ("slurm", "config/paper.yaml")
    assert profile["groups"] == {"tokenize_task": "tokenize"} and profile["default-resources"] == {"runtime": 60}
    values = {"partition": "cpu", "gpu_partition": "gpu", "account": "lab", "gpus": 4, "gpu_type": "a100", "pack": 5}
    filled = workflow.fill_in(tmp_path, **values)
    profile = yte.process_yaml((filled / "config.yaml").read_text(), require_use_yte=True)
    assert profile["default-resources"] == {"runtime": 60, "slurm_partition": "cpu", "slurm_account": "lab"}
    trainings = profile["set-resources"]
    for rule, gpus in (("pretrain", 4), ("finetune", 1)):
        assert (trainings[rule]["gpu"], trainings[rule]["gpu_model"]) == (gpus, "a100")
    assert trainings["finetune"]["slurm_partition"] == "gpu"
    for rule, megabytes in (("finetune", [8000, 16_000, 32_000]), ("pretrain", [32_000, 60_000, 60_000])):
        assert [eval(trainings[rule]["mem_mb"], {"attempt": attempt}) for attempt in (1, 2, 3)] == megabytes
    assert profile["group-components"] == {"tokenize": 8, "packed": 5}


@pytest.mark.parametrize(
    "resources, threads, named",
    [
        ({"slurm_partition": "nope"}, 1, "--partition=nope.*Invalid partition.*`gpu_partition`"),
        ({"slurm_partition": "gpu", "gpu": 1, "gpu_model": "a100"}, 1, "--gpus=a100:1.*`gpu_type`"),
        ({"slurm_partition": "gpu", "gpu": 5}, 1, "--gpus=5.*`gpus`"),
        ({"mem_mb": 900_000}, 1, "--mem=900000.*`largest_gb`"),
        ({"runtime": 3000}, 1, "1440 minutes.*`longest_hours`"),
        ({"slurm_partition": "gpu", "runtime": 1441}, 1, "1440 minutes"),
        ({"slurm_partition": "cpu"}, 64, "--cpus-per-task=64.*`threads`"),
    ],
)
def test_what_the_cluster_cannot_serve_is_one_line_that_names_keys_of_the_profile(
    slurm, tmp_path, resources, threads, named
):
    possible = sbatch_options({"slurm_partition": "gpu", "gpu": 2, "mem_mb": 4000, "runtime": 1440}, threads=4)
    check_slurm([("pretrain", possible)], tmp_path, "run")
    with pytest.raises(ConvNovaError, match=f"slurm: rule finetune .*{named}"):
        check_slurm([("pretrain", possible), ("finetune", sbatch_options(resources, threads))], tmp_path, "run")


@pytest.mark.parametrize("state", ["drain", "down"])
def test_while_all_nodes_are_drained_jobs_wait_and_what_no_node_can_ever_serve_is_refused(slurm, tmp_path, state):
    possible = sbatch_options({"slurm_partition": "gpu", "gpu": 2, "mem_mb": 4000, "runtime": 1440}, threads=8)
    impossible = ({"mem": 900_000}, {"partition": "gpu", "gpus": 5}, {"gpus": "a100:1"}, {"cpus-per-task": 64})
    try:
        slurm.set_nodes(state)
        check_slurm([("pretrain", possible)], tmp_path, "run")
        assert slurm.ask("squeue", "-h") == ""
        for options in (*impossible, {"partition": "nope"}, {"time": 1441}):
            with pytest.raises(ConvNovaError, match="slurm: rule finetune "):
                check_slurm([("finetune", options)], tmp_path, "run")
    finally:
        slurm.set_nodes("resume")
        slurm.wait_for(len(slurm.nodes))


def test_a_run_some_of_whose_grouped_jobs_are_done_is_checked_too(slurm, tmp_path):
    own_data(tmp_path)
    code, output = workflow.run(tmp_path, None, "resources/own/tasks/mine/one.safetensors")
    assert code == 0, output
    code, output = workflow.run(tmp_path, workflow.fill_in(tmp_path, **SMALL | {"gpu_partition": "nope"}))
    assert code == 1 and "slurm: rule " in output and "Error" not in output, output


def test_only_ones_own_jobs_of_a_folder_are_cancelled(slurm, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    submitted = []
    for folder, comment in ((here, "rule_pretrain"), (here, "mine"), (there, "rule_pretrain")):
        folder.mkdir(exist_ok=True)
        words = ["--parsable", "--comment", comment, "-o", "/dev/null", "-D", str(folder), "--wrap", "sleep 60"]
        submitted.append(slurm.ask("sbatch", *words).strip())
    check_slurm([], here, "run")
    left = slurm.ask("squeue", "-h", "-o", "%A").split()
    assert set(submitted) - set(left) == {submitted[0]}
    slurm.ask("scancel", *submitted)


@pytest.mark.slow
def test_names_of_files_folders_and_chromosomes_are_words_and_nothing_runs(slurm, tmp_path):
    """The same data under names that a shell would take apart: the same table, and no command was run."""
    words = re.sub(r"['\\\\]", "", SHELL_WORDS)  # which are refused: see the next test
    folder, plain, table = tmp_path / words.strip(), tmp_path / "plain", "results/own/tables/mine.tsv"
    for place, prefix in ((folder, words), (plain, "")):
        place.mkdir()
        own_data(place, prefix=prefix)
        profile = workflow.fill_in(tmp_path, **SMALL | {"gpu_partition": "gpu"}) if prefix else None
        code, printed = workflow.run(place, profile, table)
        assert code == 0, printed
    assert without_costs(folder / table) == without_costs(plain / table)
    assert not [*tmp_path.rglob("PWNED"), *workflow.ROOT.glob("PWNED")]


@pytest.mark.parametrize("prefix, letter", [("it's `touch PWNED` ", '"\'"'), ("\\", "'\\\\'")])
def test_names_that_snakemake_cannot_quote_for_a_cluster_are_refused(slurm, tmp_path, prefix, letter):
    own_data(tmp_path, prefix=prefix)
    profile = workflow.fill_in(tmp_path, **SMALL | {"gpu_partition": "gpu"})
    code, printed = workflow.run(tmp_path, profile)
    assert code == 1 and f"holds {letter}" in printed and "submitted" not in printed, printed
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.slow
def test_a_job_that_is_killed_is_submitted_once_more_and_ends_as_undisturbed(slurm, tmp_path):
    """Pretraining on two GPUs in two processes, of which one is killed; the retry is Snakemake's and does not nest."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        own_data(folder, epochs=8, precision="float32")
        shard = ["tokenize-genome", "--fasta", "genome.fa.gz", "--out", "resources/own/genomes/genome"]
        with contextlib.chdir(folder):
            assert main(shard) == 0
    profile = workflow.fill_in(here, **SMALL | {"gpus": 2, "gpu_partition": "gpu", "attempts": 2})
    options = {"cwd": workflow.ROOT, "env": workflow.ENVIRONMENT, **workflow.PIPED}
    with subprocess.Popen(workflow.command(here, profile, TARGET), **options) as main_process:
        while not (workers := workflow.processes(here, "pretrain")[1:]):
            assert main_process.poll() is None, main_process.stdout.read()
            time.sleep(0.05)
        os.kill(workers[0], signal.SIGKILL)
        output = main_process.communicate(timeout=120)[0]
    assert main_process.returncode == 0, output
    assert output.count("has been submitted with SLURM jobid") == 2 and "Trying to restart job" in output
    config = load_config(here / "results/own/config.yaml")
    with contextlib.chdir(there):
        pretrain_backbone(config, "convnova", Path("resources/own/genomes/genome"), Path("alone"))
    weights = [load_weights(path)[0] for path in (here / TARGET, there / "alone/weights.safetensors")]
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, atol=1e-4, rtol=1e-3)
