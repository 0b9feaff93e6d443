"""The run of the golden tables, a thousand made-up runs, made-up predictions, results and provenance."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from convnova.config.run import Job, RunConfig
from convnova.evaluation.metrics_file import write_metrics
from convnova.reporting.render import layout
from convnova.reporting.scores import COLUMNS
from convnova.reporting.table import Table

GOLDEN = Path(__file__).parent / "reporting" / "golden" / "tables"
NT, GB, CP = "nucleotide_transformer", "genomic_benchmarks", "chromatin_profile"
FILES = {"train": "train.fa", "test": "test.fa"}
GROUPS = {"DHS": (0, 1), "TF": (1, 2), "HM": (2, 3)}

CONFIG = RunConfig(
    run="made_up",
    suites={
        NT: {
            "title": "Nucleotide Transformer tasks", "format": "nucleotide_transformer",
            "tasks": {"H3": FILES, "promoter_tata": FILES | {"metric": "f1_macro"}},
        },
        GB: {
            "title": "Genomic Benchmarks", "format": "genomic_benchmarks", "folds": 5,
            "tasks": {"human_enhancers_cohn": {"metric": "accuracy"}},
        },
        CP: {
            "title": "Chromatin profile (DeepSEA)", "format": "deepsea",
            "tasks": {CP: {"kind": "multilabel", "metric": "auroc", "groups": GROUPS}},
        },
    },
    models={
        "convnova": {"title": "ConvNova", "architecture": "convnova", "published": "ConvNova"},
        "convnova_scratch": {"title": "ConvNova (from scratch)", "architecture": "convnova", "published": "ConvNova*"},
        "cnn": {"title": "CNN", "architecture": "cnn", "published": "CNN"},
    },
    protocols=["heldout", "released"],
    seeds=[1, 2, 3],
)  # fmt: skip
MADE = {
    "convnova": "0.1", "commit": 40 * "a", "dirty": False, "settings": "abc", "inputs": {"task": {"sha256": "t"}},
    "python": "3.11", "packages": {"torch": "2"}, "host": "h", "hardware": {"processor": "P", "gpu": "G"},
    "precision": "float32", "started": "s", "seconds": 60.0, "peak_memory_mb": 1500, "peak_gpu_memory_mb": 7,
}  # fmt: skip
"""The provenance of a result."""


def changed(config: RunConfig, **changes: Any) -> RunConfig:
    """The config with other values of some keys."""
    return RunConfig(**dict(config) | changes)


def only(config: RunConfig, *names: str) -> RunConfig:
    """The config with these of its suites alone, or of its models."""
    parts = {"suites": config.suites, "models": config.models}
    named = {key: {name: part[name] for name in names if name in part} for key, part in parts.items()}
    return changed(config, **{key: part for key, part in named.items() if part})


def thousand_runs() -> tuple[pd.DataFrame, RunConfig]:
    """Scores of 18 tasks, 6 models, 2 protocols and 5 seeds."""
    tasks = {f"task_{i}": FILES for i in range(18)}
    models = {f"model_{i}": {"title": f"Model {i}", "architecture": "cnn"} for i in range(6)}
    suite = {"title": "Many", "format": "nucleotide_transformer", "tasks": tasks}
    config = changed(CONFIG, suites={NT: suite}, models=models, seeds=[1, 2, 3, 4, 5])
    rng = np.random.default_rng(0)
    runs = list(itertools.product([NT], tasks, models, config.protocols, config.seeds))
    frame = pd.DataFrame(runs, columns=["suite", "task", "model", "protocol", "seed"]).reindex(columns=COLUMNS)
    scores = rng.uniform(0.5, 0.9, len(runs))
    return frame.assign(row=frame["task"], metric="mcc", score=scores, simulated=False, path="p"), config


def write_result(config: RunConfig, job: Job, columns: dict[str, Any] | None = None, **content: Any) -> Path:
    """A fine-tuning as it leaves its folder, which is returned: predictions of these columns, and `metrics.json`."""
    folder, columns = config.folder(job), columns or {"label": [0, 1], "score": [[1.0, 0.0], [0.0, 1.0]]}
    folder.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"row": np.arange(len(columns["label"])), **columns})
    pyarrow.parquet.write_table(table, folder / "predictions.parquet")
    about = {"metric": "mcc", "receptive_field": 193, "provenance": MADE | {"settings": config.job_fingerprint(job)}}
    write_metrics(folder, about | content)
    return folder


def write_validation_scores(config: RunConfig) -> dict[tuple[str, str, int], float]:
    """Write a metrics file of every job of a run; its best score on validation by task, model and seed."""
    random, best = np.random.default_rng(0), {}
    for job in config.jobs():
        scores = random.random(3).round(3).tolist()
        best[job.task, job.model, job.seed] = max(scores)
        epochs = [{"epoch": number, "score": score} for number, score in enumerate(scores, start=1)]
        write_result(config, job, epochs=epochs, mcc=7.0, parameters=12, seconds=3.0)
    return best


def table_rows(table: Table) -> list[dict[str, str]]:
    """The texts of a table by their heads, which are unique."""
    read = layout(table)
    return [{head.text: cell.text for head, cell in zip(read.heads, row, strict=True)} for row in read.rows]


def table_texts(table: Table) -> list[list[str]]:
    """The texts of a table, row by row."""
    return [[cell.text for cell in row] for row in layout(table).rows]


def made_up(seed: int, n: int, classes: int = 2, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; class k's score is shifted by `skill` where it is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
