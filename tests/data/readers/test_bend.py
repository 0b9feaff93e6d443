"""BEND's gene finding: BED and HDF5 side by side."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from reading import GENOME, read, refuse, spelled

from convnova.data.readers import apart, bend

HEADER = "chromosome\tstart\tend\ttranscript_id\tsplit\n"
LINES = "chr1\t0\t4\tENST1\ttrain\nchr1\t4\t9\tENST2\ttest\nchr1\t10\t12\tENST3\ttrain\nchr1\t2\t4\tENST4\tvalid\n"
LABELS = [[0, 1, 2, 3], [8, 8, 8, 8, 7], [4, 5], [6, 6]]


def write(folder, lines=LINES, labels=LABELS, header=HEADER, name="labels"):
    (folder / "gene_finding.bed").write_text(header + lines)
    with h5py.File(folder / "gene_finding.hdf5", "w") as file:
        rows = file.create_dataset(name, (len(labels),), dtype=h5py.vlen_dtype(np.int64))
        for number, row in enumerate(labels):
            rows[number] = row
    return {"intervals": folder / "gene_finding.bed", "labels": folder / "gene_finding.hdf5"}


EXPECTED = {
    "train": [("ACGT", [0, 1, 2, 3]), ("AA", [4, 5])],
    "test": [("TGCAN", [8, 8, 8, 8, 7])],
    "valid": [("GT", [6, 6])],
}


@pytest.mark.parametrize("rows_a_piece", [1, 3, 256])
def test_every_base_has_its_label(tmp_path, monkeypatch, rows_a_piece):
    monkeypatch.setattr(bend, "ROWS_A_PIECE", rows_a_piece)
    parts = read("bend", write(tmp_path), GENOME)
    assert spelled(parts) == EXPECTED and all(part.labels.dtype == np.int8 for part in parts)


def test_the_strand_column_is_not_used(tmp_path):
    lines = "chr1\t0\t4\t-\ttrain\n"
    files = write(tmp_path, lines, LABELS[:1], "chromosome\tstart\tend\tstrand\tsplit\n")
    assert spelled(read("bend", files, GENOME)) == {"train": [("ACGT", [0, 1, 2, 3])]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS[:3]}, "hdf5: expected one row of labels an interval, found 3 rows for 4 intervals in .*bed"),
        ({"labels": [LABELS[0], LABELS[1][:4], *LABELS[2:]]}, "bed line 3: expected 5 labels, found 4 in .*hdf5"),
        ({"labels": [[0, 1, 2, -100], *LABELS[1:]]}, "expected class numbers from 0 on, found -100"),
        ({"labels": [[0, 1, 128, 0], *LABELS[1:]]}, "expected class numbers from 0 on, found 128"),
        ({"name": "label"}, "expected a dataset 'labels', found label"),
        ({"lines": LINES.replace("valid", "val")}, "line 5: expected train, valid or test in the last column"),
        ({"lines": LINES.replace("12", "19")}, "line 4: expected an interval within chr1, which has 16 bases"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, change, message):
    refuse(message, "bend", write(tmp_path, **change), GENOME)


def compound(file):
    file.create_dataset("labels", data=np.zeros(4, [("a", "i4"), ("b", "i4")]))


def stored_elsewhere(file):
    """As the bytes of another file, which may be any on this machine."""
    other = file.filename + ".secret"
    Path(other).write_bytes(bytes(16))
    file.create_dataset("labels", (4, 4), np.int8, external=[(other, 0, 16)])


def virtual(file):
    with h5py.File(file.filename + ".other", "w") as other:
        other.create_dataset("x", data=np.zeros((4, 4), int))
        layout = h5py.VirtualLayout((4, 4), int)
        layout[:] = h5py.VirtualSource(other["x"])
        file.create_virtual_dataset("labels", layout)


@pytest.mark.parametrize(
    ("write_labels", "message"),
    [
        (lambda file: file.create_dataset("labels", data=np.full((4, 4), 0.5)), "whole numbers.*float64"),
        (lambda file: file.create_dataset("labels", data=np.zeros((4, 4), complex)), "whole numbers.*complex"),
        (lambda file: file.create_dataset("labels", data=np.zeros((4, 4, 1), int)), r"\(4, 4, 1\)"),
        (lambda file: file.create_dataset("labels", data=5), r"whole numbers.*shape \(\)"),
        (lambda file: file.create_dataset("labels", data=["a"] * 4, dtype=h5py.string_dtype()), "whole numbers"),
        (lambda file: file.create_dataset("labels", (4,), h5py.vlen_dtype(float)), "whole numbers.*float"),
        (lambda file: file.create_dataset("labels", (4, 1 << 40), "i1", chunks=(4, 1 << 20)), "a file of data"),
        (lambda file: file.create_group("labels"), "'labels', found none"),
        (lambda file: file.__setitem__("labels", h5py.ExternalLink("other.h5", "x")), "in the file itself"),
        (lambda file: file.__setitem__("labels", h5py.SoftLink("/x")), "in the file itself"),
        (compound, "whole numbers"),
        (stored_elsewhere, "in the file itself"),
        (virtual, "in the file itself"),
    ],
)
def test_labels_of_another_kind(tmp_path, write_labels, message):
    files = write(tmp_path)
    with h5py.File(files["labels"], "w") as file:
        write_labels(file)
    refuse(f"hdf5: .*{message}", "bend", files, GENOME)


def test_a_hole_that_keeps_the_library_busy_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "SECONDS", 1)
    files = write(tmp_path)
    content = files["labels"].read_bytes()
    start = content.index(b"GCOL") + 16
    files["labels"].write_bytes(content[:start] + bytes(200) + content[start + 200 :])
    refuse("hdf5: .*not read in 1 seconds", "bend", files, GENOME)


def test_missing_parts(tmp_path):
    files = write(tmp_path)
    refuse("expected a genome", "bend", files)
    refuse("roles intervals and labels, found intervals", "bend", {"intervals": files["intervals"]}, GENOME)
    whole = files["labels"].read_bytes()
    for content in (b"<html>", whole[: len(whole) // 2]):
        files["labels"].write_bytes(content)
        refuse("hdf5: expected an HDF5 file", "bend", files, GENOME)
