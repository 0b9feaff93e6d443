"""Peak memory of gene finding, a label for each base of up to 14,000, by model.

    python benchmarks/long_sequences.py --json long_sequences.json [--only hyenadna] [--epoch]

1,000 random sequences of 1,433 to 14,000 bp, as long as BEND's, nine classes, batches of 64 of like length, as
`config/suites/gene_finding.yaml` sets them. Each model, at its published size, is measured in a process of its own: a
training step on the longest sequences, as the one training loop takes it, and predictions of the longest ones at once,
as it evaluates. Memory does not depend on what the bases are. On a CPU it is the whole process's, some 300 MB of Python
and PyTorch included, and the loop takes one such sequence at a time there: so two tell what 64 need. With `--epoch` all
1,000 sequences are trained on once and evaluated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from convnova.config.load import load
from convnova.config.run import Job, RunConfig
from convnova.data.batches import LabelledSequences, Padding, collate
from convnova.evaluation.predict import predict
from convnova.models import build_predictor
from convnova.training.devices import peak_resident
from convnova.training.finetune import Supervised
from convnova.training.loop import Trainer
from convnova.training.optimization import sequences_at_once

ROWS, SHORTEST, LONGEST, CLASSES = 1000, 1433, 14_000, 9
MODELS = {
    "convnova": {},
    "convnova_frozen": {"like": "convnova", "title": "frozen", "frozen": True, "head": "cnn"},
    "cnn": {},
    "legnet": {},
    "basenji2": {},
    "convnext": {},
    "transformer": {},
    "hyenadna": {},
    "caduceus_ph": {},
    "caduceus_ps": {},
}


def rows() -> LabelledSequences:
    """Made-up sequences and labels."""
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST + 1, ROWS)
    lengths[:2] = SHORTEST, LONGEST
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = random.integers(0, 4, offsets[-1], dtype=np.uint8)
    labels = random.integers(0, CLASSES, offsets[-1], dtype=np.uint8)
    return LabelledSequences(tokens, offsets, labels, "per_base", np.arange(ROWS), LONGEST)


def objective_of(config: RunConfig, model: str, data: LabelledSequences) -> tuple[torch.nn.Module, Supervised]:
    """The network with random weights, and what it is trained for."""
    job, about = Job("gene_finding", "gene_finding", model, "heldout", 1), config.models[model]
    torch.manual_seed(0)
    network = build_predictor(
        about.architecture,
        config.settings(job.model, job.suite, job.task),
        "per_base",
        CLASSES,
        LONGEST,
        head=about.head,
        frozen=about.frozen,
    )
    splits = dict.fromkeys(("train", "valid", "test"), data)
    settings = config.training(job)
    return network, Supervised(config.task(job), settings, 1, splits, Padding(network.fixed_length))


def measure(model: str, sequences: int, epoch: bool) -> dict:
    """Peak memory in GB and seconds of a training step, or of an epoch, then of an evaluation."""
    config = load({"genome": "hg38", "suites": ["gene_finding"], "models": MODELS}, [], Path("config"))
    data = rows()
    network, objective = objective_of(config, model, data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    longest = np.argsort(data.lengths)[::-1]
    batch = collate(data, longest[:sequences], objective.padding).to(device)
    settings, found = objective.settings, {"model": model, "sequences": sequences, "device": device.type}

    def peak() -> float:
        used = torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_resident()
        return round(used / 1e9, 2)

    def training() -> None:
        once = settings.model_copy(update={"epochs": 1})
        with tempfile.TemporaryDirectory() as name:
            trainer = Trainer(network, objective, once, 1, model, Path(name))
            if epoch:
                history = trainer.run()
                found["bases"], found["loss"] = history.bases, round(history.rows[-2]["loss"], 3)
            else:
                trainer.step(batch, batch.tokens.numel())
                found["at_once"] = sequences_at_once(settings, batch.tokens, device, trainer.history.precision)
                found["loss"] = round(trainer.losses[0].item(), 3)

    def evaluation() -> None:
        chosen = longest[: objective.evaluation_batch]
        few = LabelledSequences(data.tokens, data.offsets, data.labels, data.kind, chosen, LONGEST)
        predict(network, few, objective.padding, objective.evaluation_batch)
        found["evaluated_at_once"] = len(chosen)

    for name, part in (("training", training), ("evaluation", evaluation)):
        began = time.perf_counter()
        part()
        found |= {f"{name}_gb": peak(), f"{name}_seconds": round(time.perf_counter() - began, 1)}
    return found


def main() -> None:
    """Every model in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="models whose name holds TEXT")
    parser.add_argument("--sequences", type=int, default=2, help="of the batch; default 2, on a GPU take 64")
    parser.add_argument("--epoch", action="store_true", help="train on all 1,000 sequences once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.model:
        print(json.dumps(measure(options.model, options.sequences, options.epoch)))
        return
    found = []
    for model in (name for name in MODELS if options.only in name):
        words = ["--model", model, "--sequences", str(options.sequences), "--threads", str(options.threads)]
        words += ["--epoch"] * options.epoch
        done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(*(f"{name} {value}" for name, value in found[-1].items()), sep=", ", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
