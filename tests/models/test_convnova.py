import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from convnova.data.dna import COMPLEMENT, PAD
from convnova.errors import ConvNovaError
from convnova.models.convnova import Backbone, Config, GatedConvolutionBlock
from convnova.models.heads import MaskedLanguageModel, Predictor

SMALL = Config(width=12, kernel=5, blocks=4, dilation_base=3, tail_expansion=2, ffn=True, final_conv=True)


def backbone(config: Config = SMALL, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(config).eval()


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """With blocks of a stack and norms that differ from where they start."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def random_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 5, shape).astype(np.uint8))


def equations(model: Backbone, tokens: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The docstring's equations, channels first, with PyTorch's own conv1d over one-hot letters."""

    def letters(sequence):
        return F.one_hot(sequence.long(), 5).float().transpose(1, 2)

    def norm(layer, x):
        return layer(x.transpose(1, 2)).transpose(1, 2)

    def same(conv, x, dilation):
        return F.conv1d(x, conv.weight, conv.bias, padding="same", dilation=dilation)

    one_branch = model.config.second_branch == "none"
    x = F.gelu(same(model.stem, letters(tokens), 1))
    c = x if one_branch else F.gelu(same(model.second_stem, letters(second), 1))
    for block, dilation in zip(model.blocks, model.config.dilations, strict=True):
        h = F.gelu(same(block.conv, norm(block.norm, x), dilation))
        if model.config.gate == "none":
            x = x + h
        else:
            gate = torch.sigmoid(same(block.gate_conv, norm(block.gate_norm, x if one_branch else c), dilation))
            x, c = x + h + gate if model.config.gate == "sum" else x + h * gate, c + gate
        if block.ffn is not None:
            x = x + block.ffn(x.transpose(1, 2)).transpose(1, 2)
    x = x.transpose(1, 2)
    x = x + model.tail(x)
    return x if model.final_conv is None else model.final_conv(x)


PARTS = [
    Config(width=12, kernel=kernel, blocks=4, dilation_base=2, ffn=ffn, final_conv=final_conv)
    for ffn, final_conv, kernel in itertools.product([False, True], [False, True], [3, 9])
]
OTHERS = [
    Config(width=12, blocks=3, second_branch="reverse_complement"),
    Config(width=8, blocks=3, stacks=2),
    Config(width=8, blocks=3, gate="sum"),
    Config(width=8, blocks=3, second_branch="none"),
    Config(width=8, blocks=3, second_branch="none", gate="none"),
]


@pytest.mark.parametrize("config", [*PARTS, *OTHERS, Config(), Config(ffn=True)], ids=str)
def test_features_and_gradients_are_those_of_the_papers_equations(config):
    model, tokens = stirred(backbone(config)), random_tokens(2, 500 if config.width == 128 else 61)
    second = COMPLEMENT[tokens.numpy()]
    second = second[:, ::-1].copy() if config.second_branch == "reverse_complement" else second
    results = []
    for features in (model(tokens), equations(model, tokens, torch.from_numpy(second))):
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
        results.append((features.detach(), *torch.autograd.grad((features * weights).sum(), list(model.parameters()))))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


def test_the_complement_is_the_sequence_itself_with_relabelled_stem_weights():
    model, tokens = backbone(), random_tokens(2, 50)
    before = model(tokens)
    with torch.no_grad():
        model.second_stem.weight.copy_(model.second_stem.weight[:, [3, 2, 1, 0, 4]])
    torch.testing.assert_close(equations(model, tokens, second=tokens), before, atol=2e-6, rtol=1e-5)


def test_released_pooling_counts_padding_only_when_asked():
    torch.manual_seed(0)
    model, tokens = Backbone(SMALL), random_tokens(1, 30)
    padded = F.pad(tokens, (0, 30), value=PAD)
    own, released = (Predictor(model, "classes", 2, pool_padding=flag) for flag in (False, True))
    released.load_state_dict(own.state_dict())
    torch.testing.assert_close(own(padded), own(tokens), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(released(padded), released(tokens), atol=1e-3)


def test_tail_is_computed_at_chosen_positions_alone():
    model, seen = Backbone(Config(width=8, blocks=2)), []
    model.tail[0].register_forward_hook(lambda layer, inputs, output: seen.append(tuple(inputs[0].shape)))
    model(torch.randint(0, 4, (2, 30)), torch.tensor([0, 31, 59]))
    assert seen == [(3, 8)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activation_checkpointing_computes_blocks_twice(checkpointing):
    model, calls = Backbone(Config(width=8, blocks=2)), []
    model.checkpointing = checkpointing
    for block in model.blocks:
        block.register_forward_pre_hook(lambda block, inputs: calls.append(block))
    model(torch.randint(0, 4, (1, 30))).sum().backward()
    assert len(calls) == (4 if checkpointing else 2)


def test_dropout_and_checkpointing_together_change_no_value():
    torch.manual_seed(4)
    model, tokens = Backbone(Config(width=16, blocks=3, dropout=0.3)), random_tokens(2, 40)
    results = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        torch.manual_seed(5)
        features = model(tokens)
        results.append((features, *torch.autograd.grad(features.square().sum(), list(model.parameters()))))
    for once, twice in zip(*results, strict=True):
        torch.testing.assert_close(once, twice)


@pytest.mark.parametrize(
    "shape, piece, calls", [((7, 33), 66, 4), ((2, 2600), 500, 9)], ids=["groups of sequences", "windows"]
)
def test_prediction_in_pieces_is_prediction_at_once(shape, piece, calls, monkeypatch):
    model, tokens = backbone(Config(width=8)), random_tokens(*shape)
    tokens[1, shape[1] - 20 :] = PAD
    parts, features = [], model._features
    monkeypatch.setattr(model, "_features", lambda part, positions: parts.append(part) or features(part, positions))
    with torch.no_grad():
        whole = model(tokens)
        assert len(parts) == 1
        monkeypatch.setattr("convnova.models.convnova.CPU_ACTIVATION", 8 * piece)
        pieces = model(tokens)
    assert len(parts) == 1 + calls
    torch.testing.assert_close(pieces[tokens != PAD], whole[tokens != PAD], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [193, 700])
@pytest.mark.parametrize("config", [Config(width=16), Config(width=16, ffn=True, dilation_base=3)], ids=str)
def test_windows_give_what_the_whole_sequence_gives(config, window):
    model, tokens = backbone(config), random_tokens(2, 900)
    with torch.no_grad():
        torch.testing.assert_close(model.in_windows(tokens, window), model(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "config, window, field",
    [(Config(width=8), 192, "193 bases"), (Config(second_branch="reverse_complement"), 400, "the whole sequence")],
    ids=["short", "both ends"],
)
def test_windows_must_be_longer_than_the_receptive_field_and_see_both_ends(config, window, field):
    with pytest.raises(ConvNovaError, match=f"window = {window}: .* {field}"):
        Backbone(config).in_windows(random_tokens(1, 900), window)


def test_without_chosen_positions_there_is_nothing():
    model, tokens = MaskedLanguageModel(backbone()), random_tokens(1, 47)
    assert model(tokens, torch.empty(0, dtype=torch.int64)).shape == (0, 5)


def test_dilations_and_receptive_fields():
    assert (Config().dilations, Config().receptive_field) == ([1, 1, 1, 4, 16], 193)
    assert Config(kernel=5).receptive_field == 101
    assert max(Config(blocks=12).dilations) == 1024


def test_parameter_counts_of_the_paper():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert count(Backbone(Config())) == 1_688_448
    assert count(MaskedLanguageModel(Backbone(Config(ffn=True)))) == 1_772_933
    assert count(Backbone(Config(width=64, kernel=5, tail_expansion=4))) == 377_920
    assert count(Backbone(Config(width=64, kernel=5, tail_expansion=4, final_conv=True))) == 386_240


def test_initialisation_is_frozen():
    model = MaskedLanguageModel(backbone(Config(ffn=True, final_conv=True), seed=1))
    bound = 1 / math.sqrt(128 * 9)  # PyTorch's default for a convolution: uniform within 1/sqrt(fan in)
    assert model.backbone.blocks[3].conv.weight.abs().max() <= bound
    assert model.backbone.blocks[3].conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    parts = {}
    for name, parameter in model.named_parameters():
        part = ".".join(word for word in name.split(".") if not word.isdigit())
        parts[part] = parts.get(part, 0) + parameter.detach().double().square().sum().item()
    assert parts == pytest.approx(FROZEN, abs=1e-4)


FROZEN = {
    "backbone.stem.weight": 42.871691853514974, "backbone.stem.bias": 0.8404007011814406,
    "backbone.second_stem.weight": 43.11893807069603, "backbone.second_stem.bias": 0.9815629032635852,
    "backbone.blocks.norm.weight": 640.0, "backbone.blocks.norm.bias": 0.0,
    "backbone.blocks.gate_norm.weight": 640.0, "backbone.blocks.gate_norm.bias": 0.0,
    "backbone.blocks.conv.weight": 212.77539974529918, "backbone.blocks.conv.bias": 0.20274456718788764,
    "backbone.blocks.gate_conv.weight": 213.16996587440764, "backbone.blocks.gate_conv.bias": 0.17336082698103417,
    "backbone.blocks.ffn.weight": 852.3964511703747, "backbone.blocks.ffn.bias": 1.7706914697061364,
    "backbone.tail.weight": 682.5342952458769, "backbone.tail.bias": 1.4710450046197796,
    "backbone.final_conv.weight": 85.26264084953225, "backbone.final_conv.bias": 0.6947125761523093,
    "head.weight": 1.7559333803882669, "head.bias": 0.010918016878625769,
}  # fmt: skip
"""Sums of squares of the parameters of each kind."""


def test_stacks_repeat_each_block_with_equal_initial_weights():
    model = backbone(Config(width=8, blocks=3, dilation_base=5, stacks=2))
    assert model.config.dilations == [1, 1, 1, 1, 1, 1]
    stacked = backbone(Config(width=8, blocks=4, stacks=2)).blocks
    assert [block.dilation for block in stacked] == [1, 1, 1, 1, 1, 1, 4, 4]
    torch.testing.assert_close(model.blocks[0].conv.weight, model.blocks[1].conv.weight)
    assert not torch.equal(model.blocks[0].conv.weight, model.blocks[2].conv.weight)


def test_dropout_in_both_branches():
    torch.manual_seed(1)
    block, x, c = GatedConvolutionBlock(Config(width=8, dropout=0.5), 1), torch.randn(1, 20, 8), torch.randn(1, 20, 8)
    gates = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        gates.append(block(x, c, None)[1] - c)
    assert not torch.allclose(*gates)


def test_dropout_only_in_training():
    model, tokens = backbone(Config(width=8, dropout=0.5)), random_tokens(1, 20)
    torch.testing.assert_close(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kernel": 4}, "kernel = 4: expected an odd number"),
        ({"blocks": 0}, "blocks = 0: expected 1 or more"),
        ({"second_branch": "reverse"}, "expected .*complement, reverse_complement, none"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"gate": "none"}, "`second_branch: none`"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConvNovaError, match=message):
        Config(**settings)
