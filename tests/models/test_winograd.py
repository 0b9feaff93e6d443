"""Convolutions along a sequence, plain and by five products, against PyTorch's own in double precision."""

import pytest
import torch
import torch.nn.functional as F

from convnova.models.kernels.winograd import (
    INPUT,
    OUTPUT,
    WEIGHT,
    Pointwise,
    convolve,
    convolve_by_five,
    five_products_pay,
    gradients,
    gradients_by_five,
)

SHAPES = [
    (2, 50, 6, 9, 1),
    (2, 30, 4, 3, 1),
    (3, 47, 5, 5, 4),
    (1, 100, 4, 9, 16),
    (2, 7, 3, 9, 4),
    (2, 31, 4, 3, 1),
    (1, 1, 2, 7, 2),
]


def inputs(batch, length, width, taps, dtype=torch.float64):
    torch.manual_seed(taps)
    h, dy = torch.randn(batch, length, width, dtype=dtype), torch.randn(batch, length, width + 1, dtype=dtype)
    return h, torch.randn(width + 1, width, taps, dtype=dtype), torch.randn(width + 1, dtype=dtype), dy


def pytorchs(h, weight, bias, dilation):
    reach = dilation * (weight.shape[2] // 2)
    return F.conv1d(h.transpose(1, 2), weight, bias, padding=reach, dilation=dilation).transpose(1, 2)


@pytest.fixture
def nothing_is_zero_by_chance():
    """Memory that nobody has written to is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nothing_is_zero_by_chance")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ours", [(convolve, gradients), (convolve_by_five, gradients_by_five)], ids=["plain", "five"])
def test_values_and_gradients_are_pytorchs(shape, ours):
    *sizes, dilation = shape
    h, weight, bias, dy = inputs(*sizes)
    forward, backward = ours
    torch.testing.assert_close(forward(h, weight, bias, dilation), pytorchs(h, weight, bias, dilation))
    leaves = h.clone().requires_grad_(), weight.clone().requires_grad_()
    expected = torch.autograd.grad(pytorchs(*leaves, bias, dilation), leaves, dy)
    for found, right in zip(backward(dy, h, weight, dilation), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_five_products_make_three_outputs_of_three_taps():
    """OUTPUT ((WEIGHT w) * (INPUT v)) is the correlation of v with w, for every unit w and v."""
    a, g, b = (torch.tensor(matrix, dtype=torch.float64) for matrix in (INPUT, WEIGHT, OUTPUT))
    trilinear = torch.einsum("pm,mr,mv->prv", b, g, a)
    expected = torch.tensor([[[float(v == p + r) for v in range(5)] for r in range(3)] for p in range(3)]).double()
    torch.testing.assert_close(trilinear, expected, atol=1e-15, rtol=0)


def test_the_rounding_error_of_five_products_stays_near_that_of_the_plain_sum():
    h, weight, bias, dy = inputs(2, 300, 128, 9, torch.float32)
    exact = pytorchs(h.double(), weight.double(), bias.double(), 4)
    plain, five = ((way(h, weight, bias, 4) - exact).abs().max() for way in (convolve, convolve_by_five))
    assert five < 8 * plain
    exact = gradients(dy.double(), h.double(), weight.double(), 4)
    for right, plain, five in zip(exact, gradients(dy, h, weight, 4), gradients_by_five(dy, h, weight, 4), strict=True):
        assert (five - right).abs().max() < 8 * (plain - right).abs().max()


@pytest.mark.parametrize("way, width, dilation", [
    (convolve, 32, 1), (convolve, 64, 4), (convolve, 64, 64), (convolve, 64, 16), (convolve, 128, 256),
    (convolve_by_five, 128, 1), (convolve_by_five, 128, 16),
])  # fmt: skip
def test_neither_length_nor_batch_changes_the_rounding(way, width, dilation):
    """Sequences alone and with zeros after them, of values of about 30: another order of sums differs by some 1e-5."""
    torch.manual_seed(3)
    weight, bias = torch.randn(width, width, 9), torch.randn(width)
    batch, lengths = torch.zeros(3, 500, width), (17, 120, 400)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.randn(length, width)
    together = way(batch, weight, bias, dilation)
    for row, found, length in zip(batch, together, lengths, strict=True):
        alone = way(row[None, :length].contiguous(), weight, bias, dilation)[0]
        torch.testing.assert_close(found[:length], alone, atol=1e-6, rtol=0)


def test_compiled_by_pytorch_it_is_the_same():
    h, weight, bias, _ = inputs(2, 50, 8, 9, torch.float32)
    compiled = torch.compile(convolve)(h, weight, bias, 4)
    torch.testing.assert_close(compiled, convolve(h, weight, bias, 4), atol=1e-5, rtol=1e-5)


def test_where_five_products_pay():
    assert five_products_pay(128, 9, 4) and five_products_pay(256, 3, 16)
    assert not five_products_pay(64, 9, 1) and not five_products_pay(128, 7, 1)
    assert not five_products_pay(128, 9, 64)  # too many products with zeros


@pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 7, 6), (2, 0, 6)])
def test_a_pointwise_layer_is_a_linear_layer(shape):
    torch.manual_seed(1)
    layer, x = Pointwise(6, 5).double(), torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    leaves = x, layer.weight, layer.bias
    y, expected = layer(x), F.linear(*leaves)
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    for found, right in zip(torch.autograd.grad(y, leaves, dy), torch.autograd.grad(expected, leaves, dy), strict=True):
        torch.testing.assert_close(found, right)
