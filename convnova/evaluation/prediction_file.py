"""Saved predictions: what `convnova.evaluation.predict.write_predictions` wrote, read again; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convnova.config.schema import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.log import log


@dataclass(frozen=True)
class Predictions:
    """Of one fine-tuning, in the order of the test rows."""

    path: Path
    settings: str
    """The hash of the settings they were made with; empty if the file does not say."""
    rows: np.ndarray
    """Rows of the test split (n,)."""
    labels: np.ndarray
    """Class ids (n,), or of every base (bases,)."""
    predicted: np.ndarray
    """Probabilities (n, classes), or of every base its most probable class (bases,)."""
    lengths: np.ndarray
    """Bases of each row (n,) where there is a class a base; else empty."""


def predictions_of(config: RunConfig, job: Job) -> Predictions | None:
    """The predictions of a fine-tuning; None, and a word on why, if they are missing or made with other settings.

    Raises:
        ConvNovaError: the file holds no predictions of a task of classes.
    """
    path, expected = config.folder(job) / "predictions.parquet", config.job_fingerprint(job)
    if not path.is_file():
        log(f"left out: {path}: missing")
        return None
    found = read_predictions(path)
    if found.settings != expected:
        log(f"left out: {path}: made with other settings (hash {found.settings}, expected {expected})")
        return None
    return found


def read_predictions(path: str | Path) -> Predictions:
    """Read the predictions of a task of classes, a sequence or a base.

    Raises:
        ConvNovaError: the file is missing or holds no such predictions.
    """
    import pyarrow
    import pyarrow.parquet

    path = Path(path)
    try:
        table = pyarrow.parquet.read_table(path).combine_chunks()
        settings = (table.schema.metadata or {}).get(b"settings", b"").decode()
        rows, label = table["row"].to_numpy(), table["label"].combine_chunks()
        values = table["score" if "score" in table.column_names else "predicted"].combine_chunks().flatten().to_numpy()
    except (OSError, KeyError, AttributeError, pyarrow.ArrowException) as error:
        raise ConvNovaError(f"{path}: expected predictions ({error}); run the fine-tuning again") from error
    if "score" in table.column_names:
        none = np.empty(0, np.int64)
        return Predictions(path, settings, rows, label.to_numpy(), values.reshape(len(rows), -1), none)
    return Predictions(path, settings, rows, label.flatten().to_numpy(), values, label.value_lengths().to_numpy())
