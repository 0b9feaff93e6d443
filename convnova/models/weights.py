"""Weights on disk: written whole or not at all, loaded strictly or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convnova.errors import ConvNovaError
from convnova.files import atomic


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights, all of them and nothing else.

    Raises:
        ConvNovaError: names missing, names left over, or other shapes; the message lists them all.
    """
    own = module.state_dict()
    missing, left_over = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} expected {tuple(own[name].shape)}, found {tuple(weights[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    if missing or left_over or shapes:
        raise ConvNovaError(
            f"{where}: these weights do not fit the model: missing {missing or 'nothing'}, left over "
            f"{left_over or 'nothing'}, other shapes {shapes or 'none'}; use the settings they were trained with"
        )
    module.load_state_dict(weights)


def save_weights(weights: Mapping[str, Tensor], path: str | Path, about: dict[str, Any]) -> None:
    """Write weights and, beside them, a JSON that says what they are.

    Old weights are gone before the new JSON appears, so that the two never belong to different trainings.

    Raises:
        ConvNovaError, OSError: the disk is full or cannot be written; what stood there before stands there still.
    """
    path = Path(path)
    with atomic(path) as temporary:
        with _writing(path):
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
        with atomic(path.with_suffix(".json")) as told:
            told.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            path.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """The libraries that write have errors of their own for a full disk."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConvNovaError(f"{path}: expected to write it, found {reason}; make room and run again") from error


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and the JSON beside them.

    Raises:
        ConvNovaError: one of the two is missing or damaged.
    """
    path = Path(path)
    try:
        return load_file(path), json.loads(path.with_suffix(".json").read_text())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise ConvNovaError(f"{path}: expected weights and a JSON beside them: {error}; train again") from error
