"""Genes of an annotation and their labels: known strings, the real yeast genes, and counts made another way."""

import gzip
import re
from collections import Counter
from itertools import pairwise

import h5py
import numpy as np
import pytest

from convnova.cli.main import main
from convnova.config.schema import Task
from convnova.data.dna import decode, reverse_complement
from convnova.data.gene_annotation import label_bases, read_annotation
from convnova.data.genome import read_genome, tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError

LENGTHS = {"I": 200}
STANDS_FOR = "EdiaFDIA."
"""A letter a label: exon, donor, intron, acceptor of the forward strand, then of the reverse one, then none."""
GFF = "data/genome_yeast_R64/GCA_000146045.2_R64.annotation.gff.gz"
FASTA = "data/genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"


def annotation(folder, *parts):
    """A GFF3 of coding parts: (first, last, strand, parent), counted from 1, both included."""
    rows = [f"I\t.\tCDS\t{a}\t{b}\t.\t{strand}\t0\tID=x;Parent={parent}" for a, b, strand, parent in parts]
    (folder / "genes.gff3").write_text("##gff-version 3\n" + "\n".join(rows) + "\n")
    return folder / "genes.gff3"


FORWARD = [(5, 10, "+", "a"), (33, 41, "+", "a")]
SHORT, LONG = (1, 20, "-", "short"), (11, 40, "+", "long")
HOST_AND_GUEST = [(1, 9, "+", "host"), (40, 60, "+", "host"), (20, 28, "-", "guest")]


@pytest.mark.parametrize(
    ("parts", "labels"),
    [
        (FORWARD, "...." + "EEEEEE" + "d" + "i" * 20 + "a" + "EEEEEE"),
        ([(5, 10, "-", "a"), (33, 41, "-", "a")], "......." + "FFF" + "A" + "I" * 20 + "D" + "F" * 9),
        # The stop codon may lie on both sides of an intron.
        ([(1, 9, "+", "a"), (31, 32, "+", "a")], "E" * 8 + "." + "d" + "i" * 19 + "a"),
        # The shortest intron has 20 bases.
        ([(1, 9, "+", "a"), (30, 38, "+", "a")], "E" * 9 + "d" + "i" * 18 + "a" + "E" * 6),
        # A gap too short for an intron, or an overlap, is a shift of the frame.
        ([(1, 9, "+", "a"), (11, 19, "+", "a")], "E" * 16),
        ([(1, 9, "+", "a"), (9, 19, "+", "a")], "E" * 16),
        # Of two genes the longer one counts, and coding wins over introns.
        ([SHORT, LONG], "..." + "F" * 7 + "E" * 27),
        ([LONG, SHORT], "..." + "F" * 7 + "E" * 27),
        (HOST_AND_GUEST, "E" * 9 + "d" + "i" * 12 + "F" * 6 + "i" * 10 + "a" + "E" * 18),
    ],
)
def test_labels_of_bases(tmp_path, parts, labels):
    genes = read_annotation(annotation(tmp_path, *parts), LENGTHS)
    assert "".join(STANDS_FOR[label] for label in label_bases(60, genes["I"])) == labels.ljust(60, ".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("I . CDS 5", "line 1: .*nine columns.*'I"),
        ("I . gene 5 9 . + . ID=x", "gff3: .*CDS, found none"),
        ("I . CDS 5 9 . . 0 Parent=a", "line 1: .*strand.*'[.]'"),
        ("I . CDS 5 9 . + 0 ID=a", "line 1: .*Parent.*'ID=a'"),
        ("I . CDS 5 900 . + 0 Parent=a", "line 1: .*within I.* 200 bases"),
        (f"I . CDS 5 {'9' * 5_000} . + 0 Parent=a", "line 1: .*nine columns"),
        ("II . CDS 5 9 . + 0 Parent=a", "line 1: .*chromosome.*'II'"),
    ],
)
def test_wrong_annotations(tmp_path, text, message):
    (tmp_path / "genes.gff3").write_text(text.replace(" ", "\t") + "\n")
    with pytest.raises(ConvNovaError, match=message):
        read_annotation(tmp_path / "genes.gff3", LENGTHS)


def test_chromosomes_of_ncbi_have_their_names_and_scaffolds_are_passed_over(tmp_path):
    chromosome, scaffold = "chromosome=1;genome=chromosome", "chromosome=1;genome=genomic"
    lines = [f"NC_1 . region 1 200 . + . {chromosome}", "NC_1 . CDS 11 20 . + 0 Parent=a",
             f"NT_7 . region 1 90 . + . {scaffold}", "NT_7 . CDS 31 60 . + 0 Parent=b"]  # fmt: skip
    (tmp_path / "genes.gff3").write_text("".join(f"{line}\n" for line in lines).replace(" ", "\t"))
    skipped = Counter()
    (gene,) = read_annotation(tmp_path / "genes.gff3", {"chr1": 200}, skipped)["chr1"]
    assert gene == ("a", "chr1", "+", [(10, 20)]) and sum(skipped.values()) == 2
    own = read_annotation(tmp_path / "genes.gff3", {"NC_1": 200, "NT_7": 90})  # where the genome is NCBI's too
    assert {name: len(genes) for name, genes in own.items()} == {"NC_1": 1, "NT_7": 1}


@pytest.fixture(scope="module")
def yeast(tmp_path_factory, request):
    from conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip("no ../shared with real data")
    folder = tmp_path_factory.mktemp("yeast")
    tokenize_genome(SHARED / FASTA, folder / "genome", valid=["IX"], test=["XI"])
    return SHARED / GFF, folder / "genome"


@pytest.fixture(scope="module")
def labels(yeast):
    lengths = {name: len(tokens) for name, tokens in read_genome(yeast[1]).items()}
    genes = read_annotation(yeast[0], lengths)
    return {name: label_bases(lengths[name], found) for name, found in genes.items()}


def test_actin_and_a_gene_of_the_forward_strand(yeast, labels):
    """ACT1 (YFL039C): two exons on the reverse strand of VI; its protein begins MDSEVAALV, as in UniProt P60010."""
    at = labels["VI"]
    assert at[54686:54696].tolist() == [4] * 10 and at[54685] == 5 and at[54377] == 7
    assert set(at[54378:54685].tolist()) == {6} and at[53262] == 4 and at[53261] == 8
    genome = read_genome(yeast[1])["VI"]
    coding = np.concatenate([genome[53259:54377], genome[54686:54696]])
    bases = decode(reverse_complement(coding))
    assert bases.startswith("ATGGATTCTGAGGTTGCTGCTTTGGTT") and bases.endswith("TAA") and len(bases) == 376 * 3
    assert decode(reverse_complement(genome[54684:54686])) == "GT"


def test_introns_and_coding_bases_counted_another_way(yeast, labels):
    """From the text of the GFF alone: gaps between lines of one parent, and the union of all coding lines."""
    parents, names, coding = {}, {}, {name: np.zeros(len(found), bool) for name, found in labels.items()}
    with gzip.open(yeast[0], "rt") as file:
        for line in file:
            if name := re.search(r"^(\S+)\t.*\tregion\t.*;chromosome=(\w+);", line):
                names[name[1]] = name[2]
            if "\tCDS\t" in line:
                fields = line.split("\t")
                first, last = int(fields[3]), int(fields[4])
                parents.setdefault(re.search("Parent=([^;\n]+)", line)[1], []).append((first, last))
                coding[names[fields[0]]][first - 1 : last] = True
    gaps = [b[0] - a[1] - 1 for parts in parents.values() for a, b in pairwise(sorted(parts))]
    introns = sum(gap >= 20 for gap in gaps)
    shifts = len(gaps) - introns
    assert introns == 280 and sum(gap in (1, -1) for gap in gaps) == shifts
    every, union = np.concatenate([labels[name] for name in coding]), np.concatenate(list(coding.values()))
    is_coding = np.isin(every, (0, 4))
    assert union.sum() - 3 * len(parents) <= is_coding.sum() <= union.sum() + shifts
    assert (is_coding & ~union).sum() <= shifts
    hidden = introns - min(np.isin(every, (1, 5)).sum(), np.isin(every, (3, 7)).sum())
    assert 0 <= hidden <= 5, "an intron's end is hidden only where another gene codes there"


def test_a_task_of_the_whole_genome(yeast, labels, tmp_path):
    """Every labelled base once, in the split of its chromosome; nothing of a chromosome without annotation."""
    task = Task(kind="per_base", max_length=4096, classes=[*"abcdefghi"])
    tokenize_task(task, "gff", {"annotation": yeast[0]}, tmp_path / "genes.st", yeast[1])
    found = read_task(tmp_path / "genes.st")
    genome = read_genome(yeast[1])
    for split, name in (("valid", "IX"), ("test", "XI")):
        part = found.split(split)
        np.testing.assert_array_equal(part.labels, labels[name])
        np.testing.assert_array_equal(part.tokens, genome[name])
        assert part.lengths.max() == 4096
    assert sum(len(part.tokens) for part in found.splits.values()) == 12_157_105 - len(genome["Mito"])


def test_the_command_writes_bends_files(tmp_path):
    (tmp_path / "genome.fa").write_text(">I\n" + "ACGT" * 50 + "\n>M\nACGTACGT\n")
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    genes = annotation(tmp_path, *FORWARD)
    words = ("--annotation", str(genes), "--genome", str(tmp_path / "genome"), "--length", "64")
    assert main(["label-genes", *words, "--out", str(tmp_path / "out")]) == 0
    lines = [line.split("\t") for line in (tmp_path / "out/gene_finding.bed").read_text().splitlines()[1:]]
    places = [(chrom, int(start), int(end), split) for chrom, start, end, _, split in lines]
    assert places == [
        ("I", 0, 64, "train"), ("I", 64, 128, "train"), ("I", 128, 180, "train"),
        ("I", 180, 190, "valid"), ("I", 190, 200, "test"),
    ]  # fmt: skip
    with h5py.File(tmp_path / "out/gene_finding.hdf5") as file:
        letters = "".join(STANDS_FOR[label] for row in file["labels"] for label in row)
    assert letters == "...." + "EEEEEE" + "d" + "i" * 20 + "a" + "EEEEEE" + "." * 162
