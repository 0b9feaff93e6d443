"""The models of the comparison: one file each, found by its name.

A module `convnova.models.<architecture>` has a dataclass `Config` and a class `Backbone(Config)` with `width` and
`forward(tokens (B, L)) -> (B, L, width)`; or, where features of single bases are not what it makes, a function
`predictor(config, kind, outputs, length)` that returns the whole network.
"""

import importlib
from typing import Any

from torch import nn

from convnova.catalogue import nearest, where
from convnova.config import RunConfig
from convnova.errors import ConvNovaError
from convnova.models.heads import Predictor


def configure(architecture: str, settings: dict[str, Any]) -> Any:
    """The architecture's `Config`.

    Raises:
        ConvNovaError: an unknown architecture, setting or value.
    """
    try:
        module = importlib.import_module(f"convnova.models.{architecture}")
    except ModuleNotFoundError as error:
        raise ConvNovaError(
            f"architecture {architecture!r}: expected a module convnova/models/{architecture}.py"
        ) from error
    fields = module.Config.__dataclass_fields__
    for name, value in settings.items():
        if name not in fields:
            raise ConvNovaError(f"settings.{name} = {value!r}: unknown key; {nearest(name, list(fields))}")
        if type(value) is not fields[name].type and not (fields[name].type is float and type(value) is int):
            raise ConvNovaError(f"settings.{name} = {value!r}: expected {fields[name].type.__name__}")
    try:
        return module.Config(**settings)
    except ConvNovaError as error:
        raise ConvNovaError(f"settings.{error}") from error


def check_models(config: RunConfig, files: list[str] | None = None) -> None:
    """Build the settings of every model on every suite.

    Raises:
        ConvNovaError: an architecture, setting or value that does not exist; names the model and which of `files`.
    """
    for name, model in config.models.items():
        for suite in (None, *config.suites):
            try:
                configure(model.architecture, config.settings(name, suite))
            except ConvNovaError as error:
                key = ("models", name, *(("suites", suite) if suite in model.suites else ()))
                raise ConvNovaError(f"{where(key, files or [])}{'.'.join(key)}.{error}") from error


def build_backbone(architecture: str, settings: dict[str, Any]) -> nn.Module:
    """The part of the model that pretraining trains."""
    config = configure(architecture, settings)
    return importlib.import_module(f"convnova.models.{architecture}").Backbone(config)


def checkpoint_activations(model: nn.Module) -> None:
    """In training, compute activations a second time instead of keeping them.

    Raises:
        ConvNovaError: no part of the model can.
    """
    able = [part for part in model.modules() if hasattr(part, "checkpointing")]
    if not able:
        raise ConvNovaError("checkpointing = true: expected a model that has it (convnova), found none; leave it out")
    for part in able:
        part.checkpointing = True


def build_predictor(
    architecture: str, settings: dict[str, Any], kind: str, outputs: int, length: int, **options: Any
) -> nn.Module:
    """The whole network of a task.

    Args:
        kind: `classes` or `multilabel` for one output vector a sequence, `per_base` for one a base.
        outputs: classes or labels.
        length: bases of the longest sequence.
        options: those of `heads.Predictor`: `pool_padding`, whether the mean over positions counts padding, as the
            released code does; `pooling`.

    Returns:
        tokens (B, L) to logits: (B, outputs), or (B, L, outputs) where `kind` is per_base.
    """
    config = configure(architecture, settings)
    module = importlib.import_module(f"convnova.models.{architecture}")
    if hasattr(module, "predictor"):
        return module.predictor(config, kind, outputs, length, **options)
    return Predictor(module.Backbone(config), kind, outputs, **options)
