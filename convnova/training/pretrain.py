"""Masked-language pretraining on windows of a genome."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.config.hyperparameters import Pretraining
from convnova.config.run import RunConfig
from convnova.data.batches import Batch, name_rows
from convnova.data.masking import mask, mask_twice
from convnova.data.windows import Windows, windows
from convnova.files import sha256
from convnova.models import build_backbone, checkpoint_activations
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import save_weights
from convnova.randomness import order, torch_seed
from convnova.training.checkpoint import checkpoints_of
from convnova.training.distributed import processes
from convnova.training.loop import train, write_log
from convnova.training.optimization import sequences_at_once
from convnova.training.provenance import describe, joules

MASKING_SCHEMES = {"once": mask, "released": mask_twice}
MOST_VALIDATION_WINDOWS = 2048


def pretrain(config: RunConfig, backbone: str, genome: Path, out: Path) -> None:
    """Train a backbone on the genome and write `weights.safetensors`, its JSON and `log.csv` to `out`.

    The epoch with the lowest masked cross entropy on the validation intervals is kept. Training that was stopped
    continues from the checkpoints of the same settings and genome in `out/checkpoints`. Started by torchrun, the
    processes share the batch of each step.

    Args:
        backbone: which of the config's pretrainings.
        genome: folder of the genome's shard.

    Raises:
        ConvNovaError: no windows, a loss that is not finite.
    """
    started, energy = time.time(), joules()
    model_name, suite = config.backbones()[backbone]
    settings = config.pretraining(model_name)
    architecture, model_settings = config.models[model_name].architecture, config.settings(model_name, suite)
    torch.manual_seed(torch_seed(settings.seed, "weights"))
    model = MaskedLanguageModel(build_backbone(architecture, model_settings))
    if settings.checkpointing:
        checkpoint_activations(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    parts = {split: windows(genome, split, settings.length, settings.coverage) for split in ("train", "valid")}
    objective = MaskedLanguage(settings, parts["train"], parts["valid"])
    shard = genome / "genome.safetensors"
    inputs = {"genome": {"path": config.relative_path(shard), "sha256": sha256(shard)}}
    fingerprint = config.pretraining_fingerprint(backbone)
    checkpoints = checkpoints_of(config, out, config.fingerprint(fingerprint, inputs["genome"]["sha256"]))
    with processes() as group:
        history = train(
            model, objective, settings, settings.seed, f"pretrain {backbone}", out / "log.csv", checkpoints,
            processes=group,
        )  # fmt: skip
    if not group.first:
        return
    about = {
        "architecture": architecture,
        "settings": model_settings,
        "pretraining": settings.model_dump(exclude={"source"}),
        "windows": {split: len(part) for split, part in parts.items()},
        "epochs": history.evaluations,
        "best_epoch": history.best_epoch,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bases": history.bases,
        "simulated": config.simulate is not None,
        "provenance": describe(started, inputs, fingerprint, energy),
    }
    write_log(history, out / "log.csv")
    save_weights(history.best_weights, out / "weights.safetensors", about)
    shutil.rmtree(checkpoints.parent, ignore_errors=True)


@dataclass
class MaskedLanguage:
    """The objective of pretraining: guess the hidden letters."""

    settings: Pretraining
    data: Windows
    valid: Windows

    def __post_init__(self) -> None:
        self.windows = min(self.settings.windows or len(self.data), len(self.data))
        self.steps_per_epoch = -(-self.windows // self.settings.batch_size)

    def batch(self, step: int) -> Batch:
        """Windows of a step with their masks."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.settings.batch_size
        chosen = order(len(self.data), self.settings.seed, epoch)[: self.windows][place * size : (place + 1) * size]
        return self._masked(self.data, chosen, step)

    def _masked(self, data: Windows, chosen: np.ndarray, place: int) -> Batch:
        inputs, at, letters = MASKING_SCHEMES[self.settings.masking](
            data.tokens(chosen), self.settings.masked, self.settings.seed, place
        )
        targets = torch.from_numpy(letters.astype(np.int64))
        rows = f"windows {name_rows(chosen)}"
        return Batch(torch.from_numpy(inputs), targets, len(targets), torch.from_numpy(at), rows)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed cross entropy over the masked bases, in nats."""
        return F.cross_entropy(model(batch.tokens, batch.target_positions).float(), batch.targets, reduction="sum")

    def validation(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Windows of the validation split and their batches, the same every time."""
        count, size = min(len(self.valid), MOST_VALIDATION_WINDOWS), self.settings.batch_size
        chosen = np.sort(order(len(self.valid), self.settings.seed, 0)[:count])
        for first in range(0, count, size):
            part = chosen[first : first + size]
            yield part, self._masked(self.valid, part, -1 - first & 0xFFFFFFFF)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean cross entropy in nats and accuracy over masked bases of validation windows."""
        device = next(model.parameters()).device
        loss = right = total = 0.0
        for _, batch in self.validation():
            total += batch.count
            for part in batch.split(sequences_at_once(self.settings, batch.tokens, device)):
                part = part.to(device)
                logits = model(part.tokens, part.target_positions).float()
                loss += float(F.cross_entropy(logits, part.targets, reduction="sum"))
                right += float((logits.argmax(-1) == part.targets).sum())
        return {"score": -loss / total, "loss": loss / total, "accuracy": right / total}
