"""Random access to a genome: what is read is what the file says, wherever its lines end."""

import gzip
import os

import numpy as np
import pytest

from convnova.data.dna import decode
from convnova.data.genome import tokenize_genome
from convnova.data.indexed_fasta import open_genome
from convnova.errors import ConvNovaError

SEQUENCE = "ACGTNACGGTCATTTRacgtnACGGGTTTACAGATTACA"
FASTA = ">one some words\n" + "\n".join(SEQUENCE[i : i + 7] for i in range(0, len(SEQUENCE), 7)) + "\n>two\nTTTT\n"


@pytest.fixture
def fasta(tmp_path):
    (tmp_path / "genome.fa").write_text(FASTA)
    return tmp_path / "genome.fa"


def test_any_piece_is_the_letters_of_the_file(fasta):
    genome, expected = open_genome(fasta), SEQUENCE.upper().replace("R", "N")
    assert {name: len(part) for name, part in genome.items()} == {"one": len(SEQUENCE), "two": 4}
    for start in range(len(SEQUENCE)):
        for end in range(start + 1, len(SEQUENCE) + 1):
            assert decode(genome["one"][start:end]) == expected[start:end]
    assert decode(genome["two"][1:9]) == "TTT"


def test_an_index_that_is_older_than_its_file_is_made_again(fasta):
    assert len(open_genome(fasta)["two"]) == 4
    os.utime(f"{fasta}.fai", (1, 1))
    fasta.write_text(FASTA + "GGGG\n")
    assert decode(open_genome(fasta)["two"][2:8]) == "TTGGGG"


def test_nothing_is_left_of_an_index_that_was_interrupted(fasta, monkeypatch):
    def stopping(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyfaidx.Faidx", stopping)
    with pytest.raises(KeyboardInterrupt):
        open_genome(fasta)
    assert [path.name for path in fasta.parent.iterdir()] == ["genome.fa"]


def test_a_folder_that_cannot_be_written_is_no_hindrance(fasta, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("convnova.data.indexed_fasta.atomic", refused)
    assert decode(open_genome(fasta)["one"][:4]) == "ACGT" and not fasta.with_suffix(".fa.fai").exists()


def test_a_tokenized_genome_is_read_alike(tmp_path):
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 400))
    (tmp_path / "g.fa").write_text("".join(f">chr{i}\n{bases}\n" for i in range(20)))
    tokenize_genome(tmp_path / "g.fa", tmp_path / "tokens")
    one, other = open_genome(tmp_path / "g.fa"), open_genome(tmp_path / "tokens")
    assert one.keys() == other.keys() and np.array_equal(one["chr3"][17:300], other["chr3"][17:300])


@pytest.mark.parametrize(
    "content, words",
    [
        (gzip.compress(FASTA.encode(), mtime=0), "genome.fa: .* gzip; .*gunzip"),
        (b"", "genome.fa: expected FASTA .*'>'"),
        (b"ACGT\nACGT\n", "genome.fa: expected FASTA .*'>'"),
        (b">a\nACGT\nAC\nACGTACGT\n", "genome.fa: .* lines of equal length"),
        (b">a\nACGT\n>a\nACGT\n", "genome.fa: .* Duplicate"),
        (None, "genome.fa: .* found nothing"),
    ],
)
def test_what_is_no_genome_is_refused_in_a_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "genome.fa").write_bytes(content)
    with pytest.raises(ConvNovaError, match=words):
        open_genome(tmp_path / "genome.fa")


def test_a_letter_of_a_protein_is_named_with_its_place(tmp_path):
    (tmp_path / "p.fa").write_text(">p\nACGTMKVEL\n")
    with pytest.raises(ConvNovaError, match="p.fa p:4-9: expected nucleotides.* 'E'"):
        open_genome(tmp_path / "p.fa")["p"][3:9]
