"""Masked-language pretraining on windows of a genome."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.config.hyperparameters import Pretraining
from convnova.data.batches import Batch, Padding, augment_reverse_complement, name_rows
from convnova.data.dna import PAD
from convnova.data.masking import mask, mask_twice
from convnova.data.windows import Windows
from convnova.errors import ConvNovaError
from convnova.models.weights import save_weights
from convnova.randomness import order
from convnova.training.distributed import processes
from convnova.training.loop import Trainer
from convnova.training.optimization import sequences_at_once
from convnova.training.provenance import Provenance

MASKING_SCHEMES = {"once": mask, "released": mask_twice}
MAX_VALIDATION_WINDOWS = 2048


def pretrain(
    model: nn.Module,
    windows: Mapping[str, Windows],
    settings: Pretraining,
    out: Path,
    *,
    label: str = "pretraining",
    checkpoints: Path | None = None,
    about: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Train a model to predict masked bases; write `weights.safetensors`, its JSON and `log.csv` to `out`.

    The weights are those of the epoch with the lowest cross entropy on the validation windows. A training that was
    stopped continues from its checkpoints. Processes that torchrun started share the batch of each step.

    Args:
        model: tokens (B, L) and positions (M,) to logits (M, letters), with its initial weights, on the device to
            train on.
        windows: of the splits `train` and `valid`.
        settings: hyperparameters.
        out: folder for the results.
        label: shown in the progress bar and in messages.
        checkpoints: folder for the state of the training, deleted at the end; default: below `out`.
        about: what else the JSON says.
        provenance: what the weights were made from.

    Raises:
        ConvNovaError: a loss that is not finite.
        Interrupted: a signal came; a checkpoint is written.
    """
    provenance = provenance or Provenance()
    objective = MaskedLanguage(settings, windows["train"], windows["valid"])
    with processes() as group:
        trainer = Trainer(model, objective, settings, settings.seed, label, out, checkpoints, processes=group)
        history = trainer.run()
    if not group.first:
        return
    description = {
        **(about or {}),
        "pretraining": settings.model_dump(exclude={"source"}),
        "windows": {split: len(part) for split, part in windows.items()},
        "epochs": history.evaluations,
        "best_epoch": history.best_epoch,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bases": history.bases,
        "provenance": provenance.describe(history.precision, history.attempts),
    }
    save_weights(history.best_weights, out / "weights.safetensors", description)
    shutil.rmtree(trainer.checkpoints, ignore_errors=True)


@dataclass
class MaskedLanguage:
    """The objective of pretraining: predict the masked bases.

    Attributes:
        settings: batch size, windows an epoch, masking and seed.
        data: the training windows.
        valid: the validation windows.
    """

    settings: Pretraining
    data: Windows
    valid: Windows

    def __post_init__(self) -> None:
        self.windows = min(self.settings.windows or len(self.data), len(self.data))
        self.steps_per_epoch = -(-self.windows // self.settings.batch_size)
        if not any(batch.count for _, batch in self.validation()):
            raise ConvNovaError("expected bases to mask in the validation windows, found none: too few, or N alone")

    def batch(self, step: int) -> Batch:
        """The windows of a step with their masks, each from a strand drawn at random if the settings say so."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.settings.batch_size
        epoch_windows = order(len(self.data), self.settings.seed, epoch)[: self.windows]
        numbers = epoch_windows[place * size : (place + 1) * size]
        tokens = self.data.tokens(numbers)
        if self.settings.reverse_complement:
            lengths, seed = (tokens != PAD).sum(1), self.settings.seed
            tokens = augment_reverse_complement(torch.from_numpy(tokens), lengths, Padding(), seed, step).numpy()
        return self._masked(tokens, numbers, step)

    def _masked(self, tokens: np.ndarray, numbers: np.ndarray, step: int) -> Batch:
        """Windows (B, L) with these numbers; `step` decides the masks."""
        masking = MASKING_SCHEMES[self.settings.masking]
        inputs, positions, letters = masking(tokens, self.settings.masked, self.settings.seed, step)
        targets = torch.from_numpy(letters.astype(np.int64))
        rows = f"windows {name_rows(numbers)}"
        return Batch(torch.from_numpy(inputs), targets, len(targets), torch.from_numpy(positions), rows)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed cross entropy over the masked bases, in nats."""
        return F.cross_entropy(model(batch.tokens, batch.target_positions).float(), batch.targets, reduction="sum")

    def validation(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Numbers of validation windows and their batches, the same every time."""
        count, size = min(len(self.valid), MAX_VALIDATION_WINDOWS), self.settings.batch_size
        numbers = np.sort(order(len(self.valid), self.settings.seed, 0)[:count])
        for first in range(0, count, size):
            part = numbers[first : first + size]
            # steps counted down from 2**32 - 1, which no training reaches: masks of their own for each batch
            yield part, self._masked(self.valid.tokens(part), part, -1 - first & 0xFFFFFFFF)

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
