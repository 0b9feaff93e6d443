"""The block differentiated by hand against the same block as its equations stand."""

import pytest
import torch

from convnova.data.dna import PAD
from convnova.errors import ConvNovaError
from convnova.models import without_fast_kernels
from convnova.models.convnova import Backbone, Config
from convnova.models.kernels.cpu import GatedUpdate


def features_and_gradients(model, tokens, at=None):
    features = model(tokens, at)
    torch.manual_seed(9)
    (features * torch.randn(features.shape)).sum().backward()
    return features.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("width", [16, 128], ids=["nine products", "five products"])
@pytest.mark.parametrize("at", [None, torch.tensor([0, 7, 95, 131])], ids=["everywhere", "at positions"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_values_and_gradients_are_those_of_the_plain_block(width, at, padded):
    torch.manual_seed(2)
    model = Backbone(Config(width=width, blocks=4, ffn=True))
    tokens = torch.randint(0, 5, (2, 90))
    if padded:
        tokens[1, 50:] = PAD
        at = None if at is None else at[:3]
    expected, gradients = features_and_gradients(without_fast_kernels(model), tokens, at)
    found, ours = features_and_gradients(model, tokens, at)
    inside = (tokens != PAD) if at is None else slice(None)
    torch.testing.assert_close(found[inside], expected[inside], atol=2e-5, rtol=2e-5)
    if padded and at is None:
        return  # features of padding have no meaning, and they are in this loss
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], gradient, atol=2e-4 * float(gradient.abs().max()), rtol=1e-4, msg=name)


def test_the_gradient_of_the_gate_is_right_whether_it_is_read_or_not():
    torch.manual_seed(3)
    x, h, a = (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(GatedUpdate.apply, (x, h, a))
    assert torch.autograd.gradcheck(lambda *inputs: GatedUpdate.apply(*inputs)[0], (x, h, a))


def test_dropout_and_checkpointing_change_no_value():
    torch.manual_seed(4)
    model, tokens = Backbone(Config(width=16, blocks=3, dropout=0.3)), torch.randint(0, 4, (2, 40))
    results = []
    for checkpointing in (False, True):
        model.zero_grad()
        model.checkpointing = checkpointing
        torch.manual_seed(5)
        features, gradients = features_and_gradients(model, tokens)
        results.append((features, {name: gradient.clone() for name, gradient in gradients.items()}))
    assert torch.equal(results[0][0], results[1][0])
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], msg=name)


@pytest.mark.parametrize("shape", [(7, 33), (2, 2600)], ids=["groups of sequences", "windows of long sequences"])
def test_prediction_in_pieces_is_prediction_at_once(monkeypatch, shape):
    torch.manual_seed(6)
    model, tokens = Backbone(Config(width=8)), torch.randint(0, 5, shape)
    tokens[1, shape[1] - 20 :] = PAD
    with torch.no_grad():
        whole = model(tokens)
        monkeypatch.setattr("convnova.models.convnova.CACHED", 8 * (66 if shape[1] == 33 else 500))
        called = []
        real = model._features
        monkeypatch.setattr(model, "_features", lambda part, at: called.append(part.shape) or real(part, at))
        pieces = model(tokens)
    assert len(called) == (4 if shape[1] == 33 else 9)
    real = tokens != PAD
    torch.testing.assert_close(pieces[real], whole[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [460, 700, 1601])
@pytest.mark.parametrize("config", [Config(), Config(ffn=True), Config(dilation_base=3, blocks=6)], ids=str)
def test_windows_at_the_published_width_are_the_whole(config, window):
    torch.manual_seed(6)
    model, tokens = Backbone(config), torch.randint(0, 5, (2, 3000))
    with torch.no_grad():
        torch.testing.assert_close(model.in_windows(tokens, window), model._features(tokens, None), atol=1e-6, rtol=0)


def test_windows_must_be_longer_than_the_receptive_field_and_see_both_ends():
    tokens = torch.zeros(1, 900, dtype=torch.uint8)
    for config, window in ((Config(width=8), 192), (Config(width=8, second_branch="reverse_complement"), 400)):
        with pytest.raises(ConvNovaError, match="expected 193 bases or more, the receptive field"):
            Backbone(config).in_windows(tokens, window)
