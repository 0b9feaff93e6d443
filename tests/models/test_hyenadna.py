"""HyenaDNA's long convolution and the kernels for it, against their equations, one lag at a time."""

import math

import pytest
import torch

from convnova.models.hyenadna import Backbone, Config, ImplicitKernel, long_convolution

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-10)]
FORMS = pytest.mark.parametrize("causal", [True, False])


@FORMS
@pytest.mark.parametrize("length", [1, 2, 89, 90])
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_the_long_convolution_is_its_sum(causal, length, dtype, tolerance):
    torch.manual_seed(0)
    lags = range(0 if causal else 1 - length, length)
    v, kernel = torch.randn(2, length, 3, dtype=dtype), torch.randn(len(lags), 3, dtype=dtype) / length
    expected = torch.zeros_like(v)
    for weight, lag in zip(kernel, lags, strict=True):
        for to in range(max(0, lag), min(length, length + lag)):
            expected[:, to] += weight * v[:, to - lag]
    torch.testing.assert_close(long_convolution(v, kernel), expected, atol=tolerance, rtol=tolerance)


@FORMS
def test_gradients_of_the_long_convolution_are_those_of_finite_differences(causal):
    torch.manual_seed(0)
    v, kernel = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 7, 3), (7 if causal else 13, 3)))
    assert torch.autograd.gradcheck(long_convolution, [tensor.requires_grad_() for tensor in (v, kernel)])


def test_a_long_convolution_in_bfloat16_is_computed_in_float32():
    torch.manual_seed(0)
    v, kernel = torch.randn(2, 50, 3).bfloat16(), torch.randn(99, 3)
    assert torch.equal(long_convolution(v, kernel), long_convolution(v.float(), kernel).bfloat16())


def kernels(length: int = 9) -> list[ImplicitKernel]:
    """Of the same weights, that of the causal form and that of the form which reads both ways."""
    both = [ImplicitKernel(Config(width=4, length=length, kernel_width=8, causal=causal)) for causal in (True, False)]
    both[1].load_state_dict(both[0].state_dict())
    return both


def test_the_kernel_is_a_network_of_the_signed_lag_that_fades_to_both_sides():
    torch.manual_seed(0)
    kernel = kernels()[1].double()
    first, second, third, last = (kernel.layers[i] for i in (0, 2, 4, 6))
    for row, lag in zip(kernel(5), range(-4, 5), strict=True):
        t, angle = lag / 8, 2 * math.pi * lag / 9
        h = torch.tensor([t, math.cos(1e-4 * angle), -math.sin(1e-4 * angle), math.cos(angle), -math.sin(angle)])
        for layer in (first, second, third):
            h = torch.sin(10 * layer(h.double()))
        shares = (1.5, 1.1, 0.7, 0.3)  # of the longest sequence, after which a channel has faded to a hundredth
        fading = torch.tensor([0.01 ** (abs(t) / share) for share in shares], dtype=torch.float64)
        torch.testing.assert_close(row, last(h) * fading, atol=1e-6, rtol=1e-6)


def test_the_causal_kernel_is_the_half_of_lags_from_zero_on():
    torch.manual_seed(0)
    causal, both = (kernel(9) for kernel in kernels())
    assert causal.shape == (9, 4) and both.shape == (17, 4)
    assert torch.equal(causal, both[8:])


def test_a_kernel_that_reads_both_ways_has_two_sides_that_differ():
    torch.manual_seed(0)
    kernel = kernels(100)[1](100)
    left, right = kernel[:99].flip(0), kernel[100:]  # at lags -1, -2, ... and 1, 2, ...
    near = slice(0, 50)  # before they fade
    size = right[near].abs().mean(0)
    for other in (left, -left):
        assert ((other - right)[near].abs().mean(0) > 0.1 * size).all(), "neither even nor odd"
    assert (left[near].abs().mean(0) > 0.1 * size).all()


@FORMS
def test_a_base_moves_what_lies_on_both_sides_of_it_and_not_alike(causal):
    torch.manual_seed(0)
    model = Backbone(Config(width=8, layers=1, length=41, kernel_width=8, causal=causal)).double().eval()
    tokens = torch.zeros(1, 41, dtype=torch.uint8)
    changed = tokens.clone()
    changed[0, 20] = 2
    moved = (model(changed) - model(tokens))[0].detach()
    before, after = moved[:20].flip(0), moved[21:]
    assert (after.abs().amax(-1) > 1e-9).all()
    if causal:
        assert before.abs().max() < 1e-12
    else:
        assert (before.abs().amax(-1) > 1e-9).all()
        assert (before - after)[2:].abs().mean() > 0.1 * after[2:].abs().mean(), "beyond the short convolution too"
