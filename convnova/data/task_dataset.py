"""A tokenized task, read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from convnova.data.array_file import read_arrays, read_metadata
from convnova.errors import ConvNovaError


@dataclass(frozen=True)
class TaskSplit:
    """One split of a task, memory-mapped.

    Attributes:
        tokens: uint8, all sequences end to end; row i is `tokens[offsets[i]:offsets[i + 1]]`.
        offsets: int64 (n + 1,).
        labels: class ids, int64 (n,); 0 and 1, uint8 (n, labels); or a class id a base, int8 like `tokens`.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Bases of each row, int64 (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TaskDataset:
    """A task that `convnova.data.prepare_task.tokenize_task` wrote.

    Attributes:
        path: the file.
        kind: what is predicted, one of `config.schema.Kind`.
        classes: names in the order of their ids; None for a task of many labels that gives them no names.
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


def read_task(path: Path) -> TaskDataset:
    """Open a tokenized task at no cost in memory.

    Raises:
        ConvNovaError: the file is missing, or is no tokenized task.
    """
    tensors, metadata = read_arrays(path), read_metadata(path)
    if "splits" not in metadata:
        raise ConvNovaError(
            f"{path}: expected a tokenized task, found another safetensors file; make it with tokenize-task"
        )
    splits = {
        split: TaskSplit(*(np.asarray(tensors[f"{split}.{part}"]) for part in ("tokens", "offsets", "labels")))
        for split in metadata["splits"]
    }
    return TaskDataset(Path(path), metadata["kind"], metadata["classes"], splits, metadata)
