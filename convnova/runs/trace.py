"""The way back from a result: each file that went into it, with its checksum, down to the addresses it came from.

What was read is recorded in the result and in its shards; where that came from is said by the run's
`results/<run>/config.yaml`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from convnova.config.data_sources import Source
from convnova.config.load import load_config
from convnova.config.run import RunConfig
from convnova.config.schema import files_of
from convnova.data import array_file
from convnova.errors import ConvNovaError
from convnova.files import read_json, sha256_of_tree

UNCHANGED, CHANGED, GONE = "unchanged since", "CHANGED SINCE", "NOT THERE ANY MORE"
STORED = "kept in a storage, not looked at"
COPIES = ".snakemake"
"""The folder in which Snakemake has copies of a storage's files, as long as a step needs them."""


@dataclass(frozen=True)
class Run:
    """The folder that paths of a result are relative to, and the config of its run, if that is there."""

    root: Path
    config: RunConfig | None

    def relative_path(self, path: Path) -> str:
        """A path as it is written in commands: relative to the root, if it lies there."""
        absolute = Path(path).absolute()
        return str(absolute.relative_to(self.root)) if absolute.is_relative_to(self.root) else str(path)


@dataclass(frozen=True)
class Input:
    """A file that went into a result, and the files that it was made from in its turn."""

    role: str
    path: Path
    sha256: str
    """As recorded when it was read; empty where nothing recorded it."""
    state: str
    """What has become of it since, in words that begin with one of the three above where that is known."""
    urls: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list["Input"] = field(default_factory=list)


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


def inputs_of(run: Run, provenance: dict[str, Any], suite: str = "", task: str = "") -> list[Input]:
    """The files that a result was made from, each with its own, down to what was fetched.

    Args:
        provenance: that part of a `metrics.json` or of a `weights.json`.
        suite, task: whose shard the input `task` is.
    """
    found = []
    for role, entry in provenance["inputs"].items():
        path, recorded = run.root / entry["path"], entry["sha256"]
        below = {"task": lambda path: _of_task(run, path, suite, task), "weights": lambda path: _of_weights(run, path)}
        inputs = below.get(role, lambda path: _of_genome(run, path))(path) if path.is_file() else []
        found.append(Input(role, path, recorded, state(path, recorded), inputs=inputs))
    return found


def flat(inputs: list[Input]) -> Iterator[Input]:
    """Every input, each before those it was made from."""
    for found in inputs:
        yield found
        yield from flat(found.inputs)


def state(path: Path, recorded: str) -> str:
    """Whether a file or a folder is still what it was when its checksum was recorded."""
    if not path.exists():
        return STORED if COPIES in path.parts else GONE
    if not recorded:
        return "its checksum was not recorded"
    now = _sha256(path, path.stat().st_mtime_ns if path.is_file() else None)
    return UNCHANGED if now == recorded else f"{CHANGED}: its sha256 is now {now}"


@lru_cache(maxsize=4096)
def _sha256(path: Path, changed: int | None) -> str:
    """Computed once for a file that many results read; `changed` is when it was last written."""
    return sha256_of_tree(path)


def _of_task(run: Run, shard: Path, suite: str, task: str) -> list[Input]:
    """The files of a tokenized task, and the genome that its intervals point into."""
    recorded = _recorded(shard)
    if run.config is None or task not in getattr(run.config.suites.get(suite), "tasks", {}):
        return _without_config(recorded)
    spec = run.config.suites[suite]
    names = spec.tasks[task].files()
    found = [
        _raw(run, role, names[role], spec.source, entry["sha256"]) for role, entry in recorded.items() if role in names
    ]
    if spec.genome and "genome" in recorded:
        genome = run.config.genomes[spec.genome]
        found.append(_raw(run, "genome", genome.fasta, genome.source, recorded["genome"]["sha256"]))
    return found


def _of_genome(run: Run, shard: Path) -> list[Input]:
    """FASTA and, where there was one, BED of a tokenized genome."""
    recorded = _recorded(shard)
    genome = run.config.genomes.get(run.config.genome or "") if run.config else None
    if genome is None:
        return _without_config(recorded)
    names = {"fasta": genome.fasta, "bed": genome.bed}
    return [
        _raw(run, role, name, genome.source, entry["sha256"])
        for role, entry in recorded.items()
        if (name := names.get(role))
    ]


def _of_weights(run: Run, weights: Path) -> list[Input]:
    """The tokenized genome that a pretraining read."""
    about = weights.with_suffix(".json")
    return inputs_of(run, read_json(about)["provenance"]) if about.is_file() else []


def _recorded(shard: Path) -> dict[str, dict[str, str]]:
    """Role to name and sha256 of what a shard was made from; nothing for a file that is no shard."""
    try:
        return array_file.read_metadata(shard).get("inputs", {})
    except ConvNovaError:
        return {}


def _without_config(recorded: dict[str, dict[str, str]]) -> list[Input]:
    why = "the run's config is not there or has no such task, so neither place nor address is known"
    return [Input(role, Path(entry["name"]), entry["sha256"], why) for role, entry in recorded.items()]


def _raw(run: Run, role: str, name: str, source_name: str | None, recorded: str) -> Input:
    """A raw file, or a folder of them: where it lies and where it came from."""
    assert run.config is not None
    path = run.root / run.config.path_of(name, source_name)
    if source_name is None:
        return Input(role, path, recorded, state(path, recorded), notes=["a file of the user's own"])
    source = run.config.sources[source_name]
    urls = [source.urls(file)[0] for file in files_of(name, source.files)]
    return Input(role, path, recorded, state(path, recorded), urls, _notes(path, source, name, recorded))


def _notes(path: Path, source: Source, name: str, recorded: str) -> list[str]:
    """What is known of a fetched file: title and licence of its source, when and from where it came, its checksums."""
    notes = [f"{source.title}; licence: {source.licence}"]
    lock = path.parent / f".{path.name}.lock.json"
    if lock.is_file():
        fetched = read_json(lock)
        notes.append(f"fetched from {fetched['url']} at {fetched['time']}, {fetched['size']:,} bytes")
        if fetched["sha256"] != recorded:
            notes.append(f"FETCHED AGAIN SINCE: the fetched file has sha256 {fetched['sha256']}")
    published = source.files.get(name)
    if published and (published.sha256 or published.md5):
        known = f"sha256 {published.sha256}" if published.sha256 else f"md5 {published.md5}"
        notes.append(f"published checksum: {known}")
    return notes
