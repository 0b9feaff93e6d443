"""Weights on disk: a safetensors file and, beside it, a JSON that says what they are, with checksums of both."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convnova.errors import ConvNovaError, DamagedFile
from convnova.files import atomic, read_sealed, seal, sha256
from convnova.log import debug, log

FORM = 2
"""Version of the JSON beside weights; it rises when code that reads the older form would misread the newer.

Form 1 has no checksums and is read as it is.
"""


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module, all of them and nothing else.

    Args:
        module: the network, changed in place.
        weights: tensors by parameter name.
        source: where they come from, for the message of an error.

    Raises:
        ConvNovaError: weights missing, unexpected or of another shape; the message lists them all.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConvNovaError(
            f"{source}: expected the weights of this model; use the settings they were trained with: {reason}"
        ) from error


def save_weights(weights: Mapping[str, Tensor], path: str | Path, about: dict[str, Any]) -> None:
    """Write weights and, beside them, a JSON that says what they are.

    Old weights are deleted before the new JSON appears, so that the two never belong to different trainings.

    Args:
        weights: tensors by parameter name.
        path: the safetensors file; the JSON has the same name with the ending `.json`.
        about: what the JSON says, besides the version of its form and the checksums.

    Raises:
        ConvNovaError, OSError: the disk is full or cannot be written; the files of before are still there.
    """
    path = Path(path)
    with atomic(path) as temporary:
        with full_disk_refused(path):
            # copies, because the file format refuses tensors that layers share, such as HyenaDNA's sines
            copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
            save_file(copies, temporary, metadata={"format": "pt"})  # which transformers asks for
        content = seal({"form": FORM, **about, "weights_sha256": sha256(temporary)})
        with atomic(path.with_suffix(".json")) as description:
            description.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            path.unlink(missing_ok=True)


@contextmanager
def full_disk_refused(path: Path) -> Iterator[None]:
    """Turn the errors that safetensors and PyTorch raise when a disk is full into one that names `path`."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConvNovaError(f"{path}: expected to write it, found {reason}; make room and run again") from error


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and the JSON beside them.

    Raises:
        ConvNovaError: they are of a newer form; or a `DamagedFile`: one is missing or not as it was written.
    """
    path = Path(path)
    debug(f"{path}: reading weights")
    try:
        about, checksum = read_sealed(path.with_suffix(".json")), sha256(path)
        if about.get("weights_sha256", checksum) != checksum:
            raise ConvNovaError("weights with another checksum")
        weights = load_file(path)
    except (OSError, SafetensorError, ConvNovaError) as error:
        raise DamagedFile(f"{path}: expected weights and a JSON beside them: {error}; train again", path) from error
    if about.get("form", FORM) > FORM:
        raise ConvNovaError(f"{path}: expected form {FORM} or older, found {about['form']}; install a newer convnova")
    return weights, about


def load_backbone(model: nn.Module, path: str | Path) -> None:
    """Load the backbone of a language model into `model.backbone`; the language model's head is left out.

    Raises:
        ConvNovaError: the file is missing or damaged, or its backbone is another one.
    """
    weights, _ = load_weights(path)
    backbone = {name.removeprefix("backbone."): weights[name] for name in weights if not name.startswith("head.")}
    load_strictly(model.backbone, backbone, str(path))
    log(f"backbone from {path}; its language-model head ({len(weights) - len(backbone)} tensors) is not used here")
