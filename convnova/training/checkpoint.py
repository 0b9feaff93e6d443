"""Weights and training state on disk: written whole or not at all, loaded strictly or not at all.

Weights are a safetensors file with a JSON of the same name beside it. A checkpoint of training under way is a
folder `step-<n>` with the weights, their JSON and `state.pt` (optimizer and loop); the newest two are kept.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from convnova.config.run import RunConfig
from convnova.log import log
from convnova.models.weights import _writing, load_strictly, load_weights, save_weights
from convnova.training.optimization import AdamW

KEPT = 2


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


def checkpoints_of(config: RunConfig, out: Path, made_for: str) -> Path:
    """The folder for the checkpoints of a training of these settings and inputs whose results go to `out`.

    They lie among the results, or at the same place below the folder that `CONVNOVA_CHECKPOINTS` names: one that
    outlives a job whose results do not, before they are whole.
    """
    kept = os.environ.get("CONVNOVA_CHECKPOINTS")
    return (Path(kept, config.relative_path(out)) if kept else out) / "checkpoints" / made_for


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first; what a killed process left half-written is deleted."""
    for half in folder.glob(".writing-*"):
        shutil.rmtree(half, ignore_errors=True)
    return sorted(folder.glob("step-*"), reverse=True)
