"""A genome of training rows: known strings that hold held-out rows, repeat each other or stand alone."""

import random
from pathlib import Path

import numpy as np
import pytest

from convnova.data.dna import encode
from convnova.data.genome import read_genome, read_intervals, tokenize_genome
from convnova.data.task_dataset import TaskDataset, TaskSplit
from convnova.errors import ConvNovaError
from convnova.evaluation.leakage.unseen_rows import shares_bases, write_unseen_rows

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def dna(seed: int, length: int) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=length))


def task(**splits: list[str]) -> TaskDataset:
    """A tokenized task with these rows."""
    parts = {}
    for name, rows in splits.items():
        offsets = np.cumsum([0, *map(len, rows)])
        parts[name] = TaskSplit(encode("".join(rows))[0], offsets, np.zeros(len(rows), np.int64))
    return TaskDataset(Path("task"), "classes", ["0", "1"], parts, {})


def test_rows_of_any_task_that_hold_a_held_out_row_on_either_strand_are_left_out(tmp_path, capsys):
    test, valid, alone, twice = dna(1, 70), dna(2, 70), dna(3, 70), dna(4, 100)
    inside = dna(5, 40) + test + dna(6, 30)
    opposite = (dna(7, 10) + valid + dna(8, 20))[::-1].translate(COMPLEMENT)
    less = dna(9, 30) + test[:31] + dna(10, 30)  # a base fewer than what counts as shared
    many = [dna(seed, 60) for seed in range(100, 300)]
    tasks = {
        "gue.a": task(train=[alone, opposite, twice, *many], valid=[valid], test=[dna(11, 70)]),
        "gue.b": task(train=[inside, twice, less], test=[test]),
    }
    write_unseen_rows(tasks, tmp_path / "rows.fa")
    assert "gue.b: of 3 training rows 1 share 32 bases with a held-out row, 1 repeat another row, 1 are kept" in (
        capsys.readouterr().err
    )
    tokenize_genome(tmp_path / "rows.fa", tmp_path / "genome", tmp_path / "rows.bed")
    genome, intervals = read_genome(tmp_path / "genome"), read_intervals(tmp_path / "genome")
    found = {split: ["".join("ACGTN"[code] for code in genome[part.chrom][part.start : part.end]) for part in parts]
             for split, parts in intervals.items()}  # fmt: skip
    assert sorted(found["train"] + found["valid"]) == sorted([alone, twice, less, *many])
    assert 1 <= len(found["valid"]) <= 30


def test_rows_shorter_than_what_counts_as_shared_are_looked_for_whole():
    short, other = dna(1, 20), dna(2, 31)
    rows = task(test=[short, other[::-1].translate(COMPLEMENT), dna(3, 20), dna(4, 50)]).split("test")
    others = task(train=[other, short, short + dna(5, 10)]).split("train")
    assert shares_bases(rows, others).tolist() == [True, True, False, False]


def test_without_a_row_to_read_there_is_no_genome(tmp_path):
    row = dna(1, 70)
    with pytest.raises(ConvNovaError, match="gue.a: expected training rows"):
        write_unseen_rows({"gue.a": task(train=[row], test=[row])}, tmp_path / "rows.fa")
    assert not list(tmp_path.iterdir())
