"""A user's files, and GUE: tables, FASTA and BED with labels."""

import re

import numpy as np
import pytest
from reading import GENOME, read, refuse, save, spelled

from convnova.data.readers import rows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_tables(tmp_path, capsys, separator, end):
    lines = ["label,note,sequence", "a,x,ACGT", 'b,"y, z",ggR', "", "a,, TTN "]
    lines = [line.replace("y, z", "y z") for line in lines] if separator == "\t" else lines
    text = "\ufeff" + end.join(line.replace(",", separator) for line in lines)
    found = read("csv", {"train": save(tmp_path / "train.csv", text), "test": save(tmp_path / "test.tsv.gz", text)})
    expected = [("ACGT", "a"), ("GGN", "b"), ("TTN", "a")]
    assert spelled(found) == {"train": expected, "test": expected}
    assert [part.others for part in found] == [1, 1]
    assert "train.csv: columns skipped: note" in capsys.readouterr().err


def test_a_quoted_comma_and_a_long_sequence(tmp_path):
    """Longer than the 131,072 characters that Python's csv module allows by default."""
    path = save(tmp_path / "train.csv", f'note,sequence,label\n"a, b",{"ACGT" * 50_000},1\n')
    assert spelled(read("csv", {"train": path}))["train"] == [("ACGT" * 50_000, "1")]


def test_rows_are_numbered_through_all_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LETTERS_A_PIECE", 10)
    path = save(tmp_path / "train.csv", "sequence,label\n" + "ACGT,1\n" * 20 + "ACPT,1\n")
    refuse("row 21: .*'P' at position 3", "csv", {"train": path})
    save(path, "sequence,label\n" + "".join(f"{'ACGT' * n},{n}\n" for n in range(1, 30)))
    found = read("csv", {"train": path})
    assert spelled(found)["train"] == [("ACGT" * n, str(n)) for n in range(1, 30)] and len(found) > 10


@pytest.mark.parametrize("name", ["a.fa", "a.fa.gz"])
def test_fasta_with_labels(tmp_path, name):
    path = save(tmp_path / name, ">a|x|1\r\nACGT\r\nacgtn\r\n>b|0\r\nGRG\r\n")
    assert spelled(read("fasta", {"valid": path}))["valid"] == [("ACGTACGTN", "1"), ("GNG", "0")]


def test_bed_with_labels(tmp_path):
    plain = save(tmp_path / "plain.bed", "chr1\t0\t4\tpeak\n1 4 10 none 0 -\nMT\t2\t6\tpeak\t7\t+\n")
    header = save(tmp_path / "header.bed", "#chrom\tstart\tend\tstrand\tlabel\nchr1\t10\t16\t-\tpeak\n")
    found = spelled(read("bed", {"train": plain, "test": header}, GENOME))
    assert found["train"] == [("ACGT", "peak"), ("NNTGCA", "none"), ("TTCC", "peak")]
    assert found["test"] == [("GGCCTT", "peak")]
    refuse("plain.bed: expected a genome", "bed", {"train": plain})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("csv", "seq,label\nACGT,1\n", "'sequence' in the header, found seq, label; is 'seq'"),
        ("csv", "sequence,labels\nACGT,1\n", "'label' in the header, found sequence, labels; is 'labels'"),
        ("csv", "", "'sequence' in the header, found an empty file"),
        ("csv", "sequence,label\nACGT,1\nACGT\n", "line 3: .*2 columns in the header, 1 here"),
        ("csv", "sequence,label\nACGT,1\n,1\n", "row 2: expected a sequence"),
        ("csv", "sequence,label\nACGT,1\nACGT, \n", "train row 2: expected a label"),
        ("csv", "sequence,label\nACGT,1\nAC,0\nMLEK,1\n", "row 3: .*'L' at position 2"),
        ("fasta", ">a|1\nACGT\n>b\nACGT\n", "row 2: .*'>name|label', found '>b'"),
        ("fasta", ">a|\nACGT\n", "row 1: .*'>name|label', found '>a|'"),
        ("fasta", ">a|1\nACGT\n>b|1\nMLEK\n", "row 2: expected nucleotides"),
        ("fasta", ">a|1\n>b|1\nACGT\n", "found none for 'a|1' in line 1"),
        ("bed", "chr1\t0\t4\n", "line 1: .*label, found 'chr1 0 4'"),
        ("bed", "chrom\tstart\tend\tname\nchr1\t0\t4\tx\n", "line 2: .*label.* under chrom, start"),
        ("bed", "chr1\t0\t4\ta\nchr1\t0\t17\ta\n", "line 2: .*within chr1, which has 16 bases"),
        ("bed", "chr1\t0\t4\ta\t0\tx\n", "line 1: expected a strand.*'x'"),
    ],
)
def test_wrong_files(tmp_path, name, text, message):
    refuse(message, name, {"train": save(tmp_path / "train", text)}, GENOME)


def test_counts_of_every_gue_file(shared):
    """Rows, labels and lengths as measured when the files were taken."""
    checked = 0
    for group in ("gue_emp_yeast_histone", "gue_promoter"):
        text = (shared / "data" / group / "SOURCE.txt").read_text()
        pattern = r"file\s+(\S+)\n.*?counts\s+(\d+) rows; labels {0: (\d+), 1: (\d+)}; length (\d+)-(\d+);"
        for name, *numbers in re.findall(pattern, text, re.DOTALL):
            total, zeros, ones, shortest, longest = map(int, numbers)
            found = read("csv", {"train": shared / "data" / group / name})
            labels = np.concatenate([part.labels for part in found])
            lengths = np.concatenate([part.lengths for part in found])
            assert (len(labels), (labels == "0").sum(), (labels == "1").sum()) == (total, zeros, ones)
            assert (lengths.min(), lengths.max()) == (shortest, longest)
            checked += 1
    assert checked == 11


@pytest.mark.parametrize(("name", "count"), [("strong", 742), ("weak", 742), ("non", 1484)])
def test_lower_case_enhancers(shared, tmp_path, name, count):
    """Half of the letters are lower case in the file, and none of them becomes N."""
    text = (shared / f"data/enhancers_liu2016/train_{name}_enhancers.txt").read_text()
    path = save(tmp_path / "a.fa", re.sub(r"(>\S+)", rf"\1|{name}", text))
    found = spelled(read("fasta", {"train": path}))["train"]
    assert found == [(letters.upper(), name) for letters in re.findall(r">\S+\s+(\w+)", text)]
    assert len(found) == count and any(letter.islower() for letter in text.split("\n", 1)[1])
