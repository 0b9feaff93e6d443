"""Which rows train, which choose the epoch, which are scored."""

import numpy as np

from convnova.config.schema import FOLDS
from convnova.data.batches import LabelledSequences
from convnova.data.task_dataset import TaskDataset
from convnova.errors import ConvNovaError
from convnova.randomness import generator

HELD_OUT_SHARE = 0.1
"""Share of the training rows that becomes the validation part where a task has none."""


def split_rows(
    data: TaskDataset, protocol: str, seed: int, max_length: int | None = None
) -> dict[str, LabelledSequences]:
    """The rows that are trained on (`train`), that choose the epoch (`valid`), and that are scored (`test`).

    Args:
        data: the tokenized task.
        protocol: `heldout`, `released` or `cv`.
        seed: chooses the held-out rows; for `cv` the number of the fold.
        max_length: bases that are read of each row at most.

    Returns:
        The rows by part.

    Raises:
        ConvNovaError: too few training rows for a validation part.
    """
    longest = data.longest(max_length)

    def labelled(name: str, rows: np.ndarray | None = None) -> LabelledSequences:
        split = data.split(name)
        rows = np.arange(len(split)) if rows is None else rows
        return LabelledSequences(split.tokens, split.offsets, split.labels, data.kind, rows, longest)

    test = labelled("test")
    if protocol == "released":
        return {"train": labelled("train"), "valid": test, "test": test}
    if "valid" in data.splits and protocol != "cv":
        return {"train": labelled("train"), "valid": labelled("valid"), "test": test}
    split = data.split("train")
    labels = np.asarray(split.labels) if data.kind == "classes" else np.zeros(len(split))
    if protocol == "cv":
        is_valid = folds_of(labels) == seed
        train, valid = np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
    else:
        train, valid = hold_out(labels, HELD_OUT_SHARE, seed)
    if not len(train) or not len(valid):
        least = FOLDS if protocol == "cv" else 2
        raise ConvNovaError(f"{data.path}: expected at least {least} training rows, found {len(split)}")
    return {"train": labelled("train", train), "valid": labelled("train", valid), "test": test}


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, each class in the same proportion, but of a class with two rows or more at least one.

    Args:
        labels: class ids (n,).
        share: of the rows to hold out, 0 to 1; at least one row is.
        seed: same value, same rows.

    Returns:
        kept, held_out: int64 row numbers, ascending.
    """
    random = generator(seed, "hold out")
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    counts = [max(round(share * len(rows)), int(len(rows) > 1)) for rows in classes]
    parts = [random.permutation(rows)[:count] for rows, count in zip(classes, counts, strict=True)]
    held_out = np.sort(np.concatenate(parts))
    if not len(held_out):
        held_out = random.permutation(len(labels))[:1]
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def folds_of(labels: np.ndarray) -> np.ndarray:
    """The fold, 1 to `FOLDS`, of each row: int64 (n,); the same for every seed.

    The rows of a class (`labels` has class ids (n,)) are dealt out one a fold, shuffled, class after class, so that
    both the folds and each class in them differ by one row at most.
    """
    random = generator(0, "folds")
    dealt = np.concatenate([random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    folds = np.empty(len(labels), np.int64)
    folds[dealt] = np.arange(len(labels)) % FOLDS + 1
    return folds
