"""Gather the scores of a run: one table of every fine-tuning, and a word on those that are missing or foreign."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.log import log
from convnova.reporting.scores import AUDIT, COLUMNS, METRICS
from convnova.runs import provenance_table

SCORES = (*METRICS, *AUDIT, "low", "high")


def write_scores(config: RunConfig, out: Path) -> None:
    """Write `scores.tsv`, one row a fine-tuning and row of the table, in the order of the config.

    Beside it `provenance.tsv` is written, a line a fine-tuning with what it was made from.

    A result made with other settings than the config's, and one without a finite score, is left out and named;
    so is one that is missing.

    Raises:
        ConvNovaError: none of the run's results is there.
    """
    rows: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    jobs = list(config.jobs())
    for job in jobs:
        metrics = metrics_of(config, job)
        if metrics is None:
            continue
        metric = metrics["metric"]
        if isinstance(score := metrics.get(metric), int | float) and math.isfinite(score):
            rows += _rows(config, job, metrics)
            made.append(provenance_table.provenance_row(job, metrics["provenance"]))
        else:
            log(f"left out: {config.folder(job)}/metrics.json: {metric} is {score}")
    if not rows:
        raise ConvNovaError(f"{config.results}/runs: expected results of {len(jobs)} fine-tunings, found none")
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, delimiter="\t", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, table.getvalue())
    provenance_table.write_provenance(provenance_table.provenance_frame(made), out.with_name(provenance_table.NAME))


def metrics_of(config: RunConfig, job: Job) -> dict[str, Any] | None:
    """The metrics of a fine-tuning; None, and a word on why, if they are missing or made with other settings."""
    path, expected = config.folder(job) / "metrics.json", config.job_fingerprint(job)
    try:
        metrics = json.loads(path.read_text())
        found, _ = metrics["provenance"]["settings"], metrics["metric"]
    except FileNotFoundError:
        problem = "missing"
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        problem = f"not a metrics file of this version ({type(error).__name__}: {error})"
    else:
        if found == expected:
            return metrics
        problem = f"made with other settings (hash {found}, expected {expected})"
    log(f"left out: {path}: {problem}")
    return None


def _rows(config: RunConfig, job: Job, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one fine-tuning: itself, or one for each of its groups of labels that has a score."""
    path = config.folder(job) / "metrics.json"
    metric, (low, high) = metrics["metric"], metrics["interval"] or ("", "")
    common = {
        **job._asdict(),
        "metric": metric,
        "n_test": metrics["rows"]["test"],
        "best_epoch": metrics["best_epoch"],
        "parameters": metrics["parameters"],
        "receptive_field": metrics["receptive_field"] or math.inf,
        "seconds": metrics["seconds"],
        "simulated": str(metrics["simulated"]).lower(),
        "path": config.relative_path(path),
    }
    groups = config.task(job).groups
    batches = metrics["per_batch"] or {}
    seen = [epoch["test"] for epoch in metrics["epochs"] if "test" in epoch]
    told = {"test_best": max(seen, default=""), "per_batch": batches.get("file", "")}
    told |= {"per_batch_sorted": batches.get("sorted", "")}
    parts = {name: metrics["groups"][name] for name in groups} or {
        job.task: metrics | told | {"low": low, "high": high}
    }
    rows = []
    for name, part in parts.items():
        if metric in part:
            rows.append(
                common | {"row": name, "score": part[metric]} | {key: part[key] for key in SCORES if key in part}
            )
        else:
            log(f"left out: {path}: {name}: no label with both classes among the test rows")
    return rows
