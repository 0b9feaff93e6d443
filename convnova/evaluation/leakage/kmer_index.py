"""k-mers of sequences, as 64-bit codes: which are shared, and by which rows.

Those of up to 32 bases are packed exactly, two bits a base; longer ones are hashed to 64 bits: among 10^8 k-mers of
train and 10^7 of test fewer than 10^-3 false matches are expected. A k-mer and its reverse complement have one
code, the smaller of the two. k-mers with an N, and k-mers over the border of two sequences, are left out.
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from convnova.data.dna import reverse_complement

PACKED = 32
"""Longest k-mer that 64 bits hold."""

PIECE = 1 << 16
"""Bases worked on at once: what a core's cache holds."""

BLOCK = 1 << 24
"""k-mers held at once, of those that may be shared, and pairs of rows counted at once."""

ROW_BITS = 22
ROW = np.uint64((1 << ROW_BITS) - 1)
"""A key is a k-mer of at most 21 bases and, in its low bits, a row."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Sequences(NamedTuple):
    """Tokens of all sequences end to end, uint8; where each begins and, last, where the last ends, int64."""

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


def pieces(sequences: Sequences) -> Iterator[tuple[int, Sequences]]:
    """Yield (number of the first, some consecutive sequences): about `PIECE` bases, at least one sequence."""
    tokens, offsets = sequences
    first, count = 0, len(sequences)
    while first < count:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + PIECE, side="right")) - 1)
        yield first, Sequences(tokens[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first])
        if offsets[first] // BLOCK != offsets[last] // BLOCK:
            _forget(tokens)
        first = last


def _forget(array: np.ndarray) -> None:
    """Give the pages of a memory-mapped array back, which otherwise count as this process's memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)


def codes(tokens: np.ndarray, length: int) -> np.ndarray:
    """The code of every window of `length` bases, on the strand given: uint8 (L,) to uint64 (L - length + 1,).

    An N counts as some base; `valid_starts` says which windows have none.
    """
    code, width = tokens & 3, 1
    for kind in (np.uint8, np.uint8, np.uint16, np.uint32, np.uint64):
        if 2 * width > length:
            break
        code = code.astype(kind, copy=False)
        code = code[:-width] << kind(2 * width) | code[width:]
        width *= 2
    code = code.astype(np.uint64, copy=False)
    if (rest := length - width) and length <= PACKED:
        return code[:-rest] << np.uint64(2 * rest) | code[rest:] & np.uint64((1 << 2 * rest) - 1)
    while rest := min(width, length - width):
        code = _joined(code[:-rest], code[rest:])
        width += rest
    return code


def _joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One hash of two: for either one fixed, different for each of the other."""
    mixed = left * MULTIPLIER
    mixed ^= mixed >> np.uint64(32)
    mixed *= MULTIPLIER
    mixed += right
    return mixed


def valid_starts(sequences: Sequences, length: int) -> np.ndarray:
    """Where the windows begin that lie within one sequence and have no N: int64 (n,), ascending."""
    tokens, offsets = sequences
    unknown = np.flatnonzero(tokens > 3)
    borders = sorted_unique(np.concatenate([offsets, unknown, unknown + 1]))
    room = np.repeat(borders[1:], np.diff(borders)) - np.arange(len(tokens))
    return np.flatnonzero(room >= length)


def canonical_kmers(sequences: Sequences, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all k-mers of the sequences, the same for both strands, uint64 (n,), and their rows, int64 (n,)."""
    tokens, offsets = sequences
    starts = valid_starts(sequences, length)
    if not starts.size:
        return np.empty(0, np.uint64), starts
    code = np.minimum(codes(tokens, length), codes(reverse_complement(tokens), length)[::-1])
    return code[starts], np.repeat(np.arange(len(sequences)), np.diff(offsets))[starts]


def _all_kmers(sequences: Sequences, length: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        (code, row + first) for first, piece in pieces(sequences) for code, row in [canonical_kmers(piece, length)]
    ]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def sorted_unique(values: np.ndarray) -> np.ndarray:
    """The integers, each once, ascending. (`numpy.unique` hashes them, which takes 30 times as long for millions.)"""
    ascending = np.sort(values)
    return ascending[np.diff(ascending, prepend=~ascending[:1]) != 0]


def bloom_table(code: np.ndarray, room: int = 8) -> np.ndarray:
    """A table, bool (2^n,), in which `maybe_members` looks codes up; `room` slots a code, as far as memory goes."""
    bits = min(max(10, (room * code.size).bit_length()), 28)
    table = np.zeros(1 << bits, bool)
    table[_slot(code, bits)] = True
    return table


def maybe_members(code: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Which codes may be among those that the table was made of, int64 (n,): all that are, and a few more."""
    return np.flatnonzero(table.take(_slot(code, table.size.bit_length() - 1)))


def _slot(code: np.ndarray, bits: int) -> np.ndarray:
    return ((code * MULTIPLIER) >> np.uint64(64 - bits)).view(np.int64)


def _blocks(sequences: Sequences, length: int, table: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the codes of the k-mers that pass the sieve and their rows, counted from a block's first one."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    held, begin = 0, 0
    for first, piece in pieces(sequences):
        if held >= BLOCK or first + len(piece) - begin > ROW:
            yield tuple(np.concatenate(arrays) for arrays in zip(*kept, strict=True))
            kept, held, begin = [], 0, first
        code, row = canonical_kmers(piece, length)
        chosen = maybe_members(code, table)
        kept.append((code[chosen], row[chosen] + (first - begin)))
        held += chosen.size
    yield tuple(np.concatenate(arrays) for arrays in zip(*kept, strict=True))


def sharing(queries: Sequences, references: Sequences, length: int) -> np.ndarray:
    """Which queries have `length` bases in a row in common with a reference, on either strand: bool (n,)."""
    code, row = _all_kmers(queries, length)
    found = np.zeros(len(queries), bool)
    if not code.size:
        return found
    needles = sorted_unique(code)
    table = bloom_table(needles)
    shared = [needles[is_member(needles, sorted_unique(block))] for block, _ in _blocks(references, length, table)]
    hits = sorted_unique(np.concatenate(shared))
    chosen = maybe_members(code, bloom_table(hits))
    order = chosen[np.argsort(code[chosen])]
    found[row[order[is_member(code[order], hits)]]] = True
    return found


def is_member(code: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which codes are known; both ascending, which makes the search fast."""
    if not known.size:
        return np.zeros(code.size, bool)
    return known[np.searchsorted(known, code).clip(max=known.size - 1)] == code


def containment(queries: Sequences, references: Sequences, length: int, least: float) -> np.ndarray:
    """The largest share of a query's distinct k-mers that one reference has, on either strand: float64 (n,).

    Exact where it is `least` or more; 0 where it is less, and NaN for a query without k-mers.

    Args:
        length: bases a k-mer, at most 21.
    """
    code, row = _all_kmers(queries, length)
    keys = _distinct(code, row)
    sizes = np.bincount(row_of(keys), minlength=len(queries))
    most = np.zeros(len(queries), np.int64)
    if keys.size:
        for block in _blocks(references, length, bloom_table(keys >> ROW_BITS)):
            _raise(most, keys, np.ceil(least * sizes), _distinct(*block))
    with np.errstate(invalid="ignore"):
        return most / sizes


def _distinct(code: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Keys of k-mers and rows, each once, ascending."""
    keys = code << np.uint64(ROW_BITS) | row.astype(np.uint64)
    return sorted_unique(keys)


def row_of(keys: np.ndarray) -> np.ndarray:
    """The rows of keys."""
    return (keys & ROW).view(np.int64)


def _raise(most: np.ndarray, keys: np.ndarray, needed: np.ndarray, block: np.ndarray) -> None:
    """Raise `most`, the largest number of k-mers shared with one reference, where `block` has a better one.

    Only rows with `needed` k-mers anywhere in the block, and more than their best so far, can have one.
    """
    begin = np.searchsorted(block, keys & ~ROW)
    times = np.searchsorted(block, keys | ROW, side="right") - begin
    present = np.flatnonzero(times)
    row = row_of(keys[present])
    shared = np.bincount(row, minlength=len(most))
    hopeful = (shared >= needed) & (shared > most)
    present, row = present[hopeful[row]], row[hopeful[row]]
    order = np.argsort(row, kind="stable")
    present, row = present[order], row[order]
    pairs = np.concatenate([[0], np.cumsum(times[present])])
    ends = np.flatnonzero(np.diff(row, append=-1)) + 1
    first = 0
    while first < present.size:
        last = ends[max(0, np.searchsorted(pairs[ends], pairs[first] + BLOCK, side="right") - 1)]
        last = max(last, ends[np.searchsorted(ends, first, side="right")])
        part = slice(first, last)
        best, of = _best(row[part], begin[present[part]], times[present[part]], block)
        most[of] = np.maximum(most[of], np.where(best >= needed[of], best, 0))
        first = last


def _best(row: np.ndarray, begin: np.ndarray, times: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each query row, how many k-mers it shares with the reference that has most of them; and the rows.

    Args:
        row, begin, times: of each k-mer, in the order of rows: its query row, and the part of `block`, keys of
            references, that has it.
    """
    place = np.repeat(begin - np.cumsum(times) + times, times) + np.arange(times.sum())
    pairs = (np.repeat(row, times).astype(np.uint64) << np.uint64(ROW_BITS)) | (block[place] & ROW)
    pairs.sort()
    borders = np.flatnonzero(np.diff(pairs, append=~pairs[-1:])) + 1
    counts, of = np.diff(borders, prepend=0), (pairs[borders - 1] >> np.uint64(ROW_BITS)).view(np.int64)
    firsts = np.flatnonzero(np.diff(of, prepend=-1))
    return np.maximum.reduceat(counts, firsts), of[firsts]
