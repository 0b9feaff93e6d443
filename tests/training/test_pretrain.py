import itertools
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from convnova.cli.main import main
from convnova.cli.train import pretrain_backbone
from convnova.config.load import load
from convnova.data.dna import encode
from convnova.data.genome import tokenize_genome
from convnova.errors import ConvNovaError
from convnova.models.weights import load_weights
from convnova.training.loop import Interrupted
from convnova.training.pretrain import MaskedLanguage

CATALOGUE = Path(__file__).resolve().parents[2] / "config"


def config(**changes):
    """A small ConvNova on windows of 128 bases."""
    pretraining = {"epochs": 3, "length": 128, "batch_size": 16, "lr": 1e-2, "precision": "float32"} | changes
    models = {"convnova": {"settings": {"width": 8, "kernel": 5, "blocks": 2}}}
    return load({"run": "x", "genome": "g.fa", "models": models, "pretrain": pretraining}, [], CATALOGUE)


@pytest.fixture(scope="module")
def genome(tmp_path_factory) -> Path:
    """Three chromosomes in which AC is followed by G, three times out of four bases a copy of this rule."""
    folder = tmp_path_factory.mktemp("genome")
    generator = np.random.default_rng(0)
    with (folder / "g.fa").open("w") as file:
        for name, repeats in (("chr1", 6000), ("chr2", 1500), ("chr3", 1500)):
            words = generator.choice(["ACG", "TTA", "GGC"], repeats)
            file.write(f">{name}\n{''.join(words)}\n")
    tokenize_genome(folder / "g.fa", folder / "shard", valid=["chr2"], test=["chr3"])
    return folder / "shard"


def run(config, genome: Path, out: Path) -> dict:
    pretrain_backbone(config, "convnova", genome, out)
    return json.loads((out / "weights.json").read_text())


def test_pretraining_learns_the_genome_and_keeps_the_best_epoch(genome, tmp_path):
    about = run(config(), genome, tmp_path)
    losses = [epoch["loss"] for epoch in about["epochs"]]
    assert losses[-1] < 0.8 * math.log(4)
    assert about["best_epoch"] == 1 + int(np.argmin(losses))
    assert about["windows"] == {"train": 141, "valid": 36}
    weights, _ = load_weights(tmp_path / "weights.safetensors")
    assert weights["head.weight"].shape == (5, 8)
    assert not (tmp_path / "checkpoints").exists()
    assert (tmp_path / "log.csv").read_text().count(",valid,") == 3


@pytest.mark.parametrize(
    "elsewhere, precision", [(False, "float32"), (True, "bfloat16")], ids=["among the results", "elsewhere, bfloat16"]
)
def test_stopped_and_continued_is_bit_for_bit_the_undisturbed_run(
    genome, tmp_path, monkeypatch, capsys, elsewhere, precision
):
    """Also where results do not outlive a job, if the checkpoints are in a folder that does."""
    settings = config(precision=precision)
    whole = run(settings, genome, tmp_path / "whole")
    out, first = Path("results/x/pretrain/convnova"), tmp_path / "first"
    second, volume = (tmp_path / "second", tmp_path / "volume") if elsewhere else (first, first)
    if elsewhere:
        monkeypatch.setenv("CONVNOVA_CHECKPOINTS", str(volume))
    stop_once(monkeypatch)
    with pytest.raises(Interrupted):
        run(settings.rooted_at(first), genome, first / out)
    assert (volume / out / "checkpoints").exists() and not (first / out / "weights.safetensors").exists()
    assert run(settings.rooted_at(second), genome, second / out)["epochs"] == whole["epochs"]
    assert re.search(f"continuing from {volume / out}/checkpoints/.*/step-000000012", capsys.readouterr().err)
    assert not (volume / out / "checkpoints").exists()
    assert same_weights(tmp_path / "whole", second / out)


KILLED = """
import sys, pathlib
sys.path.insert(0, {tests!r})
import torch, test_pretrain
torch.set_num_threads(1)
test_pretrain.run(test_pretrain.config(precision={precision!r}), *map(pathlib.Path, sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_at_any_moment_and_continued_is_bit_for_bit_the_undisturbed_run(genome, tmp_path, precision, capsys):
    run(config(precision=precision), genome, tmp_path / "whole")
    last = int((tmp_path / "whole/log.csv").read_text().splitlines()[-1].split(",")[0])
    words = ["-c", KILLED.format(tests=str(Path(__file__).parent), precision=precision), genome, tmp_path / "parts"]
    process = subprocess.Popen([sys.executable, *words], env=os.environ | {"CONVNOVA_CHECKPOINT_SECONDS": "0"})
    steps, until = {0}, random.randint(1, last // 2)
    while max(steps) < until:
        assert process.poll() is None
        steps |= {int(path.name[5:]) for path in (tmp_path / "parts").glob("checkpoints/*/step-*")}
    process.kill()
    assert process.wait() == -signal.SIGKILL, until
    run(config(precision=precision), genome, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts"), until
    assert "continuing from " in capsys.readouterr().err, until


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(genome, tmp_path, monkeypatch):
    stop_once(monkeypatch)
    with pytest.raises(Interrupted):
        run(config(lr=1e-4), genome, tmp_path / "changed")
    for name in ("whole", "changed"):
        run(config(epochs=1), genome, tmp_path / name)
    assert same_weights(tmp_path / "whole", tmp_path / "changed")
    assert not (tmp_path / "changed" / "checkpoints").exists()


def same_weights(*folders: Path) -> bool:
    first, second = (load_weights(folder / "weights.safetensors")[0] for folder in folders)
    return all(torch.equal(first[name], second[name]) for name in first)


def stop_once(monkeypatch) -> None:
    """A signal in the 13th step of the first run."""
    loss, calls = MaskedLanguage.loss, itertools.count(1)

    def stopping(self, model, batch):
        if next(calls) == 13:
            os.kill(os.getpid(), signal.SIGUSR1)
        return loss(self, model, batch)

    monkeypatch.setattr(MaskedLanguage, "loss", stopping)


@pytest.mark.parametrize(
    "changes", [{"windows": 40}, {"coverage": "first"}, {"masking": "released"}, {"micro_batch": 5}]
)
def test_other_ways_to_read_the_genome(genome, tmp_path, changes):
    windows = {"windows": 40, "coverage": 1}.get(*changes, 141)
    assert run(config(epochs=1, **changes), genome, tmp_path)["bases"] == 128 * windows


def test_micro_batches_change_nothing_but_rounding(genome, tmp_path):
    whole, parts = (
        run(config(epochs=1, **changes), genome, tmp_path / name)["epochs"][0]["loss"]
        for name, changes in (("whole", {}), ("parts", {"micro_batch": 5}))
    )
    assert whole == pytest.approx(parts, abs=1e-4)


class Same:
    """Windows of one sequence."""

    def __init__(self, sequence: str = "ACGT" * 16):
        self.sequence = encode(sequence)[0]

    def __len__(self):
        return 40

    def tokens(self, chosen):
        return np.tile(self.sequence, (len(chosen), 1))


def test_windows_are_read_from_either_strand_where_the_settings_say_so():
    read = Counter()
    for augmented in (False, True):
        settings = config(reverse_complement=augmented, batch_size=40).pretrain
        batch = MaskedLanguage(settings, Same("GATTACAT"), Same()).batch(0)
        batch.tokens.flatten()[batch.target_positions] = batch.targets.to(torch.uint8)  # take the masks away
        read.update((augmented, "".join("ACGTN."[token] for token in row)) for row in batch.tokens)
    assert read.keys() == {(False, "GATTACAT"), (True, "GATTACAT"), (True, "ATGTAATC")}
    assert 10 < read[True, "ATGTAATC"] < 30


def test_validation_windows_of_n_alone_are_refused():
    with pytest.raises(ConvNovaError, match="bases to mask in the validation windows, found none"):
        MaskedLanguage(config().pretrain, Same(), Same("NNNNNNNN"))


def test_a_model_may_have_other_settings_in_pretraining(genome, tmp_path):
    changed = config(epochs=1, settings={"dropout": 0.5})
    about = run(changed, genome, tmp_path)
    assert about["settings"]["dropout"] == 0.5 and changed.settings("convnova", None)["dropout"] == 0.0
    assert about["epochs"] != run(config(epochs=1), genome, tmp_path / "plain")["epochs"]


def test_validation_hides_the_same_bases_every_time_and_others_in_every_batch():
    objective = MaskedLanguage(config().pretrain, Same(), Same())
    first, second = ([batch.target_positions.tolist() for _, batch in objective.validation()] for _ in range(2))
    assert first == second and len(first) == 3 and first[0] != first[1]


def test_a_backbone_that_the_config_does_not_have(genome, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("genome: hg38\nmodels: [convnova]\n")
    words = ["--config", str(path), "--backbone", "convnoba", "--genome", str(genome), "--out", str(tmp_path)]
    assert main(["pretrain", *words]) == 1
    assert "did you mean 'convnova'?" in capsys.readouterr().err
