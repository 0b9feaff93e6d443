"""Where a run stands, by its files alone: what is done, stale, running, interrupted, failed and missing.

* done: the result is there and was made with the settings of the config; stale: it was made with others;
* failed: no result, and the log of the step ends with an error;
* running: no result, and the step wrote something within the last `SILENT` seconds; interrupted: longer ago, or its log
  says that it was stopped;
* missing: nothing is there.
"""

import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from convnova.config.load import load_config, runs_here
from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.files import read_sealed
from convnova.log import log
from convnova.runs.outputs import kept_weights

STATES = ("done", "stale", "running", "interrupted", "failed", "missing")
SILENT = 600
"""Seconds without a sign of life after which a step counts as interrupted; a running one writes every ten or so."""

STOPPED = ("interrupted", "stopped by a signal")
"""What a log says of a step that did not fail but was stopped."""

PRETRAINING = "pretraining"
"""Stands where fine-tunings have their suite."""


@dataclass(frozen=True)
class Step:
    """A fine-tuning or a pretraining of a run, or another step that failed, which has no suite and no model."""

    suite: str
    model: str
    name: str
    """`SUITE/TASK/MODEL/PROTOCOL/seed=N`, or what tells the step from others."""
    state: str
    detail: str
    result: str
    log: str


def all_runs() -> list[RunConfig]:
    """The config of every run under `results/`, as far as it can be read.

    Raises:
        ConvNovaError: there is no run.
    """
    if not (known := runs_here()):
        raise ConvNovaError("results: expected runs with a config.yaml each, found none; start one")
    configs = []
    for path in known.values():
        try:
            configs.append(load_config(path))
        except ConvNovaError as error:
            log(f"{path}: passed over: {error}")
    return configs


def steps(config: RunConfig) -> list[Step]:
    """Every pretraining and fine-tuning of a run, and whatever else of it failed."""
    results, logs, all_steps = config.results, config.results / "logs", []
    for name in config.backbones():
        weights, log_file = results / "pretrain" / name / "weights.safetensors", logs / "pretrain" / f"{name}.log"
        # The JSON is written before the weights, so it counts only beside them.
        record = weights.with_suffix(".json")
        state = state_of(record, log_file, config.pretraining_fingerprint(name), weights.is_file())
        all_steps.append(Step(PRETRAINING, name, f"{PRETRAINING}/{name}", *state, str(record), str(log_file)))
    for job in config.jobs():
        step = "score_task" if config.task(job).kind == "variants" else "finetune"
        metrics, log_file = config.folder(job) / "metrics.json", logs / step / f"{job.name}.log"
        state = state_of(metrics, log_file, config.job_fingerprint(job))
        all_steps.append(Step(job.suite, job.model, job.name, *state, str(metrics), str(log_file)))
    known = {step.log for step in all_steps}
    for path in sorted(logs.rglob("*.log")):
        if str(path) not in known and (line := last_error(path)):
            all_steps.append(Step("", "", str(path.relative_to(logs).with_suffix("")), "failed", line, "", str(path)))
    return all_steps


def state_of(result: Path, log_file: Path, fingerprint: str, complete: bool = True) -> tuple[str, str]:
    """State of a step, and a detail for people.

    Args:
        result: a JSON with a provenance.
        log_file: the log of the step.
        fingerprint: hash of the settings that the result should have been made with.
        complete: whether all that belongs to the result is there, if it is there itself.
    """
    if result.is_file() and complete:
        try:
            used = read_sealed(result)["provenance"]["settings"]
        except (ConvNovaError, KeyError, TypeError) as error:
            return "failed", f"not a result of this version, or changed since ({type(error).__name__}: {error})"
        return ("done", "") if used == fingerprint else ("stale", f"made with other settings (hash {used})")
    if line := last_error(log_file):
        return ("interrupted" if any(word in line for word in STOPPED) else "failed"), line
    signs_of_life = [log_file, result.parent / "log.csv", *result.parent.glob("checkpoints/*/*")]
    times = [path.stat().st_mtime for path in signs_of_life if path.exists()]
    if not times:
        return "missing", ""
    age = max(0.0, time.time() - max(times))
    return ("running" if age < SILENT else "interrupted"), f"last sign of life {tqdm.format_interval(age)} ago"


def last_error(path: Path) -> str:
    """The line with which a log ends, if it says that the step failed or was stopped; else nothing."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return lines[-1] if lines and re.match(r"\d\d:\d\d:\d\d (error: |interrupted$)", lines[-1]) else ""


def counts(steps: list[Step]) -> dict[tuple[str, str], Counter[str]]:
    """Suite and model to how many of its steps are in which state; steps of neither are left out."""
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for step in steps:
        if step.suite:
            table[step.suite, step.model][step.state] += 1
    return table


def as_text(config: RunConfig, steps: list[Step]) -> str:
    """A table of counts, then every step that is neither done nor merely missing."""
    table = counts(steps)
    total = sum(table.values(), Counter())
    states = [state for state in STATES if state == "done" or total[state]]
    rows = [[*key, *(row[state] or None for state in states)] for key, row in table.items()]
    simulated = " (simulated genome)" if config.simulate else ""
    text = [f"{config.run}{simulated}: {total['done']} of {total.total()} results are in"]
    table_text = tabulate(rows, ["suite", "model", *states], tablefmt="plain")
    text += [f"  {line.rstrip()}" for line in table_text.splitlines()]
    for state in ("failed", "interrupted", "running", "stale"):
        of_state = [step for step in steps if step.state == state]
        text += [f"{state}: {step.name}: {step.detail}\n  log: {step.log}" for step in of_state]
    sizes = [path.stat().st_size for file in kept_weights(config) if (path := config.local_path(file)).is_file()]
    if sizes:
        place = f"{config.results}/runs/SUITE/TASK/MODEL/PROTOCOL/seed=N/weights.safetensors"
        text.append(f"weights: {len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB: {place}")
    return "\n".join(text)


def what_failed(config: RunConfig) -> str:
    """Every step of a run that failed: its name, its one-line error and its log."""
    failed = [step for step in steps(config) if step.state == "failed"]
    return "\n".join(f"{step.name}: {step.detail[9:]}\n  log: {step.log}" for step in failed)


def where_to_look(config: RunConfig, seconds: float) -> str:
    """What a finished run made, how long the command took, and where a reader begins.

    Args:
        config: of the run.
        seconds: since the command began.
    """
    folder = config.results
    made = (
        f"{len([*(folder / kind).glob(form)])} {kind}" for kind, form in (("tables", "*.tsv"), ("figures", "*.svg"))
    )
    lines = [
        f"{config.run}: done in {seconds // 60:.0f} min {seconds % 60:.0f} s: {', '.join(made)}. Begin with the first:"
    ]
    found = [path for name in ("report.html", "tables", "figures") if (path := folder / name).exists()]
    return "\n  ".join([*lines, *map(str, found)])


def as_json(steps_of: dict[str, list[Step]]) -> str:
    """Run to its counts by state and its steps."""
    content = {}
    for run, steps in steps_of.items():
        total = Counter(step.state for step in steps if step.suite)
        content[run] = {"counts": {state: total[state] for state in STATES}, "steps": [asdict(step) for step in steps]}
    return json.dumps(content, indent=2)
