"""Where a run stands, told by its files alone: what is done, stale, running, interrupted, failed and missing.

* done: the result is there and was made with the settings of the config; stale: it was made with others;
* failed: no result, and the log of the step ends with an error;
* running: no result, and the step wrote something within the last `SILENT` seconds; interrupted: longer ago, or its log
  says that it was stopped;
* missing: nothing is there.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from convnova.config.load import load_config
from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError, nearest
from convnova.log import log

STATES = ("done", "stale", "running", "interrupted", "failed", "missing")
SILENT = 600
"""Seconds without a sign of life after which a step counts as interrupted; a running one writes every ten or so."""

STOPPED = ("interrupted", "stopped by a signal")
"""What a log says of a step that did not fail but was stopped."""

PRETRAINING = "pretraining"
"""Stands where fine-tunings have their suite."""


@dataclass(frozen=True)
class Step:
    """A fine-tuning or a pretraining of a run, or another step that failed."""

    suite: str
    model: str
    name: str
    """`SUITE/TASK/MODEL/PROTOCOL/seed=N`, or what tells the step from others."""
    state: str
    detail: str
    result: str
    log: str


def runs(asked: str | None) -> list[RunConfig]:
    """The configs of the runs that are asked for.

    Args:
        asked: a config file or the name of a run; without it every run under `results`.

    Raises:
        ConvNovaError: no such run, or none at all.
    """
    known = {path.parent.name: path for path in sorted(Path("results").glob("*/config.yaml"))}
    if asked is None:
        if not known:
            raise ConvNovaError("results: expected runs with a config.yaml each, found none; start one")
        return list(_loaded(known.values()))
    if asked not in known and not Path(asked).is_file():
        message = nearest(asked, list(known)) if known else "there are no runs in results"
        raise ConvNovaError(f"{asked}: expected a config file or the name of a run; {message}")
    return [load_config(known.get(asked, asked))]


def _loaded(paths: Iterable[Path]) -> Iterator[RunConfig]:
    """The configs; one that this version cannot read is named and passed over."""
    for path in paths:
        try:
            yield load_config(path)
        except ConvNovaError as error:
            log(f"{path}: passed over: {error}")


def steps(config: RunConfig) -> list[Step]:
    """Every pretraining and fine-tuning of a run, and whatever else of it failed."""
    results = config.results
    found = [*_pretrainings(config, results), *_finetunings(config, results)]
    return [*found, *_other_failures(results, {step.log for step in found})]


def _pretrainings(config: RunConfig, results: Path) -> Iterator[Step]:
    for backbone in config.backbones():
        result = results / "pretrain" / backbone / "weights.json"
        log_file = results / "logs" / "pretrain" / f"{backbone}.log"
        whole = result.with_name("weights.safetensors").is_file()  # written after the JSON
        state = state_of(result, log_file, config.pretraining_fingerprint(backbone), whole)
        yield Step(PRETRAINING, backbone, f"{PRETRAINING}/{backbone}", *state, str(result), str(log_file))


def _finetunings(config: RunConfig, results: Path) -> Iterator[Step]:
    for job in config.jobs():
        folder = config.folder(job)
        log_file = results / "logs" / "finetune" / f"{job.name}.log"
        state = state_of(folder / "metrics.json", log_file, config.job_fingerprint(job))
        yield Step(job.suite, job.model, job.name, *state, str(folder / "metrics.json"), str(log_file))


def _other_failures(results: Path, known: set[str]) -> Iterator[Step]:
    """Other steps whose log ends with an error: downloads, shards, tables; each try begins its log anew."""
    for path in sorted((results / "logs").rglob("*.log")):
        if str(path) not in known and (line := last_error(path)):
            name = str(path.relative_to(results / "logs").with_suffix(""))
            yield Step("", "", name, "failed", line, "", str(path))


def state_of(result: Path, log_file: Path, fingerprint: str, whole: bool = True) -> tuple[str, str]:
    """State of a step, and what there is to say about it.

    Args:
        result: a JSON with a provenance.
        fingerprint: hash of the settings that the result should have been made with.
        whole: whether all that belongs to the result is there, if it is there itself.
    """
    if result.is_file() and whole:
        try:
            found = json.loads(result.read_text(encoding="utf-8"))["provenance"]["settings"]
        except (ValueError, KeyError, TypeError) as error:
            return "failed", f"not a result of this version ({type(error).__name__}: {error})"
        return ("done", "") if found == fingerprint else ("stale", f"made with other settings (hash {found})")
    if line := last_error(log_file):
        return ("interrupted" if any(word in line for word in STOPPED) else "failed"), line
    signs = [log_file, result.parent / "log.csv", *result.parent.glob("checkpoints/*/*")]
    times = [path.stat().st_mtime for path in signs if path.exists()]
    if not times:
        return "missing", ""
    age = max(0.0, time.time() - max(times))
    return ("running" if age < SILENT else "interrupted"), f"last sign of life {_duration(age)} ago"


def last_error(path: Path) -> str:
    """The line with which a log ends, if it says that the step failed or was stopped; else nothing."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    last = lines[-1] if lines else ""
    return last if re.match(r"\d\d:\d\d:\d\d (error: |interrupted$)", last) else ""


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def counts(found: list[Step]) -> dict[tuple[str, str], Counter[str]]:
    """Suite and model to how many of its steps are in which state; steps of neither are left out."""
    table: dict[tuple[str, str], Counter[str]] = {}
    for step in found:
        if step.suite:
            table.setdefault((step.suite, step.model), Counter())[step.state] += 1
    return table


def as_text(config: RunConfig, found: list[Step]) -> str:
    """A table of counts, then every step that is neither done nor merely missing."""
    table = counts(found)
    states = [state for state in STATES if state == "done" or any(row[state] for row in table.values())]
    lines = [["suite", "model", *states]]
    lines += [[*key, *(str(row[state] or "") for state in states)] for key, row in table.items()]
    of_all = [step for step in found if step.suite]
    done = sum(step.state == "done" for step in of_all)
    simulated = " (simulated genome)" * (config.simulate is not None)
    text = [f"{config.run}{simulated}: {done} of {len(of_all)} results are in", *_aligned(lines)]
    for state in ("failed", "interrupted", "running", "stale"):
        for step in found:
            if step.state == state:
                text += [f"{state}: {step.name}: {step.detail}", f"  log: {step.log}"]
    return "\n".join(text)


def _aligned(lines: list[list[str]]) -> list[str]:
    """Words in columns: names at the left, numbers at the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  "
        + "  ".join(
            word.ljust(width) if i < 2 else word.rjust(width)
            for i, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def as_json(found: dict[str, list[Step]]) -> str:
    """Run to its counts by state and its steps."""
    content = {
        run: {
            "counts": {state: sum(step.state == state for step in of_run if step.suite) for state in STATES},
            "steps": [asdict(step) for step in of_run],
        }
        for run, of_run in found.items()
    }
    return json.dumps(content, indent=2)
