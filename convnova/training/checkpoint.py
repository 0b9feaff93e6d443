"""Weights and training state on disk: written whole or not at all, loaded strictly or not at all.

Weights are a safetensors file with a JSON of the same name beside it. A checkpoint of training under way is a
folder `step-<n>` with the weights, their JSON and `state.pt` (optimizer and loop); the newest two are kept.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convnova.config.run import RunFiles
from convnova.errors import ConvNovaError
from convnova.files import atomic
from convnova.log import log
from convnova.training.adamw import AdamW

KEPT = 2


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


def save_state(folder: Path, step: int, model: nn.Module, optimizer: AdamW, loop: dict) -> None:
    """Write the checkpoint `folder/step-<step>` and delete all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        save_weights(model.state_dict(), temporary / "weights.safetensors", {"step": step})
        with _writing(folder):
            torch.save({"optimizer": optimizer.state_dict(), "loop": loop}, temporary / "state.pt")
        target = folder / f"step-{step:09d}"
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _checkpoints(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path, model: nn.Module, optimizer: AdamW) -> dict | None:
    """Continue from the newest whole checkpoint; a damaged one is passed over with a warning.

    Returns:
        The loop's state, or None where there is no checkpoint.
    """
    for path in _checkpoints(folder):
        try:
            weights, _ = load_weights(path / "weights.safetensors")
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged pickle or zip raises
            log(f"{path}: damaged, passed over ({type(error).__name__}: {error})")
            continue
        load_strictly(model, weights, str(path))
        optimizer.load_state_dict(state["optimizer"])
        log(f"continuing from {path}")
        return state["loop"]
    return None


def checkpoints_of(config: RunFiles, out: Path, made_for: str) -> Path:
    """The folder for the checkpoints of a training of these settings and inputs whose results go to `out`.

    They lie among the results, or at the same place below the folder that `CONVNOVA_CHECKPOINTS` names: one that
    outlives a job whose results do not, before they are whole.
    """
    kept = os.environ.get("CONVNOVA_CHECKPOINTS")
    return (Path(kept, config.shown(out)) if kept else out) / "checkpoints" / made_for


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first; what a killed process left half-written is deleted."""
    for half in folder.glob(".writing-*"):
        shutil.rmtree(half, ignore_errors=True)
    return sorted(folder.glob("step-*"), reverse=True)
