"""HyenaDNA's long convolution and the kernels for it, against their equations, one lag at a time."""

import importlib
import math
import os
import re
from pathlib import Path

import pytest
import torch

from convnova.models.hyenadna import Backbone, Config, Hyena, ImplicitKernel, long_convolution

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-10)]
CODE = Path(os.environ.get("CONVNOVA_HUB_CODE", "no such folder")) / "hyenadna_released"
"""Their own Python files, where they were fetched: docs/models.md."""
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


def test_the_kernel_is_computed_in_float32_whatever_the_precision():
    kernel = ImplicitKernel(Config(width=4, length=1000))
    with torch.autocast("cpu", torch.bfloat16):
        inside = kernel(1000)
    assert torch.equal(inside, kernel(1000))


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
        slow, fast = 1 / 1.5, 1 / 0.3  # a channel has faded to a hundredth after a share of the longest sequence
        rates = (slow, (2 * slow + fast) / 3, (slow + 2 * fast) / 3, fast)
        fading = torch.tensor([0.01 ** (abs(t) * rate) for rate in rates], dtype=torch.float64)
        torch.testing.assert_close(row, last(h) * fading, atol=1e-6, rtol=1e-6)


def test_the_causal_kernel_is_the_half_of_lags_from_zero_on():
    torch.manual_seed(0)
    causal, both = (kernel(9) for kernel in kernels())
    assert causal.shape == (9, 4) and both.shape == (17, 4)
    assert torch.equal(causal, both[8:])


@FORMS
def test_without_its_long_kernel_a_layer_reads_three_neighbours(causal):
    torch.manual_seed(0)
    layer, x = Hyena(Config(width=4, length=9, kernel_width=8, causal=causal)), torch.randn(1, 9, 4)
    torch.nn.init.zeros_(layer.kernel.layers[-1].weight)
    changed = x.clone()
    changed[0, 4] += 1
    moved = (layer(changed, None) - layer(x, None))[0].abs().amax(-1) > 1e-6
    assert moved.nonzero().flatten().tolist() == ([4, 5, 6] if causal else [3, 4, 5])


def theirs_to_ours(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the authors' class under the names of this one; its first letters are those of the vocabulary."""
    names = {
        "backbone.embeddings.word_embeddings": "embedding",
        "backbone.ln_f": "norm",
        r"backbone.layers.(\d).mixer.in_proj": r"hyenas.\1.project",
        r"backbone.layers.(\d).mixer.out_proj": r"hyenas.\1.out",
        r"backbone.layers.(\d).mixer.short_filter": r"hyenas.\1.short",
        r"backbone.layers.(\d).mixer.filter_fn.bias": r"hyenas.\1.bias",
        r"backbone.layers.(\d).mixer.filter_fn.implicit_filter": r"hyenas.\1.kernel.layers",
        r"backbone.layers.(\d).norm1": r"norms.\1",
        r"backbone.layers.(\d).norm2": r"mlps.\1.0",
        r"backbone.layers.(\d).mlp.fc1": r"mlps.\1.1",
        r"backbone.layers.(\d).mlp.fc2": r"mlps.\1.3",
    }
    found = {}
    for name, tensor in state.items():
        for pattern, own in names.items():
            name = re.sub(f"^{pattern}", own, name)
        found[name.replace(".freq", ".frequency")] = tensor[0] if name.endswith(".freq") else tensor
    for name in found:
        if name.endswith("layers.0.weight"):  # the lag, two cosines, two sines; here wave by wave
            found[name] = found[name][:, [0, 1, 3, 2, 4]]
    return found


@pytest.mark.skipif(not CODE.is_dir(), reason="CONVNOVA_HUB_CODE names no folder with hyenadna_released")
def test_the_causal_form_is_the_released_class_but_for_the_end_of_its_decays(monkeypatch):
    """Their decays end at 0.05 and not at zero; without that the same weights give the same features."""
    monkeypatch.syspath_prepend(CODE.parent)
    settings = importlib.import_module("hyenadna_released.configuration_hyena").HyenaConfig
    network = importlib.import_module("hyenadna_released.modeling_hyena").HyenaDNAModel
    torch.manual_seed(0)
    sizes = {"d_model": 8, "n_layer": 2, "max_seq_len": 60, "emb_dim": 5, "filter_order": 16, "activation_freq": 10}
    theirs = network(settings(**sizes)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    ours = Backbone(Config(width=8, layers=2, length=60, kernel_width=16, causal=True)).eval()
    state = theirs_to_ours(theirs.state_dict())
    state = {name: state[name] for name in ours.state_dict()}
    ours.load_state_dict({**state, "embedding.weight": state["embedding.weight"][: len(ours.embedding.weight)]})
    tokens = torch.randint(0, 5, (2, 60))
    assert (theirs(tokens)[0] - ours(tokens)).abs().max() > 1e-3
    for layer in theirs.backbone.layers:
        layer.mixer.filter_fn.modulation.shift = 0.0
    torch.testing.assert_close(theirs(tokens)[0], ours(tokens), atol=1e-5, rtol=1e-5)
