"""Selective scan and long convolution against their equations, one step at a time."""

import pytest
import torch

from convnova.models import scan
from convnova.models.hyenadna import long_convolution
from convnova.models.scan import SEGMENT, Recurrence, selective_scan

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-10)]


def step_by_step(u, delta, a, b, c, d):
    """h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t, y_t = C_t h_t + D u_t."""
    state, outputs = u.new_zeros(u.shape[0], *a.shape), []
    for t in range(u.shape[1]):
        state = torch.exp(delta[:, t, :, None] * a) * state + (delta[:, t] * u[:, t])[..., None] * b[:, t, None]
        outputs.append((state * c[:, t, None]).sum(-1) + d * u[:, t])
    return torch.stack(outputs, 1)


def inputs(length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(length)
    u, delta = torch.randn(2, length, 6, dtype=dtype), 0.1 * torch.rand(2, length, 6, dtype=dtype)
    a, d = -5 * torch.rand(6, 4, dtype=dtype), torch.randn(6, dtype=dtype)
    b, c = torch.randn(2, length, 4, dtype=dtype), torch.randn(2, length, 4, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (u, delta, a, b, c, d)]


@pytest.mark.parametrize("length", [1, 5, SEGMENT, 3 * SEGMENT + 7])
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_the_scan_is_the_recurrence_in_values_and_gradients(length, dtype, tolerance):
    given = inputs(length, dtype)
    ours, right = selective_scan(*given), step_by_step(*given)
    torch.testing.assert_close(ours, right, atol=tolerance, rtol=tolerance)
    weights = torch.randn_like(right) / right.numel()
    pairs = (torch.autograd.grad((y * weights).sum(), given) for y in (ours, right))
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_between_segments_only_the_state_is_kept():
    kept, given = [], inputs(130, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        selective_scan(*given)
    sizes = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    states = given[0].numel() * given[2].shape[1] * given[0].element_size() / SEGMENT  # of (B, L, D, N), one a segment
    assert sum(sizes.values()) < 2 * states + 2 * sum(x.untyped_storage().nbytes() for x in given)


def test_decays_that_vanish_within_a_segment_do_no_harm():
    """exp(-1000) is zero: forms of the scan that divide by the product of decays give infinity here."""
    given = inputs(2 * SEGMENT, torch.float32)
    given[1] = given[1].detach() * 10_000
    ours = selective_scan(*given)
    assert ours.isfinite().all()
    torch.testing.assert_close(ours, step_by_step(*given), atol=1e-2, rtol=1e-5)


def test_gradients_of_the_recurrence_are_those_of_finite_differences():
    torch.manual_seed(0)
    a, b = (torch.rand(2, 9, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    first = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Recurrence.apply, (a, b, first))


def test_the_kernels_of_mamba_ssm_get_what_they_ask_for(monkeypatch):
    """They need CUDA; here their contract stands in for them: u, delta (B, D, L), A (D, N), B, C (B, N, L), D (D,)."""

    def by_contract(u, delta, a, b, c, d):
        assert all(x.is_contiguous() for x in (u, delta, b, c))
        state, outputs = u.new_zeros(*u.shape[:2], a.shape[1]), []
        for t in range(u.shape[2]):
            inflow = torch.einsum("bd,bn->bdn", delta[..., t] * u[..., t], b[..., t])
            state = torch.exp(torch.einsum("bd,dn->bdn", delta[..., t], a)) * state + inflow
            outputs.append(torch.einsum("bdn,bn->bd", state, c[..., t]) + d * u[..., t])
        return torch.stack(outputs, 2)

    given = inputs(11, torch.float64)
    monkeypatch.setattr(scan, "selective_scan_fn", by_contract)
    torch.testing.assert_close(scan.by_kernels(*given), step_by_step(*given), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("dtype, tolerance", TOLERANCES)
def test_the_long_convolution_is_its_sum(both, dtype, tolerance):
    torch.manual_seed(0)
    length = 90
    v, kernel, backward = (torch.randn(*shape, dtype=dtype) for shape in ((2, length, 3), (length, 3), (length, 3)))
    kernel, backward = kernel / length, backward / length
    expected = torch.zeros_like(v)
    for to in range(length):
        for come in range(length):
            if come <= to:
                expected[:, to] += kernel[to - come] * v[:, come]
            elif both:
                expected[:, to] += backward[come - to] * v[:, come]
    found = long_convolution(v, kernel, backward if both else None)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("both", [False, True])
def test_gradients_of_the_long_convolution_are_those_of_finite_differences(both):
    torch.manual_seed(0)
    v, kernel, backward = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 7, 3), (7, 3), (7, 3)))
    given = [v, kernel, *([backward] if both else [])]
    assert torch.autograd.gradcheck(long_convolution, [tensor.requires_grad_() for tensor in given])
