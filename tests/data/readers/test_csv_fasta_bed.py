"""Sequences with a label: tables, FASTA and parquet, as users, GUE and the Nucleotide Transformer have them; BED."""

import re
from collections import Counter

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from reading import GENOME, read, refuse, save, spelled

from convnova.data import unpack
from convnova.data.readers import rows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_tables(tmp_path, capsys, separator, end):
    lines = ["label,note,sequence", "a,x,ACGT", 'b,"y, z",ggR', "", "a,, TTN "]
    lines = [line.replace("y, z", "y z") for line in lines] if separator != "," else lines
    text = "\ufeff" + end.join(line.replace(",", separator) for line in lines)
    found = read("csv", {"train": save(tmp_path / "train.csv", text), "test": save(tmp_path / "test.tsv.gz", text)})
    expected = [("ACGT", "a"), ("GGN", "b"), ("TTN", "a")]
    assert spelled(found) == {"train": expected, "test": expected}
    assert [part.others for part in found] == [1, 1]
    assert "train.csv: columns skipped: note" in capsys.readouterr().err


COLUMNS = {"sequence_column": "Seq, 5' to 3'", "label_column": "label"}


def test_columns_of_other_names_in_a_table_and_in_parquet(tmp_path):
    rows, table = [("ACGT", "7"), ("GGN", "x")], tmp_path / "a.parquet"
    text = "label;note;\"Seq, 5' to 3'\"\n7;a;acgt\nx;b;GGN\n"
    assert spelled(read("csv", {"train": save(tmp_path / "a.txt", text)}, **COLUMNS)) == {"train": rows}
    sequences, labels = zip(*rows, strict=True)
    parquet.write_table(pyarrow.table({"task": [1, 2], "label": labels, "Seq, 5' to 3'": sequences}), table)
    assert spelled(read("parquet", {"train": table}, **COLUMNS)) == {"train": rows}


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_a_column_that_is_not_there_is_a_line_with_those_that_are(tmp_path, name):
    path = save(tmp_path / "a.csv", "seq,target\nACGT,1\n")
    if name == "parquet":
        parquet.write_table(pyarrow.table({"seq": ["ACGT"], "target": [1]}), path)
    refuse("a.csv: expected .*sequence.*found seq, target.*`sequence_column`", name, {"train": path})


def test_a_real_file_of_gue(shared):
    """Lines end in CR LF; how many rows of each label there are was counted by others."""
    (found,) = read("csv", {"test": shared / "data/gue_complete/mouse_2/dev.csv.gz"})
    assert Counter(found.labels.tolist()) == {"0": 163, "1": 165} and set(found.lengths.tolist()) == {101}


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


@pytest.mark.parametrize("name", ["fasta", "nucleotide_transformer"])
def test_fasta_with_labels(tmp_path, name):
    text, rows = ">a|x|1\r\nACGT\r\nacgtn\r\n>b|0\r\nGRG\r\n", [("ACGTACGTN", "1"), ("GNG", "0")]
    files = {"train": save(tmp_path / "a.fa", text), "valid": save(tmp_path / "a.fa.gz", text)}
    assert spelled(read(name, files)) == {"train": rows, "valid": rows}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sequence": ["ACGTN", "acgt"], "name": ["a", "b"], "label": [0, 2]}, ""),
        ({"sequence": ["ACGTN", "acgt"], "label": [0, 2], "task": ["H3", "H3"]}, ""),
        ({"seq": ["ACGT"], "label": [0]}, "found seq, label; missing: sequence"),
        ({"sequence": ["ACGT"], "name": ["x"]}, "missing: label"),
        ({"sequence": ["A", "C"], "label": [0, 1], "task": ["H3", "H4"]}, "expected rows of one task, found H3, H4"),
        ({"sequence": ["ACGT", None], "label": [0, 1]}, "row 2: expected a sequence, found none"),
        ({"sequence": ["ACGT", "AC"], "label": [0, None]}, "row 2: expected a label, found none"),
        ({"sequence": ["ACGT", "MLEK"], "label": [0, 1]}, "row 2: expected nucleotides"),
        ({"sequence": [7], "label": [0]}, "row 1: expected nucleotides"),
        ({"sequence": ["ACGT"], "label": [[0]]}, "expected a parquet file"),
        ({"sequence": ["ACGT"], "label": [{"a": 0}]}, "expected a parquet file"),
        ({"sequence": ["ACGT"], "label": [b"\xff"]}, "expected a parquet file"),
        ({"sequence": ["ACGT"], "label": [0], "task": [[1]]}, "expected a parquet file"),
        ({"sequence": ["ACGT" * 100] * 10_000, "label": [0] * 10_000}, "unpacks to"),
    ],
)
def test_parquet(tmp_path, monkeypatch, columns, message):
    monkeypatch.setattr(unpack, "UNPACKED_BYTES", 1 << 20)
    files = {"train": tmp_path / "train.parquet"}
    parquet.write_table(pyarrow.table(columns), files["train"])
    if message:
        return refuse(message, "nucleotide_transformer", files)
    assert spelled(read("nucleotide_transformer", files)) == {"train": [("ACGTN", "0"), ("ACGT", "2")]}
    whole = files["train"].read_bytes()
    for content in (b"<html>not found</html>", whole[:-20], b""):
        files["train"].write_bytes(content)
        refuse("expected a parquet file", "nucleotide_transformer", files)


def test_bed_with_labels(tmp_path):
    plain = save(tmp_path / "plain.bed", "chr1\t0\t4\tpeak\t1\t.\n1 4 10 none 0 -\nMT\t2\t6\tpeak\t7\t+\n")
    header = save(tmp_path / "header.bed", "#chrom\tstart\tend\tstrand\tlabel\nchr1\t10\t16\t-\tpeak\n")
    found = spelled(read("bed", {"train": plain, "test": header}, GENOME))
    assert found["train"] == [("ACGT", "peak"), ("NNTGCA", "none"), ("TTCC", "peak")]
    assert found["test"] == [("GGCCTT", "peak")]
    refuse("plain.bed: expected a genome", "bed", {"train": plain})


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
