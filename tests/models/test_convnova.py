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

    x, c = F.gelu(same(model.stem, letters(tokens), 1)), F.gelu(same(model.second_stem, letters(second), 1))
    for block, dilation in zip(model.blocks, model.config.dilations, strict=True):
        gate = torch.sigmoid(same(block.gate_conv, norm(block.gate_norm, c), dilation))
        x = x + F.gelu(same(block.conv, norm(block.norm, x), dilation)) * gate
        c = c + gate
        if block.ffn is not None:
            x = x + block.ffn(x.transpose(1, 2)).transpose(1, 2)
    x = x.transpose(1, 2)
    x = x + model.tail(x)
    return x if model.final_conv is None else model.final_conv(x)


@pytest.mark.parametrize("ffn, final_conv, kernel", list(itertools.product([False, True], [False, True], [3, 9])))
def test_forward_is_the_papers_equations(ffn, final_conv, kernel):
    model = backbone(Config(width=12, kernel=kernel, blocks=4, dilation_base=2, ffn=ffn, final_conv=final_conv))
    tokens = random_tokens(3, 61)
    second = torch.from_numpy(COMPLEMENT[tokens.numpy()])
    torch.testing.assert_close(model(tokens), equations(model, tokens, second), atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("ffn", [False, True])
def test_forward_and_gradients_at_the_published_width_are_those_of_the_equations(ffn):
    model, tokens = backbone(Config(ffn=ffn)), random_tokens(2, 500)
    second = torch.from_numpy(COMPLEMENT[tokens.numpy()])
    torch.manual_seed(1)
    wanted = torch.randn(2, 500, 128)
    found = []
    for features in (model(tokens), equations(model, tokens, second)):
        gradients = torch.autograd.grad((features * wanted).sum(), list(model.parameters()))
        found.append((features.detach(), *gradients))
    for ours, right in zip(*found, strict=True):
        torch.testing.assert_close(ours, right, atol=5e-6 * right.abs().max().item(), rtol=0)


def test_reverse_complement_as_second_branch():
    model = backbone(Config(width=12, blocks=3, second_branch="reverse_complement"))
    tokens = random_tokens(2, 40)
    second = torch.from_numpy(COMPLEMENT[tokens.numpy()][:, ::-1].copy())
    torch.testing.assert_close(model(tokens), equations(model, tokens, second), atol=5e-6, rtol=1e-5)
    assert not torch.allclose(model(tokens), equations(model, tokens, second.flip(1)), atol=1e-3)


def test_the_complement_is_the_sequence_itself_with_relabelled_stem_weights():
    model, tokens = backbone(), random_tokens(2, 50)
    before = model(tokens)
    with torch.no_grad():
        model.second_stem.weight.copy_(model.second_stem.weight[:, [3, 2, 1, 0, 4]])
    torch.testing.assert_close(equations(model, tokens, second=tokens), before, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        Config(width=12, kernel=5, blocks=4, ffn=True, final_conv=True),
        Config(width=12, kernel=5, blocks=4, ffn=True, final_conv=True, second_branch="reverse_complement"),
        Config(),
        Config(ffn=True),
        Config(width=64, dilation_base=2),
    ],
    ids=["small", "reverse complement", "published", "published with ffn", "Genomic Benchmarks"],
)
def test_padding_is_masked_out_of_features_pooled_output_and_gradients(config):
    torch.manual_seed(0)
    model = Predictor(Backbone(config), "classes", 3)
    lengths = (17, 60, 41) if config.width == 12 else (17, 300, 141)
    singles = [random_tokens(1, length, seed=length) for length in lengths]
    batch = torch.full((3, max(lengths) + 13), PAD, dtype=torch.uint8)
    for row, single in enumerate(singles):
        batch[row, : single.shape[1]] = single[0]
    features = model.backbone(batch)
    for row, single in enumerate(singles):
        alone = model.backbone(single)[0]
        torch.testing.assert_close(features[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)
    pooled = torch.cat([model(single) for single in singles])
    torch.testing.assert_close(model(batch), pooled, atol=1e-5, rtol=1e-5)

    def gradients(loss):
        model.zero_grad()
        loss.backward(retain_graph=True)
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    classes = torch.tensor([0, 2, 1])
    found, right = (gradients(F.cross_entropy(logits, classes)) for logits in (model(batch), pooled))
    torch.testing.assert_close(found, right, atol=1e-5 * right.abs().max().item(), rtol=1e-5)


def test_released_pooling_counts_padding_only_when_asked():
    torch.manual_seed(0)
    model, tokens = Backbone(SMALL), random_tokens(1, 30)
    padded = F.pad(tokens, (0, 30), value=PAD)
    own, released = (Predictor(model, "classes", 2, pool_padding=flag) for flag in (False, True))
    released.load_state_dict(own.state_dict())
    torch.testing.assert_close(own(padded), own(tokens), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(released(padded), released(tokens), atol=1e-3)


def test_chosen_positions_equal_the_whole_in_values_and_gradients():
    model, tokens = backbone(), random_tokens(3, 47)
    positions = torch.tensor([0, 46, 47, 60, 93, 94, 140])

    def values_and_gradients(features):
        model.zero_grad()
        features.square().sum().backward()
        return features.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])

    some, whole = (
        values_and_gradients(model(tokens, positions)),
        values_and_gradients(model(tokens).flatten(0, 1)[positions]),
    )
    torch.testing.assert_close(some, whole, atol=2e-6, rtol=1e-4)


def test_chosen_positions_beside_padding_equal_those_of_the_sequence_alone():
    torch.manual_seed(2)
    model = Backbone(Config(width=8, blocks=3, kernel=5)).eval()
    for norm in (model.blocks[-1].norm, model.blocks[-1].gate_norm):
        torch.nn.init.normal_(norm.bias)  # so that a norm of padding is not zero
    tokens = torch.randint(0, 4, (1, 30))
    padded, positions = F.pad(tokens, (0, 9), value=PAD), torch.tensor([3, 20, 28, 29])
    torch.testing.assert_close(model(padded, positions), model(tokens, positions), atol=1e-5, rtol=1e-5)


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


def test_windows_must_be_longer_than_the_receptive_field_and_see_both_ends():
    for config, window in ((Config(width=8), 192), (Config(width=8, second_branch="reverse_complement"), 400)):
        with pytest.raises(ConvNovaError, match=f"window = {window}: expected 193 bases or more"):
            Backbone(config).in_windows(random_tokens(1, 900), window)


def test_without_chosen_positions_there_is_nothing():
    model, tokens = MaskedLanguageModel(backbone()), random_tokens(1, 47)
    assert model(tokens, torch.empty(0, dtype=torch.int64)).shape == (0, 5)


def test_gates_added_and_one_branch_are_their_equations():
    """x + GELU(h) + g; the gate read from x itself; and no gate at all: each from the parts of one block."""
    torch.manual_seed(0)
    x, c = torch.randn(2, 20, 8), torch.randn(2, 20, 8)

    def by_hand(block: GatedConvolutionBlock, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def same(conv, norm, h):
            return F.conv1d(norm(h).transpose(1, 2), conv.weight, conv.bias, padding="same").transpose(1, 2)

        return F.gelu(same(block.conv, block.norm, x)), torch.sigmoid(same(block.gate_conv, block.gate_norm, read))

    added = GatedConvolutionBlock(Config(width=8, kernel=3, gate="sum"), 1)
    h, gate = by_hand(added, c)
    torch.testing.assert_close(added(x, c, None), (x + h + gate, c + gate))
    alone = GatedConvolutionBlock(Config(width=8, kernel=3, second_branch="none"), 1)
    h, gate = by_hand(alone, x)
    after, second = alone(x, None, None)
    torch.testing.assert_close(after, x + h * gate, atol=2e-6, rtol=1e-5)
    assert second is None
    plain = GatedConvolutionBlock(Config(width=8, kernel=3, second_branch="none", gate="none"), 1)
    alone.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(plain(x, None, None)[0], x + by_hand(alone, x)[0])
    with pytest.raises(ConvNovaError, match="set `second_branch: none`"):
        Config(gate="none")


def test_one_substitution_moves_the_receptive_field_and_nothing_else():
    config = Config(width=16, kernel=9)
    assert (config.dilations, config.receptive_field) == ([1, 1, 1, 4, 16], 193)
    assert Config(kernel=5).receptive_field == 101
    assert max(Config(blocks=12).dilations) == 1024
    model, tokens = backbone(config), random_tokens(1, 601)
    other = tokens.clone()
    other[0, 300] = (tokens[0, 300] + 1) % 4
    moved = (model(tokens) - model(other)).abs().amax(-1)[0].nonzero().flatten()
    assert (int(moved.min()), int(moved.max())) == (300 - 96, 300 + 96)


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
    "backbone.stem.weight": 42.871691853514974,
    "backbone.stem.bias": 0.8404007011814406,
    "backbone.second_stem.weight": 43.11893807069603,
    "backbone.second_stem.bias": 0.9815629032635852,
    "backbone.blocks.norm.weight": 640.0,
    "backbone.blocks.norm.bias": 0.0,
    "backbone.blocks.gate_norm.weight": 640.0,
    "backbone.blocks.gate_norm.bias": 0.0,
    "backbone.blocks.conv.weight": 212.77539974529918,
    "backbone.blocks.conv.bias": 0.20274456718788764,
    "backbone.blocks.gate_conv.weight": 213.16996587440764,
    "backbone.blocks.gate_conv.bias": 0.17336082698103417,
    "backbone.blocks.ffn.weight": 852.3964511703747,
    "backbone.blocks.ffn.bias": 1.7706914697061364,
    "backbone.tail.weight": 682.5342952458769,
    "backbone.tail.bias": 1.4710450046197796,
    "backbone.final_conv.weight": 85.26264084953225,
    "backbone.final_conv.bias": 0.6947125761523093,
    "head.weight": 1.7559333803882669,
    "head.bias": 0.010918016878625769,
}
"""Sums of squares of the parameters of each kind."""


def test_stacks_repeat_each_block_with_equal_initial_weights():
    model = backbone(Config(width=8, blocks=3, dilation_base=5, stacks=2))
    assert model.config.dilations == [1, 1, 1, 1, 1, 1]
    stacked = backbone(Config(width=8, blocks=4, stacks=2)).blocks
    assert [block.dilation for block in stacked] == [1, 1, 1, 1, 1, 1, 4, 4]
    torch.testing.assert_close(model.blocks[0].conv.weight, model.blocks[1].conv.weight)
    assert not torch.equal(model.blocks[0].conv.weight, model.blocks[2].conv.weight)


def test_stacked_blocks_are_computed_one_after_the_other():
    model, tokens = backbone(Config(width=8, blocks=3, stacks=2)), random_tokens(2, 40)
    with torch.no_grad():
        for parameter in model.parameters():  # blocks of a stack begin equal
            parameter.add_(0.1 * torch.randn_like(parameter))
    second = torch.from_numpy(COMPLEMENT[tokens.numpy()])
    torch.testing.assert_close(model(tokens), equations(model, tokens, second), atol=5e-6, rtol=1e-5)


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
        ({"second_branch": "reverse"}, "expected complement, reverse_complement or none"),
        ({"dropout": 1.0}, "dropout = 1.0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConvNovaError, match=message):
        Config(**settings)
