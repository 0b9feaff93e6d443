"""Selective scan against its equations, one step at a time."""

import pytest
import torch

import convnova.models.selective_scan as scan_module
from convnova.models.caduceus import Backbone as Caduceus
from convnova.models.caduceus import Config as CaduceusConfig
from convnova.models.selective_scan import SEGMENT, has_kernels, selective_scan

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


def test_gradients_across_segments_are_those_of_finite_differences(monkeypatch):
    monkeypatch.setattr(scan_module, "SEGMENT", 3)
    assert torch.autograd.gradcheck(selective_scan, inputs(8, torch.float64))


def by_contract(u, delta, a, b, c, d):
    """In the place of mamba-ssm's `selective_scan_fn`, which needs CUDA: its shapes, and the types that it insists on
    (csrc/selective_scan/selective_scan.cpp): u, delta (B, D, L) and B, C (B, N, L) of one type of at most 32 bits,
    A (D, N) and D (D,) float32."""
    assert {delta.dtype, b.dtype, c.dtype} == {u.dtype} and u.dtype in (torch.float32, torch.float16, torch.bfloat16)
    assert a.dtype == d.dtype == torch.float32
    assert delta.shape == u.shape and b.shape == c.shape == (len(u), a.shape[1], u.shape[2])
    assert d.shape == a.shape[:1] == u.shape[1:2]
    assert all(x.stride(-1) == 1 for x in (u, delta, a, b, c, d))
    with torch.autocast("cpu", enabled=False):
        wide = [x.float() for x in (u, delta, b, c)]
        y = step_by_step(*(x.transpose(1, 2) for x in wide[:2]), a, *(x.transpose(1, 2) for x in wide[2:]), d)
    return y.transpose(1, 2).to(u.dtype)


@pytest.fixture
def kernels(monkeypatch):
    """As on a GPU where mamba-ssm is installed."""
    monkeypatch.setattr(scan_module, "selective_scan_fn", by_contract)
    monkeypatch.setattr(scan_module, "has_kernels", lambda u: True)


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_the_kernels_of_mamba_ssm_get_what_they_ask_for(narrow, kernels):
    """Under autocast on a GPU softplus gives float32 and the linear layers around it bfloat16."""
    u, delta, a, b, c, d = inputs(11, torch.float32)
    mixed = (u.to(narrow), delta, a, b.to(narrow), c.to(narrow), d)
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow == torch.bfloat16):
        y = selective_scan(*mixed)
    torch.testing.assert_close(y, step_by_step(*(x.float() for x in mixed)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("both_strands", [False, True])
def test_the_kernels_get_it_in_bfloat16_too_and_give_what_the_plain_scan_gives(both_strands, request):
    """The whole model, and its gradients, under autocast."""
    torch.manual_seed(0)
    model = Caduceus(CaduceusConfig(width=8, layers=2, states=4, both_strands=both_strands))
    tokens = torch.randint(0, 4, (2, 40))

    def outcome() -> list[torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            features = model(tokens)
            features.float().square().sum().backward()
        return [features.detach().float(), *(p.grad for p in model.parameters())]

    plain = outcome()
    request.getfixturevalue("kernels")
    for found, expected in zip(outcome(), plain, strict=True):
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0.02)


def test_the_kernels_are_left_alone_where_they_could_not_run(monkeypatch):
    monkeypatch.setattr(scan_module, "selective_scan_fn", by_contract)
    assert not has_kernels(torch.zeros(1))
    on_gpu = type("OnGPU", (), {"is_cuda": True, "dtype": torch.float32})()
    assert has_kernels(on_gpu)
    on_gpu.dtype = torch.float64
    assert not has_kernels(on_gpu)
