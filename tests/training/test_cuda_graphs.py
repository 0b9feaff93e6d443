"""Replayed steps against the same steps without a graph. On a GPU only, but for the shapes of batches."""

import itertools
import os
import signal
from collections.abc import Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from convnova.config.hyperparameters import Training
from convnova.data.batches import IGNORE_INDEX, Batch
from convnova.data.masking import mask
from convnova.models import checkpoint_activations
from convnova.models.convnova import Backbone, Config
from convnova.models.heads import MaskedLanguageModel
from convnova.training.cuda_graphs import Graphs
from convnova.training.loop import Interrupted, Trainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing can be recorded")
SETTINGS = Training(epochs=2, batch_size=6, lr=1e-3, weight_decay=0.1, warmup=0.1, precision="bfloat16")


class Guessing:
    """Guess hidden letters of random sequences, of one length in an epoch's first half and of another one after."""

    steps_per_epoch = 8

    def batch(self, step: int) -> Batch:
        tokens = np.random.default_rng(step).integers(0, 4, (6, 300 if step % 8 < 4 else 170)).astype(np.uint8)
        inputs, at, letters = mask(tokens, 0.15, 1, step)
        targets = torch.from_numpy(letters.astype(np.int64))
        return Batch(torch.from_numpy(inputs), targets, len(targets), torch.from_numpy(at))

    def loss(self, model, batch):
        return F.cross_entropy(model(batch.tokens, batch.target_positions).float(), batch.targets, reduction="sum")

    def evaluate(self, model):
        return {"score": 0.0}


def network(dropout: float = 0.0, width: int = 64) -> MaskedLanguageModel:
    torch.manual_seed(3)
    return MaskedLanguageModel(Backbone(Config(width=width, kernel=5, blocks=3, ffn=True, dropout=dropout))).cuda()


def trained(folder, *settings) -> list[torch.Tensor]:
    model = network(*settings)
    Trainer(model, Guessing(), SETTINGS, 5, "test", folder).run()
    return [parameter.detach() for parameter in model.parameters()]


def distance(first: Iterable[torch.Tensor], second: Iterable[torch.Tensor]) -> float:
    return sum(float((a - b).detach().square().sum()) for a, b in zip(first, second, strict=True)) ** 0.5


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_gpu
@pytest.mark.parametrize("width, dropout", [(64, 0.0), (64, 0.2), (12, 0.2)])
def test_replayed_steps_are_steps_without_a_graph(width, dropout, tmp_path, monkeypatch):
    replayed = trained(tmp_path / "replayed", dropout, width)
    monkeypatch.setattr(Graphs, "run", lambda self, *step: None)
    assert same(replayed, trained(tmp_path / "one by one", dropout, width))


@needs_gpu
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_continued_on_a_gpu_is_bit_for_bit_the_undisturbed_run(dropout, tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", dropout)
    stops = itertools.count()
    real = Guessing.batch

    def batch(self, step: int) -> Batch:
        if step == 5 and next(stops) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, step)

    monkeypatch.setattr(Guessing, "batch", batch)
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", dropout)
    assert same(whole, trained(tmp_path / "parts", dropout))


@needs_gpu
def test_a_batch_too_large_for_the_gpu_is_split_with_the_same_result(tmp_path, monkeypatch, capsys):
    def batch(self, step: int) -> Batch:
        tokens = np.random.default_rng(step).integers(0, 4, (64, 8192)).astype(np.uint8)
        targets = torch.from_numpy(tokens.reshape(-1)[::7].astype(np.int64))
        return Batch(torch.from_numpy(tokens), targets, len(targets), torch.arange(0, tokens.size, 7))

    monkeypatch.setattr(Guessing, "batch", batch)
    monkeypatch.setattr(Guessing, "steps_per_epoch", 2)
    whole = trained(tmp_path / "whole")
    assert "out of memory" not in capsys.readouterr().err
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(1.5e9 / torch.cuda.get_device_properties(0).total_memory)
        split = trained(tmp_path / "split")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory: from here on at most" in capsys.readouterr().err
    assert distance(whole, split) < 0.1 * distance(whole, network().parameters())


def test_models_that_wait_for_the_gpu_are_not_recorded():
    model = MaskedLanguageModel(Backbone(Config(width=8)))
    assert model.backbone.recordable
    assert Graphs.of(model) is None  # on a CPU
    checkpoint_activations(model)
    assert not model.backbone.recordable


def test_a_batch_is_filled_with_positions_that_have_no_loss():
    batch = Guessing().batch(0)
    filled = batch.pad_targets_to_multiple(1024)
    assert len(filled.target_positions) == len(filled.targets) == 1024 and filled.count == batch.count
    assert (filled.target_positions.diff() > 0).all()
    real = filled.targets != IGNORE_INDEX
    assert torch.equal(filled.target_positions[real], batch.target_positions)
    assert torch.equal(filled.targets[real], batch.targets)
    model = MaskedLanguageModel(Backbone(Config(width=8, kernel=5, blocks=2)))
    assert torch.allclose(Guessing().loss(model, filled), Guessing().loss(model, batch))
    assert batch.pad_targets_to_multiple(len(batch.target_positions)) is batch
