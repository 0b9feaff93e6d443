"""DNA as plain strings, which the tests of leakage compare with, and three small labelled sequences."""

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np

from convnova.data.batches import LabelledSequences
from convnova.data.dna import encode
from convnova.data.task_dataset import Sequences
from convnova.evaluation.leakage.genome_search import Hit

OPPOSITE = str.maketrans("ACGT", "TGCA")


def opposite(sequence: str) -> str:
    return sequence.translate(OPPOSITE)[::-1]


def kmers(sequence: str, length: int) -> list[str]:
    """Every k-mer without N, as the first in the alphabet of itself and its reverse complement."""
    turned, count = opposite(sequence), len(sequence) - length + 1
    both = ((sequence[at : at + length], turned[count - 1 - at : count - 1 - at + length]) for at in range(count))
    return [min(pair) for pair in both if "N" not in pair[0]]


def sequences(rows: list[str]) -> Sequences:
    return Sequences(encode("".join(rows))[0], np.cumsum([0, *map(len, rows)]))


def labelled(kind: str, labels: list, rows: list[int]) -> LabelledSequences:
    """Sequences AA, TCG and A, of which `rows` are asked for."""
    tokens, offsets = np.array([0, 0, 3, 1, 2, 0], np.uint8), np.array([0, 2, 5, 6])
    return LabelledSequences(tokens, offsets, np.array(labels), kind, np.array(rows), 3)


def random_rows(rng, count: int, shortest: int, longest: int, letters: str = "ACGT") -> list[str]:
    return ["".join(rng.choice(list(letters), rng.integers(shortest, longest + 1))) for _ in range(count)]


def mutated(rng, sequence: str, rate: float) -> str:
    return "".join(str(rng.choice(list("ACGT"))) if rng.random() < rate else letter for letter in sequence)


def exact_places(rows: list[str], chromosomes: dict[str, str]) -> set[Hit]:
    """Every place of every row, on either strand: where its first 25 letters stand and then the others as well."""
    wanted = defaultdict(set)
    for row, text in enumerate(rows):
        for strand in (text, opposite(text)):
            wanted[strand[:25]].add((row, strand))
    return {
        Hit(row, name, start, start + len(text))
        for name, bases in chromosomes.items()
        for start in range(len(bases) - 24)
        if bases[start : start + 25] in wanted
        for row, text in wanted[bases[start : start + 25]]
        if bases.startswith(text, start)
    }


def yeast(shared: Path) -> dict[str, str]:
    """The chromosomes of the real yeast genome."""
    with gzip.open(shared / "data/genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz", "rt") as file:
        records = [record.partition("\n") for record in file.read().split(">")[1:]]
    return {head.split()[0]: letters.replace("\n", "") for head, _, letters in records}
