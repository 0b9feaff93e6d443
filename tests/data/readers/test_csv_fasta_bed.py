"""A user's files, and GUE: tables, FASTA and BED with labels."""

import gzip
import re

import numpy as np
import pytest
from reading import GENOME, read, spelled

from convnova.data.readers import rows
from convnova.errors import ConvNovaError


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_tables(tmp_path, capsys, separator, end):
    lines = ["label,note,sequence", "a,x,ACGT", 'b,"y, z",ggR', "", "a,, TTN "]
    lines = [line.replace("y, z", "y z") for line in lines] if separator == "\t" else lines
    text = "\ufeff" + end.join(line.replace(",", separator) for line in lines)
    (tmp_path / "train.csv").write_bytes(text.encode())
    (tmp_path / "test.tsv.gz").write_bytes(gzip.compress(text.encode()))
    found = read("csv", {"train": tmp_path / "train.csv", "test": tmp_path / "test.tsv.gz"})
    expected = [("ACGT", "a"), ("GGN", "b"), ("TTN", "a")]
    assert spelled(found) == {"train": expected, "test": expected}
    assert [part.others for part in found] == [1, 1]
    assert "train.csv: columns skipped: note" in capsys.readouterr().err


def test_a_quoted_comma_and_a_long_sequence(tmp_path):
    """Longer than the 131,072 characters that Python's csv module allows by default."""
    (tmp_path / "train.csv").write_text(f'note,sequence,label\n"a, b",{"ACGT" * 50_000},1\n')
    assert spelled(read("csv", {"train": tmp_path / "train.csv"}))["train"] == [("ACGT" * 50_000, "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seq,label\nACGT,1\n", "expected a column 'sequence' in the header, found seq, label; is 'seq' the one"),
        ("sequence,labels\nACGT,1\n", "expected a column 'label' in the header, found sequence, labels; is 'labels'"),
        ("", "expected a column 'sequence' in the header, found an empty file"),
        ("sequence,label\nACGT,1\nACGT\n", "line 3: expected a table: 2 columns in the header, 1 here"),
        ("sequence,label\nACGT,1\n,1\n", "row 2: expected a sequence, found none"),
        ("sequence,label\nACGT,1\nACGT, \n", "train.csv row 2: expected a label, found none"),
        ("sequence,label\nACGT,1\nAC,0\nMLEK,1\n", "row 3: expected nucleotides; letter 'L' at position 2 is not"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ConvNovaError, match=message):
        read("csv", {"train": tmp_path / "train.csv"})


def test_rows_are_numbered_through_all_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LETTERS_A_PIECE", 10)
    (tmp_path / "train.csv").write_text("sequence,label\n" + "ACGT,1\n" * 20 + "ACPT,1\n")
    with pytest.raises(ConvNovaError, match="row 21: expected nucleotides; letter 'P' at position 3"):
        read("csv", {"train": tmp_path / "train.csv"})
    (tmp_path / "train.csv").write_text("sequence,label\n" + "".join(f"{'ACGT' * n},{n}\n" for n in range(1, 30)))
    found = read("csv", {"train": tmp_path / "train.csv"})
    assert spelled(found)["train"] == [("ACGT" * n, str(n)) for n in range(1, 30)]
    assert len(found) > 10


def test_fasta_with_labels(tmp_path):
    text = ">a|x|1\r\nACGT\r\nacgtn\r\n>b|0\r\nGRG\r\n"
    for name, content in (("a.fa", text.encode()), ("a.fa.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(content)
        found = read("fasta", {"valid": tmp_path / name})
        assert spelled(found)["valid"] == [("ACGTACGTN", "1"), ("GNG", "0")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a|1\nACGT\n>b\nACGT\n", "row 2: expected a header '>name|label', found '>b'"),
        (">a|\nACGT\n", "row 1: expected a header '>name|label', found '>a|'"),
        (">a|1\nACGT\n>b|1\nMLEK\n", "row 2: expected nucleotides"),
        (">a|1\n>b|1\nACGT\n", "expected a sequence after every header, found none for 'a|1' in line 1"),
    ],
)
def test_wrong_fasta(tmp_path, text, message):
    (tmp_path / "a.fa").write_text(text)
    with pytest.raises(ConvNovaError, match=message):
        read("fasta", {"train": tmp_path / "a.fa"})


def test_bed_with_labels(tmp_path):
    (tmp_path / "plain.bed").write_text("chr1\t0\t4\tpeak\n1 4 10 none 0 -\nMT\t2\t6\tpeak\t7\t+\n")
    (tmp_path / "header.bed").write_text("#chrom\tstart\tend\tstrand\tlabel\nchr1\t10\t16\t-\tpeak\n")
    found = read("bed", {"train": tmp_path / "plain.bed", "test": tmp_path / "header.bed"}, GENOME)
    assert spelled(found)["train"] == [("ACGT", "peak"), ("NNTGCA", "none"), ("TTCC", "peak")]
    assert spelled(found)["test"] == [("GGCCTT", "peak")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t0\t4\n", "line 1: expected a column with the label, found 'chr1 0 4'"),
        ("chrom\tstart\tend\tname\nchr1\t0\t4\tx\n", "line 2: expected a column with the label.* under chrom, start"),
        ("chr1\t0\t4\ta\nchr1\t0\t17\ta\n", "line 2: expected an interval within chr1, which has 16 bases"),
        ("chr1\t0\t4\ta\t0\tx\n", "line 1: expected a strand, [+] or -, found 'x'"),
    ],
)
def test_wrong_bed(tmp_path, text, message):
    (tmp_path / "a.bed").write_text(text)
    with pytest.raises(ConvNovaError, match=message):
        read("bed", {"train": tmp_path / "a.bed"}, GENOME)
    with pytest.raises(ConvNovaError, match="expected a genome that the intervals lie on, found none"):
        read("bed", {"train": tmp_path / "a.bed"})


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


def test_every_tata_promoter_of_epdnew_is_a_positive_of_gue(shared):
    folder = shared / "data/gue_promoter/prom_300_tata"
    found = [
        row
        for name in ("train", "dev", "test")
        for row in spelled(read("csv", {"train": folder / f"{name}.csv.gz"}))["train"]
    ]
    packed = (shared / "data/promoters_epdnew_human/TATAprom_pos.txt.gz").read_bytes()
    promoters = gzip.decompress(packed).decode().split()
    positives = [sequence for sequence, label in found if label == "1"]
    assert len(positives) == len(promoters) == 3065
    assert set(positives) == set(promoters)
    assert len(set(positives)) == 3043


@pytest.mark.parametrize(
    ("name", "count"), [("strong", 742), ("weak", 742), ("non", 1484)], ids=["strong", "weak", "non"]
)
def test_lower_case_enhancers(shared, tmp_path, name, count):
    """Half of the letters are lower case in the file, and none of them becomes N."""
    text = (shared / f"data/enhancers_liu2016/train_{name}_enhancers.txt").read_text()
    (tmp_path / "a.fa").write_text(re.sub(r"(>\S+)", rf"\1|{name}", text))
    found = spelled(read("fasta", {"train": tmp_path / "a.fa"}))["train"]
    assert found == [(letters.upper(), name) for letters in re.findall(r">\S+\s+(\w+)", text)]
    assert len(found) == count
    assert any(letter.islower() for letter in text.split("\n", 1)[1])
