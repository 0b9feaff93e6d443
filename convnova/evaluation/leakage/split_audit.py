"""What is in a task's splits, and what one split gives away of another: duplicates, overlaps, pretraining.

A test row that overlaps a train row is a place of the genome that the model has seen, whatever its label; the score
then says less about unseen places. Here are the numbers; `convnova.reporting.audit_table` puts them into words.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnova.data.dna import N, reverse_complement
from convnova.data.genome import SPLITS, read_genome, read_intervals
from convnova.data.intervals import overlap_fraction
from convnova.data.task_dataset import Sequences, TaskDataset, TaskSplit
from convnova.evaluation.leakage import genome_search, kmer_index
from convnova.files import sha256_of_raw
from convnova.log import log
from convnova.randomness import generator

KMER = 21
"""Bases of a k-mer for near duplicates: odd, so that none is its own reverse complement; by chance a k-mer of test is
among 10^8 k-mers of train once in 40,000 times; and k-mer and row fit one 64-bit key."""

MIN_CONTAINMENT = 0.5
"""Share of a test row's k-mers that one train row must have to be its near duplicate: that of two rows with 97% equal
bases throughout (0.97^21 = 0.53), or of two windows that overlap by a little more than half."""

SHARED_RUN = 100
"""Bases in a row, shared with a train row, that make an overlap: unrelated sequences do not have them in common."""

SAMPLED_BASES = 1 << 25
"""Of a test split with more bases than this, rows drawn at random are compared with train instead of all."""


@dataclass(frozen=True)
class Pretraining:
    """What models are pretrained on, and the files that say where the task's rows lie, if any do.

    Attributes:
        name: of the genome.
        folder: of the tokenized genome.
        read: bases read of each interval, if not all (`coverage: first`).
        read_format: as of `convnova.evaluation.leakage.genome_search.stated_positions`.
        files: of the same; none for a task on another genome.
    """

    name: str
    folder: Path
    read: int | None
    read_format: str
    files: Mapping[str, Path]


class Fingerprints(NamedTuple):
    """Hashes of a split's rows, uint64 (n,) each: of the bases, of their reverse complement, of the labels."""

    forward: np.ndarray
    reverse: np.ndarray
    labels: np.ndarray


def audit(task: TaskDataset, pretraining: Pretraining | None = None) -> dict[str, Any]:
    """Every number of the audit of a task; None where the task cannot have one.

    Returns:
        splits: split to the results of `describe`, and of `duplicates` within it.
        across: `test in train` and the like to the rows of the first that have exact duplicates in the second.
        overlap: test rows that overlap train rows; see `overlap`. Variants have none of these but `describe`.
        read, skipped: rows that were read of each file, and what was passed over, as the tokenized task has them.
        pretraining: if that is given, test rows in each split's intervals; see `in_pretraining`.

    Raises:
        ConvNovaError: the tokenized genome is missing, or coordinates do not fit it.
    """
    splits = {name: task.split(name) for name in SPLITS if name in task.splits}
    result: dict[str, Any] = {"kind": task.kind, "read": task.metadata["read"], "skipped": task.metadata["skipped"]}
    if task.kind == "variants":
        result["splits"] = {name: describe(task, name) for name in splits}
        rows: Sequences = splits["test"]
    else:
        rows = _add_leaks(result, task, splits)
    if pretraining:
        result["pretraining"] = in_pretraining(rows, pretraining)
        counts = ", ".join(f"{key} {value}" for key, value in result["pretraining"].items())
        log(f"test rows in pretraining: {counts}")
    return result


def _add_leaks(result: dict[str, Any], task: TaskDataset, splits: dict[str, TaskSplit]) -> Sequences:
    """Add to a result what the splits have in common, and return the test rows that were compared."""
    prints = {
        name: Fingerprints(hashes_of_rows(split), hashes_of_rows(split, reverse=True), hashes_of_rows(_labels(split)))
        for name, split in splits.items()
    }
    test = splits["test"]
    sampled = sample(test)
    rows = sequences(test, sampled)
    if len(rows) < len(test):
        log(f"test: {len(rows):,} of {len(test):,} rows, drawn at random, are compared with train")
    equal, reverse, *_ = duplicates(prints["test"], prints["train"])
    result |= {
        "splits": {name: describe(task, name) | _count(task, duplicates(prints[name])) for name in splits},
        "across": {f"{b} in {a}": _count(task, duplicates(prints[b], prints[a])) for a, b in combinations(prints, 2)},
        "overlap": overlap(rows, sequences(splits["train"]), (equal | reverse)[sampled]),
    }
    log(f"test: {result['overlap']['any']:,} of {len(rows):,} rows repeat or overlap train rows")
    return rows


def describe(task: TaskDataset, name: str) -> dict[str, Any]:
    """Rows, lengths, bases, N and labels of one split.

    Returns:
        among others `classes`: rows of each class or, with a class a base, bases. Or `labels`, of many: how many
        there are, how many of them no row or every row has, and the least, median and largest share of rows. Or
        `numbers`: target to its least, mean, standard deviation and largest.
    """
    split = task.split(name)
    lengths = split.lengths
    pieces = (piece for _, piece in kmer_index.pieces(split))
    unknown = np.concatenate([np.add.reduceat(part.tokens == N, part.offsets[:-1], dtype=np.int64) for part in pieces])
    return {
        "rows": len(split),
        "bases": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "N": int(unknown.sum()),
        "other_letters": task.metadata["splits"][name]["others"],
        "longer": task.metadata["splits"][name]["longer"],
        "rows_with_N": int(np.count_nonzero(unknown)),
        "all_N": int(np.count_nonzero(unknown == lengths)),
        **_balance(task, split),
    }


def _balance(task: TaskDataset, split: TaskSplit) -> dict[str, Any]:
    """How often each class, or of many labels the rarest and the most frequent, is there."""
    if task.kind == "regression":
        targets = split.labels.reshape(-1, len(task.classes))
        columns = (targets.min(0), targets.mean(0), targets.std(0), targets.max(0))
        return {"numbers": dict(zip(task.classes, np.stack(columns, 1).tolist(), strict=True))}
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


def sequences(split: TaskSplit, only: np.ndarray | None = None) -> Sequences:
    """The sequences of a split, or copies of some of its rows."""
    if only is None or len(only) == len(split):
        return split
    parts = [split.tokens[split.offsets[row] : split.offsets[row + 1]] for row in only]
    return Sequences(np.concatenate(parts), np.concatenate([[0], np.cumsum(split.lengths[only])]))


def _labels(split: TaskSplit) -> Sequences:
    """The labels of a split end to end, and where each row's begin."""
    if split.labels.dtype == np.int8:  # a label a base
        return Sequences(split.labels, split.offsets)
    flat = split.labels.reshape(-1)
    return Sequences(flat, np.arange(len(split) + 1) * (len(flat) // len(split)))


def sample(split: TaskSplit) -> np.ndarray:
    """The rows to compare with train, ascending: all, or so many at random as have `SAMPLED_BASES` on average."""
    count = min(SAMPLED_BASES * len(split) // len(split.tokens), int(kmer_index.ROW))
    return np.sort(generator(0, "audit").permutation(len(split))[:count])


def hashes_of_rows(rows: Sequences, reverse: bool = False) -> np.ndarray:
    """A 64-bit hash of every row or of its reverse complement; any two of 5 million agree once in 10^6 times."""
    digests = []
    for _, piece in kmer_index.pieces(rows):
        flat, borders = piece.tokens, piece.offsets
        if reverse:
            flat, borders = np.ascontiguousarray(reverse_complement(flat)), borders[-1] - borders
        content, ends = memoryview(flat).cast("B"), (borders * flat.itemsize).tolist()
        digests += [hashlib.blake2b(content[min(p) : max(p)], digest_size=8).digest() for p in pairwise(ends)]
    return np.frombuffer(b"".join(digests), np.uint64)


def duplicates(
    split: Fingerprints, other: Fingerprints | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which rows of a split have an exact duplicate in another split or, without one, among the others of the split.

    Returns:
        four times bool (n,): a row of the same bases is there; none, but one of the reverse complement; and for
        either, whether such a row has another label.
    """
    known = split if other is None else other
    order = np.lexsort((known.labels, known.forward))
    bases, labels = known.forward[order], known.labels[order]

    def look_up(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many known rows have these bases, and whether one of them has another label: (n,) each."""
        begin, end = (np.searchsorted(bases, hashes, side=side) for side in ("left", "right"))
        # Equal bases are sorted by label: if all labels are the row's, the first and the last one are.
        first, last = labels.take(begin, mode="clip"), labels.take(end - 1, mode="clip")
        return end - begin, (end > begin) & ((first != split.labels) | (last != split.labels))

    (times, other_label), (reverse_times, reverse_other_label) = look_up(split.forward), look_up(split.reverse)
    equal = times > (other is None)  # within a split every row finds itself
    reverse = (reverse_times > 0) & (split.reverse != split.forward) & ~equal
    return equal, reverse, other_label, reverse & reverse_other_label


def _count(task: TaskDataset, masks: tuple[np.ndarray, ...]) -> dict[str, int | None]:
    """The numbers of duplicates. Labels of bases and bins are in another order on the other strand: not compared."""
    keys = ("equal", "reverse", "equal_other_label", "reverse_other_label")
    counts: dict[str, int | None] = {key: int(mask.sum()) for key, mask in zip(keys, masks, strict=True)}
    in_order = task.kind == "per_base"
    if task.kind == "regression":  # bins, unless there are as many numbers as names
        in_order = task.splits["train"].labels.shape[1] != task.outputs
    return counts | {"reverse_other_label": None} if in_order else counts


def overlap(rows: Sequences, train: Sequences, exact: np.ndarray) -> dict[str, int]:
    """How many test rows overlap train rows, on either strand.

    Args:
        rows: n test rows.
        train: the train rows.
        exact: bool (n,), which rows are known to have an exact duplicate in train.

    Returns:
        rows: how many were compared; without_kmers: of these, shorter than `KMER` or nearly all N.
        near_duplicates, nearly_contained: with `MIN_CONTAINMENT`, or 90%, of their k-mers in one train row.
        shared_run: with `SHARED_RUN` bases in a row in common with a train row.
        any: with an exact duplicate, a near duplicate or a shared run in train.
    """
    share = kmer_index.containment(rows, train, KMER, MIN_CONTAINMENT)
    shared_run = kmer_index.shares_kmer(rows, train, SHARED_RUN)
    near_duplicates = share >= MIN_CONTAINMENT
    masks = {
        "without_kmers": np.isnan(share),
        "near_duplicates": near_duplicates,
        "nearly_contained": share >= 0.9,
        "shared_run": shared_run,
        "any": exact | near_duplicates | shared_run,
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
    hits, by, count = None, "coordinates", len(rows)
    if pretraining.files:
        for path in pretraining.files.values():
            sha256_of_raw(path)
        hits = genome_search.stated_positions(pretraining.read_format, pretraining.files, lengths)
    if hits is None:
        hits, by = genome_search.search(rows, genome), "sequence"
    else:
        count = len(hits)
    splits = read_intervals(pretraining.folder)
    if length := pretraining.read:
        splits["read"] = [part._replace(end=min(part.end, part.start + length)) for part in splits["train"]]
    inside = {name: int((overlap_fraction(hits, parts, count) >= 0.5).sum()) for name, parts in splits.items()}
    inside.setdefault("read", inside["train"])
    placed = len({hit.row for hit in hits})
    return {"genome": pretraining.name, "by": by, "rows": count, "placed": placed} | {
        name: inside.get(name, 0) for name in ("read", "train", "valid", "test")
    }
