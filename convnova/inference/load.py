"""Models from where they lie: weights of this package, checkpoints of the authors' code, Hugging Face folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from convnova.data.batches import Padding
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import Numbers
from convnova.inference.export import HUB_WEIGHTS
from convnova.inference.model import Model
from convnova.inference.network import Network
from convnova.log import debug
from convnova.models import build_backbone, build_predictor, configure
from convnova.models.heads import MaskedLanguageModel
from convnova.models.released_checkpoint import from_released
from convnova.models.weights import load_strictly, load_weights
from convnova.training.optimization import resolve_precision

WEIGHTS = "weights.safetensors"
NAMED = 5
"""Folders that a message names at most."""


def load(
    path: str | Path,
    settings: Mapping[str, Any] | None = None,
    revision: str | None = None,
    precision: str | None = None,
    device: str | None = None,
) -> Model:
    """Load a trained model.

    Args:
        path: the folder of a fine-tuning or a pretraining, its `weights.safetensors`, a folder that `convnova export`
            wrote or its name on the Hugging Face hub, or a checkpoint of the authors' code (a state of PyTorch or
            safetensors).
        settings: hyperparameters of a checkpoint of the authors' code, such as `{"hidden_dim": 128, "dilation": 4}`; or
            of a model of others what has changed, such as `{"path": FOLDER}`.
        revision: a commit on the hub; default the newest.
        precision: `float32`, `bfloat16` or `auto`; default that of the training, for the same numbers.
        device: such as `cpu` or `cuda:1`; default the GPU if there is one.

    Returns:
        The model, with its weights as they were.

    Raises:
        ConvNovaError: no weights there (names folders that have some), damaged ones, or weights that do not fit.

    Example:
        >>> import tempfile
        >>> from convnova.models.weights import save_weights
        >>> torch.manual_seed(0) and None
        >>> about = {"architecture": "convnova", "settings": {"width": 8}, "pretraining": {"length": 64}}
        >>> network = MaskedLanguageModel(build_backbone("convnova", {"width": 8}))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(network.state_dict(), Path(folder, "weights.safetensors"), about)
        ...     load(folder).embed(["ACGT", "TTT"]).shape
        (2, 8)
    """
    path = Path(path)
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        path = _fetched(str(path), revision)
    module, about = _read(_weights_in(path) if path.is_dir() else path, settings)
    kind = "masked" if isinstance(module, MaskedLanguageModel) else about.get("network", {}).get("kind", "features")
    padding, longest = Padding(**about.get("padding", {})), about.pop("longest", None)
    if padding.counted or getattr(module, "fixed_length", None):
        longest = padding.to  # with more padding or less a prediction would be another one
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ConvNovaError(f"device {device}: expected a GPU, found none; leave it out, or use cpu")
    trained_in = about.get("provenance", {}).get("precision", "auto")
    chosen = resolve_precision(precision or trained_in, target)
    debug(f"{path}: computing in {chosen} on {target}; trained in {trained_in}")
    numbers = Numbers(**about["numbers"]) if "numbers" in about else None
    return Model(Network(module.to(target), kind, padding, chosen, longest, numbers), about, str(path))


def _read(file: Path, settings: Mapping[str, Any] | None) -> tuple[nn.Module, dict[str, Any]]:
    """The network with its weights, and what is known of it; under `longest` the bases that it can read at most."""
    if file.suffix != ".safetensors" or not file.with_suffix(".json").is_file():
        return _read_released(file, settings)
    weights, about = load_weights(file)
    if file.name == HUB_WEIGHTS:
        weights = {re.sub(r"^(lm_head|classifier)\.", "head.", name): weights[name] for name in weights}
    if settings and about["architecture"] != "huggingface":
        raise ConvNovaError(f"{file}: expected no settings, for it has its own, found {', '.join(settings)}")
    if "network" in about:
        for part in (about, about["network"]):
            part["settings"] |= settings or {}  # where a model of others lies now
        outputs, classes = about["network"]["outputs"], about.get("classes")
        if classes is not None and len(classes) != outputs:
            found = f"{outputs:,} outputs and the classes {', '.join(map(str, classes))}"
            raise ConvNovaError(f"{file}: expected a class an output, found {found}; train again")
        module = build_predictor(**about["network"])
    else:
        module = build_backbone(about["architecture"], about["settings"])
        module = MaskedLanguageModel(module) if "head.weight" in weights else module
    load_strictly(module, weights, str(file))
    return module, about | {"longest": getattr(configure(about["architecture"], about["settings"]), "longest", None)}


def _read_released(file: Path, settings: Mapping[str, Any] | None) -> tuple[nn.Module, dict[str, Any]]:
    """The network in a checkpoint of the authors' code."""
    if not file.is_file():
        raise ConvNovaError(f"{file}: expected weights or the folder of a run, found nothing")
    try:
        is_plain = file.suffix == ".safetensors"
        content: Any = load_file(file) if is_plain else torch.load(file, "cpu", weights_only=True)
        weights = content.get("state_dict", content)
    except Exception as error:  # whatever a damaged pickle or zip raises
        found, advice = " ".join(str(error).split())[:200], "save its state_dict alone, where you trust the file"
        raise ConvNovaError(f"{file}: expected weights and no other objects, found {found}; {advice}") from error
    if not any(name.endswith("rc_linear.weight") for name in weights):
        found = "neither; give the folder of a run"
        raise ConvNovaError(f"{file}: expected a JSON beside it, or a checkpoint of the authors' code, found {found}")
    if settings is None:
        example = "settings={'hidden_dim': 128, 'dilation': 4}"
        raise ConvNovaError(f"{file}: expected the hyperparameters of the checkpoint, such as {example}, found none")
    return from_released(weights, settings), {"architecture": "convnova", "settings": dict(settings)}


def _weights_in(folder: Path) -> Path:
    """The weights of a folder.

    Raises:
        ConvNovaError: there are none; names folders nearby that have some.
    """
    for name in (WEIGHTS, HUB_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    above = [folder, *folder.absolute().parents]
    names = [path.name for path in above]
    for place in above[: names.index("results") + 1 if "results" in names else 1]:  # not the whole disk
        if found := sorted(path.parent for path in place.rglob(WEIGHTS)):
            advice = f"these have some: {', '.join(map(str, found[:NAMED]))}"
            break
    else:
        advice = "`keep_weights` in a config says which fine-tunings keep them"
    raise ConvNovaError(f"{folder}: expected {WEIGHTS} of a run, found none; {advice}")


def _fetched(name: str, revision: str | None) -> Path:
    """The folder of a model of the Hugging Face hub on this machine."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ConvNovaError(
            f"{name}: expected a folder, found none; to fetch it, pip install huggingface_hub"
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns="model.*"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConvNovaError(
            f"{name}: expected a folder, or a model on the Hugging Face hub, found none: {reason}"
        ) from error
