import shutil

import pytest
import test_loop
import torch
from test_loop import SETTINGS, StopIn, assert_same, run, weights
from torch import nn

from convnova.errors import ConvNovaError
from convnova.models.weights import load_strictly
from convnova.training.loop import Interrupted

COMPILED = SETTINGS.model_copy(update={"compile": True})
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants g++")


class Network(nn.Module):
    """A class of its own: PyTorch's compiler passes a bare `nn.Sequential` over."""

    def __init__(self, dropout: float):
        super().__init__()
        self.layers = test_loop.network(dropout)

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Nothing compiled before, in this process or on disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch.compiler.reset()


@compiler
@pytest.mark.slow
def test_a_compiled_training_is_that_of_the_model_as_it_is_and_its_weights_fit_that(tmp_path):
    plain, history = run(tmp_path / "plain", model=Network(0))
    compiled, same = run(tmp_path / "compiled", settings=COMPILED, model=Network(0))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert torch.allclose(weights(compiled), weights(plain), atol=1e-5)
    assert [row["loss"] for row in same.rows] == pytest.approx([row["loss"] for row in history.rows], rel=1e-4)
    load_strictly(Network(0), same.best_weights, "a compiled training")


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0, 0.3])
def test_stopped_and_continued_a_compiled_training_is_bit_for_bit_the_undisturbed_one(tmp_path, dropout):
    """The step under way when the signal comes is ended first: the compiler is not to be left in the middle."""
    whole = run(tmp_path / "whole", settings=COMPILED, model=Network(dropout))
    with pytest.raises(Interrupted, match="stopped by a signal at step 13 of 40"):
        run(tmp_path / "parts", StopIn(12), COMPILED, Network(dropout))
    torch.compiler.reset()
    assert_same(run(tmp_path / "parts", settings=COMPILED, model=Network(dropout)), whole)


@compiler
@pytest.mark.slow
def test_a_checkpoint_written_compiled_is_continued_without(tmp_path):
    plain, _ = run(tmp_path / "plain", model=Network(0))
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", StopIn(12), COMPILED, Network(0))
    continued, _ = run(tmp_path / "parts", model=Network(0))
    assert torch.allclose(weights(continued), weights(plain), atol=1e-5)


def test_without_a_compiler_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -x")
    with pytest.raises(ConvNovaError, match="compile = true: expected a C.. compiler, found no no-such-compiler -x"):
        run(tmp_path, settings=COMPILED)
