"""k-mers shared by sequences, against sets of strings."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from dna_strings import kmers, opposite, random_rows, sequences

from convnova.data.dna import decode, encode
from convnova.data.task_dataset import Sequences
from convnova.evaluation.leakage import kmer_index


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces and blocks so small that every border between them is met."""
    monkeypatch.setattr(kmer_index, "PIECE", 50)
    monkeypatch.setattr(kmer_index, "BLOCK", 64)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 16, 21, 31, 32])
def test_a_kmer_of_up_to_32_bases_is_its_bases_two_bits_each(length):
    text = random_rows(np.random.default_rng(length), 1, 90, 90)[0]
    expected = [int("".join(str("ACGT".index(x)) for x in text[i : i + length]), 4) for i in range(91 - length)]
    assert kmer_index.codes(encode(text)[0], length).tolist() == expected


@pytest.mark.parametrize("length", [33, 48, 63, 64, 65, 100, 127, 129, 200])
def test_longer_kmers_have_the_same_code_if_and_only_if_they_are_equal(length):
    rng = np.random.default_rng(length)
    once = "".join(rng.choice(list("AC"), 150))
    text = once + "".join(rng.choice(list("ACGT"), 40)) + once * 3
    same = once[:31] + once[32:63] + once[31] + once[63:]  # 32-base blocks in another order are another kmer
    code = kmer_index.codes(encode(text + same)[0], length).tolist()
    spelled = [(text + same)[start : start + length] for start in range(len(code))]
    assert len(set(code)) == len(set(spelled)) == len(set(zip(code, spelled, strict=True)))


def test_kmers_that_differ_in_few_bases_or_in_the_order_of_their_parts_have_different_codes():
    """One base of the first 32 and up to two of the other 32; and 32-base parts in another order."""
    text = encode(random_rows(np.random.default_rng(11), 1, 128, 128)[0])[0]
    changes = list(itertools.product(range(32), (1, 2, 3)))
    pairs = [pair for pair in itertools.combinations(changes, 2) if pair[0][0] < pair[1][0]]
    other = np.repeat(text[None, :64], 1 + len(changes) + len(pairs), axis=0)
    for row, changed in zip(other, [(), *((change,) for change in changes), *pairs], strict=True):
        for place, change in changed:
            row[32 + place] = (row[32 + place] + change) % 4
    values = []
    for place, change in itertools.product((0, 15, 16, 31), (1, 2, 3)):
        first = (other[:, :32] + change * (np.arange(32) == place).astype(np.uint8)) % 4
        values.append(kmer_index.codes(np.hstack([first, other[:, 32:]]).ravel(), 64)[::64])
    assert len(np.unique(values)) == 12 * len(other)
    orders = [np.concatenate(parts) for parts in itertools.permutations(text.reshape(4, 32))]
    assert len({int(kmer_index.codes(order, 128)[0]) for order in orders}) == len(orders)


def test_kmers_leave_out_n_and_borders_and_do_not_know_strands(small_pieces):
    rows = random_rows(np.random.default_rng(1), 40, 1, 60, "ACGTACGTACGTN") + ["NNNNNNNNNNNNN", "ACGTACG"]
    code, row = kmer_index.canonical_kmers(sequences(rows), 7)
    expected = [(number, kmer) for number, text in enumerate(rows) for kmer in kmers(text, 7)]
    assert row.tolist() == [number for number, _ in expected]
    pairs = set(zip([kmer for _, kmer in expected], code.tolist(), strict=True))
    assert len(pairs) == len({kmer for kmer, _ in pairs}) == len({value for _, value in pairs})
    turned, _ = kmer_index.canonical_kmers(sequences([opposite(text) for text in rows]), 7)
    assert sorted(turned.tolist()) == sorted(code.tolist())


def test_pieces_are_all_sequences_in_order(small_pieces):
    rows = random_rows(np.random.default_rng(2), 30, 1, 40) + ["A" * 200]
    seen = list(kmer_index.pieces(sequences(rows)))
    spelled = [decode(piece.tokens[a:b]) for _, piece in seen for a, b in itertools.pairwise(piece.offsets)]
    assert spelled == rows
    assert [first for first, _ in seen] == np.cumsum([0, *[len(piece) for _, piece in seen]])[:-1].tolist()
    assert len(seen) > 10


def test_the_bloom_table_passes_all_that_it_was_made_of_and_little_else():
    random = np.random.default_rng(3).integers(0, 2**63, 200_000).astype(np.uint64)
    table = kmer_index.bloom_table(random[:1000], room=64)
    passed = kmer_index.maybe_members(random, table)
    assert passed[:1000].tolist() == list(range(1000))
    assert len(passed) < 1000 + 199_000 / 50


def test_sorted_unique():
    numbers = np.random.default_rng(4).integers(0, 50, 200)
    assert kmer_index.sorted_unique(numbers).tolist() == sorted(set(numbers.tolist()))
    assert not kmer_index.sorted_unique(numbers[:0]).size


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ([(0, 60)], 0.5),  # the first 60 of 100 bases have 40 of 80 k-mers
        ([(0, 59)], 0),
        ([(0, 100)], 1),
        ([(0, 55), (35, 85), (60, 100)], 0),  # halves in several train rows are no near duplicate
        ([(0, 90), "apart", (0, 60), (40, 100)], 70 / 80),  # the best of all rows counts
    ],
)
def test_containment_is_the_largest_share_in_one_row(train, expected, small_pieces):
    rng = np.random.default_rng(5)
    (text,), apart = (random_rows(rng, *sizes) for sizes in ((1, 100, 100), (9, 200, 200)))
    rows = [row for part in train for row in (apart if part == "apart" else [text[slice(*part)] + "N"])]
    for known in (rows, rows[::-1], [opposite(row) for row in rows]):
        assert kmer_index.containment(sequences([text]), sequences(known), 21, 0.5).tolist() == [expected]


def test_a_run_of_one_base_less_is_not_shared():
    (text,) = random_rows(np.random.default_rng(7), 1, 300, 300)
    train = sequences(["NT" + opposite(text[100:200]) + "NA"])
    queries = [text[:200], text[:199] + "N", text[100:], text[101:], text[100:200]]
    assert kmer_index.shares_kmer(sequences(queries), train, 100).tolist() == [True, False, True, False, True]


def test_rows_without_any_kmer():
    nothing, something = sequences(["ACGT", "NNNNNNNN"]), sequences(["ACGTACGTTT"])
    assert kmer_index.shares_kmer(nothing, something, 8).tolist() == [False, False]
    assert kmer_index.shares_kmer(something, nothing, 8).tolist() == [False]
    assert np.isnan(kmer_index.containment(nothing, something, 8, 0.5)).all()
    assert kmer_index.containment(something, nothing, 8, 0.5).tolist() == [0]


def test_more_train_rows_than_a_key_has_room_for():
    """A row's number has 22 bits; the twin stands beyond them, behind rows too short for a kmer."""
    (text,) = random_rows(np.random.default_rng(8), 1, 60, 60)
    short = np.zeros((1 << 22) + 100, np.uint8)
    twin, _ = encode(text)
    train = Sequences(np.concatenate([short, twin]), np.append(np.arange(len(short) + 1), len(short) + 60))
    assert kmer_index.containment(sequences([text, text[::-1]]), train, 21, 0.5).tolist() == [1, 0]


def mapped() -> int:
    """Kilobytes of mapped files in memory."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_pages_that_were_read_are_given_back(tmp_path):
    """Of 100 MB that are mapped and read, less than half stay."""
    (tmp_path / "tokens").write_bytes(bytes(100_000_000))
    rows = Sequences(np.asarray(np.memmap(tmp_path / "tokens", np.uint8, "r")), np.arange(0, 100_000_001, 1000))
    before = mapped()
    assert sum(int(piece.tokens.sum()) for _, piece in kmer_index.pieces(rows)) == 0
    assert mapped() - before < 50_000
