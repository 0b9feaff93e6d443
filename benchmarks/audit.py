"""How long the audit of a task takes and how much memory, on made data.

A genome is made with families of repeats, as a tenth of the human genome is; rows are windows of it, so that test
rows overlap train rows as they do in the real benchmarks. The largest task of the paper without DeepSEA has 289,061
rows of 401 bases on average.

    python benchmarks/audit.py --rows 300000 --length 300 --json audit.json
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from convnova.audit import Pretraining, audit
from convnova.genome import INTERVALS, SHARD
from convnova.shards import ShardWriter
from convnova.tasks import read_task

REPEAT = 300


def make_genome(rng: np.random.Generator, bases: int) -> np.ndarray:
    """Random bases, a tenth of them copies of one of three 300-base sequences, 5 to 15% of whose bases are changed."""
    genome = rng.integers(0, 4, bases, np.uint8)
    families = rng.integers(0, 4, (3, REPEAT), np.uint8)
    for start in rng.integers(0, bases - REPEAT, bases // (10 * REPEAT)):
        changed = rng.random(REPEAT) < rng.uniform(0.05, 0.15)
        genome[start : start + REPEAT] = np.where(changed, genome[start : start + REPEAT], families[rng.integers(3)])
    return genome


def write(folder: Path, rows: int, length: int, megabases: int) -> None:
    """Write a genome shard, 0.9 of it for pretraining, and a task shard, 0.8 of its rows for train."""
    rng = np.random.default_rng(1)
    genome = make_genome(rng, megabases * 1_000_000)
    with ShardWriter(folder / SHARD) as shard:
        shard.append("chr1", genome)
    end = len(genome) * 9 // 10
    (folder / INTERVALS).write_text(
        f"chrom\tstart\tend\tsplit\nchr1\t0\t{end}\ttrain\nchr1\t{end}\t{len(genome)}\ttest\n"
    )
    counts = {"train": rows * 8 // 10, "test": rows - rows * 8 // 10}
    about = {"kind": "classes", "classes": ["0", "1"], "splits": {name: {"others": 0} for name in counts}}
    windows = np.lib.stride_tricks.sliding_window_view(genome, length)
    with ShardWriter(folder / "task.safetensors", about) as shard:
        for name, count in counts.items():
            shard.append(f"{name}.tokens", windows[rng.integers(0, len(windows), count)].reshape(-1))
            shard.append(f"{name}.offsets", np.arange(count + 1) * length)
            shard.append(f"{name}.labels", rng.integers(0, 2, count))


def measure(folder: Path, with_genome: bool) -> dict:
    """Audit the task in this process, which did nothing else."""
    pretraining = Pretraining("made", folder, None, "csv", {}) if with_genome else None
    wall, processor = time.perf_counter(), time.process_time()
    found = audit(read_task(folder / "task.safetensors"), pretraining)
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "near": found["near"],
        "pretraining": found.get("pretraining"),
    }


def main() -> None:
    """Make the data, audit them without and with the genome, print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--length", type=int, default=300, help="bases a row")
    parser.add_argument("--megabases", type=int, default=300, help="of the genome")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.rows, options.length, options.megabases)
        results = {key: getattr(options, key) for key in ("rows", "length", "megabases")}
        for key, with_genome in (("splits", False), ("splits_and_genome", True)):
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                results[key] = fresh.apply(measure, (Path(folder), with_genome))
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
