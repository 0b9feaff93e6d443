"""A results folder that is full or cannot be written: one line, nothing half-written, and the next run goes on."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from own_run import own_data

import workflow
from convnova.cli.main import main
from convnova.config.load import load, save
from convnova.models.weights import load_weights
from convnova.training.signals import SignalState


def pretrain(out: Path) -> int:
    words = ["--config", "config.yaml", "--backbone", "convnova", "--genome", "shard", "--out", str(out)]
    return main(["pretrain", *words])


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Iterator[Path]:
    """A disk of 64 kB in a working directory with a tokenized genome and a config."""
    monkeypatch.chdir(tmp_path)
    own_data(tmp_path)
    content = {
        "run": "x", "genome": "genome.fa.gz", "pretrain": {"length": 100, "batch_size": 8, "windows": 16},
        "models": {"convnova": {"settings": {"width": 32, "blocks": 2, "kernel": 5}}},
    }  # fmt: skip
    save(load(content, [], workflow.ROOT / "config"), tmp_path / "config.yaml")
    assert main(["tokenize-genome", "--fasta", "genome.fa.gz", "--out", "shard"]) == 0
    results = tmp_path / "disk"
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", results], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield results
    subprocess.run(["umount", results], check=True)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def error_line(capsys) -> str:
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    return line


@contextlib.contextmanager
def asked_to_stop():
    asked = SignalState()
    asked.received = True
    yield asked


@pytest.mark.parametrize("stopped", [True, False], ids=["at a checkpoint", "at the end"])
def test_a_full_disk_is_one_line_and_the_next_run_ends_as_undisturbed(disk, monkeypatch, capsys, stopped):
    with monkeypatch.context() as patch:
        if stopped:
            patch.setattr("convnova.training.loop.catch_signals", asked_to_stop)
        assert pretrain(disk / "out") == 1
    line = error_line(capsys)
    assert "disk/out" in line and ("make room and run again" in line or "No space left" in line)
    left = {path.name for path in (disk / "out").rglob("*") if path.is_file()}
    assert left <= {"log.csv", "weights.json"}
    remount(disk, "size=32m")
    assert pretrain(disk / "out") == 0 and pretrain(Path("whole")) == 0
    one, other = (load_weights(folder / "weights.safetensors")[0] for folder in (disk / "out", Path("whole")))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_that_cannot_be_written_is_one_line_from_the_step_and_from_the_workflow(disk, capsys):
    remount(disk, "ro")
    assert pretrain(disk / "out") == 1
    line = error_line(capsys)
    assert "Read-only file system" in line and "disk/out" in line
    Path("results").symlink_to(disk)
    code, printed = workflow.run(Path.cwd(), None, "results/own/tables/mine.md")
    assert code == 1 and "Read-only file system" in printed and "results/own" in printed
    remount(disk, "rw")
    assert not list(disk.iterdir())
