"""How long the audit of a task takes and how much memory, on simulated data.

The genome has families of repeats, as a tenth of the human genome does; rows are windows of it, so that test
rows overlap train rows as they do in the real benchmarks. The largest task of the paper without DeepSEA has 289,061
rows of 401 bases on average.

    python benchmarks/leakage.py --rows 300000 --length 300 --json leakage.json
    python benchmarks/leakage.py --paper --megabases 3000 --json leakage.json

`--paper`: all 26 tasks of the paper that have classes, each with its published number of rows, all of them as long as
its longest, in as many processes at once as there are cores. They have no coordinates: every test row is looked for in
the genome.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnova.config.load import CATALOGUE
from convnova.data.array_file import ArrayFileWriter
from convnova.data.genome import GENOME_FILE, INTERVALS_FILE
from convnova.data.task_dataset import read_task
from convnova.evaluation.leakage.split_audit import Pretraining, audit
from convnova.files import read_yaml
from convnova.training.devices import peak_resident

REPEAT = 300


class Size(NamedTuple):
    """Rows of a task and bases of each."""

    task: str
    train: int
    test: int
    length: int


def published_sizes() -> list[Size]:
    """The tasks of the Nucleotide Transformer and of Genomic Benchmarks."""
    sizes = []
    for suite in ("nucleotide_transformer", "genomic_benchmarks"):
        for name, task in read_yaml(CATALOGUE / "suites" / f"{suite}.yaml")["tasks"].items():
            sizes.append(Size(f"{suite}/{name}", **task["counts"], length=task["max_length"]))
    return sizes


def make_genome(rng: np.random.Generator, bases: int) -> np.ndarray:
    """Random bases, a tenth of them copies of one of three 300-base sequences, 5 to 15% of whose bases are changed."""
    genome = rng.integers(0, 4, bases, np.uint8)
    families = rng.integers(0, 4, (3, REPEAT), np.uint8)
    for start in rng.integers(0, bases - REPEAT, bases // (10 * REPEAT)):
        changed = rng.random(REPEAT) < rng.uniform(0.05, 0.15)
        genome[start : start + REPEAT] = np.where(changed, genome[start : start + REPEAT], families[rng.integers(3)])
    return genome


def write_genome(folder: Path, megabases: int) -> np.ndarray:
    """Write a tokenized genome of chromosomes of 100 Mb, nine of ten for pretraining; the bases of the first."""
    rng = np.random.default_rng(1)
    sizes = [min(100, megabases)] * max(1, megabases // 100)
    first = make_genome(rng, sizes[0] * 1_000_000)
    lines = ["chrom\tstart\tend\tsplit"]
    with ArrayFileWriter(folder / GENOME_FILE) as file:
        for number, size in enumerate(sizes, 1):
            bases = first if number == 1 else make_genome(rng, size * 1_000_000)
            file.append(f"chr{number}", bases)
            end = len(bases) * 9 // 10
            lines += [f"chr{number}\t0\t{end}\ttrain", f"chr{number}\t{end}\t{len(bases)}\ttest"]
    (folder / INTERVALS_FILE).write_text("\n".join(lines) + "\n")
    return first


def write_task(path: Path, genome: np.ndarray, size: Size) -> None:
    """Write a tokenized task whose rows are windows of the genome."""
    rng = np.random.default_rng(2)
    counts = {"train": size.train, "test": size.test}
    about = {"kind": "classes", "classes": ["0", "1"], "splits": {name: {"others": 0} for name in counts}}
    windows = np.lib.stride_tricks.sliding_window_view(genome, size.length)
    with ArrayFileWriter(path) as file:
        file.metadata |= about
        for name, count in counts.items():
            file.append(f"{name}.tokens", windows[rng.integers(0, len(windows), count)].reshape(-1))
            file.append(f"{name}.offsets", np.arange(count + 1) * size.length)
            file.append(f"{name}.labels", rng.integers(0, 2, count))


def measure(dataset: Path, genome: Path | None) -> dict:
    """Audit a task in this process, which did nothing else."""
    pretraining = Pretraining("simulated", genome, None, "csv", {}) if genome else None
    wall, processor = time.perf_counter(), time.process_time()
    numbers = audit(read_task(dataset), pretraining)
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "peak_memory_mb": peak_resident() // 10**6,
        "overlap": numbers["overlap"],
        "pretraining": numbers.get("pretraining"),
    }


def measure_all(folder: Path, first: np.ndarray, sizes: list[Size], processes: int) -> dict:
    """Write and audit every task, the largest first, each in a process of its own; `seconds` is that of the audits."""
    sizes = sorted(sizes, key=lambda size: -size.length * (size.train + size.test))
    datasets = [folder / f"{number}.safetensors" for number in range(len(sizes))]
    for path, size in zip(datasets, sizes, strict=True):
        write_task(path, first, size)
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        results = pool.starmap(measure, [(path, folder) for path in datasets], chunksize=1)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processes": processes,
        "rows": sum(size.train + size.test for size in sizes),
        "bases": sum(size.length * (size.train + size.test) for size in sizes),
        "peak_memory_mb": max(result["peak_memory_mb"] for result in results),
        "tasks": {size.task: size._asdict() | result for size, result in zip(sizes, results, strict=True)},
    }


def main() -> None:
    """Simulate the data, audit them, print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="all tasks at their published sizes; no --rows, --length")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--length", type=int, default=300, help="bases a row")
    parser.add_argument("--megabases", type=int, default=300, help="of the genome")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = write_genome(folder, options.megabases)
        results = {"megabases": options.megabases}
        if options.paper:
            results |= measure_all(folder, first, published_sizes(), os.cpu_count() or 1)
        else:
            size = Size("simulated", options.rows * 8 // 10, options.rows - options.rows * 8 // 10, options.length)
            write_task(folder / "task.safetensors", first, size)
            results |= size._asdict()
            for key, genome in (("splits", None), ("splits_and_genome", folder)):
                with multiprocessing.get_context("spawn").Pool(1) as fresh:
                    results[key] = fresh.apply(measure, (folder / "task.safetensors", genome))
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
