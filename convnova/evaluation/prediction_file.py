"""The file of saved predictions of the test split, written and read. Reading it does not wait for torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import PREDICTIONS, metrics_of
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
    rows: np.ndarray
    """Rows of the test split (n,)."""
    labels: np.ndarray
    """Class ids (n,), or of every base (bases,); or numbers (n, targets or bins)."""
    predicted: np.ndarray
    """Probabilities (n, classes), or of every base its most probable class (bases,); or numbers as labels."""
    lengths: np.ndarray
    """Bases of each row (n,) where every base has a class; else empty."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The scores of these predictions: the content of the `metrics.json` beside them."""


def predictions_of(config: RunConfig, job: Job) -> Predictions | None:
    """The predictions of a fine-tuning; None, with a log message, if they or their scores are missing or of others.

    Raises:
        ConvNovaError: the file holds no predictions of a task of classes, or is not the one that was scored.
    """
    path, metrics = config.folder(job) / PREDICTIONS, metrics_of(config, job)
    if metrics is None:
        return None
    if not path.is_file():
        log(f"left out: {path}: missing")
        return None
    return replace(read_predictions(path), metrics=metrics)


def read_predictions(path: str | Path) -> Predictions:
    """Read the predictions of a task with a class a sequence, a class a base, or numbers.

    Raises:
        ConvNovaError: the file is missing or holds no such predictions.
    """
    import pyarrow
    import pyarrow.parquet

    path = Path(path)
    try:
        table = pyarrow.parquet.read_table(path).combine_chunks()
        rows, label = table["row"].to_numpy(), table["label"].combine_chunks()
        has_scores, lengths = "score" in table.column_names, np.empty(0, np.int64)
        predicted = table["score" if has_scores else "predicted"].combine_chunks()
        is_of_lists = pyarrow.types.is_fixed_size_list(label.type) or not has_scores
        values, labels = predicted.flatten().to_numpy(), (label.flatten() if is_of_lists else label).to_numpy()
        if not has_scores:
            lengths = label.value_lengths().to_numpy()
            if not np.array_equal(lengths, predicted.value_lengths().to_numpy()):
                raise ValueError("other bases in label than in predicted")
        kinds = "".join(array.dtype.kind for array in (rows, labels, values))
        expected = ("[iu]ff" if is_of_lists else "[iu][iu]f") if has_scores else "[iu][iu][iu]"
        if not len(rows) or not re.fullmatch(expected, kinds):
            raise ValueError(f"{len(rows)} rows of types {table.schema.types}")
        values = values.reshape(len(rows), -1) if has_scores else values
        labels = labels.reshape(values.shape) if has_scores and is_of_lists else labels
        return Predictions(path, rows, labels, values, lengths)
    except (OSError, KeyError, ValueError, AttributeError, pyarrow.ArrowException) as error:
        message = " ".join(str(error).split())[:200]
        raise ConvNovaError(f"{path}: expected predictions ({message}); run the fine-tuning again") from error


def write_predictions(
    path: Path, data: "LabelledSequences", predicted: np.ndarray, settings: str, fold: int | None = None
) -> None:
    """Write predictions as parquet, a line a row: row of the split, label or labels, score or scores, any fold.

    Numbers are in the user's units, lists of targets or bins. Probabilities of many labels are written as 16-bit
    floats; of a base only its most probable class is.

    Args:
        path: of the file.
        data: the rows, with their labels.
        predicted: as `convnova.evaluation.predict.predict`.
        settings: hash of the settings that they were made with.
        fold: of cross-validation, if there are folds.
    """
    import pyarrow

    labels = labels_of(data)
    if data.kind == "per_base":
        offsets = column(np.concatenate([[0], np.cumsum(data.lengths)]).astype(np.int32))
        bases = {"label": labels.astype(np.uint8), "predicted": predicted}
        columns = {name: pyarrow.ListArray.from_arrays(offsets, column(values)) for name, values in bases.items()}
    elif data.kind == "multilabel":
        columns = {"label": column(labels.astype(np.uint8)), "score": column(predicted.astype(np.float16))}
    elif data.kind == "regression":
        columns = {"label": column(labels), "score": column(predicted)}
    else:
        columns = {"label": column(labels), "score": column(predicted.astype(np.float32))}
    if fold is not None:
        columns["fold"] = column(np.full(len(data), fold, np.int8))
    write_columns(path, {"row": column(data.rows), **columns}, settings)


def write_columns(path: Path, columns: Mapping[str, "pyarrow.Array"], settings: str) -> None:
    """Write columns of equal length as parquet.

    Args:
        path: of the file.
        columns: by name, as of `column`.
        settings: hash of the settings that they were made with.
    """
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(dict(columns)).replace_schema_metadata({"settings": settings})
    with atomic(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def column(values: np.ndarray) -> "pyarrow.Array":
    """A numpy array as one of Arrow's, a matrix as lists. `pyarrow.array` would load pandas: 0.7 s."""
    import pyarrow

    kind, buffer = pyarrow.from_numpy_dtype(values.dtype), pyarrow.py_buffer(np.ascontiguousarray(values))
    flat = pyarrow.Array.from_buffers(kind, values.size, [None, buffer])
    return flat if values.ndim == 1 else pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
