"""Does a training in bfloat16 learn what the same training in float32 learns?

    python benchmarks/same_learning.py --data DATA --work FOLDER --json same_learning.json --figure same_learning.png

Two tasks of real data, scored on test by the epoch that validation chooses, and pretraining on yeast, scored by the
loss on held-out windows. Each is trained with five seeds in both precisions: a pair has the same initial weights, order
of rows, masks and learning rates. DATA holds `gue_complete/mouse_2`, `gue_emp_yeast_histone/H3` and
`genome_yeast_R64`. What is finished in FOLDER is not trained again, and a training that was stopped goes on from its
checkpoint, so the same command continues.

Of each: scores, their paired differences (bfloat16 - float32), the mean of these with its 95% interval by Student's t,
and, for scale, the standard deviation of the score over seeds in float32.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student

from convnova.cli.train import finetune_job, pretrain_backbone
from convnova.config.load import load
from convnova.config.run import Job, RunConfig
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.training.devices import load_torch

CATALOGUE = Path(__file__).parents[1] / "config"
PRECISIONS = ("float32", "bfloat16")
COLOURS = {"float32": "#888888", "bfloat16": "#d1495b"}
SETTINGS = {"width": 64, "kernel": 9}
PRETRAINING = {"epochs": 3, "length": 1024, "batch_size": 16, "windows": 1000, "lr": 2.0e-3, "warmup": 0.1}
TASKS = {
    "mouse_2": {"epochs": 10, "batch_size": 32, "lr": 1.0e-3, "warmup": 0.1},
    "H3": {"epochs": 4, "batch_size": 32, "lr": 1.0e-3, "warmup": 0.1},
}
FILES = {
    "mouse_2": {role: f"gue_complete/mouse_2/{file}.csv.gz"
                for role, file in (("train", "train"), ("valid", "dev"), ("test", "test"))},
    "H3": {role: f"gue_emp_yeast_histone/H3/{file}.csv.gz" for role, file in (("train", "dev"), ("test", "test"))},
}  # fmt: skip
GENOME = "genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
LABELS = {"mouse_2": "mouse_2, test MCC", "H3": "H3, test MCC", "pretraining": "yeast, validation loss (nats)"}


def config_of(data: Path, precision: str, seed: int) -> RunConfig:
    """The run of one seed in one precision."""
    tasks = {
        name: {role: str(data / file) for role, file in files.items()}
        | {"metric": "mcc", "classes": ["0", "1"], "training": TASKS[name]}
        for name, files in FILES.items()
    }
    content = {
        "run": "same_learning", "genome": {"fasta": str(data / GENOME), "valid": ["IX"], "test": ["XI"]},
        "pretrain": PRETRAINING | {"precision": precision, "seed": seed}, "finetune": {"precision": precision},
        "models": {"convnova": {"settings": SETTINGS}, "convnova_scratch": {"settings": SETTINGS}}, "seeds": [seed],
        "protocols": ["heldout"], "suites": {"real": {"format": "csv", "tasks": tasks}},
    }  # fmt: skip
    return load(content, [], CATALOGUE)


def prepare(config: RunConfig, work: Path) -> None:
    """Tokenize the tasks and the genome, unless that is done."""
    for name, task in config.suites["real"].tasks.items():
        out = work / f"{name}.safetensors"
        if not out.exists():
            tokenize_task(task, "csv", {role: Path(file) for role, file in task.files().items()}, out)
    if not (work / "genome/intervals.tsv").exists():
        genome = config.genomes[config.genome]
        tokenize_genome(Path(genome.fasta), work / "genome", valid=genome.valid, test=genome.test)


def train(config: RunConfig, name: str, seed: int, out: Path, work: Path) -> float:
    """Train, unless that is done; the score."""
    about = out / ("weights.json" if name == "pretraining" else "metrics.json")
    if not about.exists():
        if name == "pretraining":
            pretrain_backbone(config, "convnova", work / "genome", out)
        else:
            job = Job("real", name, "convnova_scratch", "heldout", seed)
            finetune_job(config, job, work / f"{name}.safetensors", out)
    result = json.loads(about.read_text())
    return min(epoch["loss"] for epoch in result["epochs"]) if name == "pretraining" else result["mcc"]


def paired(scores: dict[str, list[float]]) -> dict[str, object]:
    """Differences and their mean with its interval."""
    differences = [b - a for a, b in zip(*(scores[name] for name in PRECISIONS), strict=True)]
    mean = statistics.mean(differences)
    half = student.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return {
        **scores, "differences": differences, "mean": mean, "low": mean - half, "high": mean + half,
        "sd_over_seeds": statistics.stdev(scores["float32"]),
    }  # fmt: skip


def draw(work: Path, seeds: range, file: Path) -> None:
    """Training losses, a running mean over a fortieth of the steps: thin lines for the seeds, a thick one for all."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for panel, name in zip(figure.subplots(1, len(LABELS)), LABELS, strict=True):
        for precision in PRECISIONS:
            curves = []
            for seed in seeds:
                table = pd.read_csv(work / precision / name / str(seed) / "log.csv").query("split == 'train'")
                curves.append(table["loss"].rolling(max(1, len(table) // 40), center=True).mean().to_numpy())
                panel.plot(table["step"], curves[-1], color=COLOURS[precision], linewidth=0.5, alpha=0.5)
            dashes = "--" if precision == "bfloat16" else "-"
            mean = np.mean(curves, axis=0)
            panel.plot(table["step"], mean, dashes, color=COLOURS[precision], linewidth=1.8, label=precision)
        panel.set(title=LABELS[name].split(",")[0], xlabel="step", ylabel="training loss (nats)")
    figure.axes[0].legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Train what is missing, print a table, write JSON and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    asked = parser.parse_args()
    load_torch(asked.threads)
    seeds = range(1, asked.seeds + 1)
    asked.work.mkdir(parents=True, exist_ok=True)
    prepare(config_of(asked.data, "float32", 1), asked.work)
    results = {name: {precision: [] for precision in PRECISIONS} for name in LABELS}
    for seed in seeds:  # seed by seed, so that a run that is cut short has pairs
        for name, scores in results.items():
            for precision in PRECISIONS:
                out = asked.work / precision / name / str(seed)
                score = train(config_of(asked.data, precision, seed), name, seed, out, asked.work)
                scores[precision].append(score)
                print(f"{name} {precision} seed {seed}: {score:.4f}", flush=True)
    print("\n                               float32  bfloat16  difference, 95% interval     width  sd over seeds")
    results = {name: paired(scores) for name, scores in results.items()}
    for name, row in results.items():
        means = "  ".join(f"{statistics.mean(row[precision]):8.4f}" for precision in PRECISIONS)
        interval = f"{row['mean']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
        width = row["high"] - row["low"]
        print(f"{LABELS[name]:30} {means}  {interval}  {width:7.4f}  {row['sd_over_seeds']:7.4f}")
    if asked.json:
        about = {"torch": torch.__version__, "threads": asked.threads, "settings": SETTINGS, "seeds": list(seeds)}
        trainings = {**TASKS, "pretraining": PRETRAINING}
        text = json.dumps({**about, "trainings": trainings, "results": results}, indent=2)
        asked.json.write_text(text + "\n")
    if asked.figure:
        draw(asked.work, seeds, asked.figure)


if __name__ == "__main__":
    main()
