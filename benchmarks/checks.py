"""What the checks of files cost: processor seconds in them, over those of all jobs of a finished run.

    cd FOLDER; python benchmarks/checks.py results/embedded/config.yaml

Every check is made here as its job makes it, on the files of the run, in a process that has not made it before; how
often follows from the jobs. The processor seconds of the jobs are those that Snakemake has measured. The number is in
docs/reliability.md.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from convnova.config.load import load_config
from convnova.config.run import RunConfig
from convnova.data import array_file
from convnova.evaluation.metrics_file import METRICS, read_metrics
from convnova.files import read_sealed, sha256, sha256_of_raw
from convnova.runs import outputs

REPEATS = 5
READERS_OF_SCORES = 4
"""Scores, tables of test rows, figures and report."""


def seconds_of(check: Callable, path: str | Path) -> float:
    """Processor seconds of a check, the least of several times."""
    times = []
    for _ in range(REPEATS):
        array_file._checked.clear()
        began = time.process_time()
        check(path)
        times.append(time.process_time() - began)
    return min(times)


def weights(path: str) -> None:
    """The check of weights when they are loaded."""
    sha256(path)
    read_sealed(Path(path).with_suffix(".json"))


def checks(config: RunConfig) -> Counter[str]:
    """Seconds in each kind of check, over all jobs."""
    seconds, tasks = Counter(), Counter((job.suite, job.task) for job in config.jobs())
    genome = outputs.tokenized_genome(config)
    of_genome = seconds_of(array_file.read_arrays, genome) + seconds_of(sha256, Path(genome).with_name("intervals.tsv"))
    # at most: not every task's rows are intervals, nor looked for in the genome
    seconds["tokenized genome"] = of_genome * (len(config.backbones()) + 2 * len(tasks))
    raw = {*outputs.genome_files(config, config.genome).values()}
    for (suite, task), jobs in tasks.items():
        roles = outputs.task_files(config, suite, task)
        files = [path for role, paths in roles.items() if role != "genome" for path in paths]
        raw |= {*files}
        seconds["raw files, tasks and audit"] += sum(2 * seconds_of(sha256_of_raw, path) for path in files)
        dataset = outputs.tokenized_task(config, suite, task)
        seconds["tokenized tasks"] += (jobs + 1) * seconds_of(array_file.read_arrays, dataset)
    seconds["raw files, as they are fetched"] = sum(seconds_of(sha256_of_raw, path) for path in raw)
    for job in config.jobs():
        seconds["scores"] += READERS_OF_SCORES * seconds_of(read_metrics, config.folder(job) / METRICS)
        if path := outputs.weights_of(config, job).get("weights"):
            seconds["weights"] += seconds_of(weights, path)
    for path in config.results.rglob("weights.safetensors"):
        seconds["weights"] += seconds_of(sha256, path)
    return seconds


def main() -> None:
    """Print a line a kind of check, and their share."""
    config = load_config(sys.argv[1])
    tables = [pd.read_csv(path, sep="\t") for path in (config.results / "benchmarks").rglob("*.tsv")]
    jobs = sum(pd.to_numeric(table["cpu_time"], errors="coerce").sum() for table in tables)
    seconds = checks(config)
    for name, amount in seconds.items():
        print(f"{name:32} {amount:8.3f} s")
    print(f"{sum(seconds.values()):.2f} s of {jobs:.0f} s in {len(tables)} jobs: {sum(seconds.values()) / jobs:.2%}")


if __name__ == "__main__":
    main()
