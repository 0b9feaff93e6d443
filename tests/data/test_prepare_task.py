"""Tokenized tasks: what is in them, what is reported, and what is refused."""

import hashlib
import itertools

import h5py
import numpy as np
import pytest
import scipy.io

from convnova.config.schema import Task
from convnova.data.dna import decode
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.readers import rows
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError


def table(folder, name, *rows):
    path = folder / f"{name}.csv"
    path.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in rows))
    return path


def own_files(folder, train=(("ACGT", "b"), ("GG", "a")), test=(("TTT", "a"),), **more):
    splits = {"train": train, "test": test, **more}
    return {split: table(folder, split, *rows) for split, rows in splits.items()}


def spelled(split):
    a_base = split.labels.dtype == np.int8
    rows = [slice(*ends) for ends in itertools.pairwise(split.offsets)]
    return [(decode(split.tokens[row]), split.labels[row if a_base else i].tolist()) for i, row in enumerate(rows)]


def test_classes(tmp_path, capsys):
    files = own_files(tmp_path, train=[("ACGT", "10"), ("ggR", "2"), ("T", "1")], valid=[("CC", "2")])
    tokenize_task(Task(max_length=2), "csv", files | {"test": table(tmp_path, "t", ("AAAAA", "10"))}, tmp_path / "a.st")
    task = read_task(tmp_path / "a.st")
    assert (task.kind, task.classes, list(task.splits)) == ("classes", ["1", "2", "10"], ["train", "valid", "test"])
    assert spelled(task.split("train")) == [("ACGT", 2), ("GGN", 1), ("T", 0)]
    assert spelled(task.split("valid")) == [("CC", 1)]
    assert spelled(task.split("test")) == [("AAAAA", 2)]
    assert task.split("train").lengths.tolist() == [4, 3, 1]
    assert task.metadata["splits"] == {
        "train": {"rows": 3, "longest": 4, "longer": 2, "others": 1},
        "valid": {"rows": 1, "longest": 2, "longer": 0, "others": 0},
        "test": {"rows": 1, "longest": 5, "longer": 1, "others": 0},
    }
    hashes = {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in files.items() if role != "test"}
    assert {role: entry["sha256"] for role, entry in task.metadata["inputs"].items() if role != "test"} == hashes
    lines = capsys.readouterr().err
    assert "train: 3 rows of 1 to 4 bases" in lines
    assert "train: 1 letters other than A, C, G, T and N, read as N" in lines
    assert "train: 2 rows longer than max_length, read only their first 2 bases" in lines
    assert "valid: 1 letters" not in lines and "valid: 1 rows longer" not in lines


def test_the_rows_of_each_class_are_told_and_a_class_without_any(tmp_path, capsys):
    files = own_files(tmp_path, train=[("ACGT", "b"), ("GG", "a"), ("C", "b")], test=[("TTT", "a"), ("T", "c")])
    tokenize_task(Task(classes=["a", "b", "c"]), "csv", files, tmp_path / "a.st")
    lines = capsys.readouterr().err
    assert "train: rows of each class: a 1, b 2, c 0" in lines and "test: rows of each class: a 1, b 0, c 1" in lines
    assert "warning: train: no rows of the class c;" in lines and "warning: test: no rows of the class b;" in lines


def test_ids_follow_the_config_not_the_files(tmp_path):
    tokenize_task(Task(classes=["b", "unseen", "a"]), "csv", own_files(tmp_path), tmp_path / "a.st")
    assert spelled(read_task(tmp_path / "a.st").split("train")) == [("ACGT", 0), ("GG", 2)]


@pytest.mark.parametrize(
    ("splits", "task", "message"),
    [
        ({"test": [("TTT", "a"), ("TTT", "c")]}, {}, "test.csv row 2.*classes a, b,.*'c'"),
        ({}, {"classes": ["a", "c"]}, "train.csv row 1.*classes a, c,.*'b'"),
        ({"train": []}, {}, "expected rows of the split 'train', found {'test': 1}"),
        ({"test": []}, {}, "expected rows of the split 'test', found {'train': 2}"),
        ({"valid": []}, {}, "expected rows of the split 'valid', found {'train': 2, 'test': 1}"),
        ({"train": [("ACGT", "a"), ("MKVL", "b")]}, {}, "train.csv row 2.*'L' at position 4"),
        ({"train": [("ACGT", "a"), ("", "b")]}, {}, "train.csv row 2: expected a sequence, found none"),
        ({}, {"counts": {"train": 30_000, "test": 1}}, "30,000 train rows.*found 2; .*--accept-c"),
        ({}, {"counts": {"valid": 5}}, "expected 5 valid rows as published, found 0"),
        (
            {"train": [("ACGT", "a"), ("G", "b"), ("T", "c")]},
            {"metric": "f1_binary"},
            "test.csv: metric = f1_binary.*found 3; take f1_macro",
        ),
        ({}, {"metric": "auroc"}, "test.csv: metric = auroc.*two classes"),
        ({}, {"metric": "auprc"}, "test.csv: metric = auprc.*two classes"),
        ({}, {"kind": "per_base"}, "task: expected kind 'classes', which format 'csv' holds, found 'per_base'"),
    ],
)
def test_what_is_refused_leaves_what_was_there(tmp_path, splits, task, message):
    files, out = own_files(tmp_path, **splits), tmp_path / "made" / "task.st"
    with pytest.raises(ConvNovaError, match=message) as error:
        tokenize_task(Task(**task), "csv", files, out)
    assert "\n" not in str(error.value)
    assert not out.parent.exists() or not list(out.parent.iterdir())
    out.parent.mkdir(exist_ok=True)
    out.write_text("before")
    with pytest.raises(ConvNovaError):
        tokenize_task(Task(**task), "csv", files, out)
    assert [path.read_text() for path in out.parent.iterdir()] == ["before"]


def test_a_missing_file_and_a_missing_split(tmp_path):
    files = own_files(tmp_path)
    with pytest.raises(ConvNovaError, match="absent.csv: expected the file of 'test', found nothing"):
        tokenize_task(Task(), "csv", files | {"test": tmp_path / "absent.csv"}, tmp_path / "a.st")
    with pytest.raises(ConvNovaError, match="train.csv: expected rows of the split 'test', found {'train': 2}"):
        tokenize_task(Task(), "csv", {"train": files["train"]}, tmp_path / "a.st")
    with pytest.raises(ConvNovaError, match="expected rows of the split 'train', found none at all"):
        tokenize_task(Task(), "csv", {"archive": files["train"]}, tmp_path / "a.st")


def test_other_counts_accepted(tmp_path, capsys):
    task = Task(counts={"train": 30_000, "test": 1})
    tokenize_task(task, "csv", own_files(tmp_path), tmp_path / "a.st", accept_counts=True)
    assert "expected 30,000 train rows as published, found 2; accepted" in capsys.readouterr().err
    assert len(read_task(tmp_path / "a.st").split("train")) == 2


def test_a_split_that_is_not_there(tmp_path):
    tokenize_task(Task(), "csv", own_files(tmp_path), tmp_path / "a.st")
    with pytest.raises(ConvNovaError, match="a.st: expected a split 'valid', found train, test"):
        read_task(tmp_path / "a.st").split("valid")


def test_a_genome_is_no_task(tmp_path):
    (tmp_path / "genome.fa").write_text(">chr1\n" + "ACGT" * 20)
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    with pytest.raises(ConvNovaError, match="expected a tokenized task, found another safetensors file"):
        read_task(tmp_path / "genome/genome.safetensors")


@pytest.fixture
def gene_finding(tmp_path):
    """Files of BEND's form, and the genome's folder."""
    (tmp_path / "genome.fa").write_text(">chr1\nACGTTGCANNAAGGCC\n" + ">chr2\nACGTACGTAC\n" * 1)
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    (tmp_path / "g.bed").write_text(
        "chrom\tstart\tend\tsplit\nchr1\t0\t4\ttrain\nchr1\t4\t9\ttest\nchr2\t0\t3\ttrain\nchr2\t3\t4\tvalid\n"
    )
    with h5py.File(tmp_path / "g.hdf5", "w") as file:
        dataset = file.create_dataset("labels", (4,), dtype=h5py.vlen_dtype(np.int64))
        for number, labels in enumerate(([0, 1, 2, 0], [2] * 5, [0, 0, 3], [1])):
            dataset[number] = labels
    return {"intervals": tmp_path / "g.bed", "labels": tmp_path / "g.hdf5"}, tmp_path / "genome"


def test_a_label_for_every_base(tmp_path, gene_finding):
    files, genome = gene_finding
    task = Task(kind="per_base", classes=["exon", "donor", "intron", "acceptor"])
    tokenize_task(task, "bend", files, tmp_path / "a.st", genome)
    found = read_task(tmp_path / "a.st")
    assert (found.kind, found.classes) == ("per_base", ["exon", "donor", "intron", "acceptor"])
    assert spelled(found.split("train")) == [("ACGT", [0, 1, 2, 0]), ("ACG", [0, 0, 3])]
    assert spelled(found.split("test")) == [("TGCAN", [2, 2, 2, 2, 2])]
    assert spelled(found.split("valid")) == [("T", [1])]
    fasta = hashlib.sha256((tmp_path / "genome.fa").read_bytes()).hexdigest()
    assert found.metadata["inputs"]["genome"] == {"name": "genome.fa", "sha256": fasta}
    tokenize_task(Task(kind="per_base"), "bend", files, tmp_path / "b.st", genome)
    assert read_task(tmp_path / "b.st").classes == ["0", "1", "2", "3"]


def test_a_base_with_a_label_outside_the_classes(tmp_path, gene_finding):
    files, genome = gene_finding
    task = Task(kind="per_base", classes=["exon", "donor", "intron"])
    with pytest.raises(ConvNovaError, match="row 3: expected one of the classes 0, 1, 2, found the label '3'"):
        tokenize_task(task, "bend", files, tmp_path / "a.st", genome)
    assert not (tmp_path / "a.st").exists()


def test_many_labels(tmp_path):
    hot = np.eye(4, dtype=np.uint8)[np.array([[0, 1, 2], [3, 3, 0]])].transpose(0, 2, 1)
    files, labels = {}, np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
    for split, width in (("train", 3), ("test", 3), ("valid", 2)):
        files[split] = tmp_path / f"{split}.mat"
        scipy.io.savemat(files[split], {f"{split}xdata": hot, f"{split}data": labels[:, :width]})
    task = Task(kind="multilabel", metric="auroc", groups={"a": (0, 1), "b": (1, 3)})
    two = {split: files[split] for split in ("train", "test")}
    tokenize_task(task, "deepsea", two, tmp_path / "a.st")
    found = read_task(tmp_path / "a.st")
    assert (found.kind, found.classes) == ("multilabel", None)
    assert spelled(found.split("train")) == [("AGC", [1, 0, 1]), ("TTA", [0, 0, 1])]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(ConvNovaError, match="valid.mat: expected 3 labels a row, found 2"):
        tokenize_task(task, "deepsea", files, tmp_path / "b.st")
    with pytest.raises(
        ConvNovaError, match="expected as many labels a row in every split, found {'train': 3, 'valid': 2"
    ):
        tokenize_task(Task(kind="multilabel", metric="auroc"), "deepsea", files, tmp_path / "b.st")
    with pytest.raises(ConvNovaError, match="expected 4 labels a row, found 3"):
        tokenize_task(Task(kind="multilabel", metric="auroc", classes=list("abcd")), "deepsea", two, tmp_path / "b.st")
    assert not (tmp_path / "b.st").exists()


def test_other_letters_are_counted_through_all_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LETTERS_A_PIECE", 4)
    files = own_files(tmp_path, train=[("ACGR", "a"), ("YYCC", "b"), ("ACGT", "a")])
    tokenize_task(Task(), "csv", files, tmp_path / "a.st")
    assert read_task(tmp_path / "a.st").metadata["splits"]["train"]["others"] == 3


def test_the_first_base_of_a_row_is_that_rows(tmp_path, gene_finding):
    """Two train rows in one piece; the wrong label stands at the very start of the second."""
    files, genome = gene_finding
    files["intervals"].write_text("chrom\tstart\tend\tsplit\nchr1\t0\t4\ttrain\nchr2\t0\t3\ttrain\n")
    with h5py.File(files["labels"], "w") as file:
        dataset = file.create_dataset("labels", (2,), dtype=h5py.vlen_dtype(np.int64))
        dataset[0], dataset[1] = [0, 1, 2, 0], [3, 0, 0]
    with pytest.raises(ConvNovaError, match="row 2: expected one of the classes 0, 1, 2, found the label '3'"):
        tokenize_task(Task(kind="per_base", classes=list("abc")), "bend", files, tmp_path / "a.st", genome)


def test_rows_of_intervals_are_numbered_through_all_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "INTERVALS_A_PIECE", 2)
    (tmp_path / "genome.fa").write_text(">chr1\nACGTTGCANNAAGGCC\n")
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    (tmp_path / "train.bed").write_text("chr1\t0\t4\ta\n" * 4 + "chr1\t0\t4\tb\n")
    files = {"train": tmp_path / "train.bed", "test": tmp_path / "train.bed"}
    with pytest.raises(ConvNovaError, match="train.bed row 5: expected one of the classes a, c, found the label 'b'"):
        tokenize_task(Task(classes=["a", "c"]), "bed", files, tmp_path / "a.st", tmp_path / "genome")


def test_a_folder_of_intervals_is_hashed_file_by_file(tmp_path):
    (tmp_path / "genome.fa").write_text(">chr1\nACGTTGCANNAAGGCC\n")
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    for split in ("train", "test"):
        for label in ("positive", "negative"):
            path = tmp_path / "sets" / split / f"{label}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"id,region,start,end,strand\n0,1,{len(label) - 8},4,+\n")
    seen = set()
    for name in ("a.st", "b.st"):
        tokenize_task(
            Task(), "genomic_benchmarks", {"intervals": tmp_path / "sets"}, tmp_path / name, tmp_path / "genome"
        )
        seen.add(read_task(tmp_path / name).metadata["inputs"]["intervals"]["sha256"])
        (tmp_path / "sets/test/positive.csv").write_text("id,region,start,end,strand\n0,1,5,9,-\n")
    (tmp_path / "sets/.note.json").write_text("when it was fetched")
    tokenize_task(
        Task(), "genomic_benchmarks", {"intervals": tmp_path / "sets"}, tmp_path / "c.st", tmp_path / "genome"
    )
    seen.add(read_task(tmp_path / "c.st").metadata["inputs"]["intervals"]["sha256"])
    assert len(seen) == 2
    assert read_task(tmp_path / "b.st").classes == ["negative", "positive"]
    assert list(read_task(tmp_path / "b.st").splits) == ["train", "test"]
    assert spelled(read_task(tmp_path / "b.st").split("test")) == [("ACGT", 0), ("NTGC", 1)]
