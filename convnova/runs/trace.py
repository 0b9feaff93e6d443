"""The provenance of a result as plain data: from its score to the addresses that its files were fetched from.

`convnova explain` prints a trace as text; the report shows parts of the same trace as HTML. What a training read is
recorded in its result and in the tokenized files; where raw files came from follows from `results/<run>/config.yaml`.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from convnova.config.load import load_config
from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRICS, files_of
from convnova.data import array_file
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import METRICS as METRICS_FILE
from convnova.evaluation.metrics_file import read_metrics
from convnova.files import lock_of, read_json, read_sealed, sha256_of_tree

STORAGE_COPIES = ".snakemake"
"""The folder in which Snakemake has copies of a storage's files, as long as a step needs them."""


class FileState(StrEnum):
    """A file now, compared with the checksum that was recorded when it was read."""

    UNCHANGED = "unchanged since"
    CHANGED = "CHANGED SINCE"
    MISSING = "NO LONGER THERE"
    STORED = "kept in a storage, not looked at"
    NOT_RECORDED = "its checksum was not recorded"
    UNLOCATED = "the run's config is not there or does not name it, so neither place nor address is known"


@dataclass(frozen=True)
class Run:
    """The folder that paths of a result are relative to, and the config of its run, if that is there."""

    root: Path
    config: RunConfig | None

    @cached_property
    def jobs(self) -> frozenset[Job]:
        """The fine-tunings of the config."""
        return frozenset(self.config.jobs() if self.config else ())

    def relative_path(self, path: Path) -> str:
        """A path as it is written in commands: relative to the root, if it lies there."""
        absolute = Path(path).absolute()
        return str(absolute.relative_to(self.root)) if absolute.is_relative_to(self.root) else str(path)

    def run_command(self, result: str) -> str:
        """The command that makes a result again, whether it is there or not, after everything that it needs."""
        config = f"results/{self.config.run}/config.yaml" if self.config else "THE_CONFIG_OF_THE_RUN"
        return shlex.join(["convnova", "run", "--cores", "all", "--configfile", config, "--force", result])


@dataclass(frozen=True)
class Input:
    """A file that went into a result, and the files that it was made from."""

    role: str
    path: str
    sha256: str
    """As recorded when it was read; empty where nothing recorded it."""
    state: FileState
    sha256_now: str = ""
    """Where it has changed."""
    urls: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list["Input"] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether the file is known not to be any more what was read."""
        return self.state in (FileState.CHANGED, FileState.MISSING)

    @property
    def state_text(self) -> str:
        """The state, with the new checksum of a file that has changed."""
        return f"{self.state}: its sha256 is now {self.sha256_now}" if self.sha256_now else self.state

    def walk(self) -> Iterator["Input"]:
        """This file, then those that it was made from, all the way down."""
        yield self
        for below in self.inputs:
            yield from below.walk()


@dataclass(frozen=True)
class Trace:
    """One result and what it was made from: sentences for people, and a tree of files."""

    path: str
    """Of the result, relative to the run's root."""
    record: dict[str, Any]
    """The content of the `metrics.json` or the `weights.json`."""
    scores: list[str]
    settings: list[str]
    inputs: list[Input]
    code: str
    machine: str
    packages: str
    cost: list[str]
    commands: list[str]
    """By Snakemake, with everything that the result needs; and the step alone."""

    @property
    def differences(self) -> list[str]:
        """A line for each file that is known not to be any more what was read."""
        return [f"{file.path}: {file.state_text}" for top in self.inputs for file in top.walk() if file.differs]


def run_of(path: Path) -> Run:
    """The run that a result belongs to: that of the folder `results/<run>` above it.

    Raises:
        ConvNovaError: the run's config is there but wrong.
    """
    for folder in Path(path).absolute().parents:
        if folder.parent.name == "results":
            config = folder / "config.yaml"
            return Run(folder.parents[1], load_config(config) if config.is_file() else None)
    return Run(Path.cwd(), None)


def read_trace(path: Path, run: Run | None = None) -> Trace:
    """The trace of a result.

    Args:
        path: the `metrics.json` of a fine-tuning, or the `weights.json` of a pretraining.
        run: the run that it belongs to, where that is known already.

    Raises:
        ConvNovaError: the file is missing, is no such result, or not as it was written.
    """
    is_finetuning, run = path.name == METRICS_FILE, run or run_of(path)
    record = read_metrics(path) if is_finetuning else read_sealed(path)
    try:
        made = record["provenance"]
        result = run.relative_path(path if is_finetuning else path.with_name("weights.safetensors"))
        scores, settings = _finetuning(run, record) if is_finetuning else _pretraining(record)
        model = f"{record['architecture']}: {_pairs(record['settings'])}; {record['parameters']:,} parameters"
        if (trained := record.get("trained_parameters", record["parameters"])) < record["parameters"]:
            model += f", {trained:,} of them trained"
        commit = f"commit {made['commit']}" if made["commit"] else "not run from a checkout"
        hardware, (program, _, words) = made["hardware"], made["command"].partition(" ")
        attempts = made.get("attempts", [])
        threads = [str(attempt["threads"]) for attempt in attempts] or [str(hardware["threads"])]
        threads = ", then ".join(number for number, _ in groupby(threads))
        resumed = f", in {len(attempts)} attempts" if len(attempts) > 1 else ""
        memory = {"peak memory": made["peak_memory_mb"], "of the GPU": made["peak_gpu_memory_mb"]}
        used = [f"{name} {amount:,} MB" for name, amount in memory.items() if amount is not None]
        host = f"{made['host']}: " if made["host"] else ""
        return Trace(
            path=result,
            record=record,
            scores=scores,
            settings=[model, *settings],
            inputs=_inputs(run, made["inputs"], record.get("suite", ""), record.get("task", "")),
            code=f"convnova {made['convnova']}, {commit}{', WITH UNCOMMITTED CHANGES' if made['dirty'] else ''}",
            machine=f"{host}{hardware['processor']}, {hardware['cores']} cores ({threads} used), "
            f"{hardware['memory_gb']} GB, {hardware['gpu'] or 'no GPU'}",
            packages=f"python {made['python']}, {_pairs(made['packages'])}",
            cost=[
                f"{made['started']}, in {made['seconds']} s of wall time{resumed}",
                ", ".join(used),
            ],
            commands=[run.run_command(result), f"{Path(program).name} {words}"],
        )
    except KeyError as error:
        raise ConvNovaError(f"{path}: expected the JSON of a fine-tuning or a pretraining, found no {error}") from error


def _finetuning(run: Run, metrics: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Scores and settings of a fine-tuning."""
    job, metric, rows = Job(*(metrics[key] for key in Job._fields)), metrics["metric"], metrics["rows"]
    parts = {f"{name}: ": part for name, part in metrics.get("groups", {}).items()} or {"": metrics}
    values = {name: part[metric] for name, part in parts.items() if metric in part}
    scores = [f"{name}{metric} {value:.6f} on {rows['test']:,} test rows" for name, value in values.items()]
    if metrics["interval"]:
        scores[0] += ", 95% bootstrap interval {:.6f} to {:.6f}".format(*metrics["interval"])
    others = [name for name in METRICS if name != metric and metrics.get(name) is not None]
    if others:
        scores.append(f"also {_pairs({name: f'{metrics[name]:.6f}' for name in others})}")
    if "training" in metrics:
        chosen_on = "test" if job.protocol == "released" else f"{rows['valid']:,} validation rows"
        scores.append(f"epoch {metrics['best_epoch']} of {len(metrics['epochs'])}, the best on {chosen_on}")
        settings = "training: " + _pairs(metrics["training"])
    else:
        settings = f"variants: score {metrics['variant_score']}, {metrics['chromosomes']} chromosomes are scored"
    used, now = metrics["provenance"]["settings"], run.config.job_fingerprint(job) if job in run.jobs else ""
    if run.config is None:
        config_state = "; no config of a run lies beside this result"
    elif now == used:
        config_state = ", as the run's config says"
    else:
        reason = f"its hash is now {now}" if now else "it has no such fine-tuning any more"
        config_state = f"; the run's config {FileState.CHANGED}: {reason}"
    return scores, [settings, f"hash {used}{config_state}"]


def _pretraining(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Scores and settings of a pretraining."""
    best = next(epoch for epoch in record["epochs"] if epoch["epoch"] == record["best_epoch"])
    loss = f"masked cross entropy {best['loss']:.6f} nats, accuracy {best['accuracy']:.4f} over validation windows"
    epoch = f"epoch {best['epoch']} of {len(record['epochs'])}, the best on validation; {record['bases']:,} bases"
    return [loss, epoch], ["pretraining: " + _pairs(record["pretraining"])]


def _pairs(values: dict[str, Any]) -> str:
    """`lr 0.004, batch_size 8`; what is None is left out."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _inputs(run: Run, recorded: dict[str, dict[str, str]], suite: str, task: str) -> list[Input]:
    """The files that a result was made from, each with those that it was made from itself, down to what was fetched."""
    inputs = []
    for role, entry in recorded.items():
        path, below = run.root / entry["path"], []
        try:
            if role != "weights":
                made_from = array_file.read_metadata(path).get("inputs", {})
                below = _raw_inputs(run, made_from, _locations(run.config, role, suite, task))
            elif path.is_file():
                made = read_sealed(path.with_suffix(".json"))
                below = _inputs(run, made["provenance"]["inputs"], made.get("suite", ""), made.get("task", ""))
        except ConvNovaError:  # it is gone, or not as it was written
            pass
        inputs.append(_input(run, role, path, entry["sha256"], inputs=below))
    return inputs


def _input(run: Run, role: str, path: Path, recorded: str, **details: Any) -> Input:
    """A file and its state: whether it still has the recorded checksum; `details` are further fields of `Input`."""
    name = run.relative_path(path)
    if not path.exists():
        state = FileState.STORED if STORAGE_COPIES in path.parts else FileState.MISSING
    elif not recorded:
        state = FileState.NOT_RECORDED
    elif (now := _sha256(path, path.stat().st_mtime_ns if path.is_file() else None)) != recorded:
        return Input(role, name, recorded, FileState.CHANGED, now, **details)
    else:
        state = FileState.UNCHANGED
    return Input(role, name, recorded, state, **details)


@lru_cache(maxsize=4096)
def _sha256(path: Path, modified: int | None) -> str:
    """Computed once for a file that many results read; `modified` is when it was last written."""
    return sha256_of_tree(path)


Location = tuple[str, str | None]
"""The name of a raw file and that of its source, or a path of the user and None."""


def _locations(config: RunConfig | None, role: str, suite: str, task: str) -> dict[str, Location]:
    """Role to location of the raw files of a tokenized task or genome; empty where the config does not know them."""
    if config is None:
        return {}
    if role != "task":
        lies_on = config.suites[suite].genome if suite in config.suites else config.genome  # of variants, of windows
        genome = config.genomes.get(lies_on or "")
        names = {"fasta": genome.fasta, "bed": genome.bed} if genome else {}
        return {role: (name, genome.source) for role, name in names.items() if name}
    if suite not in config.suites or task not in config.suites[suite].tasks:
        return {}
    spec = config.suites[suite]
    files = {role: (name, spec.source) for role, name in spec.tasks[task].files().items()}
    if spec.genome:
        files["genome"] = (config.genomes[spec.genome].fasta, config.genomes[spec.genome].source)
    return files


def _raw_inputs(run: Run, recorded: dict[str, dict[str, str]], locations: dict[str, Location]) -> list[Input]:
    """The raw files, or folders of them, whose checksums a tokenized file has recorded."""
    inputs = []
    for role, entry in recorded.items():
        if role in locations:
            inputs.append(_raw_input(run, role, *locations[role], entry["sha256"]))
        else:
            inputs.append(Input(role, entry["name"], entry["sha256"], FileState.UNLOCATED))
    return inputs


def _raw_input(run: Run, role: str, name: str, source_name: str | None, recorded: str) -> Input:
    """A raw file with its addresses, title and licence of its source, when and from where it came, its checksums."""
    path = run.root / run.config.path_of(name, source_name)
    if source_name is None:
        return _input(run, role, path, recorded, notes=["a file of the user"])
    source = run.config.sources[source_name]
    notes = [f"{source.title}; licence: {source.licence}"]
    if (lock := lock_of(path)).is_file():
        fetched = read_json(lock)
        notes.append(f"fetched from {fetched['url']} at {fetched['time']}, {fetched['size']:,} bytes")
        if fetched["sha256"] != recorded:
            notes.append(f"FETCHED AGAIN SINCE: the fetched file has sha256 {fetched['sha256']}")
    published = source.files.get(name)
    if published and (published.sha256 or published.md5):
        checksum = f"sha256 {published.sha256}" if published.sha256 else f"md5 {published.md5}"
        notes.append(f"published checksum: {checksum}")
    urls = [source.urls(file)[0] for file in files_of(name, source.files)]
    return _input(run, role, path, recorded, urls=urls, notes=notes)
