"""Windows over a genome, against pyfaidx, pybedtools and plain arithmetic."""

from pathlib import Path

import numpy as np
import pyfaidx
import pytest
from pybedtools import BedTool
from test_genome import LETTERS, random_letters, write_fasta

from convnova.data.dna import decode
from convnova.data.genome import tokenize_genome
from convnova.data.windows import windows
from convnova.errors import ConvNovaError


@pytest.fixture
def genome_with_intervals(tmp_path) -> Path:
    """Two chromosomes; intervals that overlap, touch, lie in another, are short; a run of N from mid-window."""
    first = random_letters(525) + "N" * 300 + random_letters(675, 2)
    fasta = write_fasta(tmp_path / "genome.fa", {"chr1": first, "chr2": random_letters(400, 3, "ACGTacgtn")})
    (tmp_path / "a.bed").write_text(
        "chr2\t30\t333\ttrain\nchr1\t0\t260\ttrain\nchr1\t200\t910\ttrain\nchr1\t910\t1205\ttrain\n"
        "chr2\t350\t381\ttrain\nchr1\t300\t400\ttrain\nchr1\t1300\t1400\tvalid\nchr2\t390\t400\ttest\n"
    )
    tokenize_genome(fasta, tmp_path / "genome", tmp_path / "a.bed")
    return tmp_path


def letters(tokens: np.ndarray) -> list[str]:
    return ["".join((LETTERS + ".")[token] for token in row) for row in tokens]


def test_windows_tile_the_joined_intervals(genome_with_intervals, capsys):
    """Every base of the union that is not in a window of N is in a window, and as pyfaidx reads it."""
    folder, length = genome_with_intervals, 50
    fasta = pyfaidx.Fasta(str(folder / "genome.fa"), sequence_always_upper=True)
    expected = []
    rows = [line for line in (folder / "a.bed").read_text().splitlines() if line.endswith("train")]
    for part in BedTool("\n".join(rows), from_string=True).sort().merge():
        starts = [*range(part.start, part.end - length + 1, length)]
        if starts and starts[-1] + length < part.end:
            starts.append(part.end - length)
        texts = [fasta[part.chrom][start : start + length].seq for start in starts]
        if part.length < length:
            texts = [fasta[part.chrom][part.start : part.end].seq.ljust(length, ".")]
        expected += [text for text in texts if text.count("N") * 2 <= length]
    found = windows(folder / "genome", "train", length)
    assert len(found) == len(expected) < 40 and "5 more, mostly N, left out" in capsys.readouterr().err
    assert letters(found.tokens(np.arange(len(found)))) == expected
    order = np.array([3, 0, len(found) - 1, 3])
    assert letters(found.tokens(order)) == [expected[number] for number in order]


def test_first_window_of_every_interval(genome_with_intervals):
    """As the released code reads them: in the order of the BED, N or not."""
    folder = genome_with_intervals
    fasta = pyfaidx.Fasta(str(folder / "genome.fa"), sequence_always_upper=True)
    found = windows(folder / "genome", "train", 40, "first")
    lines = [line.split() for line in (folder / "a.bed").read_text().splitlines() if line.endswith("train")]
    expected = [fasta[chrom][int(start) : int(end)].seq[:40].ljust(40, ".") for chrom, start, end, _ in lines]
    assert letters(found.tokens(np.arange(len(found)))) == expected


def test_a_split_without_bases(genome_with_intervals):
    folder = genome_with_intervals
    with pytest.raises(ConvNovaError, match="expected intervals of the split 'dev', found none"):
        windows(folder / "genome", "dev", 50)
    (folder / "n.bed").write_text("chr1\t525\t825\ttrain\nchr1\t0\t100\tvalid\n")
    tokenize_genome(folder / "genome.fa", folder / "n", folder / "n.bed")
    with pytest.raises(ConvNovaError, match="expected bases in the split 'train', found only N"):
        windows(folder / "n", "train", 50)


def test_windows_of_many_blocks_skip_exactly_the_n(tmp_path):
    """A chromosome longer than what is searched for N at once, with N in single bases and in runs."""
    bases = np.random.default_rng(1).integers(0, 4, 5_000_000, np.uint8)
    bases[4_300_000:4_310_000] = 4
    bases[::37] = 4
    fasta = write_fasta(tmp_path / "genome.fa", {"chr1": decode(bases), "chr2": "ACGT"}, 5_000_000)
    tokenize_genome(fasta, tmp_path / "genome")
    found = windows(tmp_path / "genome", "train", 1024)
    parts = [bases[start : start + 1024] for start in (*range(0, 4_500_000 - 1023, 1024), 4_500_000 - 1024)]
    expected = [part for part in parts if np.count_nonzero(part == 4) <= 512]
    assert len(found) == len(expected) + 1
    assert np.array_equal(found.tokens(np.arange(len(expected))), expected)
