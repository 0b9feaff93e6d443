from dataclasses import replace

import numpy as np
import pytest
import torch

from convnova.data import batches
from convnova.data.batches import IGNORE_INDEX, Batch, LabelledSequences, Padding, collate, rows_of_step
from convnova.data.dna import encode
from convnova.randomness import order


def labelled(sequences, labels, kind="classes", rows=None, max_length=1000):
    tokens = np.concatenate([encode(sequence)[0] for sequence in sequences])
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])])
    rows = np.arange(len(sequences)) if rows is None else np.array(rows)
    return LabelledSequences(tokens, offsets, np.array(labels), kind, rows, max_length)


def test_an_epoch_reads_every_row_once():
    data = labelled(["A" * (row % 7 + 1) for row in range(1003)], np.zeros(1003))
    steps = [rows_of_step(data, 8, seed=1, epoch=0, step=place) for place in range(126)]
    assert sorted(np.concatenate(steps)) == list(range(1003))
    assert [len(step) for step in steps] == [8] * 125 + [3]
    assert (rows_of_step(data, 8, seed=1, epoch=0, step=5) == steps[5]).all()
    assert not (rows_of_step(data, 8, seed=1, epoch=1, step=5) == steps[5]).all()


def test_batches_have_the_shares_of_classes_of_chance_also_where_classes_differ_in_length():
    """The deviation of a share among 32 draws of two classes is 0.5 / sqrt(32); of batches of one class it is 0.5."""
    labels = np.arange(6400) % 2
    data = labelled(["A" * (10 + 5 * label) for label in labels], labels)
    shares = [labels[rows_of_step(data, 32, seed=1, epoch=0, step=step)].mean() for step in range(200)]
    assert np.std(shares) == pytest.approx(0.5 / np.sqrt(32), rel=0.2)


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    orders = [order(50, seed, epoch).tolist() for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4 and all(sorted(one) == list(range(50)) for one in orders)


def letters(batch):
    """Padding that is masked out is a dot."""
    return ["".join("ACGTN."[token] for token in row) for row in batch.tokens.tolist()]


@pytest.mark.parametrize(
    "padding, lines",
    [
        (Padding(), ["GG..", "ACGT"]),
        (Padding(to=5, counted=True), ["GGNNN", "ACGTN"]),
        (Padding(to=5, counted=True, left=True), ["NNNGG", "NACGT"]),  # as released
    ],
)
def test_padding(padding, lines):
    batch = collate(labelled(["ACGT", "GG", "TTT"], [1, 0, 1]), np.array([1, 0]), padding)
    assert letters(batch) == lines and (batch.targets.tolist(), batch.count, batch.rows) == ([0, 1], 2, "1, 0")


def test_labels_of_bases_follow_their_bases():
    data = labelled(["ACGT", "GG"], [0, 1, 2, 3, 7, 8], kind="per_base")
    right = collate(data, np.array([0, 1]), Padding())
    assert right.targets.tolist() == [[0, 1, 2, 3], [7, 8, IGNORE_INDEX, IGNORE_INDEX]]
    left = collate(data, np.array([0, 1]), Padding(counted=True, left=True))
    assert left.targets.tolist() == [[0, 1, 2, 3], [IGNORE_INDEX, IGNORE_INDEX, 7, 8]]
    assert right.count == left.count == 6


def test_rows_of_a_part_are_rows_of_the_split_and_only_their_first_bases_are_read():
    data = labelled(["AAA", "CC", "GGG", "TTTACG"], [0, 1, 2, 3], rows=[3, 1], max_length=4)
    batch = collate(data, np.array([0, 1]), Padding())
    assert batch.targets.tolist() == [3, 1] and letters(batch) == ["TTTA", "CC.."]


def test_many_rows_are_named_in_part():
    assert batches.name_rows(np.arange(128)).endswith("126, 127")
    assert batches.name_rows(np.arange(130)).endswith("126, 127 and 2 more")


@pytest.mark.parametrize("padding", [Padding(), Padding(8, counted=True, left=True), Padding(8, counted=True)])
def test_either_strand_is_the_sequence_or_its_reverse_complement(padding):
    opposite = {"AACGT": "ACGTT", "ACC": "GGT", "GATTACA": "TGTAATC", "TTTT": "AAAA"}
    forward = list(opposite) * 50
    data = labelled(forward, [0] * 200)
    before = collate(data, np.arange(200), padding)
    after, again, other = (
        replace(before, tokens=batches.augment_reverse_complement(before.tokens, data.lengths, padding, 1, step))
        for step in (7, 7, 8)
    )
    rows = [row.strip("N.") for row in letters(after)]
    assert all(row in (sequence, opposite[sequence]) for row, sequence in zip(rows, forward, strict=True))
    assert 70 < sum(row != sequence for row, sequence in zip(rows, forward, strict=True)) < 130
    assert ((before.tokens > 3) == (after.tokens > 3)).all()
    assert (again.tokens == after.tokens).all() and not (other.tokens == after.tokens).all()


def with_positions(rows: int, every: int) -> Batch:
    """Rows of four tokens, their number in the batch; every so many of them is a target, its number plus 100."""
    tokens = torch.arange(rows * 4).view(rows, 4)
    positions = torch.arange(0, rows * 4, every)
    return Batch(tokens, positions + 100, len(positions), positions, "rows")


@pytest.mark.parametrize("every, size", [(3, 2), (1, 3), (7, 1), (5, 5)])
def test_parts_of_a_batch_have_its_rows_and_targets_in_order(every, size):
    batch = with_positions(5, every)
    parts = list(batch.split(size))
    assert [len(part.tokens) for part in parts] == [size] * (5 // size) + [5 % size] * (5 % size > 0)
    assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
    for part in parts:
        assert torch.equal(part.tokens.flatten()[part.target_positions] + 100, part.targets)
        assert part.count == batch.count and part.rows == "rows"
    assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
    assert [part.targets.tolist() for part in Batch(batch.tokens, torch.arange(5), 5).split(3)] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("rows, world", [(13, 2), (8, 3), (1, 4), (5, 4)])
def test_processes_share_a_batch_without_rest(rows, world):
    batch = with_positions(rows, 3)
    shares = [batch.rows_for_rank(rank, world) for rank in range(world)]
    counted = [share for share in shares if share.count]
    assert torch.equal(torch.cat([share.tokens for share in counted]), batch.tokens)
    assert torch.equal(torch.cat([share.targets for share in counted]), batch.targets)
    assert all(len(share.tokens) for share in shares) and {share.count for share in counted} == {batch.count}
