"""Which rows train, which choose the epoch, which are scored."""

from pathlib import Path

import numpy as np
import pytest

from convnova.data.splits import folds_of, hold_out, split_rows
from convnova.data.task_dataset import TaskDataset, TaskSplit
from convnova.errors import ConvNovaError


def dataset(**rows: int) -> TaskDataset:
    """Rows of four bases by split; every second one is of class 1."""
    splits = {
        name: TaskSplit(np.zeros(4 * count, np.uint8), 4 * np.arange(count + 1), np.arange(count) % 2)
        for name, count in rows.items()
    }
    return TaskDataset(Path("task.safetensors"), "classes", ["a", "b"], splits, {})


@pytest.mark.parametrize(
    ("protocol", "rows"), [("heldout", (160, 40, 60)), ("released", (160, 60, 60)), ("cv", (144, 16, 60))]
)
def test_a_tasks_validation_rows_are_used_by_heldout_alone(protocol, rows):
    data = dataset(train=160, valid=40, test=60)
    splits = split_rows(data, protocol, 1)
    assert tuple(len(splits[name]) for name in ("train", "valid", "test")) == rows
    assert (
        splits["valid"].labels is data.split({"heldout": "valid", "released": "test", "cv": "train"}[protocol]).labels
    )


def test_each_of_ten_folds_chooses_once_and_no_test_row_is_trained_on():
    data = dataset(train=160, test=60)
    folds = [split_rows(data, "cv", fold) for fold in range(1, 11)]
    assert sorted(row for splits in folds for row in splits["valid"].rows) == list(range(160))
    for splits in folds:
        assert sorted([*splits["train"].rows, *splits["valid"].rows]) == list(range(160))
        assert np.bincount(splits["valid"].labels[splits["valid"].rows]).tolist() == [8, 8]
        assert all(splits[name].tokens is data.split("train").tokens for name in ("train", "valid"))
        assert splits["test"].tokens is data.split("test").tokens and len(splits["test"]) == 60


def test_held_out_rows_are_of_the_seed_and_at_most_max_length_bases_are_read():
    first, again, other = (split_rows(dataset(train=160, test=60), "heldout", seed, 3) for seed in (1, 1, 2))
    assert np.array_equal(first["valid"].rows, again["valid"].rows)
    assert not np.array_equal(first["valid"].rows, other["valid"].rows)
    assert (len(first["train"]), len(first["valid"])) == (144, 16)
    assert set(first["train"].lengths) == {3} and split_rows(dataset(train=9, test=9), "cv", 1)["test"].max_length == 4


@pytest.mark.parametrize(("protocol", "least"), [("heldout", 2), ("cv", 10)])
def test_too_few_training_rows_are_refused(protocol, least):
    with pytest.raises(ConvNovaError, match=rf"task.safetensors: .* {least} training rows, found 1"):
        split_rows(dataset(train=1, test=4), protocol, 5)


def test_hold_out_is_stratified_and_a_function_of_the_seed():
    labels = np.array([0] * 700 + [1] * 200 + [2] * 100)
    kept, held = hold_out(labels, 0.1, seed=3)
    assert np.bincount(labels[held]).tolist() == [70, 20, 10]
    assert sorted([*kept, *held]) == list(range(1000))
    assert (hold_out(labels, 0.1, seed=3)[1] == held).all()
    assert not (hold_out(labels, 0.1, seed=4)[1] == held).all()


def test_hold_out_of_few_rows_holds_out_one():
    kept, held = hold_out(np.array([0, 1, 1]), 0.1, seed=0)
    assert (len(kept), len(held)) == (2, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_hold_out_never_returns_a_row_twice(count):
    kept, held = hold_out(np.zeros(count), 0.1, seed=0)
    assert len(set(kept) & set(held)) == 0


def test_folds_partition_the_rows_evenly_in_every_class():
    labels = np.array([0] * 703 + [1] * 208 + [2] * 94)[np.random.default_rng(0).permutation(1005)]
    found = folds_of(labels)
    assert sorted(set(found)) == list(range(1, 11))
    assert set(np.bincount(found)[1:]) == {100, 101}
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=11)[1:]
        assert counts.max() - counts.min() <= 1
    assert (folds_of(labels) == found).all()
    assert (np.diff(np.flatnonzero(found == 1)) > 0).all() and not (found == np.arange(1005) % 10 + 1).all()
