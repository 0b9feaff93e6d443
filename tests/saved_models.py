"""Weights as a training leaves them, without the training: random ones, of every architecture."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from convnova.config.load import load_config
from convnova.data.batches import Padding
from convnova.models import build_backbone, build_predictor
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import save_weights

CATALOGUE = Path(__file__).resolve().parents[1] / "config"
CONVNOVA = {"width": 8, "kernel": 5, "blocks": 4, "dilation_base": 3}
PROVENANCE = {"precision": "float32", "settings": "", "inputs": {}}


def architectures() -> dict[str, tuple[str, dict[str, Any]]]:
    """Architecture and small settings of every model that is trained here, by its name in the catalogue."""
    config = load_config(CATALOGUE / "embedded_models.yaml", CATALOGUE)
    return {name: (model.architecture, config.settings(name, None)) for name, model in config.models.items()}


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter away from where it starts, so that none is zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter) - 0.1)
        for part in module.modules():
            if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx] = 0  # which training leaves as it is
    return module.eval()


def save_predictor(
    folder: Path, architecture: str = "convnova", settings: dict[str, Any] = CONVNOVA, kind: str = "classes",
    classes: tuple[str, ...] = ("no", "yes", "maybe"), strands: str = "forward", length: int = 100,
    numbers: dict[str, Any] | None = None, **options: Any,
) -> torch.nn.Module:  # fmt: skip
    """Write a fine-tuned model to `folder` and return the network."""
    network = {"architecture": architecture, "settings": settings, "kind": kind, "outputs": len(classes)}
    network |= {"length": length, "pool_padding": False, **options}
    torch.manual_seed(0)
    module = stirred(build_predictor(**network))
    about = {
        "network": network, "classes": list(classes), "max_length": None,
        "padding": asdict(Padding(module.fixed_length)), "suite": "mine", "task": "one", "model": "m",
        "protocol": "heldout", "seed": 1, "architecture": architecture, "settings": settings, "strands": strands,
        "metric": "mcc", "mcc": 0.5, "interval": [0.4, 0.6], "simulated": True, "rows": {"train": 9, "test": 9},
        "training": {"lr": 0.001}, "best_epoch": 2, "provenance": PROVENANCE,
    }  # fmt: skip
    about |= {"numbers": numbers} if numbers else {}
    save_weights(module.state_dict(), folder / "weights.safetensors", about)
    return module


def save_language_model(
    folder: Path, architecture: str = "convnova", settings: dict[str, Any] = CONVNOVA
) -> torch.nn.Module:
    """Write a pretrained model to `folder` and return the network."""
    torch.manual_seed(0)
    module = stirred(MaskedLanguageModel(build_backbone(architecture, settings)))
    about = {
        "architecture": architecture, "settings": settings, "pretraining": {"length": 64}, "simulated": True,
        "epochs": [{"epoch": 1, "loss": 1.25, "accuracy": 0.4}], "best_epoch": 1, "provenance": PROVENANCE,
    }  # fmt: skip
    save_weights(module.state_dict(), folder / "weights.safetensors", about)
    return module
