"""A wheel in a new environment and an empty folder: the catalogue and the workflow come with it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from commands import ROOT, jobs
from own_run import PIPED, own_data

pytestmark = pytest.mark.slow
EMBEDDED = {"finetune": 60, "finetune_scores": 12, "score_task": 2, "simulate": 1, "fetch": 16}
MODULE = """
module convnova:
    snakefile: "{share}/workflow/Snakefile"{config}

use rule * from convnova
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """The programs of an environment with the wheel, whose dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "results", "resources", "build", "_build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "copy", ignore=unwanted)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *wheel, str(folder / "copy")], check=True)
    shutil.rmtree(folder / "copy")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "new")], check=True)
    python, (built,) = folder / "new/bin/python", folder.glob("*.whl")
    install = ["--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, *install, str(built)], check=True)
    where = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    Path(where.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture
def run(environment, tmp_path):
    """Runs a program of the environment in an empty folder, as somebody who has not activated it."""

    def call(*words: str) -> str:
        variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        variables |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([environment / words[0], *words[1:]], cwd=tmp_path, env=variables, **PIPED)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return call


@pytest.fixture
def share(run) -> str:
    """Where the wheel's workflow is."""
    folder = run("python", "-P", "-c", "from convnova.bundle import BUNDLE; print(BUNDLE)").strip()
    assert not Path(folder).is_relative_to(ROOT)
    return folder


def test_the_catalogue_is_there(run):
    assert "hg38.ml.fa.gz" in run("convnova", "sources")
    assert len(yaml.safe_load(run("convnova", "config", "--run", "config/paper.yaml"))["models"]) > 5


def test_run_makes_a_result_of_own_data(run, tmp_path):
    own_data(tmp_path)
    result = "resources/own/tasks/mine/one.safetensors"
    printed = run("convnova", "run", result, "--cores", "1", "--configfile", "mine.yaml")
    assert (tmp_path / result).is_file(), printed
    assert {path.name for path in tmp_path.iterdir()} >= {"results", "resources", ".snakemake"}


def test_run_is_the_embedded_run_and_with_the_profile_the_paper(run):
    counts = jobs(run("convnova", "run", "--cores", "2", "-n"))
    assert counts == counts | EMBEDDED
    counts = jobs(run("convnova", "run", "--profile", "slurm", "-n"))
    assert (counts["finetune"], counts["pretrain"]) == (2240, 9)


def test_the_snakefile_is_used_from_elsewhere_by_snakemake_itself(run, share):
    snakemake = ("python", "-P", "-m", "snakemake", "--cores", "1", "-n")
    counts = jobs(run(*snakemake, "-s", f"{share}/workflow/Snakefile"))
    assert counts == counts | EMBEDDED


@pytest.mark.parametrize("config", [None, "config"])
def test_the_workflow_is_a_module_of_another_one(run, share, tmp_path, config):
    given = "" if config is None else f"\n    config: {config}"
    text = MODULE.format(share=share, config=given)
    if config:
        own_data(tmp_path)
        text = 'configfile: "mine.yaml"\n' + text
    (tmp_path / "Snakefile").write_text(text)
    counts = jobs(run("python", "-P", "-m", "snakemake", "--cores", "1", "-n"))
    expected = {"finetune": 1, "tokenize_task": 1, "pretrain": 1} if config else EMBEDDED
    assert counts == counts | expected
