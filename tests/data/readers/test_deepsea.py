"""DeepSEA: MATLAB files of both kinds, and the bundle."""

import csv
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import yaml
from reading import read, refuse, save, spelled

from convnova.data.readers import deepsea

CATALOGUE = Path(__file__).resolve().parents[3] / "config"
SEQUENCES = ["ACGTN", "GGCAT", "NNNNA", "TTTTT"]
LABELS = [[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]


def one_hot(sequences, channels="AGCT"):
    """uint8 (n, 4, bases); N has no channel."""
    return np.array([[[base == channel for base in text] for channel in channels] for text in sequences], np.uint8)


def matlab_5(path, split, sequences=SEQUENCES, labels=LABELS, **changed):
    scipy.io.savemat(path, {f"{split}xdata": one_hot(sequences), f"{split}data": np.array(labels, np.uint8), **changed})
    return path


def matlab_7(path, split, sequences=SEQUENCES, labels=LABELS, chunks=None):
    """HDF5 with the axes in the opposite order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(f"{split}xdata", data=one_hot(sequences).transpose(2, 1, 0), chunks=chunks)
        file.create_dataset(f"{split}data", data=np.array(labels, np.uint8).T)
    return path


ROWS = list(zip(SEQUENCES, LABELS, strict=True))


@pytest.mark.parametrize("size", [1, 3, 8192])
@pytest.mark.parametrize("chunks", [None, (2, 4, 2)])
def test_both_kinds_of_matlab_files(tmp_path, monkeypatch, size, chunks):
    monkeypatch.setattr(deepsea, "WINDOWS_A_PIECE", size)
    train = matlab_7(tmp_path / "train.mat", "train", chunks=chunks)
    valid = matlab_5(tmp_path / "valid.mat", "valid", SEQUENCES[:2], LABELS[:2])
    assert spelled(read("deepsea", {"train": train, "valid": valid})) == {"train": ROWS, "valid": ROWS[:2]}


def test_labels_that_are_stored_as_other_numbers_are_bytes(tmp_path):
    test = matlab_5(tmp_path / "test.mat", "test", testdata=np.array(LABELS, np.float64))
    (rows,) = read("deepsea", {"test": test})
    assert rows.labels.dtype == np.uint8 and rows.labels.tolist() == LABELS


@pytest.mark.parametrize("folder", ["deepsea_train", "DeepSEA_data"])
def test_the_bundle_is_unpacked_into_scratch(tmp_path, folder):
    source, scratch, bundle = tmp_path / "source", tmp_path / "scratch", tmp_path / "bundle.tar.gz"
    save(source / "1_train.lua", "-- code")
    scratch.mkdir()
    with tarfile.open(bundle, "w:gz") as archive:
        archive.add(source, folder)
    refuse("expected train.mat, valid.mat and test.mat", "deepsea", {"archive": bundle}, scratch=scratch)
    matlab_5(source / "test.mat", "test", SEQUENCES[:1], LABELS[:1])
    matlab_7(source / "train.mat", "train")
    with tarfile.open(bundle, "w:gz") as archive:
        archive.add(source, folder)
    assert spelled(read("deepsea", {"archive": bundle}, scratch=scratch)) == {"train": ROWS, "test": ROWS[:1]}
    assert sorted(path.name for path in scratch.iterdir()) == ["test.mat", "train.mat"]
    bundle.write_bytes(bundle.read_bytes()[:-200])
    refuse("bundle.tar.gz: .*truncated or damaged", "deepsea", {"archive": bundle}, scratch=scratch)


def changed_column(column):
    hot = one_hot(SEQUENCES)
    hot[2, :, 4] = column
    return hot


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"testxdata": one_hot(SEQUENCES, "AGCTN")}, r"found uint8 \(4, 5, 5\) and uint8 \(4, 3\)"),
        ({"testdata": np.zeros((3, 3), np.uint8)}, r"found uint8 \(4, 4, 5\) and uint8 \(3, 3\)"),
        ({"testxdata": one_hot(SEQUENCES).transpose(0, 2, 1)}, r"testxdata of \(windows, 4 channels, bases\)"),
        ({"testdata": np.array([*LABELS[:2], [0, 2, 0], LABELS[3]])}, "row 3: expected labels 0 or 1"),
        ({"extraxdata": np.zeros((1, 1))}, "expected 'testxdata' and 'testdata', found"),
        ({"testxdata": np.zeros((4, 4, 0), np.uint8)}, r"\(4, 4, 0\)"),
        ({"testdata": np.zeros((4, 0), np.uint8)}, r"\(4, 0\)"),
        ({"testxdata": one_hot(SEQUENCES).astype(complex)}, "complex128"),
        ({"testdata": np.array([["a"] * 3] * 4)}, "found .*<U1"),
        ({"testxdata": changed_column([1, 1, 0, 0])}, "row 3: .*at most one 1 in the channels AGCT"),
        ({"testxdata": changed_column([1, 2, 0, 0])}, "row 3: .*at most one 1 in the channels AGCT"),
    ],
)
def test_wrong_channels_and_sizes(tmp_path, monkeypatch, changed, message):
    monkeypatch.setattr(deepsea, "WINDOWS_A_PIECE", 2)
    refuse(message, "deepsea", {"test": matlab_5(tmp_path / "test.mat", "test", **changed)})


def test_damaged_matlab_files(tmp_path):
    seven, five = matlab_7(tmp_path / "seven.mat", "train"), matlab_5(tmp_path / "five.mat", "train")
    for content in (seven.read_bytes()[:2000], five.read_bytes()[:150], b"<html>", b""):
        (tmp_path / "train.mat").write_bytes(content)
        refuse("train.mat: expected a", "deepsea", {"train": tmp_path / "train.mat"})


def test_the_919_labels_lie_in_three_groups(shared):
    """DNase, transcription factors, histone marks, in the order of the .mat files."""
    with (shared / "data/deepsea_sample/deepsea_metadata.tsv").open(newline="") as stream:
        kinds = [row["TF/DNase/HistoneMark"] for row in csv.DictReader(stream, delimiter="\t")]
    suite = yaml.safe_load((CATALOGUE / "suites/chromatin_profile.yaml").read_text())
    groups = suite["tasks"]["chromatin_profile"]["groups"]
    assert len(kinds) == 919 == sum(end - start for start, end in groups.values())
    assert set(kinds[slice(*groups["DHS"])]) == {"DNase"}
    assert all(kind.startswith(("H2", "H3", "H4")) for kind in kinds[slice(*groups["HM"])])
    assert not any(kind.startswith(("DNase", "H2A", "H3K", "H4K")) for kind in kinds[slice(*groups["TF"])])
