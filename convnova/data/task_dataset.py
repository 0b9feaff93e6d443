"""A tokenized task, read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from convnova.data.array_file import read_arrays, read_metadata
from convnova.errors import ConvNovaError

PARTS = ("tokens", "offsets", "labels")


@dataclass(frozen=True)
class Sequences:
    """Sequences in one array.

    Attributes:
        tokens: uint8, all sequences end to end; number i is `tokens[offsets[i]:offsets[i + 1]]`.
        offsets: int64 (n + 1,).
    """

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Bases of each sequence, int64 (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TaskSplit(Sequences):
    """One split of a task, memory-mapped.

    Attributes:
        labels: class ids, int64 (n,); 0 and 1, uint8 (n, labels); a class id a base, int8 like `tokens`; or numbers,
            float64 (n, targets or bins).
    """

    labels: np.ndarray


@dataclass(frozen=True)
class TaskDataset:
    """A task that `convnova.data.prepare_task.tokenize_task` wrote.

    Attributes:
        path: the file.
        kind: what is predicted, one of `config.schema.Kind`.
        classes: names in the order of their ids, or of the numbers that are predicted; None for a task of many labels
            that gives them no names.
        splits: name to rows.
        metadata: what the file says of how it was made.
    """

    path: Path
    kind: str
    classes: list[str] | None
    splits: dict[str, TaskSplit]
    metadata: dict

    def split(self, name: str) -> TaskSplit:
        """One split.

        Raises:
            ConvNovaError: the task has no such split.
        """
        if name not in self.splits:
            raise ConvNovaError(f"{self.path}: expected a split {name!r}, found {', '.join(self.splits)}")
        return self.splits[name]

    @property
    def outputs(self) -> int:
        """Numbers that a model predicts for a row, a base or a bin: the labels, the classes, or the targets."""
        return self.split("train").labels.shape[1] if self.kind == "multilabel" else len(self.classes)

    def longest(self, max_length: int | None = None) -> int:
        """`max_length`, if it is given, else the length of the longest row of all splits, in bases."""
        return max_length or max(int(split.lengths.max()) for split in self.splits.values())


def read_task(path: Path) -> TaskDataset:
    """Open a tokenized task at no cost in memory.

    Raises:
        ConvNovaError: the file is missing, or is no tokenized task.

    Example:
        >>> import tempfile
        >>> from convnova.config.schema import Task
        >>> from convnova.data.prepare_task import tokenize_task
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "rows.csv")
        ...     _ = table.write_text("sequence,label\\nACGT,no\\nTTT,yes\\n")
        ...     task = Task(train=str(table), test=str(table))
        ...     tokenize_task(task, "csv", {"train": table, "test": table}, Path(folder, "task.safetensors"))
        ...     rows = read_task(Path(folder, "task.safetensors"))
        ...     rows.classes, rows.split("test").lengths.tolist()
        (['no', 'yes'], [4, 3])
    """
    tensors, metadata = read_arrays(path), read_metadata(path)
    if "splits" not in metadata:
        found = "another safetensors file; make it with tokenize-task"
        raise ConvNovaError(f"{path}: expected a tokenized task, found {found}")
    parts = {split: [np.asarray(tensors[f"{split}.{part}"]) for part in PARTS] for split in metadata["splits"]}
    splits = {split: TaskSplit(*arrays) for split, arrays in parts.items()}
    return TaskDataset(Path(path), metadata["kind"], metadata["classes"], splits, metadata)


def check_metric(metric: str, rows: Sequence[int], where: Path | str) -> None:
    """See that a metric is defined for the classes of a test split.

    Args:
        metric: one of `config.schema.Metric`.
        rows: test rows of each class.
        where: the file, for messages.

    Raises:
        ConvNovaError: it is not.
    """
    if metric == "f1_binary" and len(rows) != 2:
        raise ConvNovaError(f"{where}: metric = f1_binary: expected two classes, found {len(rows)}; take f1_macro")
    if metric in ("auroc", "auprc") and np.count_nonzero(rows) < 2:
        raise ConvNovaError(
            f"{where}: metric = {metric}: expected test rows of two classes or more, found those of one; "
            "take a test split that has them, or another metric"
        )
