"""Dilated convolutions on a CPU against PyTorch's own in double precision, and blocks that use them."""

import pytest
import torch
import torch.nn.functional as F

from convnova.models import without_fast_kernels
from convnova.models.convnova import Backbone, Config, convolve, convolve_at
from convnova.models.kernels import cpu

SHAPES = [
    (2, 50, 6, 9, 1), (3, 47, 5, 5, 4), (1, 1, 2, 7, 2), (2, 7, 3, 9, 4), (2, 40, 4, 3, 7), (2, 40, 4, 3, 8),
    (1, 100, 4, 9, 16), (2, 5, 3, 5, 16),
]  # fmt: skip
"""Batch, length, channels, taps, dilation."""


def random_convolution(batch: int, length: int, width: int, taps: int) -> list[torch.Tensor]:
    torch.manual_seed(taps)
    shapes = (batch, length, width), (width + 1, width, taps), (width + 1,)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def pytorchs(h, weight, bias, dilation):
    y = F.conv1d(h.mT.double(), weight.double(), bias.double(), padding="same", dilation=dilation)
    return y.mT


@pytest.fixture
def nothing_is_zero_by_chance():
    """Memory that nobody has written to is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def assert_same_values_and_gradients(y: torch.Tensor, exact: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    torch.testing.assert_close(y, exact.float(), atol=1e-5, rtol=1e-5)
    dy = torch.randn_like(y)
    expected = torch.autograd.grad(exact, leaves, dy.double())
    for ours, right in zip(torch.autograd.grad(y, leaves, dy), expected, strict=True):
        torch.testing.assert_close(ours, right, atol=1e-5 * right.abs().max().item(), rtol=1e-5)


@pytest.mark.usefixtures("nothing_is_zero_by_chance")
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_pytorchs(shape, fast):
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    assert_same_values_and_gradients(convolve(*leaves, dilation, fast), pytorchs(*leaves, dilation), leaves)


@pytest.mark.parametrize("shape", SHAPES)
def test_under_bfloat16_autocast_within_its_rounding(shape):
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    exact = pytorchs(*leaves, dilation)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolve(*leaves, dilation)
    dy = torch.randn_like(exact)
    gradients, expected = torch.autograd.grad(y, leaves, dy.to(y.dtype)), torch.autograd.grad(exact, leaves, dy)
    for found, right in zip((y, *gradients), (exact, *expected), strict=True):
        assert (found - right).abs().max() < 0.03 * right.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_at_positions_are_those_of_the_whole(shape):
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    positions = torch.arange(0, sizes[0] * sizes[1], 3)
    whole = pytorchs(*leaves, dilation).flatten(0, 1)[positions]
    assert_same_values_and_gradients(convolve_at(*leaves, dilation, positions), whole, leaves)


def test_where_it_applies():
    h = torch.zeros(1, 8, 2)
    assert cpu.applies(h) and not cpu.applies(h.double()) and not cpu.applies(h.to("meta"))


@pytest.mark.parametrize("positions", [None, torch.tensor([0, 7, 95, 131])], ids=["everywhere", "at positions"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_a_model_computes_the_same_with_and_without(positions, padded, monkeypatch):
    torch.manual_seed(2)
    model, tokens = Backbone(Config(width=16, ffn=True)), torch.randint(0, 5, (2, 90))
    if padded:
        tokens[1, 50:] = 5
    dilations, real = [], cpu.convolve
    monkeypatch.setattr(cpu, "convolve", lambda *inputs: dilations.append(inputs[3]) or real(*inputs))
    results = []
    for network in (without_fast_kernels(model), model):
        features = network(tokens, positions)
        features = features[tokens != 5] if positions is None else features
        gradients = torch.autograd.grad(features.square().sum(), list(network.parameters()))
        results.append((features, *gradients))
    assert dilations == [1] * 6 + [4] * 2 + [16] * 2 * (positions is None)
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-5 * plain.abs().max().item(), rtol=0)


@pytest.mark.slow
def test_compiled_by_pytorch_it_is_the_same():
    leaves = [tensor.detach() for tensor in random_convolution(2, 50, 8, 9)]
    compiled = torch.compile(convolve)(*leaves, 4)
    torch.testing.assert_close(compiled, convolve(*leaves, 4), atol=1e-5, rtol=1e-5)
