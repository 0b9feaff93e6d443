"""Lines of BED files and the chromosomes that they name."""

import gzip

import pytest

from convnova.data import intervals
from convnova.errors import ConvNovaError

LENGTHS = {"chr1": 100, "chrM": 20, "2": 50}


def test_lines_without_comments_and_header(tmp_path):
    text = "#made by hand\nchrom\tstart\tend\tname\ntrack name=x\n\nchr1\t0\t10\ta b\nchr1 5 20 c\n"
    for name, content in (("a.bed", text.encode()), ("a.bed.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(content)
        assert list(intervals.lines(tmp_path / name)) == [
            (5, ["chr1", "0", "10", "a b"]),
            (6, ["chr1", "5", "20", "c"]),
        ]


@pytest.mark.parametrize(
    ("first", "columns"),
    [("#chrom\tstart\tend\tlabel", ["chrom", "start", "end", "label"]), ("chr1\t1\t2\tx", []), ("", [])],
)
def test_header(tmp_path, first, columns):
    (tmp_path / "a.bed").write_text(first + "\n")
    assert intervals.header(tmp_path / "a.bed") == columns


@pytest.mark.parametrize(
    ("given", "found"),
    [("chr1", "chr1"), ("1", "chr1"), ("chr2", "2"), ("MT", "chrM"), ("chrMT", "chrM"), ("M", "chrM")],
)
def test_chromosomes_by_either_name(given, found):
    assert intervals.checked([given, "0", "20"], LENGTHS, "here") == (found, 0, 20)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["chr1", "0"], "a.bed line 3: expected chromosome, start and end, found 'chr1 0'"),
        (["chr1", "-1", "5"], "expected chromosome, start and end"),
        (["chr1", "a", "5"], "expected chromosome, start and end"),
        (["chr1", "5", "5"], "expected start < end, found 5 and 5"),
        (["chr1", "90", "101"], "within chr1, which has 100 bases, found the end 101"),
        (["chr11", "0", "5"], "found 'chr11'; the nearest is 'chr1'"),
    ],
)
def test_what_is_no_interval(fields, message):
    with pytest.raises(ConvNovaError, match=message):
        intervals.checked(fields, LENGTHS, "a.bed line 3")


def test_merged_intervals_are_each_base_once():
    rows = [("chr2", 5, 9), ("chr1", 40, 50, "valid"), ("chr1", 0, 10, "train"), ("chr1", 10, 20), ("chr1", 15, 30)]
    found = [(part.chrom, part.start, part.end) for part in intervals.merged(rows)]
    assert found == [("chr1", 0, 30), ("chr1", 40, 50), ("chr2", 5, 9)] and intervals.merged([]) is None


def test_without_bedtools_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConvNovaError, match="apt-get install bedtools.*conda install -c bioconda bedtools"):
        intervals.merged([])


def test_a_real_bed(shared):
    """65 intervals of 65,536 bases in the form of the human pretraining intervals."""
    rows = [
        fields for _, fields in intervals.lines(shared / "data/genome_human_slices/basenji_tiny_hg38_sequences.bed")
    ]
    assert [sum(row[3] == split for row in rows) for split in ("train", "valid", "test")] == [45, 10, 10]
    assert {int(row[2]) - int(row[1]) for row in rows} == {65_536}
