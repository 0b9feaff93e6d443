"""Genomic Benchmarks: the zip of sequences, and intervals cut out of a genome."""

import csv
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reading import GENOME, read, refuse, save, spelled

from convnova.data import unpack
from convnova.data.genome import read_genome, tokenize_genome

HEADER = "id,region,start,end,strand\n"
TABLES = {
    "train/positive.csv.gz": ("0,chr1,0,4,+\n1,1,4,10,-\n", ["ACGT", "NNTGCA"]),
    "train/negative.csv.gz": ("FP1,chr1,10,16,\n", ["AAGGCC"]),
    "test/positive.csv.gz": ("0,MT,2,6,-\n", ["GGAA"]),
    "test/negative.csv": ("0,chrMT,0,8,+\n", ["TTTTCCCC"]),
}
"""Tables of intervals, and the sequences there."""


def by_class(files, genome=None):
    """split/class to sequences."""
    rows = {}
    for split, pairs in spelled(read("genomic_benchmarks", files, genome)).items():
        for sequence, label in pairs:
            rows.setdefault(f"{split}/{label}", []).append(sequence)
    return rows


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tables(folder: Path, tables: dict[str, str]) -> Path:
    for name, text in tables.items():
        save(folder / name, HEADER + text)
    return folder


def test_zip_of_sequences(tmp_path):
    files = {
        "mini_v0/train/positive/0.txt": "ACGT",
        "mini_v0/train/positive/1.txt": "ttnr\n",
        "mini_v0/train/negative/0.txt": "GG",
        "mini_v0/test/negative/7.txt": "C",
        "mini_v0/test/positive/": "",
        "mini_v0/metadata.yaml": "version: 0",
    }
    found = by_class({"archive": write_zip(tmp_path / "mini_v0.zip", files)})
    assert found == {"train/positive": ["ACGT", "TTNN"], "train/negative": ["GG"], "test/negative": ["C"]}


def test_intervals_in_folder_zip_and_tar(tmp_path):
    folder = write_tables(tmp_path / "mini", {name: text for name, (text, _) in TABLES.items()})
    zipped = write_zip(tmp_path / "a.zip", {f"mini/{name}": (folder / name).read_bytes() for name in TABLES})
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "mini")
    expected = {name.split(".")[0]: sequences for name, (_, sequences) in TABLES.items()}
    for path in (folder, zipped, tmp_path / "a.tar.gz"):
        assert by_class({"intervals": path}, GENOME) == expected
    refuse("expected a genome", "genomic_benchmarks", {"intervals": folder})


def test_a_file_in_a_folder_may_be_as_large_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "UNPACKED_BYTES", 1)
    folder = write_tables(tmp_path / "x", {"train/a.csv": "0,chr1,0,4,+\n" * 70_000})
    assert len(by_class({"intervals": folder}, GENOME)["train/a"]) == 70_000


def with_password(content):
    content = bytearray(content)
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    return content


def test_damaged_and_hostile_archives(tmp_path):
    texts = {f"a/train/b/{i}.txt": "ACGT" * 99 for i in range(9)}
    path = tmp_path / "a.zip"
    whole = write_zip(path, texts).read_bytes()
    flipped = whole[:52] + bytes([whole[52] ^ 255]) + whole[53:]
    for content, message in (
        *dict.fromkeys((whole[: len(whole) // 2], flipped, b"<html>", b""), "truncated or damaged").items(),
        (with_password(whole), "expected a zip to read.*password"),
    ):
        path.write_bytes(content)
        refuse(f"a.zip.*{message}", "genomic_benchmarks", {"archive": path})
    for name in ("../../train/b/0.txt", "/train/b/0.txt", "a/../train/b/0.txt"):
        write_zip(path, texts | {name: "ACGT"})
        refuse("names within the archive, found .*do not trust", "genomic_benchmarks", {"archive": path})
    files = {"intervals": tmp_path / "a.tar.gz"}
    with tarfile.open(files["intervals"], "w:gz") as archive:
        entry = tarfile.TarInfo("../train/positive.csv")
        entry.size = len(HEADER)
        archive.addfile(entry, io.BytesIO(HEADER.encode()))
    refuse("names within the archive", "genomic_benchmarks", files, GENOME)
    files["intervals"].write_bytes(files["intervals"].read_bytes()[:60])
    refuse("a.tar.gz: .*truncated or damaged", "genomic_benchmarks", files, GENOME)


def test_a_zip_that_hides_files(tmp_path):
    """The entries of its directory, of 64 bytes each, are one less by a bit; or the last is the comment of another."""
    path = tmp_path / "a.zip"
    whole = write_zip(
        path, {f"x/train/b/{n}a.txt": "ACGT" for n in range(4)} | {f"x/test/b/{n}a.txt": "A" for n in "12"}
    )
    content = bytearray(whole.read_bytes())
    last = content.rindex(b"PK\x01\x02")
    before = content.rindex(b"PK\x01\x02", 0, last)
    content[before + 32 : before + 34] = (content.rindex(b"PK\x05\x06") - last).to_bytes(2, "little")
    path.write_bytes(content)
    refuse("a.zip: .*5 of 6 files", "genomic_benchmarks", {"archive": path})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x/train/b/1.txt", "ACGT")
    refuse("a.zip: .*compression method 12 of .*unpack it", "genomic_benchmarks", {"archive": path})


def test_a_tar_that_ends_before_its_end(tmp_path):
    """Each of these read 1 of 2 files, or none of a link, and was the same to `tarfile` as a whole one."""
    path, table = tmp_path / "a.tar", HEADER.encode()
    with tarfile.open(path, "w") as archive:
        for split in ("train", "test"):
            entry = tarfile.TarInfo(f"{split}/a.csv")
            entry.size = len(table)
            archive.addfile(entry, io.BytesIO(table))
    whole = path.read_bytes()
    second = whole.index(b"test/a.csv")
    for content, message in (
        (whole[:second] + b"b" + whole[second + 1 :], "no header at byte 1,024"),
        (whole[:second], "last two blocks are missing"),
        (whole[: second + 1024], "last two blocks are missing"),
        (whole[:second] + bytes(512) + whole[second:], "no header at byte 1,024"),
    ):
        path.write_bytes(content)
        refuse(f"a.tar: .*{message}", "genomic_benchmarks", {"intervals": path}, GENOME)
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("train/a.csv")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    refuse("a.tar: .*a link", "genomic_benchmarks", {"intervals": path}, GENOME)


def test_the_225_intervals_of_the_first_megabase_base_for_base(shared, tmp_path):
    """The true sequences of every human interval in hg38 chr1:0-1,000,000, seven datasets."""
    with gzip.open(shared / "data/genomic_benchmarks_derived_chr1_1Mb/sequences.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    tables, expected = {}, {}
    for row in rows:
        line = ",".join(row[key] for key in HEADER.strip().split(","))
        name = f"{row['split']}/{row['class']}"
        file = f"{row['dataset']}/{name}.csv.gz"
        tables[file] = tables.get(file, "") + line + "\n"
        expected.setdefault(row["dataset"], {}).setdefault(name, []).append(row["sequence"])
    write_tables(tmp_path / "sets", tables)
    tokenize_genome(shared / "data/genome_human_slices/hg38_chr1_0_1000000.fa.gz", tmp_path / "genome")
    genome = read_genome(tmp_path / "genome")
    assert {name: by_class({"intervals": tmp_path / "sets" / name}, genome) for name in expected} == expected
    assert len(expected) == 7 and len(rows) == 225 and any(row["strand"] == "-" for row in rows)


@pytest.mark.parametrize(
    ("name", "counts", "lengths"),
    [
        ("dummy_mouse_enhancers_ensembl", {"negative": (484, 121), "positive": (484, 121)}, (331, 2381, 4776)),
        ("human_nontata_promoters", {"negative": (12355, 4119), "positive": (14742, 4915)}, (251, 251, 251)),
        ("human_enhancers_ensembl", {"negative": (61936, 15485), "positive": (61936, 15485)}, (2, 269, 573)),
    ],
)
def test_published_counts_of_interval_sets(shared, name, counts, lengths):
    """Whole sets, over chromosomes of nothing but N, so that no genome need be there."""
    blank = np.broadcast_to(np.uint8(4), 250_000_000)
    genome = {f"chr{number}": blank for number in [*range(1, 23), "X", "Y", "M"]}
    parts = read("genomic_benchmarks", {"intervals": shared / "data/genomic_benchmarks_intervals" / name}, genome)
    found = {label: [0, 0] for label in counts}
    for part in parts:
        found[part.labels[0]][part.split == "test"] += len(part.lengths)
    assert {label: tuple(numbers) for label, numbers in found.items()} == counts
    every = np.concatenate([part.lengths for part in parts])
    assert (every.min(), np.median(every), every.max()) == lengths
