"""Masked cross entropy after pretraining on a real genome, beside Markov models of the same windows.

    python benchmarks/pretraining.py --fasta yeast.fa.gz --width 32 --epochs 2 --json pretraining.json

trains by the pipeline's own loop on windows of the genome and prints, in nats a masked base on the same validation
windows: ln 4; the 2-mer and 5-mer Markov models, P(base | the 1 or 4 bases before it), counted on the training windows;
and ConvNova. Only bases that the model sees as the mask count here: of the other fifth of the targets it sees a letter,
which is the true one in five of eight cases. The Markov models see the true bases before, none of them hidden.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from convnova.config.hyperparameters import Pretraining
from convnova.data.batches import Batch
from convnova.data.dna import N
from convnova.data.genome import tokenize_genome
from convnova.data.masking import MASK
from convnova.data.windows import Windows, windows
from convnova.models import build_backbone
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import load_strictly, load_weights
from convnova.randomness import torch_seed
from convnova.training.pretrain import MaskedLanguage, pretrain

BASES = 4


def contexts(tokens: np.ndarray, before: int) -> np.ndarray:
    """Number of the `before` bases before each position of windows (n, L), or -1 where one is no base or outside."""
    numbers = np.zeros(tokens.shape, np.int64)
    for distance in range(before, 0, -1):
        shifted = np.full(tokens.shape, N, np.int64)
        shifted[:, distance:] = tokens[:, :-distance]
        numbers = np.where((shifted >= N) | (numbers < 0), -1, numbers * BASES + shifted)
    return numbers


def markov(data: Windows, before: int) -> np.ndarray:
    """ln P(base | context), (4^before + 1, 4), counted on all windows, plus one; last row for no context."""
    counts = np.ones((BASES**before + 1, BASES))
    for first in range(0, len(data), 1024):
        tokens = data.tokens(np.arange(first, min(len(data), first + 1024)))
        context, real = contexts(tokens, before), tokens < N
        np.add.at(counts, (context[real], tokens[real]), 1)
        np.add.at(counts[-1], tokens[real], 1)
    return np.log(counts / counts.sum(1, keepdims=True))


def hidden(batch: Batch) -> np.ndarray:
    """Which of a batch's targets are shown as the mask: bool (M,)."""
    return batch.tokens.numpy().ravel()[batch.target_positions.numpy()] == MASK


def markov_loss(objective: MaskedLanguage, table: np.ndarray, before: int) -> float:
    """Mean cross entropy over the hidden bases of the validation batches."""
    losses = []
    for chosen, batch in objective.validation():
        at = batch.target_positions.numpy()[hidden(batch)]
        tokens = objective.valid.tokens(chosen)
        losses.append(-table[contexts(tokens, before).ravel()[at], tokens.ravel()[at]])
    return float(np.concatenate(losses).mean())


def model_loss(objective: MaskedLanguage, model: nn.Module) -> float:
    """The same of a model."""
    losses = []
    with torch.no_grad():
        for _, batch in objective.validation():
            logits = model(batch.tokens, batch.target_positions).float()
            losses.append(F.cross_entropy(logits, batch.targets, reduction="none").numpy()[hidden(batch)])
    return float(np.concatenate(losses).mean())


def main() -> None:
    """Shard, train, compare, print and write JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--fasta", type=Path, required=True)
    options.add_argument("--width", type=int, default=32)
    options.add_argument("--length", type=int, default=1024)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--lr", type=float, default=3e-3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--json", type=Path, help="write the numbers here too")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        results = compare(asked, Path(folder))
    print(json.dumps(results, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


def compare(asked: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Losses in nats a masked base, and what they were made with."""
    tokenize_genome(asked.fasta, folder / "genome")
    settings = Pretraining(
        epochs=asked.epochs, length=asked.length, batch_size=asked.batch, lr=asked.lr, warmup=0.05, weight_decay=0.0
    )
    parts = {split: windows(folder / "genome", split, asked.length) for split in ("train", "valid")}
    torch.manual_seed(torch_seed(settings.seed, "weights"))
    network = MaskedLanguageModel(build_backbone("convnova", {"width": asked.width}))
    started = time.perf_counter()
    pretrain(network, parts, settings, folder / "out")
    seconds = time.perf_counter() - started
    weights, about = load_weights(folder / "out" / "weights.safetensors")
    load_strictly(network.eval(), weights, "the pretraining")
    data, valid = parts["train"], parts["valid"]
    objective = MaskedLanguage(settings, data, valid)
    losses = {f"{before + 1}-mer Markov": markov_loss(objective, markov(data, before), before) for before in (1, 4)}
    best = min(about["epochs"], key=lambda epoch: epoch["loss"])
    return {
        "genome": asked.fasta.name,
        "nats_per_hidden_base": {"ln 4": math.log(4), **losses, "ConvNova": model_loss(objective, network)},
        "nats_per_target": best["loss"],
        "train_windows": len(data),
        "valid_windows": len(valid),
        "bases_seen": about["bases"],
        "parameters": about["parameters"],
        "seconds": round(seconds, 1),
        **{key: getattr(asked, key) for key in ("width", "length", "epochs", "batch", "lr", "threads")},
    }


if __name__ == "__main__":
    main()
