"""The file of saved predictions of the test split, written and read. Reading it does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.evaluation.scoring import labels_of
from convnova.files import atomic
from convnova.log import log

if TYPE_CHECKING:
    import pyarrow

    from convnova.data.batches import LabelledSequences


@dataclass(frozen=True)
class Predictions:
    """Predictions of one fine-tuning, in the order of the test rows."""

    path: Path
    settings: str
    """The hash of the settings that they were made with; empty if the file does not say."""
    rows: np.ndarray
    """Rows of the test split (n,)."""
    labels: np.ndarray
    """Class ids (n,), or of every base (bases,)."""
    predicted: np.ndarray
    """Probabilities (n, classes), or of every base its most probable class (bases,)."""
    lengths: np.ndarray
    """Bases of each row (n,) where every base has a class; else empty."""


def predictions_of(config: RunConfig, job: Job) -> Predictions | None:
    """The predictions of a fine-tuning; None, with a log message, if they are missing or of other settings.

    Raises:
        ConvNovaError: the file holds no predictions of a task of classes.
    """
    path, expected = config.folder(job) / "predictions.parquet", config.job_fingerprint(job)
    if not path.is_file():
        log(f"left out: {path}: missing")
        return None
    predictions = read_predictions(path)
    if predictions.settings != expected:
        log(f"left out: {path}: made with other settings (hash {predictions.settings}, expected {expected})")
        return None
    return predictions


def read_predictions(path: str | Path) -> Predictions:
    """Read the predictions of a task with a class a sequence or a class a base.

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
        has_scores = "score" in table.column_names
        values = table["score" if has_scores else "predicted"].combine_chunks().flatten().to_numpy()
        if has_scores:
            return Predictions(
                path, settings, rows, label.to_numpy(), values.reshape(len(rows), -1), np.empty(0, np.int64)
            )
        return Predictions(path, settings, rows, label.flatten().to_numpy(), values, label.value_lengths().to_numpy())
    except (OSError, KeyError, AttributeError, pyarrow.ArrowException) as error:
        raise ConvNovaError(f"{path}: expected predictions ({error}); run the fine-tuning again") from error


def write_predictions(
    path: Path, data: "LabelledSequences", predicted: np.ndarray, settings: str, fold: int | None = None
) -> None:
    """Write predictions as parquet, a line a row: row of the split, label or labels, score or scores, any fold.

    Probabilities of many labels are written as 16-bit floats; of a base only its most probable class is.

    Args:
        path: of the file.
        data: the rows, with their labels.
        predicted: as `convnova.evaluation.predict.predict`.
        settings: hash of the settings that they were made with.
        fold: of cross-validation, if there are folds.
    """
    import pyarrow
    import pyarrow.parquet

    labels = labels_of(data)
    if data.kind == "per_base":
        offsets = _column(np.concatenate([[0], np.cumsum(data.lengths)]).astype(np.int32))
        bases = {"label": labels.astype(np.uint8), "predicted": predicted}
        columns = {name: pyarrow.ListArray.from_arrays(offsets, _column(values)) for name, values in bases.items()}
    elif data.kind == "multilabel":
        columns = {"label": _column(labels.astype(np.uint8)), "score": _column(predicted.astype(np.float16))}
    else:
        columns = {"label": _column(labels), "score": _column(predicted.astype(np.float32))}
    if fold is not None:
        columns["fold"] = _column(np.full(len(data), fold, np.int8))
    table = pyarrow.table({"row": _column(data.rows), **columns}).replace_schema_metadata({"settings": settings})
    with atomic(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _column(values: np.ndarray) -> "pyarrow.Array":
    """A numpy array as one of Arrow's, a matrix as lists. `pyarrow.array` would load pandas: 0.7 s."""
    import pyarrow

    kind, buffer = pyarrow.from_numpy_dtype(values.dtype), pyarrow.py_buffer(np.ascontiguousarray(values))
    column = pyarrow.Array.from_buffers(kind, values.size, [None, buffer])
    return column if values.ndim == 1 else pyarrow.FixedSizeListArray.from_arrays(column, values.shape[1])
