"""Rows as a reader yields them, spelled out."""

import gzip

import numpy as np
import pytest

from convnova.config.schema import Task
from convnova.data.dna import decode, encode
from convnova.data.readers import SequenceRows, TaskFiles, reader_of
from convnova.errors import ConvNovaError

GENOME = {"chr1": encode("ACGTTGCANNAAGGCC")[0], "chrM": encode("TTTTCCCC")[0]}


def read(name, files, genome=None, scratch=None, **task) -> list[SequenceRows]:
    """All that the reader of a format yields."""
    kind = {"bend": "per_base", "deepsea": "multilabel"}.get(name, "classes")
    metric = "auroc" if kind == "multilabel" else "mcc"
    return list(reader_of(name)(TaskFiles(Task(kind=kind, metric=metric, **task), files, scratch, genome=genome)))


def refuse(message, name, files, genome=None, scratch=None) -> None:
    """A reader refuses the files in one line that has the message's parts."""
    with pytest.raises(ConvNovaError, match=message) as error:
        read(name, files, genome, scratch)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 2_000


def save(path, text: str):
    """Write a text, as gzip if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def spelled(parts: list[SequenceRows]) -> dict[str, list[tuple]]:
    """Split to the sequence and the label, or labels, of each row."""
    rows = {}
    for part in parts:
        ends = np.cumsum(part.lengths)[:-1]
        a_label_a_base = part.labels.dtype == np.int8
        labels = [row.tolist() for row in np.split(part.labels, ends)] if a_label_a_base else part.labels.tolist()
        texts = map(decode, np.split(part.tokens, ends))
        rows.setdefault(part.split, []).extend(zip(texts, labels, strict=True))
    return rows
