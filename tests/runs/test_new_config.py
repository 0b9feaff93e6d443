"""`convnova init`: a config for a user's own files."""

import gzip
import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml

from convnova.config.load import load_config
from convnova.errors import ConvNovaError
from convnova.runs.new_config import write_new_config

TRAIN = "sequence,label\nACGT,no\nACGTACGN,yes\nRRGT,no\nTTTTT,yes\n"
TEST = "sequence,label\nACGT,no\nGGGGG,yes\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "config").symlink_to(Path(__file__).resolve().parents[2] / "config")
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text(TEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new_config(folder, train="train.csv", test="test.csv", valid=None, name="mine", out="mine.yaml", **columns):
    write_new_config(folder / train, folder / test, folder / valid if valid else None, name, folder / out, **columns)
    return (folder / out).read_text()


def test_the_config_says_what_was_found_and_can_be_run(folder):
    text = new_config(folder)
    schema = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    jsonschema.validate(yaml.safe_load(text), json.loads((folder / schema).read_text()))
    assert "4 sequences of 4 to 8 bases; no: 2, yes: 2" in text
    assert "2 letters" in text and "1 of 2 test sequences" in text and "tenth of train" in text
    task = load_config(folder / "mine.yaml").suites["mine"].tasks["mine"]
    assert (task.max_length, task.metric, task.train) == (8, "mcc", str(folder / "train.csv"))


def test_formats_are_told_by_how_files_begin(folder):
    for name in ("train", "test"):
        with gzip.open(folder / f"{name}.fa.gz", "wt") as stream:
            stream.write(">one|a\nACGT\nAC\n>two|b\nGGG\n")
    content = yaml.safe_load(new_config(folder, "train.fa.gz", "test.fa.gz", valid="test.fa.gz", out="other.yaml"))
    assert content["suites"]["mine"]["format"] == "fasta"
    assert content["suites"]["mine"]["tasks"]["mine"]["valid"] == str(folder / "test.fa.gz")
    with pytest.raises(ConvNovaError, match=r"train\.csv is csv.*test\.fa\.gz is fasta"):
        new_config(folder, test="test.fa.gz", out="third.yaml")


def test_columns_are_found_by_their_names_or_named_by_the_user(folder):
    table = {"id": ["a", "b"], "DNA": ["ACGT", "TTTTT"], "Target": ["no", "yes"], "fold": [1, 2]}
    for name in ("train", "test"):
        pd.DataFrame(table).to_csv(folder / f"{name}.csv", sep=";", index=False)
        pd.DataFrame(table).to_parquet(folder / f"{name}.parquet")
    text = new_config(folder)
    assert "# label column: Target" in text and "no: 1, yes: 1" in text
    task = load_config(folder / "mine.yaml").suites["mine"].tasks["mine"]
    assert task.columns == ("DNA", "Target")
    content = yaml.safe_load(new_config(folder, "train.parquet", "test.parquet", out="b.yaml", label_column="fold"))
    suite = content["suites"]["mine"]
    assert (suite["format"], suite["tasks"]["mine"]["label_column"]) == ("parquet", "fold")
    with pytest.raises(ConvNovaError, match="'classes'.*found id, DNA, Target, fold"):
        new_config(folder, out="c.yaml", label_column="classes")
    (folder / "train.csv").write_text("DNA;group\nACGT;1\n")
    with pytest.raises(ConvNovaError, match="train.csv.*'label'.*found DNA, group.*--label-column"):
        new_config(folder, out="c.yaml")
    assert not (folder / "c.yaml").exists()


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["0.5", "-1e-3"], "regression"), (["1", "2.25"], "regression"), (["0.0", "1.0"], "classes"),
        (["0", "17"], "classes"), (["0.5", "high"], "classes"), (["1e3", "nan"], "classes"),
    ],
)  # fmt: skip
def test_labels_that_are_real_numbers_are_predicted_as_such(folder, labels, kind):
    """Whole numbers may name classes, also as a table of floats writes them."""
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_text("".join(["sequence,label\n", *(f"ACGT,{label}\n" for label in labels)]))
    text = new_config(folder)
    task = load_config(folder / "mine.yaml").suites["mine"].tasks["mine"]
    assert (task.kind, task.metric) == (kind, "pearson" if kind == "regression" else "mcc")
    assert ("so the task is a regression" in text) == (kind == "regression")
    if labels[0] == "1":
        assert "# train: 2 sequences of 4 to 4 bases; numbers from 1 to 2.25" in text
        (folder / "test.csv").write_text("sequence,label\nACGT,0.5\nACGT,high\n")
        with pytest.raises(ConvNovaError, match="test.csv row 2: expected a number.*'high'"):
            new_config(folder, out="other.yaml")


def test_few_sequences_that_are_much_longer_are_cut(folder):
    rows = ["ACGTA,x"] * 150 + ["ACGTACGTAC,y"] * 150 + ["ACGTA" * 20 + ",y"] * 2
    (folder / "train.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    text = new_config(folder)
    assert "2 sequences are read up to 10 bases" in text and yaml.safe_load(text)["suites"]["mine"]["tasks"]["mine"][
        "max_length"] == 10  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [("name,value\n1,2\n", "'sequence'"), ("", "found a first line"), ("sequence,label\nACGT,\n", "row 1")],
)
def test_wrong_files_leave_no_config(folder, content, words):
    (folder / "train.csv").write_text(content)
    with pytest.raises(ConvNovaError, match=words):
        new_config(folder)
    assert not (folder / "mine.yaml").exists()


def test_a_config_that_is_there_stays(folder):
    (folder / "mine.yaml").write_text("run: other\n")
    with pytest.raises(ConvNovaError, match="mine.yaml"):
        new_config(folder)
    assert (folder / "mine.yaml").read_text() == "run: other\n"
