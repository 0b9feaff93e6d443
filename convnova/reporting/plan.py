"""What a run will take: time, by a probe of each of its models on this machine, and disk."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from convnova.config.hyperparameters import Pretraining, Training
from convnova.config.run import RunConfig
from convnova.config.schema import TRAINING_ROWS, Task
from convnova.data.readers import TaskFiles, reader_of
from convnova.data.splits import HELD_OUT_SHARE
from convnova.data.task_dataset import read_task
from convnova.log import progress
from convnova.models import bytes_of_weights
from convnova.runs.outputs import genome_files, task_files, tokenized_task
from convnova.simulation import sizes
from convnova.training.devices import visible_gpus
from convnova.training.finetune import job_network
from convnova.training.pretrain import MAX_VALIDATION_WINDOWS
from convnova.training.probe import Seconds, probe_finetuning, probe_pretraining

BY_OTHERS = "huggingface"
READABLE = ("csv", "parquet", "fasta", "nucleotide_transformer")
"""Formats whose files are read for the lengths of their sequences."""
SHAPE = {"batch_size", "micro_batch", "checkpointing", "compile", "precision", "reverse_complement"}
"""Settings of a training that its speed depends on."""
UNPACKED_TIMES = 4
"""Bases of a FASTA for each byte of it, where it is compressed."""
SPLIT_SHARE = 0.05
"""Of a genome's bases for validation, and for testing."""

Lengths = dict[str, np.ndarray]
"""Split to bases of each sequence."""


@dataclass(frozen=True)
class Trainings:
    """Trainings of a model that differ in their seed alone.

    Attributes:
        model: its name.
        count: how many.
        steps: of each.
        rows: sequences or windows that each predicts or evaluates.
        kept: how many keep their weights.
        key: trainings with the same key are as fast.
        probe: measures them; also the bytes of the weights.
    """

    model: str
    count: int
    steps: int
    rows: float
    kept: int
    key: str
    probe: Callable[[], tuple[Seconds, int]]


def plan(config: RunConfig, cores: int) -> dict[str, Any]:
    """Estimate time and disk of a run.

    Rows and lengths are those of the tokenized tasks, else of the tasks' files, else as published or simulated.

    Args:
        config: the run.
        cores: trainings at a time on a CPU, each of which takes one.

    Returns:
        `models`: of each `trainings`, `steps`, `seconds` of computing and `weights`, bytes that are kept. Of the run
        `seconds`, `seconds_until_done`, `places` to compute, `tokens`, bytes of tokenized data, and `left_out`.

    Raises:
        ConvNovaError: a row of a task's files that cannot be read.
    """
    start_up = time.process_time()  # of Python and its packages: every training has it
    left_out = ["downloads, tokens, audits, tables and figures take time, too"]
    sized = {place: lengths_of(config, *place) for place in dict.fromkeys(job[:2] for job in config.trainings())}
    bases = sum(int(part.sum()) for lengths, _ in sized.values() for part in lengths.values())
    genomes = {name: genome_bases(config, name, bases) for name in config.genomes}
    unknown = [f"{suite}/{task}" for (suite, task), (lengths, _) in sized.items() if not lengths]
    unknown += [name for name, size in genomes.items() if not size]
    left_out += [f"{name}: how large it is is not known before it is tokenized" for name in unknown]
    by_others = [name for name, model in config.models.items() if model.architecture == BY_OTHERS]
    left_out += [f"{name}: others pretrained it; its speed is not known" for name in by_others]
    parts = [*_pretrainings(config, genomes), *_finetunings(config, sized)]
    of_model: dict[str, Any] = {}
    probes: dict[str, tuple[Seconds, int]] = {}
    longest = 0.0
    with progress("probing", len(parts), "trainings") as bar:
        for part in parts:
            if part.key not in probes:
                probes[part.key] = part.probe()
            seconds, weights = probes[part.key]
            one = start_up + part.steps * seconds.step + part.rows * seconds.row
            values = (part.count, part.count * part.steps, part.count * one, part.kept * weights)
            numbers = of_model.setdefault(part.model, dict.fromkeys(("trainings", "steps", "seconds", "weights"), 0))
            for name, value in zip(numbers, values, strict=True):
                numbers[name] += value
            longest = max(longest, one)
            bar.update(1, part.model)
    total, places = sum(numbers["seconds"] for numbers in of_model.values()), len(visible_gpus()) or cores
    return {
        "run": config.run,
        "models": of_model,
        "seconds": total,
        "seconds_until_done": max(longest, total / places),
        "places": f"{places} {'GPUs' if visible_gpus() else 'cores'}",
        "tokens": bases + sum(genomes.values()),
        "left_out": left_out,
    }


def as_text(estimate: dict[str, Any]) -> str:
    """What `plan` returns as a table with a line a model, and sentences."""
    total = {name: sum(row[name] for row in estimate["models"].values()) for name in ("trainings", "steps", "weights")}
    rows = []
    for name, row in (estimate["models"] | {"all": total | {"seconds": estimate["seconds"]}}).items():
        took = timedelta(seconds=round(row["seconds"]))
        rows.append([name, row["trainings"], f"{row['steps']:,}", took, f"{row['weights'] / 1e6:,.1f}"])
    head = ["model", "trainings", "steps", "h:min:s", "MB of weights"]
    until = timedelta(seconds=round(estimate["seconds_until_done"]))
    return "\n".join([
        tabulate(rows, head, tablefmt="simple", colalign=("left", *["right"] * 4), disable_numparse=True),
        f"{estimate['run']}: about {until} on {estimate['places']}, if nothing else runs there",
        f"disk: {(total['weights'] + estimate['tokens']) / 1e6:,.1f} MB of weights and tokens",
        *(f"not in it: {line}" for line in estimate["left_out"]),
    ])  # fmt: skip


def lengths_of(config: RunConfig, suite: str, task: str) -> tuple[Lengths, int]:
    """Lengths of a task's sequences, and how many classes, labels or targets it has; none where that is not known yet.

    Args:
        config: the run.
        suite: one of its suites.
        task: a task of the suite.
    """
    spec, content = config.suites[suite].tasks[task], config.suites[suite]
    tokenized = config.local_path(tokenized_task(config, suite, task))
    if tokenized.is_file():
        data = read_task(tokenized)
        return {split: part.lengths for split, part in data.splits.items()}, data.outputs
    paths = {role: config.local_path(names[0]) for role, names in task_files(config, suite, task).items()}
    if content.format in READABLE and all(path.is_file() for path in paths.values()):
        lengths: dict[str, list[np.ndarray]] = {}
        labels: set[str] = set()
        targets = 0
        with progress(f"reading {suite}/{task}", unit="rows") as bar:
            for rows in reader_of(content.format)(TaskFiles(spec, paths, Path())):
                lengths.setdefault(rows.split, []).append(rows.lengths)
                if spec.kind == "regression":
                    targets = rows.labels.shape[1]
                else:
                    labels.update(rows.labels.tolist())
                bar.update(len(rows.lengths))
        return {split: np.concatenate(parts) for split, parts in lengths.items()}, targets or len(labels)
    counts = spec.counts
    if config.simulate:
        counts = sizes.ROWS[task]._asdict() if task in sizes.ROWS else {}
    length = sizes.LOCUS if config.simulate and spec.kind == "per_base" else spec.max_length
    outputs = len(spec.classes or ()) or max((end for _, end in spec.groups.values()), default=2)
    outputs = len(spec.columns) - 1 if spec.kind == "regression" else outputs
    return {split: np.full(count, length) for split, count in counts.items() if count and length}, outputs


def genome_bases(config: RunConfig, name: str, of_tasks: int) -> int:
    """Bases of a genome, by the size of its FASTA; 0 where that is not known yet.

    Args:
        config: the run.
        name: one of its genomes.
        of_tasks: bases of all tasks, which are the genome `training_rows`.
    """
    if name == TRAINING_ROWS:
        return of_tasks
    if config.simulate:
        return sum(sizes.CHROMOSOMES.values())
    genome, path = config.genomes[name], config.local_path(genome_files(config, name)["fasta"])
    size = path.stat().st_size if path.is_file() else 0
    if not size and genome.source:
        size = config.sources[genome.source].files[genome.fasta].size or 0
    return size * (UNPACKED_TIMES if path.suffix in (".gz", ".bgz") else 1)


def _pretrainings(config: RunConfig, genomes: dict[str, int]) -> Iterator[Trainings]:
    for name, suite in config.backbones().values() if genomes.get(config.genome or "") else ():
        architecture, settings = config.models[name].architecture, config.pretraining(name)
        model_settings = config.settings(name, suite) | settings.settings
        everything = max(1, genomes[config.genome] // settings.length)
        windows = min(settings.windows or everything, everything)
        steps = settings.epochs * -(-windows // settings.batch_size)
        rows = settings.epochs * min(MAX_VALIDATION_WINDOWS, SPLIT_SHARE * everything)
        probe = partial(_measured_pretraining, architecture, model_settings, settings)
        yield Trainings(name, 1, steps, rows, 1, f"pretraining of {name} for {suite}", probe)


def _finetunings(config: RunConfig, sized: dict[tuple[str, str], tuple[Lengths, int]]) -> Iterator[Trainings]:
    for job in {job[:4]: job for job in config.trainings()}.values():
        lengths, outputs = sized[job[:2]]
        if not lengths or config.models[job.model].architecture == BY_OTHERS:
            continue
        task, settings = config.task(job), config.training(job).of_protocol(job.protocol)
        longest = task.max_length or max(int(part.max()) for part in lengths.values())
        read = np.minimum(lengths["train"], longest)
        network, strands = job_network(config, job, outputs, longest), config.strands(*job[2:3], *job[:2])
        train, valid = len(read), len(lengths.get("valid", ()))
        if job.protocol == "cv" or job.protocol == "heldout" and not valid:
            valid = round(HELD_OUT_SHARE * train)
            train -= valid
        test, count = len(lengths["test"]), len(config.seeds_of(job.suite, job.protocol))
        rows = settings.epochs * (test + (valid if job.protocol != "released" else 0)) + test
        same = network | settings.model_dump(include=SHAPE) | {"strands": strands, "bases": f"{read.mean():.1e}"}
        if read.min() == read.max():  # no padding
            del same["pool_padding"]
        steps, kept = settings.epochs * -(-train // settings.batch_size), job.protocol in config.keep_weights
        key, probe = json.dumps(same, sort_keys=True), partial(_measured, network, task, settings, strands, read)
        yield Trainings(job.model, count, steps, rows, count if kept else 0, key, probe)


def _measured(
    network: dict[str, Any], task: Task, settings: Training, strands: str, read: np.ndarray
) -> tuple[Seconds, int]:
    keys = ("architecture", "settings", "kind", "outputs", "length", "bin_size")
    weights = bytes_of_weights(**{key: network[key] for key in keys if key in network})
    return probe_finetuning(network, task, settings, strands, read), weights


def _measured_pretraining(architecture: str, model: dict[str, Any], settings: Pretraining) -> tuple[Seconds, int]:
    weights = bytes_of_weights(architecture, model, "classes", 2, settings.length)
    return probe_pretraining(architecture, model, settings), weights
