"""`convnova plan`: what is counted, against a count by hand, and that the probe's seconds are those of a training."""

import json
import time

import numpy as np
import pytest
import yaml
from own_config import CATALOGUE, own_config

from convnova.cli.main import main
from convnova.config.load import load
from convnova.models import build_predictor
from convnova.reporting import plan as module
from convnova.reporting.plan import lengths_of, plan
from convnova.training.probe import Seconds, probe_finetuning

SMALL = {"convnova_scratch": {"settings": {"width": 4, "blocks": 1, "kernel": 3}}, "cnn": None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """95 training rows of 40 bases and 20 test rows, of two classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(CATALOGUE)
    for name, rows in (("a", 95), ("b", 20), ("c", 30)):
        lines = [f"{'ACGT' * 10},{row % 2}\n" for row in range(rows)]
        (tmp_path / f"{name}.csv").write_text("sequence,label\n" + "".join(lines))
    return tmp_path


def config(**changes):
    return load(own_config(models=SMALL, finetune={"epochs": 3, "batch_size": 10}, **changes), [], CATALOGUE)


@pytest.mark.parametrize(
    ("changes", "steps", "rows"),
    [
        ({}, 3 * 9, 3 * (10 + 20) + 20),  # a tenth of the 95 rows, 9.5, is held out
        ({"suites__mine__tasks__H3__valid": "c.csv"}, 3 * 10, 3 * (30 + 20) + 20),
        ({"protocols": ["released"]}, 3 * 10, 3 * 20 + 20),
        ({"protocols": ["cv"], "suites__mine__folds": 3}, 3 * 9, 3 * (10 + 20) + 20),
    ],
    ids=["heldout", "own validation", "released", "cv"],
)
def test_steps_and_rows_are_those_of_the_protocol(folder, monkeypatch, changes, steps, rows):
    """Of three seeds or folds; a step is said to take 1,000 s, so that what the computer takes does not count."""
    monkeypatch.setattr(module, "probe_finetuning", lambda *_: Seconds(step=1e3, row=1e5))
    estimate = plan(config(**changes), cores=2)
    for model in ("convnova_scratch", "cnn"):
        numbers = estimate["models"][model]
        assert (numbers["trainings"], numbers["steps"]) == (3, 3 * steps)
        assert numbers["seconds"] == pytest.approx(3 * (1e3 * steps + 1e5 * rows), rel=1e-4)
    assert estimate["seconds_until_done"] == pytest.approx(estimate["seconds"] / 2)
    assert plan(config(**changes), cores=64)["seconds_until_done"] == pytest.approx(estimate["seconds"] / 6)


def test_disk_is_that_of_the_weights_that_are_kept_and_of_the_tokens(folder):
    estimate = plan(config(), cores=1)
    network = build_predictor("convnova", SMALL["convnova_scratch"]["settings"], "classes", 2, 500)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert estimate["models"]["convnova_scratch"]["weights"] == 3 * size
    assert estimate["tokens"] == 40 * (95 + 20)
    assert plan(config(keep_weights=[]), cores=1)["models"]["convnova_scratch"]["weights"] == 0


def test_lengths_before_there_are_files_are_the_published_or_the_simulated_ones(folder):
    written = {"models": ["cnn"], "suites": {"nucleotide_transformer": ["H3"]}}
    for more, rows in (({}, (13468, 1497)), ({"simulate": {"seed": 1}}, (220, 120))):
        lengths, outputs = lengths_of(load(written | more, [], CATALOGUE), "nucleotide_transformer", "H3")
        assert {split: (len(part), set(part)) for split, part in lengths.items()} == {
            "train": (rows[0], {500}), "test": (rows[1], {500})}  # fmt: skip
        assert outputs == 2
    (folder / "a.csv").unlink()
    estimate = plan(config(), cores=1)
    assert estimate["models"] == {} and any(line.startswith("mine/H3:") for line in estimate["left_out"])


@pytest.mark.slow
def test_the_command_prints_a_line_a_model_and_json(folder, capsys):
    content = own_config(models=SMALL | {"convnova": SMALL["convnova_scratch"]}, genome="g.fa", seeds=[1])
    (folder / "g.fa").write_text(">1\n" + "ACGT" * 20_000 + "\n")
    content |= {"pretrain": {"length": 100, "batch_size": 8, "epochs": 2}, "finetune": {"epochs": 1}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    assert main(["plan", "--run", "mine.yaml", "--cores", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert main(["plan", "--run", "mine.yaml", "--cores", "2", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert {name: numbers["trainings"] for name, numbers in models.items()} == {
        "convnova": 2, "convnova_scratch": 1, "cnn": 1}  # fmt: skip
    assert all(name in printed for name in models)
    assert models["convnova"]["steps"] == 2 * -(-80_000 // 100 // 8) + 1


@pytest.mark.slow
def test_a_step_of_the_probe_takes_as_long_as_one_of_a_plain_loop():
    """Within a factor of three, of processor time; a batch is four times as large as the probe's."""
    import torch

    task, settings = config().suites["mine"].tasks["H3"], config().finetune.of_protocol("heldout")
    settings = settings.changed({"batch_size": 128, "precision": "float32"})
    network = {"architecture": "convnova", "settings": {"width": 32}, "kind": "classes", "outputs": 2, "length": 512}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = probe_finetuning(network, task, settings, "forward", np.full(9, 512))
    model = build_predictor(**network)
    seconds = []
    for _ in range(2):
        started = time.process_time()
        model(torch.zeros(128, 512, dtype=torch.uint8)).sum().backward()
        seconds.append(time.process_time() - started)
    torch.set_num_threads(threads)
    assert min(seconds) / 3 < found.step < 3 * min(seconds)
    assert found.row < found.step / 128
