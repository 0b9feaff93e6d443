"""The plan of the golden tables, a thousand made-up runs, made-up predictions, and a made-up provenance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from convnova.reporting.scores import COLUMNS, Plan, Row

GOLDEN = Path(__file__).parent / "reporting" / "golden" / "tables"
NT, GB, CP = "nucleotide_transformer", "genomic_benchmarks", "chromatin_profile"

PLAN = Plan(
    suites={NT: "Nucleotide Transformer tasks", GB: "Genomic Benchmarks", CP: "Chromatin profile (DeepSEA)"},
    rows={
        NT: [Row("H3", "H3", "mcc"), Row("promoter_tata", "promoter_tata", "f1_macro")],
        GB: [Row("human_enhancers_cohn", "human_enhancers_cohn", "accuracy")],
        CP: [Row("chromatin_profile", group, "auroc") for group in ("DHS", "TF", "HM")],
    },
    models={"convnova": "ConvNova", "convnova_scratch": "ConvNova (from scratch)", "cnn": "CNN"},
    published={"convnova": "ConvNova", "convnova_scratch": "ConvNova*", "cnn": "CNN"},
    protocols=["heldout", "released"],
    seeds=[1, 2, 3],
    simulated=False,
)
MADE = {
    "convnova": "0.1", "commit": 40 * "a", "dirty": False, "settings": "abc", "inputs": {"task": {"sha256": "t"}},
    "python": "3.11", "packages": {"torch": "2"}, "host": "h", "hardware": {"processor": "P", "gpu": "G"},
    "started": "s", "seconds": 60.0, "peak_memory_mb": 1500, "peak_gpu_memory_mb": 7, "joules": {"gpu": 20.0},
}  # fmt: skip
"""The provenance of a result."""


def thousand_runs() -> tuple[pd.DataFrame, Plan]:
    tasks = [Row(f"task_{i}", f"task_{i}", "mcc") for i in range(18)]
    models = {f"model_{i}": f"Model {i}" for i in range(6)}
    plan = replace(PLAN, suites={NT: "Many"}, rows={NT: tasks}, models=models, published={}, seeds=[1, 2, 3, 4, 5])
    rng = np.random.default_rng(0)
    runs = [
        {"suite": NT, "task": task.task, "row": task.label, "model": model, "protocol": protocol, "seed": seed}
        for task in tasks
        for model in models
        for protocol in plan.protocols
        for seed in plan.seeds
    ]
    frame = pd.DataFrame(runs).reindex(columns=COLUMNS)
    return frame.assign(metric="mcc", score=rng.uniform(0.5, 0.9, len(runs)), simulated=False, path="p"), plan


def made_up(seed: int, n: int, classes: int = 2, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; class k's score is shifted by `skill` where it is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
