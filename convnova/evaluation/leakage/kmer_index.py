"""k-mers of sequences, as 64-bit codes: which are shared, and by which rows.

k-mers of up to 32 bases are packed exactly, two bits a base. Longer ones are hashed to 64 bits: among 10^8 k-mers of
train and 10^7 of test fewer than 10^-3 false matches are expected. A k-mer and its reverse complement have one
code, the smaller of the two. k-mers with an N, and k-mers over the border of two sequences, are left out.
"""

import mmap
from collections.abc import Iterable, Iterator

import numpy as np

from convnova.data.dna import reverse_complement
from convnova.data.task_dataset import Sequences

PACKED = 32
"""Longest k-mer that 64 bits hold."""

PIECE = 1 << 16
"""Bases worked on at once: what a core's cache holds."""

BLOCK = 1 << 24
"""k-mers in memory at once, of those that may be shared, and pairs of rows counted at once."""

ROW_BITS = 22
ROW = np.uint64((1 << ROW_BITS) - 1)
"""A key is a k-mer of at most 21 bases and, in its low bits, a row."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def pieces(sequences: Sequences) -> Iterator[tuple[int, Sequences]]:
    """Yield (number of the first, some consecutive sequences): about `PIECE` bases, at least one sequence."""
    tokens, offsets = sequences.tokens, sequences.offsets
    first, count = 0, len(sequences)
    while first < count:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + PIECE, side="right")) - 1)
        yield first, Sequences(tokens[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first])
        if offsets[first] // BLOCK != offsets[last] // BLOCK:
            _release_pages(tokens)
        first = last


def _release_pages(array: np.ndarray) -> None:
    """Give the pages of a memory-mapped array back, which otherwise count as this process's memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)


def concatenated(parts: Iterable[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Tuples of arrays as one tuple: all of the first arrays end to end, all of the second, and so on."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def codes(tokens: np.ndarray, length: int) -> np.ndarray:
    """The code of every window of `length` bases, on the strand given: uint8 (L,) to uint64 (L - length + 1,).

    An N counts as some base; `valid_starts` says which windows have none.
    """
    code, width = tokens & 3, 1
    # Windows are doubled in width: a code of 2 w bases is that of the first w bases and that of the w after them.
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
        # A hash of two halves that, with either of them fixed, differs for each value of the other.
        mixed = code[:-rest] * MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
        mixed *= MULTIPLIER
        mixed += code[rest:]
        code, width = mixed, width + rest
    return code


def valid_starts(sequences: Sequences, length: int) -> np.ndarray:
    """Where the windows begin that lie within one sequence and have no N: int64 (n,), ascending."""
    tokens, offsets = sequences.tokens, sequences.offsets
    unknown = np.flatnonzero(tokens > 3)
    borders = sorted_unique(np.concatenate([offsets, unknown, unknown + 1]))
    bases_left = np.repeat(borders[1:], np.diff(borders)) - np.arange(len(tokens))
    return np.flatnonzero(bases_left >= length)


def canonical_kmers(sequences: Sequences, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all k-mers of the sequences, the same for both strands, uint64 (n,), and their rows, int64 (n,)."""
    parts = [(np.empty(0, np.uint64), np.empty(0, np.int64))]
    for first, piece in pieces(sequences):
        starts = valid_starts(piece, length)
        if starts.size:
            code = np.minimum(codes(piece.tokens, length), codes(reverse_complement(piece.tokens), length)[::-1])
            row = np.repeat(np.arange(first, first + len(piece)), np.diff(piece.offsets))
            parts.append((code[starts], row[starts]))
    return concatenated(parts)


def sorted_unique(values: np.ndarray) -> np.ndarray:
    """The integers, each once, ascending. (`numpy.unique` hashes them, which takes 30 times as long for millions.)"""
    ascending = np.sort(values)
    return ascending[np.diff(ascending, prepend=~ascending[:1]) != 0]


def is_member(code: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which codes are among the known ones, bool (n,); both ascending, which makes the search fast."""
    if not known.size:
        return np.zeros(code.size, bool)
    return known[np.searchsorted(known, code).clip(max=known.size - 1)] == code


def ranges(begin: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The integers from each of `begin` (n,), as many as `times` (n,) says, end to end: int64 (sum of times,)."""
    return np.repeat(begin - np.cumsum(times) + times, times) + np.arange(times.sum())


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
    """Yield the codes of the k-mers that may be in the table and their rows, counted from a block's first one."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    size, begin = 0, 0
    for first, piece in pieces(sequences):
        if size >= BLOCK or first + len(piece) - begin > ROW:
            yield concatenated(parts)
            parts, size, begin = [], 0, first
        code, row = canonical_kmers(piece, length)
        candidates = maybe_members(code, table)
        parts.append((code[candidates], row[candidates] + (first - begin)))
        size += candidates.size
    yield concatenated(parts)


def shares_kmer(queries: Sequences, references: Sequences, length: int) -> np.ndarray:
    """Which queries have `length` bases in a row in common with a reference, on either strand.

    Args:
        queries: n sequences.
        references: the sequences to compare with.
        length: bases a k-mer.

    Returns:
        bool (n,).
    """
    code, row = canonical_kmers(queries, length)
    shared = np.zeros(len(queries), bool)
    if code.size:
        known = sorted_unique(code)
        blocks = _blocks(references, length, bloom_table(known))
        hits = sorted_unique(np.concatenate([known[is_member(known, sorted_unique(block))] for block, _ in blocks]))
        candidates = maybe_members(code, bloom_table(hits))
        candidates = candidates[np.argsort(code[candidates])]
        shared[row[candidates[is_member(code[candidates], hits)]]] = True
    return shared


def containment(queries: Sequences, references: Sequences, length: int, least: float) -> np.ndarray:
    """The largest share of a query's distinct k-mers that one reference has, on either strand.

    Args:
        queries: n sequences.
        references: the sequences to compare with.
        length: bases a k-mer, at most 21.
        least: shares below it count as 0.

    Returns:
        float64 (n,): exact where it is `least` or more; 0 where it is less, and NaN for a query without k-mers.
    """
    keys = _keys(*canonical_kmers(queries, length))
    sizes = np.bincount(_row_of(keys), minlength=len(queries))
    best = np.zeros(len(queries), np.int64)
    if keys.size:
        for block in _blocks(references, length, bloom_table(keys >> ROW_BITS)):
            _raise_best(best, np.ceil(least * sizes), keys, _keys(*block))
    with np.errstate(invalid="ignore"):
        return best / sizes


def _keys(code: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Keys of k-mers and rows, each once, ascending."""
    return sorted_unique(code << ROW_BITS | row.view(np.uint64))


def _row_of(keys: np.ndarray) -> np.ndarray:
    return (keys & ROW).view(np.int64)


def _raise_best(best: np.ndarray, needed: np.ndarray, keys: np.ndarray, block: np.ndarray) -> None:
    """Raise `best` where a reference of the block shares more of a query's k-mers than any before.

    Args:
        best: the most k-mers that one reference shares with each query (n,); changed in place.
        needed: how many must be shared to count (n,).
        keys: k-mers and rows of the queries, ascending.
        block: k-mers and rows of some references, ascending.
    """
    # The references that have a query's k-mer are a run of `times` keys of the block.
    begin = np.searchsorted(block, keys & ~ROW)
    times = np.searchsorted(block, keys | ROW, side="right") - begin
    present = np.flatnonzero(times)
    # A query with too few of its k-mers anywhere in the block has no reference that shares enough.
    shared = np.bincount(_row_of(keys[present]), minlength=len(best))
    present = present[((shared >= needed) & (shared > best))[_row_of(keys[present])]]
    present = present[np.argsort(_row_of(keys[present]), kind="stable")]
    query, begin, times = _row_of(keys[present]), begin[present], times[present]
    # Count pairs of query and reference, whole queries at a time, about BLOCK pairs together.
    pairs_before = np.cumsum(times) - times
    part = pairs_before[np.searchsorted(query, query)] // BLOCK
    for kmers in np.split(np.arange(query.size), np.flatnonzero(np.diff(part)) + 1):
        references = _row_of(block[ranges(begin[kmers], times[kmers])])
        pairs = np.repeat(query[kmers], times[kmers]) << ROW_BITS | references
        pairs, counts = np.unique(pairs, return_counts=True)
        of_query = pairs >> ROW_BITS
        enough = counts >= needed[of_query]
        np.maximum.at(best, of_query[enough], counts[enough])
