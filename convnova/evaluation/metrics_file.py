"""The scores of one fine-tuning, `metrics.json`, with checksums of themselves and of the predictions beside them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from convnova.config.run import Job, RunConfig
from convnova.errors import DamagedFile
from convnova.files import DAMAGED, read_sealed, seal, sha256, write_json
from convnova.log import log

METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `metrics.json` beside the predictions, which are there already."""
    write_json(folder / METRICS, seal(metrics | {"predictions_sha256": sha256(folder / PREDICTIONS)}))


def read_metrics(path: Path) -> dict[str, Any]:
    """Read `metrics.json`.

    Raises:
        DamagedFile: it is missing, no JSON object, or not what was written; or the predictions beside it, if they are
            there, are not those that were scored.
    """
    content, predictions = read_sealed(path), path.with_name(PREDICTIONS)
    if predictions.is_file() and sha256(predictions) != content.get("predictions_sha256"):
        raise DamagedFile(f"{predictions}: expected the predictions that {path.name} is of, found others", path)
    return content


def metrics_of(config: RunConfig, job: Job) -> dict[str, Any] | None:
    """The scores of a fine-tuning; None, with a log message, if they are missing or of other settings.

    Raises:
        DamagedFile: as `read_metrics`, it is of another version, or another step has moved it aside.
    """
    path, expected = config.folder(job) / METRICS, config.job_fingerprint(job)
    if not path.is_file() and (aside := Path(f"{path}{DAMAGED}")).exists():  # steps that read it run side by side
        raise DamagedFile(f"{path}: was damaged and moved to {aside}: run the workflow again, which makes it anew")
    if not path.is_file():
        log(f"left out: {path}: missing")
        return None
    metrics = read_metrics(path)
    try:
        settings = metrics["provenance"]["settings"]
    except (KeyError, TypeError) as error:
        raise DamagedFile(f"{path}: expected a result of this version, found no {error}", path) from error
    if settings != expected:
        log(f"left out: {path}: made with other settings (hash {settings}, expected {expected})")
        return None
    return metrics


def results_of(config: RunConfig, jobs: Iterable[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield every fine-tuning whose scores are there, are whole and have the settings of the config, with its scores.

    Raises:
        DamagedFile: at the end, naming all whose scores are damaged; see `metrics_of`.
    """
    damaged: list[DamagedFile] = []
    for job in jobs:
        try:
            metrics = metrics_of(config, job)
        except DamagedFile as error:
            damaged.append(error)
            continue
        if metrics is not None:
            yield job, metrics
    if damaged:
        raise DamagedFile(" | ".join(map(str, damaged)), *(path for error in damaged for path in error.paths))
