"""Several processes that share each step, as torchrun starts them: the same training as one process gives."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from convnova.cli.train import pretrain_backbone
from convnova.config.load import load, load_config, save
from convnova.data.genome import tokenize_genome
from convnova.models.weights import load_weights

BIN = Path(sys.executable).parent
CATALOGUE = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A genome, and configs of a pretraining of 50 steps of 13 windows."""
    folder = tmp_path_factory.mktemp("distributed")
    random = np.random.default_rng(0)
    text = "".join(f">{name}\n{''.join(random.choice(['ACG', 'TTA', 'GGC'], 4000))}\n" for name in "abc")
    (folder / "g.fa").write_text(text)
    tokenize_genome(folder / "g.fa", folder / "shard", valid=["b"], test=["c"])
    models = {"convnova": {"settings": {"width": 8, "kernel": 5, "blocks": 2}}}
    for micro_batch in (13, 3):
        pretrain = {
            "epochs": 5,
            "length": 64,
            "batch_size": 13,
            "windows": 130,
            "lr": 0.01,
            "micro_batch": micro_batch,
            "precision": "float32",
        }
        content = {"run": "x", "genome": str(folder / "g.fa"), "models": models, "pretrain": pretrain}
        save(load(content, [], CATALOGUE), folder / f"{micro_batch}.yaml")
    return folder


def start_two(folder: Path, out: str) -> subprocess.Popen:
    """Two processes, each with 7 or 6 windows of a step, 3 at once."""
    words = [
        "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", "--", "convnova", "--log", f"{out}.log",
        "pretrain", "--config", "3.yaml", "--backbone", "convnova", "--genome", "shard", "--out", out, "--threads", "1",
    ]  # fmt: skip
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run_one(folder: Path, out: str, micro_batch: int = 13) -> None:
    pretrain_backbone(load_config(folder / f"{micro_batch}.yaml"), "convnova", folder / "shard", folder / out)


def losses(folder: Path) -> np.ndarray:
    with (folder / "log.csv").open() as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


@pytest.mark.slow
def test_one_process_and_two_give_the_same_loss_curve_also_with_accumulated_gradients(folder):
    process = start_two(folder, "two")
    run_one(folder, "one")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed.decode()
    one, two = (losses(folder / name) for name in ("one", "two"))
    assert one.shape == (55,) and one[-1] < 0.8 * one[0]
    np.testing.assert_allclose(two, one, atol=1e-5, rtol=0)
    assert not (folder / "two/checkpoints").exists()
    single, double = (load_weights(folder / name / "weights.safetensors")[0] for name in ("one", "two"))
    for name, tensor in single.items():
        torch.testing.assert_close(double[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(folder, capsys):
    process = start_two(folder, "stopped")
    while not (folder / "stopped/log.csv").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    (checkpoint,) = (folder / "stopped/checkpoints").glob("*/*")
    assert 10 <= int(checkpoint.name.removeprefix("step-")) < 50
    run_one(folder, "stopped", micro_batch=3)
    assert f"continuing from {checkpoint}" in capsys.readouterr().err
    assert losses(folder / "stopped").shape == (55,)
