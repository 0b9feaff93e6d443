"""The fused stem and block against the plain ones in float64; on a GPU, or without one in Triton's interpreter."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # triton reads it when it is imported; nothing but this file imports it
pytest.importorskip("triton", reason="triton is not installed: the fused block cannot run, here or in its interpreter")

from convnova.data.dna import PAD
from convnova.models import without_fast_kernels
from convnova.models.convnova import Backbone, Config, GatedConvolutionBlock
from convnova.models.kernels import hopper

TOLERANCE = 2.0 if torch.cuda.is_available() else 1.5
"""The largest error, in multiples of the error that the plain block makes in bfloat16. On an H200 1.503 was seen."""


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def applied(device, monkeypatch) -> None:
    """Models use the fused form under autocast; on CPU they are made to believe that it applies."""
    if device.type == "cpu":
        monkeypatch.setattr(hopper, "applies", lambda x, width: torch.is_autocast_enabled("cpu"))


def with_random_norms(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Norms get scales and shifts that matter."""
    for norm in network.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            torch.nn.init.normal_(norm.weight, 1, 0.3)
            torch.nn.init.normal_(norm.bias, 0, 0.3)
    return network.to(device)


def random_block(width: int, kernel: int, dilation: int, device: torch.device, ffn: bool = False) -> torch.nn.Module:
    torch.manual_seed(width + kernel + dilation)
    config = Config(width=width, kernel=kernel, ffn=ffn)
    return with_random_norms(GatedConvolutionBlock(config, dilation), device)


def random_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """x, c and gradients of the loss with respect to both results. All but x and its are bfloat16."""
    torch.manual_seed(sum(shape))
    x, c, dx_after, dc_after = (torch.randn(shape, device=device).bfloat16() for _ in range(4))
    return [(1.5 * x + 0.5).to(dtype), 2 * c - 0.5, dx_after.to(dtype), dc_after]


def run(
    way: str, block: torch.nn.Module, inputs: list[Tensor], is_base: Tensor | None, positions: Tensor | None = None
) -> dict[str, Tensor]:
    """Outputs and all gradients: `fused`, `plain` under bfloat16 autocast, or `exact` in float64.

    With `positions` the block is the last one, and the gradient is that of some of the rows.
    """
    block = without_fast_kernels(block)
    if way == "exact":
        block, inputs = block.double(), [tensor.double() for tensor in inputs]
        is_base = None if is_base is None else is_base.double()
    x, c = (tensor.clone().requires_grad_() for tensor in inputs[:2])
    call = hopper.gated_convolution if way == "fused" else GatedConvolutionBlock.__call__
    with torch.autocast(x.device.type, torch.bfloat16, enabled=way != "exact"):
        x_after, c_after = call(block, x, c, is_base, positions, positions is not None)
    if positions is None:
        torch.autograd.backward([x_after, c_after], [inputs[2].to(x_after.dtype), inputs[3]])
    else:
        assert c_after is None
        x_after.backward(inputs[2].flatten(0, 1)[: len(positions)].to(x_after.dtype))
    if way == "fused":
        assert x_after.dtype == x.dtype and (c_after is None or c_after.dtype == c.dtype)
    results = {"x'": x_after} if positions is not None else {"x'": x_after, "c'": c_after}
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {name: tensor.detach() for name, tensor in results.items()} | {"x": x.grad, "c": c.grad, **gradients}


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).detach().square().mean().sqrt())


def assert_no_worse_than_plain(
    block: torch.nn.Module, inputs: list[Tensor], is_base: Tensor | None = None, positions: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare outputs and gradients of both with the float64 block; returns the fused block's."""
    exact, plain, ours = (run(way, block, inputs, is_base, positions) for way in ("exact", "plain", "fused"))
    for name, wanted in exact.items():
        found, allowed = error(ours[name], wanted), TOLERANCE * error(plain[name], wanted)
        assert found <= allowed, f"{name}: {found:.2e} from the float64 block, at most {allowed:.2e} expected"
    assert all(gradient.dtype == torch.float32 for name, gradient in ours.items() if "." in name)
    return ours


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "kernel, dilation, batch, length, ffn",
    [(5, 1, 2, 70, True), (9, 1, 1, 129, False), (5, 4, 3, 37, False), (9, 4, 2, 100, True), (5, 16, 2, 150, False),
     (9, 16, 1, 20, True), (9, 16, 3, 1, False)],
)  # fmt: skip
def test_error_is_that_of_the_plain_block_in_bfloat16(kernel, dilation, batch, length, ffn, dtype, device):
    inputs = random_inputs((batch, length, 64), dtype, device)
    assert_no_worse_than_plain(random_block(64, kernel, dilation, device, ffn), inputs)


@pytest.mark.parametrize("width", [128, 256])
def test_other_widths(width, device):
    inputs = random_inputs((2, 45, width), torch.bfloat16, device)
    assert_no_worse_than_plain(random_block(width, 5, 4, device, ffn=True), inputs)


@pytest.mark.parametrize("ffn", [False, True])
def test_chosen_positions_of_the_last_block(ffn, device):
    positions = torch.tensor([0, 3, 36, 37, 73, 80, 110], device=device)
    inputs = random_inputs((3, 37, 64), torch.bfloat16, device)
    chosen = assert_no_worse_than_plain(random_block(64, 9, 4, device, ffn), inputs, None, positions)
    everywhere = run("fused", random_block(64, 9, 4, device, ffn), inputs, None)
    assert torch.equal(chosen["x'"], everywhere["x'"].flatten(0, 1)[positions])


def test_sums_over_positions_in_few_uneven_parts(device, monkeypatch):
    monkeypatch.setattr(hopper, "PROGRAMS", 2 * 5)  # two parts of the sum for each tap, of three tiles and of two
    inputs = random_inputs((2, 150, 64), torch.bfloat16, device)
    assert_no_worse_than_plain(random_block(64, 5, 4, device), inputs)


def test_padding_is_zeros_to_the_convolutions(device):
    block, inputs = random_block(64, 5, 4, device), random_inputs((2, 50, 64), torch.bfloat16, device)
    is_base = torch.ones(2, 50, 1, dtype=torch.bfloat16, device=device)
    is_base[0, 31:] = 0
    padded = assert_no_worse_than_plain(block, inputs, is_base)
    alone = run("fused", block, [tensor[:1, :31] for tensor in inputs], None)
    assert all(torch.equal(padded[name][0, :31], alone[name][0]) for name in ("x'", "c'"))
    assert torch.equal(padded["c"][0, 31:], inputs[3][0, 31:])  # nothing but what comes from c' = c + gate


def test_sequences_of_a_batch_do_not_see_each_other(device):
    block, inputs = random_block(64, 9, 4, device, ffn=True), random_inputs((3, 41, 64), torch.bfloat16, device)
    others = [tensor.clone() for tensor in inputs]
    for tensor in others:
        tensor[0], tensor[2] = torch.nan, torch.nan
    together, apart = (run("fused", block, tensors, None) for tensors in (inputs, others))
    for name in ("x'", "c'", "x", "c"):
        assert torch.isfinite(apart[name][1]).all()
        assert torch.equal(apart[name][1], together[name][1])


def test_the_same_bits_twice(device):
    block, inputs = random_block(64, 5, 4, device, ffn=True), random_inputs((2, 150, 64), torch.bfloat16, device)
    first, second = (run("fused", block, inputs, None) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("unused", ["x'", "c'"])
def test_gradients_where_one_output_is_not_used(unused, device):
    block, inputs = random_block(64, 5, 1, device), random_inputs((1, 20, 64), torch.bfloat16, device)
    gradients = []
    for way in (hopper.gated_convolution, lambda block, x, c, is_base: block.double()(x.double(), c.double(), is_base)):
        block_here, x = copy.deepcopy(block), inputs[0].clone().requires_grad_()
        c = inputs[1].clone().requires_grad_()
        outputs = way(block_here, x, c, None)
        outputs[unused == "x'"].sum().backward()
        gradients.append([c.grad.double(), block_here.gate_conv.weight.grad.double()])
    for found, exact in zip(*gradients, strict=True):
        assert error(found, exact) < 0.01 * float(exact.square().mean().sqrt())


def test_the_same_outputs_without_gradients(device):
    block, (x, c, *_) = random_block(64, 5, 1, device, ffn=True), random_inputs((1, 20, 64), torch.bfloat16, device)
    with_gradients = hopper.gated_convolution(block, x, c, None)
    with torch.inference_mode():
        without = hopper.gated_convolution(block, x, c, None)
    assert all(torch.equal(one, other) for one, other in zip(with_gradients, without, strict=True))
    assert with_gradients[0].requires_grad and not without[0].requires_grad


@pytest.mark.parametrize("width, batch, length", [(64, 3, 37), (128, 1, 130), (256, 2, 1)])
def test_stem_is_the_convolution_of_one_hot_letters(width, batch, length, device):
    torch.manual_seed(width)
    convolution = torch.nn.Conv1d(5, width, 9, padding=4).to(device)
    tokens = torch.randint(0, PAD + 1, (batch, length), dtype=torch.uint8, device=device)
    dx = torch.randn(batch, length, width, device=device).bfloat16()
    letters = torch.nn.functional.one_hot(tokens.long(), PAD + 1)[..., :PAD].mT
    found = []
    for way in ("exact", "plain", "fused"):
        layer = copy.deepcopy(convolution)
        if way == "fused":
            x = hopper.stem(tokens, layer.weight, layer.bias)
        else:
            layer = layer.double() if way == "exact" else layer
            with torch.autocast(device.type, torch.bfloat16, enabled=way == "plain"):
                x = torch.nn.functional.gelu(layer(letters.to(layer.weight.dtype)).mT)
        x.backward(dx.to(x.dtype))
        found.append([x, layer.weight.grad, layer.bias.grad])
    for exact, plain, ours in zip(*found, strict=True):
        assert error(ours, exact) <= TOLERANCE * error(plain, exact)


@pytest.mark.parametrize(
    "width, expansion, shape, dtype",
    [(64, 4, (2, 37), torch.bfloat16), (128, 2, (130,), torch.bfloat16), (256, 2, (3, 5), torch.bfloat16),
     (64, 1, (1, 1), torch.float32), (64, 4, (0,), torch.bfloat16)],
)  # fmt: skip
def test_tail_has_the_error_of_the_plain_one_in_bfloat16(width, expansion, shape, dtype, device):
    torch.manual_seed(width + expansion)
    tail = with_random_norms(Backbone(Config(width=width, tail_expansion=expansion, blocks=1)).tail, device)
    inputs = (2 * torch.randn(*shape, width, device=device) + 0.5).to(dtype)
    dy = torch.randn(*shape, width, device=device)
    found = []
    for way in ("exact", "plain", "fused"):
        layers, x = copy.deepcopy(tail), inputs.clone()
        if way == "exact":
            layers, x = layers.double(), x.double()
        x.requires_grad_()
        with torch.autocast(device.type, torch.bfloat16, enabled=way != "exact"):
            y = hopper.tail(layers, x) if way == "fused" else x + layers(x)
            if way == "fused":
                with torch.inference_mode():
                    assert torch.equal(hopper.tail(layers, inputs), y.detach())
        y.backward(dy.to(y.dtype))
        gradients = {name: parameter.grad for name, parameter in layers.named_parameters()}
        found.append({"y": y, "x": x.grad, **gradients})
    assert found[-1]["y"].dtype == torch.float32
    for name, exact in found[0].items():
        plain, ours = (error(way[name], exact) for way in found[1:])
        assert ours <= TOLERANCE * plain or not x.numel(), name


@pytest.mark.slow
def test_training_keeps_less_than_half_of_what_the_plain_model_keeps_in_float32(device, applied):
    """Activations for the backward pass, at the size of fine-tuning in the Genomic Benchmarks."""
    torch.manual_seed(1)
    model = Backbone(Config(width=64, kernel=5, tail_expansion=4, final_conv=True)).to(device)
    tokens = torch.randint(0, 4, (4, 250), device=device)
    plain = without_fast_kernels(model)

    def kept(network: Backbone, enabled: bool) -> int:
        storages = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.numel() % tokens.numel() == 0:  # 1000, which divides no weight's size
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with (
            torch.autocast(device.type, torch.bfloat16, enabled=enabled),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            network(tokens).mean(1).sum().backward()
        return sum(storages.values())

    assert kept(model, True) < 0.4 * kept(plain, False)


@pytest.mark.parametrize("second_branch", ["complement", "reverse_complement", "none"])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_model_uses_it_where_it_applies(second_branch, chosen, device, applied, monkeypatch):
    """The stems, all blocks and the tail, to the same features and gradients."""
    torch.manual_seed(5)
    model = Backbone(Config(width=64, kernel=5, blocks=3, ffn=True, second_branch=second_branch)).to(device)
    tokens = torch.randint(0, 4, (2, 30), device=device)
    tokens[1, 20:] = PAD
    positions = torch.arange(1, 49, 3, device=device) if chosen else None
    calls = []
    real, real_stem, real_tail = hopper.gated_convolution, hopper.stem, hopper.tail
    monkeypatch.setattr(hopper, "gated_convolution", lambda *inputs: calls.append(inputs[0]) or real(*inputs))
    monkeypatch.setattr(hopper, "stem", lambda *inputs: calls.append("stem") or real_stem(*inputs))
    monkeypatch.setattr(hopper, "tail", lambda *inputs: calls.append("tail") or real_tail(*inputs))

    def features_and_gradients(network: Backbone) -> list[Tensor]:
        features = network(tokens, positions)
        features = features if chosen else features[tokens != PAD]
        loss = features.double().square().sum()
        return [features, *torch.autograd.grad(loss, list(network.parameters()))]

    with torch.autocast(device.type, torch.bfloat16):
        ours = features_and_gradients(model)
        stems = 1 if second_branch == "none" else 2
        assert calls == ["stem"] * stems + [*model.blocks, "tail"]
        monkeypatch.setattr(hopper, "applies", lambda x, width: False)
        plain = features_and_gradients(model)
    assert len(calls) == stems + len(model.blocks) + 1
    for mine, theirs, exact in zip(ours, plain, features_and_gradients(model.double()), strict=True):
        assert error(mine, exact) <= TOLERANCE * error(theirs, exact)


def test_without_chosen_positions_gradients_are_zero(device):
    block = random_block(64, 5, 1, device, ffn=True)
    x, c, *_ = random_inputs((1, 20, 64), torch.bfloat16, device)
    none = torch.zeros(0, dtype=torch.long, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        chosen, _ = hopper.gated_convolution(block, x.requires_grad_(), c.requires_grad_(), None, none, True)
    chosen.sum().backward()
    assert chosen.shape == (0, 64) and not x.grad.any()
    assert not any(parameter.grad.any() for parameter in block.parameters())


def test_a_tail_of_another_width_is_plain(device, applied, monkeypatch):
    model, tokens = Backbone(Config(width=64, blocks=1, tail_expansion=3)).to(device), torch.zeros(1, 9, device=device)
    monkeypatch.setattr(hopper, "tail", None)
    with torch.autocast(device.type, torch.bfloat16):
        assert model(tokens.long()).isfinite().all()


def test_where_it_does_not_apply(device):
    x = torch.zeros(1, 8, 64, device=device)
    assert not hopper.applies(x.cpu(), 64)
    assert not hopper.applies(x, 64)
    with torch.autocast(device.type, torch.bfloat16):
        on_hopper = device.type == "cuda" and torch.cuda.get_device_capability() == hopper.HOPPER
        assert hopper.applies(x, 64) == on_hopper
        assert not hopper.applies(x, 12)


def test_a_block_with_dropout_is_plain_in_training(device, applied, monkeypatch):
    block, (x, c, *_) = random_block(64, 5, 1, device), random_inputs((1, 20, 64), torch.bfloat16, device)
    block.dropout, calls, real = 0.1, [], hopper.gated_convolution
    monkeypatch.setattr(hopper, "gated_convolution", lambda *inputs: calls.append(1) or real(*inputs))
    with torch.autocast(device.type, torch.bfloat16):
        block(x, c, None)
        assert not calls
        block.eval()(x, c, None)
    assert calls


@pytest.mark.slow
def test_all_kernels_compile_for_hopper(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.models.compile_for_hopper"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (root / "convnova/models/kernels/hopper_triton.py").read_text()
    kernels = re.findall(r"^def ([a-z]\w*)", text, re.MULTILINE)
    assert {*done.stdout.split()} == {*kernels}
