"""Which rows train, which choose the epoch, which are scored."""

from pathlib import Path

import numpy as np
import pytest

from convnova.data.splits import folds_of, hold_out, split_rows
from convnova.data.task_dataset import TaskDataset, TaskSplit
from convnova.errors import ConvNovaError


def dataset(**rows: int) -> TaskDataset:
    """Rows of four bases by split; every second one is of class 1."""
    splits = {}
    for name, count in rows.items():
        splits[name] = TaskSplit(np.zeros(4 * count, np.uint8), 4 * np.arange(count + 1), np.arange(count) % 2)
    return TaskDataset(Path("task.safetensors"), "classes", ["a", "b"], splits, {})


@pytest.mark.parametrize(
    ("protocol", "source", "rows"),
    [("heldout", "valid", (160, 40, 60)), ("released", "test", (160, 60, 60)), ("cv", "train", (144, 16, 60))],
)
def test_a_tasks_validation_rows_are_used_by_heldout_alone(protocol, source, rows):
    data = dataset(train=160, valid=40, test=60)
    splits = split_rows(data, protocol, 1)
    assert tuple(len(splits[name]) for name in ("train", "valid", "test")) == rows
    assert splits["valid"].labels is data.split(source).labels


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
    assert (hold_out(labels, 0.1, seed=3)[1] == held).all() and (hold_out(labels, 0.1, seed=4)[1] != held).any()


@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1, 1]])
def test_hold_out_of_few_rows_holds_out_one(labels):
    kept, held = hold_out(np.array(labels), 0.1, seed=0)
    assert len(held) == 1 and sorted([*kept, *held]) == list(range(len(labels)))


@pytest.mark.parametrize(("sizes", "counts"), [((100, 5), [10, 1]), ((5, 5), [1, 1]), ((4, 1, 2), [1, 0, 1])])
def test_hold_out_has_rows_of_every_class_that_can_spare_one(sizes, counts):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    _, held = hold_out(labels, 0.1, seed=0)
    assert np.bincount(labels[held], minlength=len(sizes)).tolist() == counts


def test_folds_partition_the_rows_evenly_in_every_class():
    labels = np.array([0] * 703 + [1] * 208 + [2] * 94)[np.random.default_rng(0).permutation(1005)]
    folds = folds_of(labels)
    assert sorted(set(folds)) == list(range(1, 11)) and set(np.bincount(folds)[1:]) == {100, 101}
    for label in range(3):
        assert np.ptp(np.bincount(folds[labels == label], minlength=11)[1:]) <= 1
    assert (folds_of(labels) == folds).all() and not (folds == np.arange(1005) % 10 + 1).all()
