"""From FASTA to tokens and windows, against pyfaidx, pybedtools and a slow reader."""

import gzip
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pyfaidx
import pytest

from convnova.data import array_file
from convnova.data.dna import decode
from convnova.data.genome import choose_chromosomes, read_genome, read_intervals, tokenize_genome
from convnova.data.windows import windows
from convnova.errors import ConvNovaError

LETTERS = "ACGTN"


def write_fasta(path: Path, records: dict[str, str], width: int = 60, end: str = "\n") -> Path:
    lines = []
    for name, letters in records.items():
        lines += [f">{name}", *(letters[i : i + width] for i in range(0, len(letters), width))]
    text = (end.join(lines) + end).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def random_letters(length: int, seed: int = 1, letters: str = "ACGT") -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("suffix", [".fa", ".fa.gz"])
def test_tokens_and_counts_are_what_a_slow_reader_finds(tmp_path, seed, suffix):
    chance = random.Random(seed)
    any_letters = "ACGTNacgtnRYSWKMBDHVrywU"
    records = {f"chr{n} text": "".join(chance.choices(any_letters, k=chance.randrange(40, 900))) for n in range(1, 4)}
    width, end = chance.choice([1, 60, 10_000]), chance.choice(["\n", "\r\n"])
    tokenize_genome(write_fasta(tmp_path / f"genome{suffix}", records, width, end), tmp_path / "out")
    genome = read_genome(tmp_path / "out")
    counts = array_file.read_metadata(tmp_path / "out/genome.safetensors")["letters"]
    assert list(genome) == ["chr1", "chr2", "chr3"]
    for name, letters in zip(genome, records.values(), strict=True):
        upper = letters.upper().replace("U", "T")
        assert decode(genome[name]) == re.sub("[^ACGTN]", "N", upper)
        lower, other = sum(map(str.islower, letters)), len(re.findall("[^ACGTN]", upper))
        assert counts[name] == {"bases": len(letters), "N": upper.count("N"), "lower": lower, "other": other}


def test_what_a_tokenized_genome_was_made_from_is_in_it(tmp_path):
    fasta = write_fasta(tmp_path / "genome.fa", {"chr1": random_letters(1000), "chr2": random_letters(50)})
    bed, text = tmp_path / "intervals.bed", "chr1\t0\t100\ttrain\nchr1\t100\t200\tvalid\nchr2\t0\t50\ttest\n"
    bed.write_text(text)
    tokenize_genome(fasta, tmp_path / "out", bed)
    metadata = array_file.read_metadata(tmp_path / "out/genome.safetensors")
    for role, path in (("fasta", fasta), ("bed", bed)):
        printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
        assert metadata["inputs"][role] == {"name": path.name, "sha256": printed.split()[0]}
    assert (tmp_path / "out/intervals.tsv").read_text() == "chrom\tstart\tend\tsplit\n" + text


GOOD = ">chr1\n" + "ACGT" * 100 + "\n"


@pytest.mark.parametrize(
    ("fasta", "bed", "message"),
    [
        (">chr1\nACGT\nACGT\n>prot text\nACGT\nMLEK\n", "", "found 'L' in line 6, record 'prot'; .*protein"),
        (">chr1\nACGT\n>__metadata__\nAC\n", "", "another name for every record, found a reserved name in line 3"),
        (">chr1\nACGT\n>chr2\nAC\n>chr1 again\nACGT\n", "", "found 'chr1' a second time in line 5"),
        (">chr1\nACGT\n> \nACGT\n", "", "found none in line 3"),
        (">chr1\n>chr2\nACGT\n", "", "found none for 'chr1' in line 1"),
        ("", "", "found an empty file"),
        (">chr1\nAC GT\n", "", "found ' ' in line 2"),
        (GOOD, "chr1\t0\t90\ttrain\nchr1\t0\t401\ttrain\n", "bed line 2: .*within chr1, which has 400"),
        (GOOD, "\nchr9\t0\t10\ttrain\n", "line 2: .*'chr9'; the nearest is 'chr1'"),
        (GOOD, "chr1\t0\t10\tval\n", "line 1: .*train, valid or test in column 4.*'val'"),
        (GOOD, "chr1\t0\t10\ttrain\nchr1\t0\t10\n", "line 2: .*train, valid or test in column 4"),
        (GOOD, "#nothing\n", "intervals, found an empty file"),
        (GOOD, "chr1\t0\t10\ttest\n", "intervals of the split 'train', found none"),
    ],
)
def test_a_wrong_fasta_or_bed_leaves_what_was_there(tmp_path, fasta, bed, message):
    out = tmp_path / "out"
    tokenize_genome(write_fasta(tmp_path / "a.fa", {"chr1": "ACGT" * 50}), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "a.fa").write_text(fasta)
    (tmp_path / "a.bed").write_text(bed)
    for place in (out, tmp_path / "other"):
        with pytest.raises(ConvNovaError, match=message) as error:
            tokenize_genome(tmp_path / "a.fa", place, tmp_path / "a.bed" if bed else None)
        assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bed", "a.fa", "out"]


def test_the_intervals_are_those_that_are_known_and_stay_those_that_were_written(tmp_path):
    fasta, bed = write_fasta(tmp_path / "a.fa", {"chr1": "ACGT" * 50}), tmp_path / "a.bed"
    bed.write_text("chr1\t0\t90\ttrain\n#hr1\t90\t95\tvalid\nchr1\t95\t100\tvalid\nchr1\t100\t110\ttest\n")
    with pytest.raises(ConvNovaError, match="a.bed: expected 4 intervals as published, found 3"):
        tokenize_genome(fasta, tmp_path / "out", bed, rows=4)
    tokenize_genome(fasta, tmp_path / "out", bed, rows=3)
    metadata = array_file.read_metadata(tmp_path / "out/genome.safetensors")
    assert (metadata["read"], metadata["skipped"]) == (3, {"comment lines of a.bed": 1})
    assert read_intervals(tmp_path / "out")["valid"] == [("chr1", 95, 100, "valid")]
    written = tmp_path / "out/intervals.tsv"
    for change in (written.unlink, lambda: written.write_text("chrom\tstart\tend\tsplit\nchr1\t0\t90\ttrain\n")):
        change()
        with pytest.raises(ConvNovaError, match="intervals.tsv: .*make both again"):
            read_intervals(tmp_path / "out")


def test_overlap_of_splits_is_reported(tmp_path, capsys):
    fasta, bed = write_fasta(tmp_path / "genome.fa", {"chr1": "ACGT" * 100}), tmp_path / "a.bed"
    bed.write_text("chr1\t0\t100\ttrain\nchr1\t90\t120\tvalid\nchr1\t95\t130\tvalid\nchr1\t200\t230\ttest\n")
    tokenize_genome(fasta, tmp_path / "out", bed)
    lines = capsys.readouterr().err
    assert "40 valid bases, of which 10" in lines and "30 test bases, of which 0" in lines


FOUR = {f"chr{number}": 100 * number for number in range(1, 5)}
OF_FOUR = {"valid": ["chr1"], "test": ["chr2"]}


@pytest.mark.parametrize(
    ("lengths", "bed", "named", "expected"),
    [
        (FOUR, "", OF_FOUR, "chr1 0 100 valid, chr2 0 200 test, chr3 0 300 train, chr4 0 400 train"),
        (FOUR, "", OF_FOUR | {"train": ["chr4"]}, "chr1 0 100 valid, chr2 0 200 test, chr4 0 400 train"),
        (FOUR, "chr4 0 50\nchr2 10 20\nchr1 5 60\n", OF_FOUR, "chr4 0 50 train, chr2 10 20 test, chr1 5 60 valid"),
        ({"phage": 1000}, "", {}, "phage 0 900 train, phage 900 950 valid, phage 950 1000 test"),
        (
            {"phage": 1000}, "phage 10 920\nphage 940 950\nphage 950 1000\n", {},
            "phage 10 900 train, phage 900 920 valid, phage 940 950 valid, phage 950 1000 test",
        ),
    ],
)  # fmt: skip
def test_splits_by_named_chromosomes_or_by_position(tmp_path, lengths, bed, named, expected):
    fasta = write_fasta(tmp_path / "a.fa", {name: random_letters(length) for name, length in lengths.items()})
    (tmp_path / "a.bed").write_text(bed)
    tokenize_genome(fasta, tmp_path / "out", tmp_path / "a.bed" if bed else None, **named)
    intervals = (interval for part in read_intervals(tmp_path / "out").values() for interval in part)
    assert sorted(" ".join(map(str, interval)) for interval in intervals) == sorted(expected.split(", "))


@pytest.mark.parametrize(
    ("bed", "named", "message"),
    [
        ("", {"valid": ["chr7"]}, "valid or test, found 'chr7', which the FASTA lacks"),
        ("", {"train": ["chr7"]}, "train, .*found 'chr7', which the FASTA lacks"),
        ("", {"valid": ["chr1"], "test": ["chr1"]}, "found 'chr1' in both"),
        ("", {"valid": ["chr1"], "test": ["chr2"], "train": ["chr1", "chr3"]}, "found 'chr1' in both"),
        ("", {"valid": ["chr1"], "test": ["chr2", "chr3"]}, "expected intervals of the split 'train', found none"),
        ("", {"valid": ["chr1"]}, "expected chromosomes for test too, found none near 5%"),
        ("chr1\t0\t10\ttrain\n", {"valid": ["chr1"]}, "either splits in the BED or valid and test chromosomes"),
    ],
)
def test_wrong_chromosomes(tmp_path, bed, named, message):
    fasta = write_fasta(tmp_path / "genome.fa", {f"chr{n}": "ACGT" * 10 for n in (1, 2, 3)})
    (tmp_path / "a.bed").write_text(bed)
    with pytest.raises(ConvNovaError, match=message):
        tokenize_genome(fasta, tmp_path / "out", tmp_path / "a.bed" if bed else None, **named)


def test_chosen_chromosomes():
    hundred = {f"contig{number}": 100 for number in range(100)}
    chosen = choose_chromosomes(hundred, {})
    assert [list(chosen.values()).count(split) for split in ("valid", "test")] == [5, 5]
    assert "contig0" not in chosen
    assert choose_chromosomes({"a": 900, "b": 51, "c": 49}, {}) == {"b": "valid", "c": "test"}
    assert choose_chromosomes({"a": 900, "b": 51, "c": 49}, {"b": "test"}) == {"b": "test", "c": "valid"}
    assert choose_chromosomes({"a": 500, "b": 500}, {}) == {}
    assert choose_chromosomes({"a": 900, "b": 51, "c": 49, "d": 50}, {}, ["b"]) == {"d": "valid", "c": "test"}
    assert choose_chromosomes({"a": 849, "b": 101, "c": 50}, {}) == {}
    assert choose_chromosomes({"a": 850, "b": 100, "c": 50}, {}) == {"c": "valid", "b": "test"}
    assert choose_chromosomes({"a": 500}, {}) == {}


def test_the_yeast_genome_is_what_pyfaidx_reads(shared, tmp_path):
    path = shared / "data/genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
    tokenize_genome(path, tmp_path / "yeast", valid=["IX"], test=["XI"])
    genome = read_genome(tmp_path / "yeast")
    plain = tmp_path / "yeast.fa"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    fasta = pyfaidx.Fasta(str(plain), as_raw=True)
    assert list(genome) == list(fasta.keys())
    assert sum(map(len, genome.values())) == 12_157_105
    for name in genome:
        assert decode(genome[name]) == fasta[name][:]
    assert [name for name, *_ in read_intervals(tmp_path / "yeast")["valid"]] == ["IX"]
    found, text = windows(tmp_path / "yeast", "valid", 1024), fasta["IX"][:]
    assert len(found) == -(-len(text) // 1024)
    assert decode(found.tokens(np.array([7]))[0]) == text[7 * 1024 : 8 * 1024]
