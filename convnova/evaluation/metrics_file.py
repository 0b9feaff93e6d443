"""The scores of one fine-tuning, `metrics.json`, with checksums of themselves and of the predictions beside them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.files import read_json, sha256, write_json
from convnova.log import log

METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"
DAMAGED = ".damaged"
"""Ending of a file that is no result any more: the workflow makes the result anew."""


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `metrics.json` beside the predictions, which are there already."""
    content = metrics | {"predictions_sha256": sha256(folder / PREDICTIONS)}
    write_json(folder / METRICS, content | {"sha256": _checksum(content)})


def read_metrics(path: Path) -> dict[str, Any]:
    """Read `metrics.json`.

    Raises:
        ConvNovaError: it is missing, no JSON object, or not what was written; or the predictions beside it, if they
            are there, are not those that were scored.
    """
    content = read_json(path)
    if content.get("sha256") != _checksum(content):
        raise ConvNovaError(f"{path}: expected scores with their checksum, found others: changed or damaged")
    predictions = path.with_name(PREDICTIONS)
    if predictions.is_file() and sha256(predictions) != content["predictions_sha256"]:
        raise ConvNovaError(f"{predictions}: expected the predictions that {path.name} is of, found others")
    return content


def metrics_of(config: RunConfig, job: Job) -> dict[str, Any] | None:
    """The scores of a fine-tuning; None, with a log message, if they are missing or of other settings.

    Raises:
        ConvNovaError: they are damaged. They were moved aside, so that the workflow makes them anew.
    """
    path, expected = config.folder(job) / METRICS, config.job_fingerprint(job)
    if not path.is_file():
        log(f"left out: {path}: missing")
        return None
    try:
        metrics = read_metrics(path)
        settings = metrics["provenance"]["settings"]
    except (ConvNovaError, KeyError, TypeError) as error:
        aside = path.replace(path.with_name(path.name + DAMAGED))
        problem = error if isinstance(error, ConvNovaError) else f"{path}: expected a result of this version"
        raise ConvNovaError(f"{problem}; moved to {aside}: run the same command again, which makes it anew") from error
    if settings != expected:
        log(f"left out: {path}: made with other settings (hash {settings}, expected {expected})")
        return None
    return metrics


def results_of(config: RunConfig, jobs: Iterable[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield every fine-tuning whose scores are there, are whole and have the settings of the config, with its scores.

    Raises:
        ConvNovaError: at the end, naming all whose scores are damaged; see `metrics_of`.
    """
    damaged = []
    for job in jobs:
        try:
            metrics = metrics_of(config, job)
        except ConvNovaError as error:
            damaged.append(str(error))
            continue
        if metrics is not None:
            yield job, metrics
    if damaged:
        raise ConvNovaError(" | ".join(damaged))


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 of all other keys, as JSON says them."""
    others = {key: value for key, value in json.loads(json.dumps(content)).items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
