"""Which rows train, which choose the epoch, which are scored."""

import numpy as np

from convnova.config.run import Job
from convnova.config.schema import FOLDS, Task
from convnova.data.batches import LabelledSequences
from convnova.data.task_dataset import TaskDataset
from convnova.errors import ConvNovaError
from convnova.randomness import generator

HELD_OUT = 0.1
"""Share of the training rows that becomes the validation part where a task has none."""


def split_rows(data: TaskDataset, task: Task, job: Job) -> dict[str, LabelledSequences]:
    """The rows that are trained on, that choose the epoch, and that are scored, by the job's protocol.

    Raises:
        ConvNovaError: too few training rows for a validation part.
    """
    longest = task.max_length or max(int(data.split(name).lengths.max()) for name in data.splits)

    def labelled(name: str, rows: np.ndarray | None = None) -> LabelledSequences:
        split = data.split(name)
        chosen = np.arange(len(split)) if rows is None else rows
        return LabelledSequences(split.tokens, split.offsets, split.labels, data.kind, chosen, longest)

    test = labelled("test")
    if job.protocol == "released":
        return {"train": labelled("train"), "valid": test, "test": test}
    if "valid" in data.splits and job.protocol != "cv":
        return {"train": labelled("train"), "valid": labelled("valid"), "test": test}
    split = data.split("train")
    labels = np.asarray(split.labels) if data.kind == "classes" else np.zeros(len(split))
    if job.protocol == "cv":
        chosen = folds_of(labels) == job.seed
        kept, held_out = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    else:
        kept, held_out = hold_out(labels, HELD_OUT, job.seed)
    if not len(kept) or not len(held_out):
        least = FOLDS if job.protocol == "cv" else 2
        raise ConvNovaError(f"{job.suite}/{job.task}: expected at least {least} training rows, found {len(split)}")
    return {"train": labelled("train", kept), "valid": labelled("train", held_out), "test": test}


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, each class (of 1-dimensional labels) in the same proportion.

    Returns:
        kept, held_out: int64 row numbers, ascending; at least one row is held out.
    """
    random = generator(seed, "hold out")
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    held = [random.permutation(group)[: round(share * len(group))] for group in groups]
    held_out = np.sort(np.concatenate(held))
    if not len(held_out):
        held_out = random.permutation(len(labels))[:1]
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def folds_of(labels: np.ndarray) -> np.ndarray:
    """The fold, 1 to `FOLDS`, of each row: int64 (n,); the same for every seed.

    The rows of a class (of 1-dimensional labels) are dealt out in turn, shuffled, class after class, so that both
    the folds and each class in them differ by one row at most.
    """
    random = generator(0, "folds")
    dealt = np.concatenate([random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    found = np.empty(len(labels), np.int64)
    found[dealt] = np.arange(len(labels)) % FOLDS + 1
    return found
