"""The fused block against the plain one in float64; on a GPU, or without one in Triton's interpreter."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # triton reads it when it is imported; nothing but this file imports it
pytest.importorskip("triton", reason="triton is not installed: the fused block cannot run, here or in its interpreter")

from convnova.models import fused
from convnova.models.convnova import Backbone, Config, GatedConvolutionBlock

TOLERANCE = 1.5
"""The largest error, in multiples of the error that the plain block makes in bfloat16."""


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_block(width: int, kernel: int, dilation: int, device: torch.device) -> GatedConvolutionBlock:
    """A block whose norms have scales and shifts that matter."""
    torch.manual_seed(width + kernel + dilation)
    block = GatedConvolutionBlock(Config(width=width, kernel=kernel), dilation)
    for norm in (block.norm, block.gate_norm):
        torch.nn.init.normal_(norm.weight, 1, 0.3)
        torch.nn.init.normal_(norm.bias, 0, 0.3)
    return block.to(device)


def random_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """x, c and gradients of the loss with respect to x' and the gate. All but x and x' are bfloat16."""
    torch.manual_seed(sum(shape))
    x, c, dx_after, dgate = (torch.randn(shape, device=device).bfloat16() for _ in range(4))
    return [(1.5 * x + 0.5).to(dtype), 2 * c - 0.5, dx_after.to(dtype), dgate]


def run(way: str, block: GatedConvolutionBlock, inputs: list[Tensor], inside: Tensor | None) -> dict[str, Tensor]:
    """Outputs and all gradients: `fused`, `plain` under bfloat16 autocast, or `exact` in float64."""
    block = copy.deepcopy(block)
    block.fast = False
    if way == "exact":
        block, inputs = block.double(), [tensor.double() for tensor in inputs]
        inside = None if inside is None else inside.double()
    x, c = (tensor.clone().requires_grad_() for tensor in inputs[:2])
    with torch.autocast(x.device.type, torch.bfloat16, enabled=way != "exact"):
        outputs = fused.gated_convolution(block, x, c, inside) if way == "fused" else block(x, c, inside)
    if way != "exact":
        assert [output.dtype for output in outputs] == [x.dtype, torch.bfloat16]
    torch.autograd.backward(outputs, inputs[2:])
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {"x'": outputs[0].detach(), "gate": outputs[1].detach(), "x": x.grad, "c": c.grad, **gradients}


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).detach().square().mean().sqrt())


def assert_no_worse_than_plain(
    block: GatedConvolutionBlock, inputs: list[Tensor], inside: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare outputs and gradients of both with the float64 block; returns the fused block's."""
    exact, plain, ours = (run(way, block, inputs, inside) for way in ("exact", "plain", "fused"))
    for name, wanted in exact.items():
        found, allowed = error(ours[name], wanted), TOLERANCE * error(plain[name], wanted)
        assert found <= allowed, f"{name}: {found:.2e} from the float64 block, at most {allowed:.2e} expected"
    assert all(gradient.dtype == torch.float32 for name, gradient in ours.items() if "." in name)
    return ours


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "kernel, dilation, batch, length",
    [(5, 1, 2, 70), (9, 1, 1, 129), (5, 4, 3, 37), (9, 4, 2, 100), (5, 16, 2, 150), (9, 16, 1, 20), (9, 16, 3, 1)],
)
def test_error_is_that_of_the_plain_block_in_bfloat16(kernel, dilation, batch, length, dtype, device):
    inputs = random_inputs((batch, length, 64), dtype, device)
    assert_no_worse_than_plain(random_block(64, kernel, dilation, device), inputs)


@pytest.mark.parametrize("width", [128, 256])
def test_other_widths(width, device):
    inputs = random_inputs((2, 45, width), torch.bfloat16, device)
    assert_no_worse_than_plain(random_block(width, 5, 4, device), inputs)


def test_sums_over_positions_in_few_uneven_parts(device, monkeypatch):
    monkeypatch.setattr(fused, "PROGRAMS", 2 * 5)  # two parts of the sum for each tap, of three tiles and of two
    inputs = random_inputs((2, 150, 64), torch.bfloat16, device)
    assert_no_worse_than_plain(random_block(64, 5, 4, device), inputs)


def test_padding_is_zeros_to_the_convolutions(device):
    block, inputs = random_block(64, 5, 4, device), random_inputs((2, 50, 64), torch.bfloat16, device)
    inside = torch.ones(2, 50, 1, dtype=torch.bfloat16, device=device)
    inside[0, 31:] = 0
    padded = assert_no_worse_than_plain(block, inputs, inside)
    alone = run("fused", block, [tensor[:1, :31] for tensor in inputs], None)
    assert torch.equal(padded["x'"][0, :31], alone["x'"][0])
    assert torch.equal(padded["gate"][0, :31], alone["gate"][0])
    assert not padded["c"][0, 31:].any()


def test_sequences_of_a_batch_do_not_see_each_other(device):
    block, inputs = random_block(64, 9, 4, device), random_inputs((3, 41, 64), torch.bfloat16, device)
    others = [tensor.clone() for tensor in inputs]
    for tensor in others:
        tensor[0], tensor[2] = torch.nan, torch.nan
    together, apart = (run("fused", block, tensors, None) for tensors in (inputs, others))
    for name in ("x'", "gate", "x", "c"):
        assert torch.isfinite(apart[name][1]).all()
        assert torch.equal(apart[name][1], together[name][1])


def test_the_same_bits_twice(device):
    block, inputs = random_block(64, 5, 4, device), random_inputs((2, 150, 64), torch.bfloat16, device)
    first, second = (run("fused", block, inputs, None) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("unused", ["x'", "gate"])
def test_gradients_where_one_output_is_not_used(unused, device):
    block, inputs = random_block(64, 5, 1, device), random_inputs((1, 20, 64), torch.bfloat16, device)
    gradients = []
    for way in (fused.gated_convolution, lambda block, x, c, inside: block.double()(x.double(), c.double(), inside)):
        block_here, x = copy.deepcopy(block), inputs[0].clone().requires_grad_()
        c = inputs[1].clone().requires_grad_()
        outputs = way(block_here, x, c, None)
        outputs[unused == "x'"].sum().backward()
        gradients.append([c.grad.double(), block_here.gate_conv.weight.grad.double()])
    for found, exact in zip(*gradients, strict=True):
        assert error(found, exact) < 0.01 * float(exact.square().mean().sqrt())


def test_the_same_outputs_without_gradients(device):
    block, (x, c, *_) = random_block(64, 5, 1, device), random_inputs((1, 20, 64), torch.bfloat16, device)
    with_gradients = fused.gated_convolution(block, x, c, None)
    with torch.inference_mode():
        without = fused.gated_convolution(block, x, c, None)
    assert all(torch.equal(one, other) for one, other in zip(with_gradients, without, strict=True))
    assert with_gradients[0].requires_grad and not without[0].requires_grad


def test_a_model_uses_it_where_it_applies(device, monkeypatch):
    """All blocks but the one at chosen positions; on CPU made to believe that it applies."""
    torch.manual_seed(5)
    model = Backbone(Config(width=64, kernel=5, blocks=3, ffn=True)).to(device)
    tokens, at = torch.randint(0, 4, (2, 30), device=device), torch.tensor([3, 44], device=device)
    calls = []
    if device.type == "cpu":
        monkeypatch.setattr(fused, "applies", lambda x, block: True)
    real = fused.gated_convolution
    monkeypatch.setattr(fused, "gated_convolution", lambda *inputs: calls.append(inputs[0]) or real(*inputs))
    with torch.autocast(device.type, torch.bfloat16):
        features = model(tokens, at)
        assert calls == list(model.blocks[:2])
        for block in model.blocks:
            block.fast = False
        plain = model(tokens, at)
    assert len(calls) == 2
    exact = model.double()(tokens, at)
    assert error(features, exact) <= TOLERANCE * error(plain, exact)


def test_where_it_does_not_apply(device):
    x, block = torch.zeros(1, 8, 64, device=device), random_block(64, 5, 1, device)
    assert not fused.applies(x.cpu(), block)
    assert not fused.applies(x, block)
    with torch.autocast(device.type, torch.bfloat16):
        on_hopper = device.type == "cuda" and torch.cuda.get_device_capability() == fused.HOPPER
        assert fused.applies(x, block) == on_hopper
        assert not fused.applies(torch.zeros(1, 8, 12, device=device), block)
        block.dropout = 0.1
        assert not fused.applies(x, block)
        assert fused.applies(x, block.eval()) == on_hopper


@pytest.mark.slow
def test_all_kernels_compile_for_hopper(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.models.compile_for_hopper"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 7 * len(fused.FORWARD)
