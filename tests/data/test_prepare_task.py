"""Tokenized tasks: what is in them, what is reported, and what is refused."""

import itertools
import zipfile

import numpy as np
import pytest
import scipy.io

from convnova.config.schema import Task
from convnova.data.dna import decode
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.readers import bend, rows
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError
from convnova.files import sha256


def own_files(folder, train=(("ACGT", "b"), ("GG", "a")), test=(("TTT", "a"),), **more):
    """A CSV of sequences and labels for each split."""
    files = {split: folder / f"{split}.csv" for split in ("train", "test", *more)}
    for path, pairs in zip(files.values(), (train, test, *more.values()), strict=True):
        path.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in pairs))
    return files


def tokenized(folder, task, read_format, files, genome=None) -> TaskDataset:
    tokenize_task(task, read_format, files, folder / "a.st", genome)
    return read_task(folder / "a.st")


def spelled(split):
    a_base = split.labels.dtype == np.int8
    rows = [slice(*ends) for ends in itertools.pairwise(split.offsets)]
    return [(decode(split.tokens[row]), split.labels[row if a_base else i].tolist()) for i, row in enumerate(rows)]


def test_classes(tmp_path, capsys):
    train, valid, test = [("ACGT", "10"), ("ggR", "2"), ("T", "1")], [("CC", "2")], [("AAAAA", "10")]
    files = own_files(tmp_path, train, test, valid=valid)
    task = tokenized(tmp_path, Task(max_length=2), "csv", files)
    assert (task.kind, task.classes, list(task.splits)) == ("classes", ["1", "2", "10"], ["train", "valid", "test"])
    assert spelled(task.split("train")) == [("ACGT", 2), ("GGN", 1), ("T", 0)]
    assert spelled(task.split("valid")) == [("CC", 1)] and spelled(task.split("test")) == [("AAAAA", 2)]
    assert task.split("train").lengths.tolist() == [4, 3, 1]
    counts = {split: tuple(count.values()) for split, count in task.metadata["splits"].items()}
    assert counts == {"train": (3, 4, 2, 1), "valid": (1, 2, 0, 0), "test": (1, 5, 1, 0)}
    assert list(task.metadata["splits"]["test"]) == ["rows", "longest", "longer", "others"]
    hashes = {role: {"name": path.name, "sha256": sha256(path)} for role, path in files.items()}
    assert task.metadata["inputs"] == hashes
    assert task.metadata["read"] == {"train.csv": 3, "valid.csv": 1, "test.csv": 1} and not task.metadata["skipped"]
    lines = capsys.readouterr().err
    for part in ("3 rows of 1 to 4 bases", "1 letters other than A, C, G, T and N, read as N", "2 rows longer"):
        assert f"train: {part}" in lines
    assert "valid: 1 letters" not in lines and "valid: 1 rows longer" not in lines
    with pytest.raises(ConvNovaError, match="a.st: expected a split 'dev', found train, valid, test"):
        task.split("dev")


def test_ids_follow_the_config_and_a_class_without_rows_is_reported(tmp_path, capsys):
    files = own_files(tmp_path, [("ACGT", "b"), ("GG", "a"), ("C", "b")], [("TTT", "a"), ("T", "c")])
    task = tokenized(tmp_path, Task(classes=["b", "c", "a"]), "csv", files)
    assert spelled(task.split("train")) == [("ACGT", 0), ("GG", 2), ("C", 0)]
    lines = capsys.readouterr().err
    assert "train: rows of each class: b 2, c 0, a 1" in lines and "test: rows of each class: b 0, c 1, a 1" in lines
    assert "warning: train: no rows of the class c;" in lines and "warning: test: no rows of the class b;" in lines


@pytest.mark.parametrize(
    ("splits", "task", "roles", "message"),
    [
        ({"test": [("TTT", "a"), ("TTT", "c")]}, {}, {}, "test.csv row 2.*classes a, b,.*'c'"),
        ({}, {"classes": ["a", "c"]}, {}, "train.csv row 1.*classes a, c,.*'b'"),
        ({"train": []}, {}, {}, "split 'train', found {'test': 1}"),
        ({"test": []}, {}, {}, "split 'test', found {'train': 2}"),
        ({"valid": []}, {}, {}, "split 'valid', found {'train': 2, 'test': 1}"),
        ({"train": [("ACGT", "a"), ("MKVL", "b")]}, {}, {}, "train.csv row 2.*'L' at position 4"),
        ({}, {"counts": {"train": 30_000, "test": 1}}, {}, "30,000 train rows.*found 2; .*--accept-c"),
        ({}, {"counts": {"valid": 5}}, {}, "expected 5 valid rows as published, found 0"),
        ({"train": [("A", "a"), ("G", "b"), ("T", "c")]}, {"metric": "f1_binary"}, {}, "test.csv.*f1_binary.*3.*macro"),
        ({"train": [("A", "a")], "test": [("T", "a")]}, {}, {}, r"train.csv: .*two classes or more, found \['a'\]"),
        ({}, {"metric": "auroc"}, {}, "test.csv: metric = auroc.*two classes"),
        ({}, {"metric": "auprc"}, {}, "test.csv: metric = auprc.*two classes"),
        ({}, {"kind": "per_base"}, {}, "kind 'classes' or 'regression', which format 'csv' holds, found 'per_base'"),
        ({}, {}, {"train": "train", "test": "absent"}, "absent.csv: expected the file of 'test', found nothing"),
        ({}, {}, {"train": "train"}, "train.csv: .* 'test', found {'train': 2}"),
        ({}, {}, {"archive": "train"}, "'train', found none at all"),
    ],
)
def test_what_is_refused_leaves_what_was_there(tmp_path, splits, task, roles, message):
    files, out = own_files(tmp_path, **splits), tmp_path / "made" / "task.st"
    files = {role: tmp_path / f"{name}.csv" for role, name in roles.items()} or files
    for before in ([], ["before"]):
        with pytest.raises(ConvNovaError, match=message) as error:
            tokenize_task(Task(**task), "csv", files, out)
        assert "\n" not in str(error.value)
        assert not out.parent.exists() or [path.read_text() for path in out.parent.iterdir()] == before
        out.parent.mkdir(exist_ok=True)
        out.write_text("before")


def test_other_counts_accepted(tmp_path, capsys):
    task = Task(counts={"train": 30_000, "test": 1})
    tokenize_task(task, "csv", own_files(tmp_path), tmp_path / "a.st", accept_counts=True)
    assert "expected 30,000 train rows as published, found 2; accepted" in capsys.readouterr().err
    assert len(read_task(tmp_path / "a.st").split("train")) == 2


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "genome.fa").write_text(">chr1\nACGTTGCANNAAGGCC\n>chr2\nACGTACGTAC\n")
    tokenize_genome(tmp_path / "genome.fa", tmp_path / "genome")
    return tmp_path / "genome"


def test_a_label_for_every_base(tmp_path, genome):
    places = ("chr1", 0, 4, "train"), ("chr1", 4, 9, "test"), ("chr2", 0, 3, "train"), ("chr2", 3, 4, "valid")
    labels, classes = ([0, 1, 2, 0], [2] * 5, [3, 0, 0], [1]), ["exon", "donor", "intron", "acceptor"]
    lines = [(*place[:3], ".", place[3], np.array(of)) for place, of in zip(places, labels, strict=True)]
    files = bend.write(tmp_path, lines)
    task = tokenized(tmp_path, Task(kind="per_base", classes=classes), "bend", files, genome)
    assert (task.kind, task.classes) == ("per_base", classes)
    assert spelled(task.split("train")) == [("ACGT", [0, 1, 2, 0]), ("ACG", [3, 0, 0])]
    assert spelled(task.split("test")) == [("TGCAN", [2, 2, 2, 2, 2])]
    assert spelled(task.split("valid")) == [("T", [1])]
    assert task.metadata["inputs"]["genome"] == {"name": "genome.fa", "sha256": sha256(tmp_path / "genome.fa")}
    assert tokenized(tmp_path, Task(kind="per_base"), "bend", files, genome).classes == ["0", "1", "2", "3"]
    (tmp_path / "a.st").unlink()
    with pytest.raises(ConvNovaError, match="row 3: .*classes 0, 1, 2, found the label '3'"):
        tokenized(tmp_path, Task(kind="per_base", classes=classes[:3]), "bend", files, genome)
    assert not (tmp_path / "a.st").exists()
    with pytest.raises(ConvNovaError, match="genome.safetensors: expected a tokenized task, found another"):
        read_task(genome / "genome.safetensors")


def test_many_labels(tmp_path):
    hot = np.eye(4, dtype=np.uint8)[np.array([[0, 1, 2], [3, 3, 0]])].transpose(0, 2, 1)
    files, labels = {}, np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
    for split, width in (("train", 3), ("test", 3), ("valid", 2)):
        files[split] = tmp_path / f"{split}.mat"
        scipy.io.savemat(files[split], {f"{split}xdata": hot, f"{split}data": labels[:, :width]})
    two = {split: files[split] for split in ("train", "test")}
    groups = {"groups": {"a": (0, 1), "b": (1, 3)}}
    task = tokenized(tmp_path, Task(kind="multilabel", metric="auroc", **groups), "deepsea", two)
    assert (task.kind, task.classes) == ("multilabel", None)
    assert spelled(task.split("train")) == [("AGC", [1, 0, 1]), ("TTA", [0, 0, 1])]
    (tmp_path / "a.st").unlink()
    for settings, roles, message in (
        (groups, files, "valid.mat: expected 3 labels a row, found 2"),
        ({}, files, "expected as many labels a row in every split, found {'train': 3, 'valid': 2"),
        ({"classes": list("abcd")}, two, "expected 4 labels a row, found 3"),
    ):
        with pytest.raises(ConvNovaError, match=message):
            tokenized(tmp_path, Task(kind="multilabel", metric="auroc", **settings), "deepsea", roles)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mat"] * 3


def test_letters_and_rows_are_counted_through_all_pieces(tmp_path, monkeypatch, genome):
    monkeypatch.setattr(rows, "LETTERS_A_PIECE", 4)
    monkeypatch.setattr(rows, "ROWS_A_PIECE", 2)
    files = own_files(tmp_path, train=[("ACGR", "a"), ("YYCC", "b"), ("ACGT", "a")])
    assert tokenized(tmp_path, Task(), "csv", files).metadata["splits"]["train"]["others"] == 3
    (tmp_path / "train.bed").write_text("chr1\t0\t4\ta\n" * 4 + "chr1\t0\t4\tb\n")
    files = dict.fromkeys(("train", "test"), tmp_path / "train.bed")
    with pytest.raises(ConvNovaError, match="train.bed row 5: .*classes a, c, found the label 'b'"):
        tokenized(tmp_path, Task(classes=["a", "c"]), "bed", files, genome)


def test_what_is_read_of_each_file_and_passed_over_is_counted(tmp_path, genome, capsys):
    for split in ("train", "test"):
        (tmp_path / f"{split}.bed").write_text("# one\n\nchr1\t0\t4\ta\n#hr1\t4\t8\ta\ntrack x\nchr2\t0\t4\tb\n")
    files = {split: tmp_path / f"{split}.bed" for split in ("train", "test")}
    metadata = tokenized(tmp_path, Task(), "bed", files, genome).metadata
    assert metadata["read"] == {"train.bed": 2, "test.bed": 2}
    assert metadata["skipped"] == {f"comment lines of {split}.bed": 3 for split in ("train", "test")}
    assert "3 comment lines of train.bed passed over" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (
            "x/train/b/1.txt",
            "x/train/b/2.txt",
            "x/train/c/1.txt",
            "x/test/b/1.txt",
            "x/test/c/1.txt",
            "x/y",
        ):
            archive.writestr(name, "ACGT")
    metadata = tokenized(tmp_path, Task(), "genomic_benchmarks", {"archive": tmp_path / "a.zip"}).metadata
    assert metadata["read"] == {
        f"a.zip:{part}": 1 + (part == "train/b") for part in ("train/b", "train/c", "test/b", "test/c")
    }
    assert metadata["skipped"] == {"files of a.zip that are no part of a split": 1}


def test_a_folder_of_intervals_is_hashed_file_by_file(tmp_path, genome):
    folder, hashes = tmp_path / "sets", []
    for split, label in itertools.product(("train", "test"), ("positive", "negative")):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / f"{label}.csv").write_text("id,region,start,end,strand\n0,1,0,4,+\n")
    for change, text in (("test/positive.csv", "id,region,start,end,strand\n0,1,5,9,-\n"), (".note.json", "fetched")):
        task = tokenized(tmp_path, Task(), "genomic_benchmarks", {"intervals": folder}, genome)
        hashes.append(task.metadata["inputs"]["intervals"]["sha256"])
        (folder / change).write_text(text)
    task = tokenized(tmp_path, Task(), "genomic_benchmarks", {"intervals": folder}, genome)
    assert hashes[0] != hashes[1] == task.metadata["inputs"]["intervals"]["sha256"]
    assert task.classes == ["negative", "positive"] and list(task.splits) == ["train", "test"]
    assert spelled(task.split("test")) == [("ACGT", 0), ("NTGC", 1)]
