"""Lines of BED files and the chromosomes that they name."""

import gzip
import random

import pytest

from convnova.data import intervals
from convnova.data.intervals import Interval
from convnova.errors import ConvNovaError

LENGTHS = {"chr1": 100, "chrM": 20, "2": 50}


def test_lines_without_comments_and_header(tmp_path):
    text = "#made by hand\nchrom\tstart\tend\tname\ntrack name=x\n\nchr1\t0\t10\ta b\nchr1 5 20 c\n"
    for name, content in (("a.bed", text.encode()), ("a.bed.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(content)
        rows = [(5, ["chr1", "0", "10", "a b"]), (6, ["chr1", "5", "20", "c"])]
        assert list(intervals.bed_rows(tmp_path / name)) == rows


@pytest.mark.parametrize(
    ("first", "columns"),
    [
        ("#chrom\tstart\tend\tlabel", ["chrom", "start", "end", "label"]),
        ("chr1\t1\t2\tx", []),
        ("", []),
        (
            "track name=x\n# made by hand\n\nChromosome Start End Name Score Strand\nchr1 0 8 a 0 -",
            ["chromosome", "start", "end", "name", "score", "strand"],
        ),
    ],
)
def test_header(tmp_path, first, columns):
    (tmp_path / "a.bed").write_text(first + "\n")
    assert intervals.bed_header(tmp_path / "a.bed") == columns


def test_chromosomes_by_either_name():
    names = {"chr1": "chr1", "1": "chr1", "chr2": "2", "MT": "chrM", "chrMT": "chrM", "M": "chrM"}
    for given, name in names.items():
        assert intervals.parse_interval([given, "0", "20"], LENGTHS, "here") == (name, 0, 20)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("chr1 0", "chromosome, start and end, found 'chr1 0'"),
        ("chr1 -1 5", "chromosome, start and end, found 'chr1 -1 5'"),
        ("chr1 1 b", "chromosome, start and end, found 'chr1 1 b'"),
        ("chr1 5 5", "start < end, found 5 and 5"),
        ("chr1 90 101", "within chr1, which has 100 bases, found the end 101"),
        ("chr11 0 5", "found 'chr11'; the nearest is 'chr1'"),
    ],
)
def test_what_is_no_interval(fields, message):
    with pytest.raises(ConvNovaError, match=f"a.bed line 3: expected .*{message}"):
        intervals.parse_interval(fields.split(), LENGTHS, "a.bed line 3")


def test_merged_intervals_hold_each_base_once():
    rows = [("chr2", 5, 9), ("chr1", 40, 50, "valid"), ("chr1", 0, 10, "train"), ("chr1", 10, 20), ("chr1", 15, 30)]
    merged = intervals.merge(Interval(*row) for row in rows)
    assert merged == [("chr1", 0, 30, ""), ("chr1", 40, 50, ""), ("chr2", 5, 9, "")] and intervals.merge([]) == []


def test_without_bedtools_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConvNovaError, match="apt-get install bedtools.*conda install -c bioconda bedtools"):
        intervals.merge([Interval("chr1", 0, 1)])


@pytest.mark.parametrize("seed", range(5))
def test_overlap_fraction_is_that_of_the_place_with_most_bases_inside(seed):
    draw = random.Random(seed)
    parts, hits = [], []
    for _ in range(draw.randrange(10, 20)):
        start = draw.randrange(900)
        parts.append(Interval(f"chr{draw.randrange(3)}", start, start + draw.choice([2, 20, 100, 300]), "train"))
    for _ in range(60):
        start = draw.randrange(1000)
        hits.append((draw.randrange(40), f"chr{draw.randrange(4)}", start, start + draw.randrange(1, 100)))
    expected = [0.0] * 40
    for row, chrom, start, end in hits:
        inside = set().union(*(range(part.start, part.end) for part in parts if part.chrom == chrom))
        expected[row] = max(expected[row], len(inside & set(range(start, end))) / (end - start))
    assert intervals.overlap_fraction(hits, parts, 40).tolist() == expected


def test_overlap_fraction_without_intervals_or_places():
    part, hit = Interval("chr1", 0, 10, "train"), (1, "chr1", 5, 15)
    assert intervals.overlap_fraction([hit], [], 2).tolist() == [0, 0]
    assert intervals.overlap_fraction([], [part], 2).tolist() == [0, 0]
    assert intervals.overlap_fraction([hit], [part], 2).tolist() == [0, 0.5]


def test_a_real_bed(shared):
    """65 intervals of 65,536 bases in the form of the human pretraining intervals."""
    path = shared / "data/genome_human_slices/basenji_tiny_hg38_sequences.bed"
    rows = [fields for _, fields in intervals.bed_rows(path)]
    assert [sum(row[3] == split for row in rows) for split in ("train", "valid", "test")] == [45, 10, 10]
    assert {int(row[2]) - int(row[1]) for row in rows} == {65_536}
