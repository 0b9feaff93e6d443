"""The whole way back from a result: its scores, settings, code, data, machine, and the commands that make it again."""

import csv
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnova.config.run import Job
from convnova.config.schema import METRICS
from convnova.errors import ConvNovaError, nearest
from convnova.files import read_json
from convnova.runs.outputs import ITEMS, extra_table_titles
from convnova.runs.trace import CHANGED, GONE, Input, Run, flat, inputs_of, run_of

CELL = ("row", "model", "protocol", "seed")
"""Columns that name a cell of a table, and one fine-tuning behind it."""

Section = tuple[str, list[str]]
"""A heading and its lines."""


@dataclass(frozen=True)
class Asked:
    """A result, and the words that name a cell of it where it is a table."""

    path: Path
    cell: list[str]


def explain(words: list[str]) -> str:
    """Explain results.

    Args:
        words: paths of `metrics.json`, a file beside one, weights of a pretraining, or a table; after a table,
            words may name a row of it, a model, a protocol and a seed.

    Raises:
        ConvNovaError: no such file, a file that is no result, a cell that the table does not have.
    """
    return "\n\n".join(text for asked in asked_for(words) for text in _explain(asked)) + "\n"


def asked_for(words: list[str]) -> list[Asked]:
    """Which words are paths, and which name a cell of the table before them."""
    found: list[Asked] = []
    for word in words:
        if found and found[-1].path.parent.name == "tables" and "/" not in word:
            found[-1].cell.append(word)
        else:
            found.append(Asked(Path(word), []))
    return found


def _explain(asked: Asked) -> list[str]:
    """The texts of one result: one, or one a fine-tuning of the cell."""
    path = asked.path
    if not path.exists():
        raise ConvNovaError(f"{path}: expected a result, found nothing; `convnova status` lists what is there")
    folder = path if path.is_dir() else path.parent
    if (folder / "metrics.json").is_file():
        return [of_finetuning(folder / "metrics.json")]
    if (folder / "weights.json").is_file():
        return [of_pretraining(folder / "weights.json")]
    if path.parent.name == "tables" and (folder / "scores.tsv").is_file() and path.stem != "audit":
        return of_table(path, asked.cell)
    raise ConvNovaError(
        f"{path}: expected a metrics.json, a file beside one, the weights of a pretraining or a table of scores, "
        "found none of these; `convnova status` lists the results"
    )


def of_finetuning(path: Path) -> str:
    """The way back from a `metrics.json`.

    Raises:
        ConvNovaError: it is no result of a fine-tuning.
    """
    metrics, run = read_json(path), run_of(path)
    try:
        job, provenance = Job(*(metrics[key] for key in Job._fields)), metrics["provenance"]
        inputs = inputs_of(run, provenance, job.suite, job.task)
        sections = [
            ("score", _scores(metrics)),
            ("what", [f"{job.suite}/{job.task}, model {job.model}, protocol {job.protocol}, seed {job.seed}"]),
            ("settings", _settings(run, job, metrics)),
            *_common(run, path, provenance, inputs),
        ]
    except KeyError as error:
        raise ConvNovaError(f"{path}: expected the metrics of a fine-tuning, found none of {error}") from error
    return as_text(run.relative_path(path), sections, metrics["simulated"])


def of_pretraining(path: Path) -> str:
    """The way back from the weights of a pretraining; `path` is their JSON."""
    about, run = read_json(path), run_of(path)
    try:
        best = next(epoch for epoch in about["epochs"] if epoch["epoch"] == about["best_epoch"])
        scores = [
            f"masked cross entropy {best['loss']:.6f} nats, accuracy {best['accuracy']:.4f} over validation windows",
            f"epoch {about['best_epoch']} of {len(about['epochs'])}, the best on validation; {about['bases']:,} bases",
        ]
        settings = [_model(about), "pretraining: " + _pairs(about["pretraining"])]
        inputs = inputs_of(run, about["provenance"])
        weights = path.with_name("weights.safetensors")
        sections = [("score", scores), ("settings", settings), *_common(run, weights, about["provenance"], inputs)]
    except KeyError as error:
        raise ConvNovaError(f"{path}: expected the JSON of a pretraining, found none of {error}") from error
    return as_text(run.relative_path(path.with_name("weights.safetensors")), sections, about["simulated"])


def _common(run: Run, path: Path, provenance: dict[str, Any], inputs: list[Input]) -> list[Section]:
    """The sections that fine-tunings and pretrainings share."""
    return [
        ("code", [code(provenance)]),
        *((found.role, _input(run, found)) for found in inputs),
        ("made", made(provenance)),
        ("again", [snakemake_line(run, path), command(provenance)]),
        *([("CHANGED", changed)] if (changed := changes(run, inputs)) else []),
    ]


def as_text(title: str, sections: list[Section], simulated: bool) -> str:
    """Headings at the left, their lines beside them."""
    lines = [title]
    if simulated:
        lines.append(
            "Simulated genome: this number shows that the pipeline works and cannot be compared with the paper."
        )
    for heading, texts in sections:
        lines += [f"  {heading if i == 0 else '':<9} {text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def _scores(metrics: dict[str, Any]) -> list[str]:
    metric = metrics["metric"]
    rows = metrics["rows"]
    of = f"on {rows['test']:,} test rows"
    parts = metrics.get("groups") or {"": metrics}
    lines = [
        f"{f'{name}: ' * bool(name)}{metric} {part[metric]:.6f} {of}" for name, part in parts.items() if metric in part
    ]
    if metrics["interval"]:
        lines[0] += ", 95% bootstrap interval {:.6f} to {:.6f}".format(*metrics["interval"])
    others = {name: metrics[name] for name in METRICS if name != metric and metrics.get(name) is not None}
    lines += ["also " + _pairs({name: f"{value:.6f}" for name, value in others.items()})] if others else []
    chosen = "test" if metrics["protocol"] == "released" else f"{rows['valid']:,} validation rows"
    return [*lines, f"epoch {metrics['best_epoch']} of {len(metrics['epochs'])}, the best on {chosen}"]


def _settings(run: Run, job: Job, metrics: dict[str, Any]) -> list[str]:
    """The hyperparameters that were used, and whether the run's config still says so."""
    standing = _standing(run, job, metrics["provenance"]["settings"])
    return [_model(metrics), "training: " + _pairs(metrics["training"]), standing]


def _standing(run: Run, job: Job, used: str) -> str:
    """Whether a result's settings are those of the run's config."""
    if run.config is None:
        return f"hash {used}; no config of a run lies beside this result"
    if job not in set(run.config.jobs()):
        return f"hash {used}; the run's config {CHANGED}: it has no such fine-tuning any more"
    now = run.config.job_fingerprint(job)
    return f"hash {used}" + (
        ", as the run's config says" if now == used else f"; the run's config {CHANGED}: its hash is now {now}"
    )


def _model(about: dict[str, Any]) -> str:
    return f"{about['architecture']}: {_pairs(about['settings'])}; {about['parameters']:,} parameters"


def _pairs(values: dict[str, Any]) -> str:
    """`lr 0.004, batch_size 8`; what is None is left out."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _input(run: Run, found: Input) -> list[str]:
    """A file, its checksum and addresses, and below it those that it was made from."""
    checksum = f"sha256 {found.sha256}, {found.state}" if found.sha256 else found.state
    lines = [run.relative_path(found.path), f"  {checksum}", *[f"  {text}" for text in (*found.urls, *found.notes)]]
    for below in found.inputs:
        first, *others = _input(run, below)
        lines += [f"  {below.role}: {first}", *[f"  {line}" for line in others]]
    return lines


def changes(run: Run, inputs: list[Input]) -> list[str]:
    """The inputs that are not any more what they were."""
    states = {run.relative_path(found.path): found.state for found in flat(inputs)}
    return [f"{path}: {state}" for path, state in states.items() if state.startswith((CHANGED, GONE))]


def code(provenance: dict[str, Any]) -> str:
    """Version and commit, and whether files differed from it."""
    commit = provenance["commit"]
    text = f"convnova {provenance['convnova']}, " + (f"commit {commit}" if commit else "not run from a checkout")
    return text + ", WITH UNCOMMITTED CHANGES" * provenance["dirty"]


def made(provenance: dict[str, Any]) -> list[str]:
    """When, for how long, on what machine and with which packages."""
    used = [f"peak memory {provenance['peak_memory_mb']:,} MB"]
    if (of_gpu := provenance["peak_gpu_memory_mb"]) is not None:
        used.append(f"of the GPU {of_gpu:,} MB")
    energy = provenance["joules"]
    used += [f"energy of the {name}: {joules:,} J" for name, joules in energy.items()]
    return [
        f"{provenance['started']}, in {provenance['seconds']} s of wall time",
        f"on {machine(provenance)}",
        ", ".join(used) + ("" if energy else "; energy not told by the machine"),
        packages(provenance),
    ]


def machine(provenance: dict[str, Any]) -> str:
    """Name, processor, memory and GPU."""
    hardware = provenance["hardware"]
    return (
        f"{provenance['host']}: {hardware['processor']}, {hardware['cores']} cores ({hardware['threads']} used), "
        f"{hardware['memory_gb']} GB, {hardware['gpu'] or 'no GPU'}"
    )


def packages(provenance: dict[str, Any]) -> str:
    """Versions of Python and of the packages that numbers depend on."""
    return f"python {provenance['python']}, {_pairs(provenance['packages'])}"


def snakemake_line(run: Run, path: Path) -> str:
    """The command that makes a result again, whether it is there or not, after everything that it needs."""
    config = f"results/{run.config.run}/config.yaml" if run.config else "THE_CONFIG_OF_THE_RUN"
    return shlex.join(["snakemake", "--cores", "all", "--configfile", config, "--force", run.relative_path(path)])


def command(provenance: dict[str, Any]) -> str:
    """The command that made the result, with the program's name alone."""
    program, _, rest = provenance["command"].partition(" ")
    return f"{Path(program).name} {rest}"


def of_table(path: Path, cell: list[str]) -> list[str]:
    """What stands in a table, or the fine-tunings of one cell.

    Raises:
        ConvNovaError: the table has no such cell; names the nearest.
    """
    runs, config = _lines(path.with_name("scores.tsv")), run_of(path).config
    of_suite = [line for line in runs if line["suite"] == path.stem]
    of_all = ("scores", ITEMS, *(extra_table_titles(config) if config else ()))
    if not of_suite and path.stem not in of_all:
        raise ConvNovaError(f"{path}: expected a table of scores, found none in {path.with_name('scores.tsv')}")
    runs = of_suite or runs
    chosen = _choose(path, runs, cell)
    if not cell:
        return [_listing(path, chosen)]
    head = [f"{path}: {len(chosen)} fine-tuning{'s' * (len(chosen) != 1)} behind {' '.join(cell)}"]
    if of_suite and path.with_suffix(".tsv").is_file():
        head += [_as_tabled(line) for line in _choose(path, _lines(path.with_suffix(".tsv")), cell[:3])]
    return ["\n".join(head), *(_behind(run_of(path), line) for line in chosen)]


def _as_tabled(line: dict[str, str]) -> str:
    """What a line of a suite's table says of a cell, beside the published number."""
    text = f"  {line['model']} {line['protocol']}: mean {line['mean']}, standard deviation {line['sd'] or 'not known'} "
    text += f"over seeds {line['seeds']}; {line['verdict']}"
    if line["published"]:
        text += f"; published {line['published']} ({line['published_table']}, {line['published_source']})"
    return text


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _choose(path: Path, lines: list[dict[str, str]], cell: list[str]) -> list[dict[str, str]]:
    """The lines that the words name, word by word."""
    if len(cell) > len(CELL):
        raise ConvNovaError(f"{path}: expected at most a row, a model, a protocol and a seed, found {' '.join(cell)}")
    for i, (column, word) in enumerate(zip(CELL, cell, strict=False)):
        name = word.removeprefix("seed=") if column == "seed" else word
        known = list(dict.fromkeys(line[column] for line in lines))
        if name not in known:
            of = f" of {' '.join(cell[:i])}" * (i > 0)
            raise ConvNovaError(f"{path}: no result with {column} {name!r}{of}; {nearest(name, known)}")
        lines = [line for line in lines if line[column] == name]
    return lines


def _listing(path: Path, runs: list[dict[str, str]]) -> str:
    """Every cell of a table with its scores, and how to ask for one."""
    run, cells = run_of(path), {}
    for line in runs:
        cells.setdefault((line["row"], line["model"], line["protocol"]), []).append(line)
    lines = [f"{run.relative_path(path)}: {len(cells)} cells from {len(runs)} results, in scores.tsv"]
    for names, of_cell in cells.items():
        scores = ", ".join(f"{float(line['score']):.6f} (seed {line['seed']})" for line in of_cell)
        lines.append(f"  {' '.join(names)}: {of_cell[0]['metric']} {scores}")
    one = " ".join(next(iter(cells)))
    again = [f"  again: {snakemake_line(run, path)}", f"  a cell: convnova explain {run.relative_path(path)} {one}"]
    return "\n".join([*lines, *again])


def _behind(run: Run, line: dict[str, str]) -> str:
    """The fine-tuning of a line of `scores.tsv`; says if it was made again since with another score."""
    path = run.root / line["path"]
    if not path.is_file():
        return f"{line['path']}\n  CHANGED   NOT THERE ANY MORE; the table says {line['metric']} {line['score']}"
    metrics = read_json(path)
    part = metrics.get("groups", {}).get(line["row"], metrics)
    now, then = part.get(line["metric"]), float(line["score"])
    made_again = f"\n  CHANGED   made again since: the table was made when {line['metric']} was {then:.6f}"
    return of_finetuning(path) + made_again * (now != then)
