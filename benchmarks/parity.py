"""Equal settings give equal training: the released model and ours from the same weights, over the same batches.

    python benchmarks/parity.py --released convnova.py --dataset resources/yeast/tasks/marks/H3.safetensors

`--released` names the file `convnova.py` of the authors' code, as for `throughput.py`; `--dataset` a tokenized task of
classes that any run has made. Ours is trained by the pipeline with the protocol `released`. Theirs is trained here, as
their configs say: `torch.optim.AdamW` over all parameters, timm's cosine from 1e-6 by its formula, the gradient clipped
at 1, the mean over all positions, a linear head. Printed are the losses of both; the program fails if any two differ by
more than 1e-6. Both compute in float64, but for the loss: in float32 the two add in another order, and what differs in
the last digit grows with the steps (to 2e-5 after 94 steps of width 32).
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from published_model import released_model
from torch import nn

from convnova.config.hyperparameters import Training
from convnova.config.schema import Task
from convnova.data.splits import split_rows
from convnova.data.task_dataset import read_task
from convnova.models.convnova import Config
from convnova.models.heads import Predictor
from convnova.models.released_checkpoint import from_released
from convnova.training.finetune import Supervised, padding_of
from convnova.training.loop import Trainer

FIRST_LR = 1e-6
LARGEST = 1e-6
"""Difference of two losses."""


def main() -> None:
    """Train both and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--released", required=True, metavar="PATH", help="the authors' convnova.py")
    parser.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="a tokenized task of classes")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    data = read_task(asked.dataset)
    config = Config(width=asked.width)
    settings = Training(epochs=asked.epochs, batch_size=asked.batch_size, precision="float32").of_protocol("released")
    splits = split_rows(data, "released", asked.seed, None)
    torch.manual_seed(asked.seed)
    theirs = released_model(asked.released, config, False)
    ours = Predictor(from_released(theirs.state_dict(), config), "classes", data.outputs, pool_padding=True).double()
    theirs, head = theirs.double(), nn.Linear(asked.width, data.outputs).double()
    head.load_state_dict(ours.head.state_dict())
    padding = padding_of(ours, settings, splits["test"])
    objective = Supervised(Task(metric="accuracy"), settings, asked.seed, splits, padding)
    with tempfile.TemporaryDirectory() as folder:
        history = Trainer(ours, objective, settings, asked.seed, "ours", Path(folder)).run()
    pairs = zip(
        [row["loss"] for row in history.rows if row["split"] == "train"],
        released_losses(theirs, head, objective, settings),
        strict=True,
    )
    largest = 0.0
    for step, (own, other) in enumerate(pairs):
        largest = max(largest, abs(own - other))
        print(f"step {step}: ours {own:.7f}, released {other:.7f}, largest difference so far {largest:.1e}", flush=True)
    if largest > LARGEST:
        sys.exit(f"expected losses that differ by {LARGEST:.0e} at most, found {largest:.1e}")


def released_losses(network: nn.Module, head: nn.Module, objective: Supervised, settings: Training) -> Iterator[float]:
    """Train the released network as its authors' configs say; yields the loss of each step."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d):  # it makes float32 of its letters
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
    total, lowest = settings.epochs * objective.steps_per_epoch, settings.final_lr * settings.lr
    warmup = settings.warmup * total
    for step in range(total):
        lr = lowest + (settings.lr - lowest) * (1 + math.cos(math.pi * step / total)) / 2
        optimizer.param_groups[0]["lr"] = lr if step >= warmup else FIRST_LR + step * (settings.lr - FIRST_LR) / warmup
        batch = objective.batch(step)
        features, _ = network(batch.tokens.long())
        loss = F.cross_entropy(head(features.mean(1)).float(), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        yield loss.item()


if __name__ == "__main__":
    main()
