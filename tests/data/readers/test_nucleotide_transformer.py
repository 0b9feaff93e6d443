"""The Nucleotide Transformer's tasks, FASTA and parquet."""

import pyarrow
import pytest
from pyarrow import parquet
from reading import read, refuse, save, spelled


def test_fasta(tmp_path):
    train = save(tmp_path / "train.fna", ">YBR063C_YBR063C_367930|0\nACGTN\n>chr1|x|2\nac\ngt\n")
    found = read("nucleotide_transformer", {"train": train, "test": save(tmp_path / "a.fna.gz", ">iYAL|1\nTTTT\n")})
    assert spelled(found) == {"train": [("ACGTN", "0"), ("ACGT", "2")], "test": [("TTTT", "1")]}


def test_parquet_with_and_without_task(tmp_path):
    columns = {"sequence": ["ACGTN", "acgt"], "name": ["a", "b"], "label": [0, 2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    parquet.write_table(pyarrow.table({**columns, "task": ["H3", "H3"]}), tmp_path / "test.parquet")
    expected = [("ACGTN", "0"), ("ACGT", "2")]
    files = {split: tmp_path / f"{split}.parquet" for split in ("train", "test")}
    assert spelled(read("nucleotide_transformer", files)) == {"train": expected, "test": expected}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"seq": ["ACGT"], "label": [0]}, "found seq, label; missing: sequence"),
        ({"sequence": ["ACGT"], "name": ["x"]}, "missing: label"),
        ({"sequence": ["A", "C"], "label": [0, 1], "task": ["H3", "H4"]}, "expected rows of one task, found H3, H4"),
        ({"sequence": ["ACGT", None], "label": [0, 1]}, "row 2: expected a sequence, found none"),
        ({"sequence": ["ACGT", "AC"], "label": [0, None]}, "row 2: expected a label, found none"),
        ({"sequence": ["ACGT", "MLEK"], "label": [0, 1]}, "row 2: expected nucleotides"),
    ],
)
def test_wrong_parquet(tmp_path, columns, message):
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    refuse(message, "nucleotide_transformer", {"train": tmp_path / "train.parquet"})


def test_no_parquet_at_all(tmp_path):
    parquet.write_table(pyarrow.table({"sequence": ["ACGT"] * 100, "label": [0] * 100}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (b"<html>not found</html>", whole[:-20], b""):
        (tmp_path / "train.parquet").write_bytes(content)
        refuse("expected a parquet file", "nucleotide_transformer", {"train": tmp_path / "train.parquet"})
