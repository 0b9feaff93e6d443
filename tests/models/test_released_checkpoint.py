"""Checkpoints of the authors' code: golden outputs, names and hyperparameters."""

import json

import pytest
import torch
from safetensors import safe_open

from convnova.errors import ConvNovaError
from convnova.models.convnova import Backbone, Config
from convnova.models.heads import MaskedLanguageModel
from convnova.models.released_checkpoint import from_released


@pytest.mark.parametrize("name", ["features_k5_finalconv", "features_k9_dil4", "mlm_k9_ffn"])
def test_golden_tensors_of_the_released_model(shared, name):
    with safe_open(shared / "golden" / f"{name}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        parameters = config.pop("n_parameters")
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    model = from_released(weights, config).eval()
    assert isinstance(model, MaskedLanguageModel) == config["pretrain"]
    assert sum(p.numel() for p in model.parameters()) == parameters
    with_prefix = from_released({f"model.{key}": value for key, value in weights.items()}, config)
    for network in (model, with_prefix):
        torch.testing.assert_close(network(tensors["tokens"]), tensors["output"], atol=1e-5, rtol=0)


def test_released_checkpoint_that_does_not_fit_lists_both_sides(shared):
    with safe_open(shared / "golden" / "mlm_k9_ffn.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        del config["n_parameters"]
        weights = {key.removeprefix("weights."): file.get_tensor(key) for key in file.keys() if "weights" in key}  # noqa: SIM118
    weights["surplus.weight"] = weights.pop("linear.bias")
    with pytest.raises(ConvNovaError, match='Missing .*"backbone.stem.bias".*Unexpected .*"surplus.weight"'):
        from_released(weights, config)
    weights["linear.bias"] = weights.pop("surplus.weight")
    with pytest.raises(ConvNovaError, match="blocks.0.ffn.0.weight"):
        from_released(weights, {**config, "ffn": False})


def as_released(model: Backbone) -> dict[str, torch.Tensor]:
    """The weights of a model without `ffn` under the released names."""
    names = {"stem": "linear", "second_stem": "rc_linear", "conv": "convs", "gate_conv": "gates", "norm": "norms"}
    names |= {"gate_norm": "rc_norms", "tail": "milinear"}
    released = {}
    for name, tensor in model.state_dict().items():
        words = name.split(".")
        if words[0] == "blocks":
            words = [words[2], words[1], *words[3:]]
        released[".".join([names[words[0]], *words[1:]])] = tensor
    return released


def test_hyperparameters_of_the_released_model_are_its_own_and_no_others():
    torch.manual_seed(1)
    ours = Backbone(Config(width=8, dilation_base=2)).eval()
    weights, tokens = as_released(ours), torch.randint(0, 4, (1, 60))
    written = {"hidden_dim": 8, "num_cnn_stacks": 1, "ffn": False}
    torch.testing.assert_close(from_released(weights, written).eval()(tokens), ours(tokens))  # its dilation is 2
    with pytest.raises(ConvNovaError, match=r"unknown \['dilations'\], missing nothing"):
        from_released(weights, {**written, "dilations": 3})
    with pytest.raises(ConvNovaError, match=r"unknown nothing, missing \['hidden_dim'\]"):
        from_released(weights, {"num_cnn_stacks": 1, "ffn": False})
    twice = {f"model.{name}": tensor for name, tensor in weights.items()} | {"linear.bias": weights["linear.bias"]}
    with pytest.raises(ConvNovaError, match="expected each weight once"):
        from_released(twice, written)
