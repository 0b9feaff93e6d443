"""Convolutions and linear layers on a CPU against PyTorch's own in double precision."""

import pytest
import torch
import torch.nn.functional as F

from convnova.models.convnova import convolve, convolve_at
from convnova.models.layers import linear
from convnova.training.optimization import resolve_precision

SHAPES = [
    (2, 50, 6, 9, 1), (3, 47, 5, 5, 4), (1, 1, 2, 7, 2), (2, 7, 3, 9, 4), (2, 40, 4, 3, 7), (2, 40, 4, 3, 8),
    (1, 100, 4, 9, 16), (2, 5, 3, 5, 16), (2, 128, 4, 5, 16), (1, 70, 3, 9, 64),
]  # fmt: skip
"""Batch, length, channels, taps, dilation."""
ROUNDING = 2.0**-9
"""The largest relative error of rounding to bfloat16, which has eight bits before it is rounded."""
SLACK = 1.01 if resolve_precision("auto", torch.device("cpu")) == "bfloat16" else 2.0
"""Where a processor has no bfloat16, oneDNN rounds parts of a sum too: up to 1.46 times the error, by AVX2."""


@pytest.fixture
def nothing_is_zero_by_chance():
    """Memory that nobody has written to is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def random_convolution(batch: int, length: int, width: int, taps: int) -> list[torch.Tensor]:
    torch.manual_seed(taps)
    shapes = (batch, length, width), (width + 1, width, taps), (width + 1,)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def pytorchs(h, weight, bias, dilation):
    return F.conv1d(h.mT.double(), weight.double(), bias.double(), padding="same", dilation=dilation).mT


def dilations_asked(monkeypatch) -> list[int]:
    """What PyTorch's convolutions are asked for from here on."""
    dilations, real = [], F.conv2d
    monkeypatch.setattr(
        F, "conv2d", lambda *given, **named: dilations.append(named["dilation"]) or real(*given, **named)
    )
    return dilations


def values_and_gradients(y: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy.to(y.dtype))]


def assert_same_in_float32(y: torch.Tensor, exact: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    for ours, right in zip(values_and_gradients(y, leaves), values_and_gradients(exact, leaves), strict=True):
        torch.testing.assert_close(ours, right.float(), atol=1e-5 * right.abs().max().item(), rtol=1e-5)


@pytest.mark.usefixtures("nothing_is_zero_by_chance")
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_pytorchs(shape):
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    assert_same_in_float32(convolve(*leaves, dilation), pytorchs(*leaves, dilation), leaves)


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_in_bfloat16_the_error_is_that_of_rounding_what_goes_in_and_comes_out(shape, amx, monkeypatch):
    """Sums are exact beside it where bfloat16 is native: of a sum of products w h it is at most 2 ROUNDING times
    the sum of |w h|, and ROUNDING times the result."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    dilations = dilations_asked(monkeypatch)
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolve(*leaves, dilation)
    assert y.dtype == torch.bfloat16 and dilations == [1 if amx else dilation]
    found, exact = (values_and_gradients(each, leaves) for each in (y, pytorchs(*leaves, dilation)))
    magnitudes = [leaf.detach().abs().requires_grad_() for leaf in leaves]
    sums = pytorchs(*magnitudes, dilation)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16).double().abs()
    for ours, right, total in zip(found, exact, (sums, *torch.autograd.grad(sums, magnitudes, dy)), strict=True):
        assert ((ours - right).abs() <= SLACK * ROUNDING * (2 * total + right.abs()) + 1e-6).all()


def test_where_no_gradient_follows_nothing_is_rearranged(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    leaves = random_convolution(2, 128, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        trained = convolve(*leaves, 16)
        with torch.inference_mode():
            dilations = dilations_asked(monkeypatch)
            predicted = convolve(*leaves, 16)
    assert dilations == [16]
    torch.testing.assert_close(predicted, trained.detach(), atol=2 * ROUNDING, rtol=2 * ROUNDING)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_at_positions_are_those_of_the_whole(shape):
    *sizes, dilation = shape
    leaves = random_convolution(*sizes)
    positions = torch.arange(0, sizes[0] * sizes[1], 3)
    whole = pytorchs(*leaves, dilation).flatten(0, 1)[positions]
    assert_same_in_float32(convolve_at(*leaves, dilation, positions), whole, leaves)


@pytest.mark.parametrize("shape", [(2, 30, 5), (70, 5), (1, 5), (0, 5)])
@pytest.mark.parametrize("width", [8, 64])
def test_linear_layers_are_pytorchs_of_any_width(width, shape):
    torch.manual_seed(width)
    leaves = [torch.randn(size, requires_grad=True) for size in (shape, (width, 5), (width,))]
    y, exact = linear(*leaves), F.linear(*(leaf.double() for leaf in leaves))
    assert y.shape == exact.shape
    if len(y):
        assert_same_in_float32(y, exact, leaves)


@pytest.mark.slow
def test_compiled_by_pytorch_it_is_the_same():
    leaves = [tensor.detach() for tensor in random_convolution(2, 50, 8, 9)]
    compiled = torch.compile(convolve)(*leaves, 4)
    torch.testing.assert_close(compiled, convolve(*leaves, 4), atol=1e-5, rtol=1e-5)
