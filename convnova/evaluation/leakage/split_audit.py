"""What is in a task's splits, and what one split tells about another: duplicates, overlaps, pretraining.

A test row that overlaps a train row is a place that the model has seen, whatever its label; the score then says less
about unseen places. Here are the numbers; `convnova.reporting.audit_table` says in words what they mean.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnova.data.dna import N, reverse_complement
from convnova.data.genome import SPLITS, read_genome, read_intervals
from convnova.data.intervals import overlap_fraction
from convnova.data.task_dataset import TaskDataset, TaskSplit, read_task
from convnova.evaluation.leakage import genome_search, kmer_index
from convnova.evaluation.leakage.kmer_index import Sequences
from convnova.files import write_json
from convnova.log import log
from convnova.randomness import generator

KMER = 21
"""Bases of a word for near duplicates: odd, so that none is its own reverse complement; by chance a word of test is
among 10^8 words of train once in 40,000 times; and word and row fit one 64-bit key."""

MIN_CONTAINMENT = 0.5
"""Share of a test row's words that one train row must have to be its near duplicate: that of two rows with 97% equal
bases throughout (0.97^21 = 0.53), or of two windows that overlap by a little more than half."""

SHARED_RUN = 100
"""Bases in a row, shared with a train row, that make an overlap: unrelated sequences do not have them in common."""

SAMPLED_BASES = 1 << 25
"""Of a test split with more bases than this, rows drawn at random are compared with train instead of all."""


@dataclass(frozen=True)
class Pretraining:
    """What models are pretrained on, and the files that say where the task's rows lie, if any do.

    Attributes:
        name, folder: of the genome.
        read: bases read of each interval, if not all (`coverage: first`).
        read_format, files: as of `convnova.evaluation.leakage.genome_search.known`; no files for a task on another
        genome.
    """

    name: str
    folder: Path
    read: int | None
    read_format: str
    files: Mapping[str, Path]


class Prints(NamedTuple):
    """Fingerprints of a split's rows, uint64 (n,) each: of the bases, of their reverse complement, of the labels."""

    forward: np.ndarray
    reverse: np.ndarray
    labels: np.ndarray


def write_audit(shard: Path, out: Path, pretraining: Pretraining | None = None, **about: Any) -> None:
    """Write what `audit` finds about a tokenized task as JSON, after `about`."""
    write_json(out, {**about, **audit(read_task(shard), pretraining)})


def audit(task: TaskDataset, pretraining: Pretraining | None = None) -> dict[str, Any]:
    """Every number of the audit of a task; None where the task cannot have one.

    Returns:
        splits: split to what `describe` finds, and `duplicates` within it.
        across: `test in train` and the like to the rows of the first that have exact duplicates in the second.
        near: test rows that overlap train rows, as `overlap` finds.
        pretraining: if that is given, test rows in each split's intervals, as `in_pretraining` finds.

    Raises:
        ConvNovaError: the tokenized genome is missing, or coordinates do not fit it.
    """
    prints = {name: _prints(task.split(name)) for name in SPLITS if name in task.splits}
    pairs = [("valid", "train"), ("test", "train"), ("test", "valid")]
    test = task.split("test")
    chosen = sample(test)
    rows = sequences(test, chosen)
    if len(rows) < len(test):
        log(f"test: {len(rows):,} of {len(test):,} rows, drawn at random, are compared with train")
    equal, reverse, *_ = duplicates(prints["test"], prints["train"])
    found: dict[str, Any] = {
        "kind": task.kind,
        "splits": {name: describe(task, name) | _count(task, duplicates(own)) for name, own in prints.items()},
        "across": {
            f"{one} in {other}": _count(task, duplicates(prints[one], prints[other]))
            for one, other in pairs
            if one in prints and other in prints
        },
        "overlap": overlap(rows, sequences(task.split("train")), (equal | reverse)[chosen]),
    }
    log(f"test: {found['overlap']['any']:,} of {len(rows):,} rows repeat or overlap train rows")
    if pretraining:
        found["pretraining"] = in_pretraining(rows, pretraining)
        log("test rows in pretraining: " + ", ".join(f"{key} {value}" for key, value in found["pretraining"].items()))
    return found


def describe(task: TaskDataset, name: str) -> dict[str, Any]:
    """Rows, lengths, bases, N and labels of one split.

    Returns:
        among others `classes`: rows of each class or, with a class a base, bases. Or `labels`, of many: how many
        there are, how many of them no row or every row has, and the least, median and largest share of rows.
    """
    split = task.split(name)
    lengths = split.lengths
    unknown = [
        np.add.reduceat(piece.tokens == N, piece.offsets[:-1], dtype=np.int64)
        for _, piece in kmer_index.pieces(sequences(split))
    ]
    each = np.concatenate(unknown)
    return {
        "rows": len(split),
        "bases": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "N": int(each.sum()),
        "other_letters": task.metadata["splits"][name]["others"],
        "rows_with_N": int(np.count_nonzero(each)),
        "all_N": int(np.count_nonzero(each == lengths)),
        **_balance(task, split),
    }


def _balance(task: TaskDataset, split: TaskSplit) -> dict[str, Any]:
    parts = (piece.tokens for _, piece in kmer_index.pieces(_labels(split)))
    if task.kind != "multilabel":
        counts = sum(np.bincount(part, minlength=len(task.classes)) for part in parts)
        return {"classes": dict(zip(task.classes, counts.tolist(), strict=True))}
    shares = sum(part.reshape(-1, split.labels.shape[1]).sum(axis=0, dtype=np.int64) for part in parts) / len(split)
    return {
        "labels": {
            "count": len(shares),
            "constant": int(np.count_nonzero((shares == 0) | (shares == 1))),
            "least_median_largest": [float(f(shares)) for f in (np.min, np.median, np.max)],
        }
    }


def sequences(split: TaskSplit, chosen: np.ndarray | None = None) -> Sequences:
    """The sequences of a split, or copies of some of its rows."""
    if chosen is None or len(chosen) == len(split):
        return Sequences(split.tokens, split.offsets)
    parts = [split.tokens[split.offsets[row] : split.offsets[row + 1]] for row in chosen]
    return Sequences(np.concatenate(parts), np.concatenate([[0], np.cumsum(split.lengths[chosen])]))


def _labels(split: TaskSplit) -> Sequences:
    """The labels of a split end to end, and where each row's begin."""
    if split.labels.dtype == np.int8:
        return Sequences(split.labels, split.offsets)
    flat = split.labels.reshape(-1)
    return Sequences(flat, np.arange(len(split) + 1) * (len(flat) // len(split)))


def sample(split: TaskSplit) -> np.ndarray:
    """The rows to compare with train, ascending: all, or so many at random as hold `SAMPLED_BASES` on average."""
    count = min(SAMPLED_BASES * len(split) // len(split.tokens), int(kmer_index.ROW))
    return np.sort(generator(0, "audit").permutation(len(split))[:count])


def _prints(split: TaskSplit) -> Prints:
    return Prints(_digests(sequences(split)), _digests(sequences(split), reverse=True), _digests(_labels(split)))


def _digests(rows: Sequences, reverse: bool = False) -> np.ndarray:
    """A 64-bit hash of every row; that any two of 5 million agree by chance happens once in 10^6 times."""
    found = []
    for _, piece in kmer_index.pieces(rows):
        flat, borders = piece
        if reverse:
            flat, borders = np.ascontiguousarray(reverse_complement(flat)), borders[-1] - borders
        content, ends = memoryview(flat).cast("B"), (borders * flat.itemsize).tolist()
        parts = (content[min(pair) : max(pair)] for pair in pairwise(ends))
        found += [hashlib.blake2b(part, digest_size=8).digest() for part in parts]
    return np.frombuffer(b"".join(found), np.uint64)


def duplicates(own: Prints, other: Prints | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which rows have an exact duplicate among the rows of another split, or among the others of their own split.

    Returns:
        four times bool (n,): a row of the same bases is there; none, but one of the reverse complement; and for
        either, whether such a row has another label.
    """
    known = own if other is None else other
    order = np.lexsort((known.labels, known.forward))
    bases, labels = known.forward[order], known.labels[order]

    def look_up(prints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        begin, end = (np.searchsorted(bases, prints, side=side) for side in ("left", "right"))
        first, last = labels.take(begin, mode="clip"), labels.take(end - 1, mode="clip")
        return end - begin, (end > begin) & ((first != own.labels) | (last != own.labels))

    (times, contrary), (reverse_times, reverse_contrary) = look_up(own.forward), look_up(own.reverse)
    equal = times > (other is None)
    reverse = (reverse_times > 0) & (own.reverse != own.forward) & ~equal
    return equal, reverse, contrary, reverse & reverse_contrary


def _count(task: TaskDataset, found: tuple[np.ndarray, ...]) -> dict[str, int | None]:
    """The numbers of duplicates; labels of bases are no contradiction on the other strand, so they are not compared."""
    keys = ("equal", "reverse", "equal_other_label", "reverse_other_label")
    counts: dict[str, int | None] = {key: int(mask.sum()) for key, mask in zip(keys, found, strict=True)}
    return counts | {"reverse_other_label": None} if task.kind == "per_base" else counts


def overlap(rows: Sequences, train: Sequences, exact: np.ndarray) -> dict[str, int]:
    """How many test rows overlap train rows, on either strand.

    Args:
        exact: bool (n,), which rows are known to have an exact duplicate in train.

    Returns:
        rows: how many were compared; without_kmers: of these, shorter than `KMER` or nearly all N.
        near_duplicates, nearly_contained: with `MIN_CONTAINMENT`, or 90%, of their words in one train row.
        stretch: with `SHARED_RUN` bases in a row in common with a train row.
        any: with an exact duplicate, a near duplicate or a stretch in train.
    """
    share = kmer_index.containment(rows, train, KMER, MIN_CONTAINMENT)
    stretch = kmer_index.sharing(rows, train, SHARED_RUN)
    masks = {
        "without_kmers": np.isnan(share),
        "near_duplicates": share >= MIN_CONTAINMENT,
        "nearly_contained": share >= 0.9,
        "shared_run": stretch,
        "any": exact | (share >= MIN_CONTAINMENT) | stretch,
    }
    return {"rows": len(rows), **{key: int(mask.sum()) for key, mask in masks.items()}}


def in_pretraining(rows: Sequences, pretraining: Pretraining) -> dict[str, Any]:
    """How many test rows lie, with half of their bases or more, in the intervals of each of pretraining's splits.

    Returns:
        by: `coordinates` if the task's files state where rows lie, `sequence` if they were looked for.
        rows, placed: how many were looked for, and how many are in the genome.
        train, valid, test: of these, in the intervals of that split; read: in what pretraining reads of train's.
    """
    genome = read_genome(pretraining.folder)
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    stated = (
        genome_search.stated_positions(pretraining.read_format, pretraining.files, lengths)
        if pretraining.files
        else None
    )
    found = genome_search.search(rows, genome) if stated is None else stated
    count = len(rows) if stated is None else len(stated)
    splits = read_intervals(pretraining.folder)
    if pretraining.read:
        splits["read"] = [part._replace(end=min(part.end, part.start + pretraining.read)) for part in splits["train"]]
    held = {name: int((overlap_fraction(found, parts, count) >= 0.5).sum()) for name, parts in splits.items()}
    return {
        "genome": pretraining.name,
        "by": "sequence" if stated is None else "coordinates",
        "rows": count,
        "placed": len({place.row for place in found}),
        "read": held.get("read", held["train"]),
        **{name: held.get(name, 0) for name in ("train", "valid", "test")},
    }
