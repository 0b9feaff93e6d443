"""Whatever a file holds, its reader gives rows or one line that names it. An exception that no reader foresaw fails."""

import csv
import gzip
import io
import json
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyarrow import parquet
from reading import GENOME, read, save, spelled

from convnova.data import unpack
from convnova.data.array_file import METADATA, ArrayFileWriter, read_arrays
from convnova.data.gene_annotation import read_annotation
from convnova.data.genome import tokenize_genome
from convnova.errors import ConvNovaError

BOUNDED = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
HEADERS = [
    "sequence,label\n", "label\tnote\tsequence\n", "id,region,start,end,strand\n",
    ">a|b\n", "#chrom\tstart\tend\tlabel\tstrand\n", "##gff-version 3\n", "\ufeff", "",
]  # fmt: skip
WORDS = [
    "chr1", "M", "__metadata__", "0", "4", "17", "-1", "1e3", "\u0664", "9" * 5_000, "nan", "True", "+", "-", ".", "",
    '"', '"a', 'a"', "#", "track ", ">", ">a|1", "|", "ACGT", "acgtnry", "MLEK", "\ufffd", "\x00", "\r", "x" * 300,
    "train", "CDS", "Parent=a", "Parent=;=", "##FASTA",
]  # fmt: skip
TEXTS = st.builds(
    lambda header, lines, separator, end: header + end.join(separator.join(line) for line in lines),
    st.sampled_from(HEADERS),
    st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=6) | st.integers().map(str), max_size=9), max_size=6),
    st.sampled_from("\t, "),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
SEQUENCES = st.text("ACGTNacgtn", min_size=1, max_size=80)
LABELS = st.text(min_size=1, max_size=100).filter(
    lambda text: text.isprintable() and text == text.strip() and not {"|", "\ufffd"} & set(text)
)
ROWS = st.lists(st.tuples(SEQUENCES, LABELS), min_size=1, max_size=8)


def rows_or_line(name: str, path: Path, role: str = "train") -> dict | None:
    """The rows that a reader gives, of bases and labels, or nothing if it refuses the file by name."""
    try:
        rows = spelled(read(name, {role: path}, GENOME, path.parent))
    except ConvNovaError as error:
        assert path.name in str(error) and "\n" not in str(error) and len(str(error)) <= 2_000
        return None
    assert all(sequence and set(sequence) <= set("ACGTN") for part in rows.values() for sequence, _ in part)
    return rows


def as_csv(rows, path):
    memory = io.StringIO()
    csv.writer(memory).writerows([("sequence", "label"), *rows])
    return "csv", save(path.with_suffix(".csv.gz"), memory.getvalue())


def as_fasta(rows, path):
    return "fasta", save(path.with_suffix(".fa"), "".join(f">x|{label}\n{bases}\n" for bases, label in rows))


def as_parquet(rows, path):
    path, (sequences, labels) = path.with_suffix(".parquet"), zip(*rows, strict=True)
    labels = pyarrow.array(labels).dictionary_encode()
    parquet.write_table(
        pyarrow.table({"sequence": pyarrow.array(sequences, pyarrow.large_string()), "label": labels}), path
    )
    return "parquet", path


@BOUNDED
@given(ROWS, st.sampled_from([as_csv, as_fasta, as_parquet]))
def test_rows_come_back_as_they_were_written(rows, write):
    with tempfile.TemporaryDirectory() as folder:
        assert rows_or_line(*write(rows, Path(folder, "rows"))) == {"train": [(a.upper(), label) for a, label in rows]}


@BOUNDED
@given(st.lists(st.tuples(SEQUENCES, st.sampled_from(["a", "b"])), min_size=1, max_size=8, unique=True), st.booleans())
def test_a_zip_of_sequences_comes_back_sorted(rows, is_deflated):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED) as archive:
            for number, (bases, label) in enumerate(rows):
                archive.writestr(f"x/test/{label}/{number}.txt", bases)
        found = rows_or_line("genomic_benchmarks", path, "archive")
        assert found == {"test": sorted([(bases.upper(), label) for bases, label in rows], key=lambda row: row[1])}


@BOUNDED
@pytest.mark.parametrize("name", ["csv", "fasta", "bed"])
@given(TEXTS)
def test_any_text(name, text):
    with tempfile.TemporaryDirectory() as folder:
        rows_or_line(name, save(Path(folder, "rows.txt"), text))


@BOUNDED
@given(TEXTS, st.sampled_from([".csv", ".csv.gz"]), st.booleans())
def test_any_text_in_an_archive(text, suffix, is_packed):
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder, f"sets/test/a{suffix}"), text)
        if is_packed:
            with tarfile.open(Path(folder, "sets.tar"), "w") as archive:
                archive.add(path, f"test/a{suffix}")
        rows_or_line("genomic_benchmarks", Path(folder, "sets.tar" if is_packed else "sets"), "intervals")


@BOUNDED
@given(TEXTS)
def test_any_text_as_annotation_and_genome(text):
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder, "any.txt"), text)
        for step in (
            lambda: read_annotation(path, {"chr1": 16, "M": 8}),
            lambda: tokenize_genome(path, Path(folder, "a")),
        ):
            try:
                step()
            except ConvNovaError as error:
                assert (
                    "\n" not in str(error)
                    and len(str(error)) <= 2_000
                    and ("any.txt" in str(error) or "genome:" in str(error))
                )


@settings(BOUNDED, max_examples=10)
@pytest.mark.parametrize(
    "magic", [b"", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"PAR1", b"\x89HDF\r\n\x1a\n", b"MATLAB 5.0 MAT"]
)
@given(st.binary(max_size=400))
def test_any_bytes(magic, content):
    with tempfile.TemporaryDirectory() as folder:
        for name, role, suffix in (
            ("csv", "train", "csv"), ("fasta", "train", "fa"), ("nucleotide_transformer", "train", "parquet"),
            ("genomic_benchmarks", "archive", "zip"), ("deepsea", "archive", "tar.gz"), ("deepsea", "train", "mat"),
        ):  # fmt: skip
            path = Path(folder, f"any.{suffix}")
            path.write_bytes(magic + content + (b"PAR1" if magic == b"PAR1" else b""))
            rows_or_line(name, path, role)


NUMBERS = arrays.arrays(
    arrays.scalar_dtypes() | arrays.unicode_string_dtypes(max_len=3),
    arrays.array_shapes(min_dims=0, max_dims=4, max_side=4),
)


@BOUNDED
@given(NUMBERS, NUMBERS, st.booleans())
def test_any_arrays_in_hdf5_and_matlab_files(first, second, is_hdf5):
    with tempfile.TemporaryDirectory() as folder:
        path, named = Path(folder, "any.mat"), {"axdata": first, "adata": second}
        try:
            if is_hdf5:
                with h5py.File(path, "w") as file:
                    for name, values in named.items():
                        file[name] = values
            else:
                scipy.io.savemat(path, named)
        except (TypeError, ValueError):
            return  # that type cannot be written
        rows_or_line("deepsea", path)


@BOUNDED
@given(NUMBERS)
def test_any_labels_of_bases(labels):
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "intervals": save(Path(folder, "a.bed"), "chr1\t0\t3\ttrain\nchr1\t3\t6\ttest\n"),
            "labels": Path(folder, "a.h5"),
        }
        with h5py.File(files["labels"], "w") as file:
            try:
                file["labels"] = labels
            except TypeError:
                return
        try:
            rows = spelled(read("bend", files, GENOME))
        except ConvNovaError as error:
            assert "a.h5" in str(error) and "\n" not in str(error)
        else:
            assert [labels for part in rows.values() for _, labels in part] == labels.tolist()


COLUMNS = st.sampled_from([
    pyarrow.array(["ACGT", "GG"]), pyarrow.array([b"ACGT", b"\xff"]), pyarrow.array([1, None]),
    pyarrow.array([0.5, 1.0]), pyarrow.array([True, False]), pyarrow.array([["A"], []]), pyarrow.nulls(2),
    pyarrow.array([{"a": 1}, None]), pyarrow.array(["a", "b"]).dictionary_encode(),
    pyarrow.array([1, 2], pyarrow.timestamp("ns")),
    pyarrow.array([[("a", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
])  # fmt: skip


@BOUNDED
@given(COLUMNS, COLUMNS, COLUMNS, st.sampled_from([["sequence", "label", "task"], ["sequence", "label", "label"]]))
def test_any_columns_of_a_parquet(first, second, third, names):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        parquet.write_table(pyarrow.Table.from_arrays([first, second, third], names), path)
        rows_or_line("nucleotide_transformer", path)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda part: st.lists(part) | st.dictionaries(st.text(max_size=5), part),
)


@BOUNDED
@given(
    st.sampled_from(["chr1", METADATA, "more"]), JSON | st.just({"dtype": "U8", "shape": [2], "data_offsets": [0, 2]})
)
def test_any_other_header_of_a_tokenized_file(name, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        with ArrayFileWriter(path) as file:
            file.append("chr1", np.arange(4, dtype=np.uint8))
        content = path.read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        header = json.dumps(json.loads(content[8 : 8 + length]) | {name: value}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
        with pytest.raises(ConvNovaError, match="a.safetensors: "):
            read_arrays(path)


def test_a_bomb_in_an_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "UNPACKED_BYTES", 1 << 20)
    path, nested = tmp_path / "a.zip", tmp_path / "a.tar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"x/train/b/{number}.txt", b"A" * (1 << 18))
    packed = gzip.compress(gzip.compress(b"A" * (9 << 20), 9), 9)
    with tarfile.open(nested, "w") as archive:
        entry = tarfile.TarInfo("train/b.csv.gz")
        entry.size = len(packed)
        archive.addfile(entry, io.BytesIO(packed))
    for file, role in ((path, "archive"), (nested, "intervals")):
        assert rows_or_line("genomic_benchmarks", file, role) is None
