"""The models of the comparison: one file each, found by its name.

A module `convnova.models.<architecture>` has a dataclass `Config` with `receptive_field` (bases that an output sees at
most; None for the whole sequence) and a class `Backbone(Config)` with `width` and
`forward(tokens (B, L), positions=None) -> (B, L, width)`, or (M, width) at flat positions; or, where features of single
bases are not what it makes, a function or class `predictor(config, kind, outputs, length, **options)`, the whole
network.
`Config.longest`, where there is one, is the longest sequence it can read; `Config.receptive_field_per_base`, where
there is one, is that of predictions of single bases; `check(config)` tries what can be tried before any job;
`Backbone.recordable`, where it is true, lets steps on a GPU be replayed (`convnova.training.cuda_graphs`). See
docs/adding_a_model.md.
"""

import copy
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from convnova.errors import ConvNovaError, nearest
from convnova.models.heads import Predictor
from convnova.randomness import torch_seed


def architecture_module(architecture: str) -> ModuleType:
    """The architecture's module, imported only where it is asked for.

    Raises:
        ConvNovaError: there is none, it has no `Config`, or it imports a package that is not installed.
    """
    name, file = f"convnova.models.{architecture}", f"convnova/models/{architecture}.py"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise ConvNovaError(f"{file}: expected what it imports, found no {error.name!r}; install it") from error
        raise ConvNovaError(f"architecture {architecture!r}: expected a module {file}") from error
    if not hasattr(module, "Config"):
        raise ConvNovaError(f"architecture {architecture!r}: expected a class `Config` in {file}, found none")
    return module


def configure(architecture: str, settings: dict[str, Any]) -> Any:
    """The architecture's `Config`.

    Raises:
        ConvNovaError: an unknown architecture, setting or value.
    """
    module = architecture_module(architecture)
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


def receptive_field(architecture: str, settings: dict[str, Any], kind: str, bin_size: int | None = None) -> int | None:
    """Bases that a prediction sees at most; None for the whole sequence.

    Args:
        architecture: name of a module of this package.
        settings: fields of its `Config`.
        kind: `classes`, `multilabel`, `regression` or `per_base`.
        bin_size: bases of a bin, where a number a bin is predicted.
    """
    config = configure(architecture, settings)
    per_base = getattr(config, "receptive_field_per_base", config.receptive_field)
    if bin_size:
        return None if per_base is None else per_base + bin_size - 1
    return per_base if kind == "per_base" else config.receptive_field


def build_backbone(architecture: str, settings: dict[str, Any]) -> nn.Module:
    """The part of the model that pretraining trains: tokens (B, L) to features (B, L, width).

    Args:
        architecture: name of a module of this package.
        settings: fields of its `Config`.

    Example:
        >>> build_backbone("convnova", {"width": 16})(torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])).shape
        torch.Size([1, 8, 16])
    """
    config = configure(architecture, settings)
    return architecture_module(architecture).Backbone(config)


def checkpoint_activations(model: nn.Module) -> None:
    """In training, compute activations a second time instead of keeping them.

    Raises:
        ConvNovaError: no part of the model can.
    """
    parts = [part for part in model.modules() if hasattr(part, "checkpointing")]
    if not parts:
        raise ConvNovaError("checkpointing = true: expected a model that has it (convnova), found none; leave it out")
    for part in parts:
        part.checkpointing, part.recordable = True, False


def new_model(build: Callable[[], nn.Module], seed: int, checkpointing: bool = False) -> nn.Module:
    """A model with its initial weights, on the GPU if there is one.

    Args:
        build: builds the model.
        seed: the weights are drawn by it.
        checkpointing: as `checkpoint_activations`.
    """
    torch.manual_seed(torch_seed(seed, "weights"))
    model = build()
    if checkpointing:
        checkpoint_activations(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def without_fast_kernels(model: nn.Module) -> nn.Module:
    """A copy of the model that is computed as its equations are written, without `models.kernels`."""
    plain = copy.deepcopy(model)
    for part in plain.modules():
        if hasattr(part, "fast"):
            part.fast = False
    return plain


def build_predictor(
    architecture: str, settings: dict[str, Any], kind: str, outputs: int, length: int, **options: Any
) -> nn.Module:
    """The whole network of a task.

    Args:
        architecture: name of a module of this package.
        settings: fields of its `Config`.
        kind: `classes`, `multilabel` or `regression` for one output vector a sequence, `per_base` for one a base.
        outputs: classes, labels or numbers.
        length: bases of the longest sequence.
        options: those of `heads.Predictor`: `pool_padding`, whether the mean over positions counts padding, as the
            released code does; `pooling`; `head`; `frozen`; `bin_size`, for a number a bin.

    Returns:
        tokens (B, L) to logits: (B, outputs), or (B, L, outputs) where `kind` is per_base, or (B, bins).

    Example:
        >>> model = build_predictor("convnova", {"width": 16}, "classes", outputs=2, length=8)
        >>> model(torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])).shape
        torch.Size([1, 2])
    """
    config = configure(architecture, settings)
    module = architecture_module(architecture)
    if hasattr(module, "predictor"):
        return module.predictor(config, kind, outputs, length, **options)
    return Predictor(module.Backbone(config), kind, outputs, **options)


def bytes_of_weights(*network: Any, **options: Any) -> int:
    """Size of the weights of `build_predictor(*network, **options)`, without making them."""
    with torch.device("meta"):
        return sum(tensor.nbytes for tensor in build_predictor(*network, **options).state_dict().values())
