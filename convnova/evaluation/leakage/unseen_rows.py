"""The training rows of a run's tasks as a genome to pretrain on, without those that hold anything of held-out rows.

Tasks of one suite overlap: a core promoter of one lies inside a promoter of another, and rows are dealt out anew. So a
row is left out if it has `SHARED` bases in a row, or all of its own, in common with a validation or test row of any
task, on either strand.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convnova.data.dna import decode
from convnova.data.task_dataset import Sequences, TaskDataset
from convnova.errors import ConvNovaError
from convnova.evaluation.leakage.kmer_index import shares_kmer
from convnova.evaluation.leakage.split_audit import hashes_of_rows
from convnova.files import write_text
from convnova.log import log
from convnova.randomness import generator

SHARED = 32
"""Bases: fewer than half of the shortest rows of GUE, and too many to be shared by chance."""
VALID_SHARE = 0.05
"""Share of the rows that are kept from pretraining, for its own validation."""


def shares_bases(rows: Sequences, others: Sequences) -> np.ndarray:
    """Which rows have `SHARED` bases in a row, or all of theirs, in common with another one, on either strand: (n,)."""
    known = hashes_of_rows(others)
    repeats = np.isin(hashes_of_rows(rows), known) | np.isin(hashes_of_rows(rows, reverse=True), known)
    return repeats | shares_kmer(rows, others, SHARED)


def write_unseen_rows(tasks: Mapping[str, TaskDataset], out: Path) -> None:
    """Write `out`, a FASTA with a record a task, and beside it `.bed`, an interval a row; rows stand apart by an N.

    A sequence that several rows have is written once. How many rows each task has, and how many are left out and why,
    is logged.

    Args:
        tasks: name to tokenized task, of sequences with labels.
        out: the FASTA file.

    Raises:
        ConvNovaError: no row is left.
    """
    held_out = [task.split(name) for task in tasks.values() for name in ("valid", "test") if name in task.splits]
    written: set[str] = set()
    records, intervals = [], []
    for name, task in tasks.items():
        train = task.split("train")
        is_seen = np.any([shares_bases(train, rows) for rows in held_out], axis=0)
        bases = decode(train.tokens)
        unseen = [bases[train.offsets[row] : train.offsets[row + 1]] for row in np.flatnonzero(~is_seen)]
        rows = [row for row in dict.fromkeys(unseen) if row not in written]
        written.update(rows)
        log(
            f"{name}: of {len(train):,} training rows {is_seen.sum():,} share {SHARED} bases with a held-out row, "
            f"{len(unseen) - len(rows):,} repeat another row, {len(rows):,} are kept"
        )
        ends = np.cumsum([len(row) + 1 for row in rows]) - 1
        is_valid = generator(0, "pretraining rows", len(records)).random(len(rows)) < VALID_SHARE
        if rows:
            records.append(f">{name}\n{'N'.join(rows)}\n")
        for row, end, valid in zip(rows, ends, is_valid, strict=True):
            intervals.append(f"{name}\t{end - len(row)}\t{end}\t{'valid' if valid else 'train'}\n")
    if not records:
        raise ConvNovaError(f"{', '.join(tasks)}: expected training rows unlike all held-out rows, found none")
    write_text(out, "".join(records))
    write_text(out.with_suffix(".bed"), "".join(intervals))
