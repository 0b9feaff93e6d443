"""The audit of a task, against sets and strings, made-up data with planted leaks, and real data."""

import csv
import gzip
import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dna_strings import kmers, mutated, opposite, random_rows, sequences

from convnova.cli.main import main
from convnova.data.genome import tokenize_genome
from convnova.data.task_dataset import TaskDataset, TaskSplit
from convnova.evaluation.leakage import kmer_index
from convnova.evaluation.leakage import split_audit as audit_module
from convnova.evaluation.leakage.split_audit import KMER, SHARED_RUN, audit, sample

Row = tuple[str, str]
"""Sequence and label."""
DUPLICATES = ("equal", "reverse", "equal_other_label", "reverse_other_label")


def dataset(kind: str = "classes", **splits: list[tuple[str, Any]]) -> TaskDataset:
    """A tokenized task of rows with a class, a class a base or several labels each."""
    names = sorted({label for rows in splits.values() for _, label in rows}) if kind == "classes" else list("012")
    tokenized = {}
    for split, rows in splits.items():
        joined = sequences([sequence for sequence, _ in rows])
        labels = [label for _, label in rows]
        if kind == "classes":
            labels = np.array([names.index(label) for label in labels])
        elif kind == "regression":
            labels, names = np.array(labels, float), names[: 1 if len(labels[0]) > 2 else len(labels[0])]
        else:
            labels = np.concatenate(labels).astype(np.int8) if kind == "per_base" else np.array(labels, np.uint8)
        tokenized[split] = TaskSplit(joined.tokens, joined.offsets, labels)
    of_split = {"others": 7, "longer": 2}
    header = {"splits": dict.fromkeys(splits, of_split), "read": {"a": 9}, "skipped": {"lines of a": 1}}
    return TaskDataset(Path("task.st"), kind, names, tokenized, header)


def duplicates_by_hand(rows: list[Row], known: list[Row], same: bool) -> dict[str, int]:
    """How many rows have duplicates among the known ones; `same`: both are one split, no row its own duplicate."""
    labels, counts = defaultdict(Counter), Counter(dict.fromkeys(DUPLICATES, 0))
    for sequence, label in known:
        labels[sequence][label] += 1
    for sequence, label in rows:
        others = set(labels[sequence] - Counter([label] if same else []))
        turned = set(labels[opposite(sequence)]) if sequence != opposite(sequence) and not others else set()
        for key, found in (("equal", others), ("reverse", turned)):
            counts[key] += bool(found)
            counts[f"{key}_other_label"] += bool(found - {label})
    return dict(counts)


def labelled(rng, sequences: list[str]) -> list[Row]:
    return [(sequence, str(rng.choice(["no", "yes"]))) for sequence in sequences]


@pytest.mark.parametrize("seed", range(4))
def test_duplicates_within_and_across_splits(seed):
    """Few short sequences over and over, palindromes and opposite strands among them, with labels at random."""
    rng = np.random.default_rng(seed)
    pool = random_rows(rng, 25, 4, 7) + ["ACGT", "AACGTT", "NNNN", "NNNNN", "ANCT"]
    pool += [opposite(sequence) for sequence in pool[:15]]
    splits = {
        name: labelled(rng, [str(rng.choice(pool)) for _ in range(count)] + ["GATTACA", "TGTAATC"][: count // 20])
        for name, count in (("train", 60), ("valid", 15), ("test", 25))
    }
    result = audit(dataset(**splits))
    for name, rows in splits.items():
        expected = duplicates_by_hand(rows, rows, same=True)
        assert {key: result["splits"][name][key] for key in expected} == expected
    pairs = [("valid", "train"), ("test", "train"), ("test", "valid")]
    across = {f"{a} in {b}": duplicates_by_hand(splits[a], splits[b], same=False) for a, b in pairs}
    assert result["across"] == across
    assert result["splits"]["train"]["equal"] > 0 and across["test in train"]["equal_other_label"] > 0


def test_what_a_split_holds():
    train = [("ACGTN", "a"), ("NNN", "b"), ("ACGNNC", "b"), ("aacc", "b")]
    task = dataset(train=train, test=[("ACG", "a"), ("NN", "a"), ("ACGTACGTT", "b")])
    splits = audit(task)["splits"]
    expected = {"rows": 4, "bases": 18, "shortest": 3, "median": 4.5, "longest": 6, "N": 6, "other_letters": 7}
    expected |= {"longer": 2, "rows_with_N": 3, "all_N": 1, "classes": {"a": 1, "b": 3}}
    assert {key: splits["train"][key] for key in expected} == expected
    expected = {"rows": 3, "median": 3.0, "N": 2, "rows_with_N": 1, "all_N": 1, "classes": {"a": 2, "b": 1}}
    assert {key: splits["test"][key] for key in expected} == expected


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_by_sets_of_kmers(seed, monkeypatch):
    """In pieces and blocks so small that every border between them is met."""
    monkeypatch.setattr(kmer_index, "PIECE", 50)
    monkeypatch.setattr(kmer_index, "BLOCK", 64)
    rng = np.random.default_rng(seed)
    train = random_rows(rng, 30, 100, 400) + ["ACGT" * 60, "N" * 200]
    test = random_rows(rng, 20, 15, 300) + ["N" * 200, "ACGT" * 30]
    for number, text in enumerate(train[:30]):
        test.append(mutated(rng, text if number % 2 else opposite(text), (0, 0.01, 0.02, 0.04)[number % 4]))
        test.append(random_rows(rng, 1, 80, 80)[0] + text[number : number + 90 + number])
    result = audit(dataset(train=labelled(rng, train), test=labelled(rng, test)))["overlap"]
    known, queries = ([set(kmers(text, KMER)) for text in rows] for rows in (train, test))
    share = np.array([max(len(row & other) for other in known) / len(row) if row else math.nan for row in queries])
    runs = {run for text in train for run in kmers(text, SHARED_RUN)}
    shared_run = np.array([not runs.isdisjoint(kmers(text, SHARED_RUN)) for text in test])
    equal = np.array([text in train or opposite(text) in train for text in test])
    masks = {"without_kmers": np.isnan(share), "near_duplicates": share >= 0.5, "nearly_contained": share >= 0.9}
    masks |= {"shared_run": shared_run, "any": (share >= 0.5) | shared_run | equal}
    assert result == {"rows": len(test), **{name: mask.sum() for name, mask in masks.items()}}
    assert 0 < result["nearly_contained"] < result["near_duplicates"] < result["any"] < len(test)
    assert result["any"] > result["shared_run"]


def test_a_large_test_split_is_sampled(monkeypatch):
    rng = np.random.default_rng(1)
    train = random_rows(rng, 50, 200, 200)
    task = dataset(train=labelled(rng, train), test=labelled(rng, train[:25] + random_rows(rng, 75, 200, 200)))
    assert sample(task.split("test")).tolist() == list(range(100))
    result = audit(task)
    assert result["overlap"]["any"] == 25 and (result["read"], result["skipped"]) == ({"a": 9}, {"lines of a": 1})
    monkeypatch.setattr(audit_module, "SAMPLED_BASES", 200 * 40)
    chosen = sample(task.split("test")).tolist()
    assert len(chosen) == len(set(chosen)) == 40 and chosen == sorted(chosen)
    result = audit(task)
    assert (result["overlap"]["rows"], result["overlap"]["any"]) == (40, sum(row < 25 for row in chosen))
    assert result["across"]["test in train"]["equal"] == 25


def test_labels_a_base():
    """Two test rows overlap train: one is a train row with other labels, one has the last 200 bases of another."""
    (text,) = random_rows(np.random.default_rng(2), 1, 3000, 3000)
    cuts = [[(0, 400), (500, 900)], [(0, 400), (700, 1000), (2000, 2300)]]
    train, test = ([(text[a:b], np.arange(a, b) % 3) for a, b in of_split] for of_split in cuts)
    test[0] = (test[0][0], np.zeros(400))
    result = audit(dataset("per_base", train=train, test=test))
    assert result["splits"]["train"]["classes"] == {"0": 134 + 133, "1": 133 + 133, "2": 133 + 134}
    assert result["across"]["test in train"] == dict(zip(DUPLICATES, (1, 0, 1, None), strict=True))
    assert [result["overlap"][key] for key in ("near_duplicates", "shared_run", "any")] == [2, 2, 2]


def test_many_labels():
    """Opposite strands in train, as in the real bundle; label 0 is the same in all test rows, label 2 in train."""
    rows = random_rows(np.random.default_rng(3), 6, 50, 50)
    train = [(rows[0], [1, 0, 1]), (rows[1], [0, 1, 1]), (opposite(rows[0]), [1, 0, 1]), (opposite(rows[1]), [0, 1, 1])]
    test = [(rows[0], [0, 1, 1]), (rows[1], [0, 1, 1]), (rows[4], [0, 0, 0]), (rows[5], [0, 0, 1])]
    result = audit(dataset("multilabel", train=train, test=test))
    assert result["splits"]["train"]["labels"] == {"count": 3, "constant": 1, "least_median_largest": [0.5, 0.5, 1]}
    assert result["splits"]["test"]["labels"] == {"count": 3, "constant": 1, "least_median_largest": [0, 0.5, 0.75]}
    assert [result["splits"]["train"][key] for key in DUPLICATES] == [0, 4, 0, 0]
    assert [result["across"]["test in train"][key] for key in DUPLICATES] == [2, 0, 1, 0]


@pytest.fixture
def own_run(tmp_path, monkeypatch) -> Path:
    """A config, a genome with intervals for pretraining, tasks: intervals on it, sequences, intervals elsewhere."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    (text,) = random_rows(np.random.default_rng(4), 1, 6000, 6000)
    (tmp_path / "genome.fa").write_text(f">chr1\n{text}\n")
    (tmp_path / "genome.bed").write_text("chr1\t0\t3000\ttrain\nchr1\t3000\t4000\tvalid\nchr1\t4000\t5000\ttest\n")
    cuts = {"train": range(0, 1000, 100), "test": (950, 1500, 2900, 3500, 4100, 4980, 5500)}
    for split, starts in cuts.items():
        intervals, table = "", "sequence,label\n"
        for number, start in enumerate(starts):
            row = text[start : start + 200]
            intervals += f"chr1\t{start}\t{start + 200}\t{number % 2}\n"
            table += f"{row if start % 3 else opposite(row)},{number % 2}\n"
        (tmp_path / f"{split}.bed").write_text(intervals)
        (tmp_path / f"{split}.csv").write_text(table)
    tasks = {form: {"one": {split: str(tmp_path / f"{split}.{form}") for split in cuts}} for form in ("bed", "csv")}
    genome = {"fasta": str(tmp_path / "genome.fa"), "bed": str(tmp_path / "genome.bed")}
    suites = {
        "by_place": {"format": "bed", "genome": genome, "tasks": tasks["bed"]},
        "by_letters": {"format": "csv", "tasks": tasks["csv"]},
        "elsewhere": {"format": "bed", "genome": genome["fasta"], "tasks": tasks["bed"]},
    }
    pretrain = {"coverage": "first", "length": 1600}
    config = {"run": "own", "genome": genome, "models": ["convnova"], "pretrain": pretrain, "suites": suites}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    return tmp_path


def command(name: str, folder: Path, *words: str) -> int:
    return main([name, "--config", str(folder / "own.yaml"), *map(str, words)])


@pytest.mark.parametrize(
    ("suite", "form", "by"),
    [("by_place", "bed", "coordinates"), ("by_letters", "csv", "sequence"), ("elsewhere", "bed", "sequence")],
)
def test_the_command(own_run, suite, form, by):
    """Rows of 200 from 950, 1500, 2900, 3500, 4100, 4980 and 5500; pretraining reads the first 1,600 of 3,000 bases."""
    genome, dataset, out = own_run / "genome", own_run / "task.st", own_run / "audit.json"
    tokenize_genome(own_run / "genome.fa", genome, own_run / "genome.bed")
    files = [f"{split}={own_run / split}.{form}" for split in ("train", "test")]
    files += [f"genome={genome}/genome.safetensors"] if form == "bed" else []
    task = ("--task", f"{suite}/one")
    assert command("tokenize-task", own_run, *task, "--out", dataset, *files) == 0
    assert command("audit", own_run, *task, "--dataset", dataset, "--genome", genome, "--out", out, *files) == 0
    result = json.loads(out.read_text())
    assert (result["suite"], result["task"], result["overlap"]["any"]) == (suite, "one", 1)
    counts = {"rows": 7, "placed": 7, "read": 2, "train": 3, "valid": 2, "test": 1}
    assert result["pretraining"] == {"genome": "genome", "by": by, **counts}
    assert command("audit", own_run, *task, "--dataset", dataset, "--out", out) == 0
    assert "pretraining" not in json.loads(out.read_text())


def real_rows(folder: Path, split: str) -> list[Row]:
    if (folder / f"{split}.csv.gz").exists():
        with gzip.open(folder / f"{split}.csv.gz", "rt") as file:
            return [(line["sequence"], line["label"]) for line in csv.DictReader(file)]
    rows = []
    for label in ("strong", "weak", "non"):
        records = (folder / f"{split}_{label}_enhancers.txt").read_text().split(">")[1:]
        rows += [(record.split("\n", 1)[1].replace("\n", "").upper(), label) for record in records]
    return rows


@pytest.mark.parametrize(
    ("name", "train", "equal", "overlap"),
    [
        ("gue_promoter/prom_300_tata", "train", 6, (18, 37)), ("enhancers_liu2016", "train", 100, (100, 101)),
        ("gue_emp_yeast_histone/H3", "dev", 0, (90, 164)),
    ],
)  # fmt: skip
def test_real_data(shared, name, train, equal, overlap):
    """All strong enhancers of the test set of Liu 2016 stand among the strong ones of its training set."""
    rows = {split: real_rows(shared / "data" / name, file) for split, file in (("train", train), ("test", "test"))}
    result = audit(dataset(**rows))
    assert result["across"]["test in train"] == duplicates_by_hand(rows["test"], rows["train"], same=False)
    assert result["across"]["test in train"]["equal"] == equal
    assert (result["overlap"]["near_duplicates"], result["overlap"]["shared_run"]) == overlap


def test_numbers_are_described_and_bins_of_the_other_strand_are_not_compared():
    rows = [("ACGTTGCAGGAC", [1.0, -2.0]), ("TTTTCAGCATTA", [4.0, 0.5])]
    opposite_row = (opposite(rows[0][0]), [1.0, 7.0])
    found = audit(dataset("regression", train=rows, test=[rows[0], opposite_row]))
    assert found["splits"]["train"]["numbers"] == {"0": [1.0, 2.5, 1.5, 4.0], "1": [-2.0, -0.75, 1.25, 0.5]}
    across = found["across"]["test in train"]
    assert (across["equal"], across["reverse"], across["reverse_other_label"]) == (1, 1, 1)
    bins = [(sequence, [*numbers, 3.0]) for sequence, numbers in [*rows, opposite_row]]
    found = audit(dataset("regression", train=bins[:2], test=bins[2:]))
    assert found["splits"]["train"]["numbers"] == {
        "0": [-2.0, pytest.approx(np.mean([1, -2, 3, 4, 0.5, 3])), pytest.approx(np.std([1, -2, 3, 4, 0.5, 3])), 4.0]
    }
    assert found["across"]["test in train"]["reverse_other_label"] is None
