"""Checkpoints of the authors' own code (github.com/aim-uofa/ConvNova), under its names, as the model here."""

from collections.abc import Mapping

from torch import Tensor, nn

from convnova.errors import ConvNovaError
from convnova.models import convnova
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import load_strictly

SETTINGS = {
    "hidden_dim": "width", "kernel_size": "kernel", "num_conv1d": "blocks", "dilation": "dilation_base",
    "num_cnn_stacks": "stacks", "d_inner": "tail_expansion", "ffn": "ffn", "final_conv": "final_conv",
    "dropout": "dropout",
}  # fmt: skip
"""The released code's names of settings, and ours."""
DEFAULTS = {
    "kernel_size": 9, "num_conv1d": 5, "dilation": 2, "d_inner": 2, "ffn": True, "final_conv": False, "dropout": 0.0
}  # fmt: skip
"""Defaults of the released code; ours differ."""
IGNORED = ("alphabet_size", "for_representation", "pretrain")
"""Other arguments of the released model: equal in all checkpoints, or known from the weights."""


def from_released(weights: Mapping[str, Tensor], config: convnova.Config | Mapping[str, object]) -> nn.Module:
    """Build the model that a checkpoint of the authors' code holds.

    Args:
        weights: under the released parameter names, with any common prefix such as `model.`.
        config: ours, or the released hyperparameters (`hidden_dim`, `kernel_size`, `num_conv1d`, ...), whose
            defaults are those of the released code.

    Returns:
        A `MaskedLanguageModel` where the checkpoint has the language-model head, otherwise a `Backbone`.

    Raises:
        ConvNovaError: a weight missing, unexpected or of another shape; the message lists them. A
            hyperparameter that the released code does not have, or one that is missing and has no default.
    """
    if not isinstance(config, convnova.Config):
        config = _released_config(config)
    prefix = next((name.removesuffix("rc_linear.weight") for name in weights if name.endswith("rc_linear.weight")), "")
    with_head = f"{prefix}out_linear.weight" in weights
    model = MaskedLanguageModel(convnova.Backbone(config)) if with_head else convnova.Backbone(config)
    names = _released_names(config, "backbone." if with_head else "")
    renamed = {names.get(name.removeprefix(prefix), name): tensor for name, tensor in weights.items()}
    if len(renamed) < len(weights):
        raise ConvNovaError(
            f"the released checkpoint: expected each weight once, found some with and without {prefix!r}: {[*weights]}"
        )
    pointwise = {name: tensor.squeeze(-1) for name, tensor in renamed.items() if "final_conv" in name}
    load_strictly(model, {**renamed, **pointwise}, "the released checkpoint")
    return model


def _released_config(written: Mapping[str, object]) -> convnova.Config:
    """Our settings from the released hyperparameters."""
    known = {**DEFAULTS, **written}
    unknown, missing = known.keys() - {*SETTINGS, *IGNORED}, SETTINGS.keys() - known
    if unknown or missing:
        raise ConvNovaError(
            f"hyperparameters of the released model: expected {', '.join(SETTINGS)}; unknown "
            f"{sorted(unknown) or 'nothing'}, missing {sorted(missing) or 'nothing'}"
        )
    return convnova.Config(**{setting: known[name] for name, setting in SETTINGS.items()})


def _released_names(config: convnova.Config, prefix: str) -> dict[str, str]:
    """The released parameter names to ours."""
    modules = {"linear": "stem", "rc_linear": "second_stem"}
    for i in range(len(config.dilations)):
        modules |= {f"convs.{i}": f"blocks.{i}.conv", f"gates.{i}": f"blocks.{i}.gate_conv"}
        modules |= {f"norms.{i}": f"blocks.{i}.norm", f"rc_norms.{i}": f"blocks.{i}.gate_norm"}
        modules |= {f"mlpgroup2.{i}.{j}": f"blocks.{i}.ffn.{j}" for j in (0, 2)}
    modules |= {f"milinear.{j}": f"tail.{j}" for j in (0, 2, 3, 4, 6, 7)}
    modules |= {f"final_conv.{j}": f"final_conv.{j}" for j in (0, 2)}
    modules = {released: prefix + name for released, name in modules.items()} | {"out_linear": "head"}
    return {f"{released}.{part}": f"{name}.{part}" for released, name in modules.items() for part in ("weight", "bias")}
