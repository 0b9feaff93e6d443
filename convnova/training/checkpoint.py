"""The state of a training under way, on disk: written whole or not at all.

A checkpoint is a folder `step-<n>` with the weights, their JSON and `state.pt` (optimizer and loop). The JSON has the
checksums of all. The newest two are kept.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convnova.errors import ConvNovaError
from convnova.files import sha256
from convnova.log import log
from convnova.models.weights import full_disk_refused, load_strictly, load_weights, save_weights
from convnova.training.optimization import AdamW

STATE = "state.pt"


def checkpoint_folder(out: Path, relative_out: str, fingerprint: str) -> Path:
    """The folder for the checkpoints of one training.

    Args:
        out: folder of the training's results.
        relative_out: the same folder, relative to the root of the run.
        fingerprint: hash of settings and inputs; a training with others does not continue from these checkpoints.

    Returns:
        A folder among the results; or at the same place below the folder that `CONVNOVA_CHECKPOINTS` names, for jobs
        whose unfinished results are lost when they end.
    """
    root = os.environ.get("CONVNOVA_CHECKPOINTS")
    return (Path(root, relative_out) if root else out) / "checkpoints" / fingerprint


def save_state(folder: Path, step: int, model: nn.Module, optimizer: AdamW, loop: dict[str, Any]) -> None:
    """Write the checkpoint `folder/step-<step>` and delete all but the newest two.

    Args:
        folder: made if it is missing.
        step: steps taken.
        model: its weights are written.
        optimizer: its state is written.
        loop: values that `load_state` returns: numbers, strings, tensors, lists and dictionaries.

    Raises:
        ConvNovaError, OSError: the disk is full or not writable; older checkpoints are still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        with full_disk_refused(folder):
            torch.save({"optimizer": optimizer.state_dict(), "loop": loop}, temporary / STATE)
        about = {"step": step, "state_sha256": sha256(temporary / STATE)}
        save_weights(model.state_dict(), temporary / "weights.safetensors", about)
        target = folder / f"step-{step:09d}"
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kept = sorted(path.name for path in folder.glob("step-*") if path.name <= target.name)[-2:]
    for path in folder.glob("step-*"):  # later ones are damaged, or the training would have begun there
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def load_state(folder: Path, model: nn.Module, optimizer: AdamW) -> dict[str, Any] | None:
    """Load the newest whole checkpoint; a damaged one is skipped with a warning.

    Args:
        folder: as for `save_state`; may be missing.
        model: gets the weights.
        optimizer: gets its state.

    Returns:
        The loop's state; None where there is no checkpoint.
    """
    for unfinished in folder.glob(".writing-*"):  # left by a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            weights, about = load_weights(path / "weights.safetensors")
            if about["form"] > 1 and about["state_sha256"] != sha256(path / STATE):
                raise ConvNovaError(f"{STATE} with another checksum")
            state = torch.load(path / STATE, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged pickle or zip raises
            log(f"{path}: damaged, skipped ({type(error).__name__}: {error})")
            continue
        load_strictly(model, weights, str(path))
        optimizer.load_state_dict(state["optimizer"])
        log(f"continuing from {path}")
        return state["loop"]
    return None
