"""A small run on files of a user's own, for tests and scripts that call snakemake: here, on Slurm and in clouds."""

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
PATHS = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
ENVIRONMENT = os.environ | PATHS | {"OMP_NUM_THREADS": "1"}
PIPED = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
SPLITS = ("train", "valid", "test")
SHELL_WORDS = """a b (1) [2] {3 4} 'q' "d" $(touch PWNED) `touch PWNED` ;touch PWNED; & | * ~ # \\ ü """
"""Whatever a shell would make something of."""
COSTS = {"started", "seconds", "peak_memory_mb"}


def config_file(folder: Path, **content: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def own_data(
    folder: Path, seeds: Sequence[int] = (1,), tasks: Sequence[str] = ("one",), length: int = 3000, prefix: str = "",
    **pretrain: object,
) -> str:  # fmt: skip
    """A genome and tasks of random letters, and the config of a run of two models on them; returns its path.

    Args:
        prefix: what names of files begin with, and, spaces left out, those of chromosomes.
    """
    random, letters = np.random.default_rng(0), np.array(list("ACGT"))
    chromosomes = {split: prefix.replace(" ", "") + name for split, name in zip(SPLITS, "abc", strict=True)}
    genome = f"{prefix}genome.fa.gz"
    with gzip.open(folder / genome, "wt") as file:
        for name in chromosomes.values():
            file.write(f">{name}\n{''.join(letters[random.integers(0, 4, length)])}\n")
    files = {task: {split: f"{prefix}{task}.{split}.csv" for split in ("train", "test")} for task in tasks}
    for splits in files.values():
        for split, rows in (("train", 60), ("test", 30)):
            lines = [f"{''.join(letters[random.integers(0, 4, 50)])},{row % 2}\n" for row in range(rows)]
            (folder / splits[split]).write_text("sequence,label\n" + "".join(lines))
    small = {"settings": {"width": 4, "blocks": 1, "kernel": 3}}
    models = {"convnova": small} | ({"convnova_scratch": small} if len(tasks) > 1 else {})
    by_split = {split: [name] for split, name in chromosomes.items()}
    return config_file(
        folder, run="own", genome={"fasta": genome} | by_split, seeds=list(seeds), protocols=["heldout"],
        models=models, finetune={"epochs": 1}, pretrain={"length": 100, "batch_size": 8} | pretrain,
        suites={"mine": {"format": "csv", "tasks": files}},
    )  # fmt: skip


def without_costs(path: Path) -> object:
    """The content of a result but for times and memory."""
    if path.suffix == ".tsv":
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        return table.drop(columns=list(COSTS & set(table))).to_dict("list")
    return re.sub(rb"[\d.]+ (min|s) of wall time together, at most [\d,]+ MB(, [\d,]+ J)?", b"", path.read_bytes())
