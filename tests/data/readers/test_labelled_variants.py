"""Variants with labels: one content in three forms, and what is refused."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from convnova.config.schema import Task
from convnova.data.dna import decode, encode
from convnova.data.readers import TaskFiles, reader_of
from convnova.errors import ConvNovaError

GENOME = {"chr1": encode("ACGTTGCAAAAGGCC")[0], "chr2": encode("TTTTCCCCGGGG")[0], "chrX": encode("ACNT")[0]}
ROWS = [  # as TraitGym has them: chromosomes without chr, positions from 1
    ("1", 2, "C", "T", 1, "a"), ("1", 5, "T", "G", 0, "a"), ("2", 4, "TC", "T", 0, "b"), ("2", 9, "g", "GAA", 1, "b"),
    ("chrX", 1, "A", "C", 0, ""),
]  # fmt: skip
TABLE = "chrom\tpos\tref\talt\tlabel\tmatch_group\n"
CODING = (("chr1", 8, 10, "a"), ("chr1", 13, 14, "a"), ("chr2", 3, 5, "b"))
GFF = "".join(f"{c}\tx\tCDS\t{start}\t{end}\t.\t+\t0\tParent={name}\n" for c, start, end, name in CODING)


def read(path, **files):
    task = Task(kind="variants", score="minus_llr", test=str(path))
    (rows,) = reader_of("variants")(TaskFiles(task, {"test": path, **files}, path.parent, genome=GENOME))
    return rows


def lines(rows=ROWS, head: str = TABLE) -> str:
    return head + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def save(folder, form: str):
    path = folder / f"v.{form}"
    if form == "vcf.gz":
        info = [f"LABEL={label}" + f";MATCH_GROUP={group}" * bool(group) for *_, label, group in ROWS]
        body = "".join(
            f"{c}\t{p}\t.\t{r}\t{a}\t.\t.\tDP=3;{i}\n" for (c, p, r, a, *_), i in zip(ROWS, info, strict=True)
        )
        path.write_bytes(
            gzip.compress(f"##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{body}".encode())
        )
    elif form == "parquet":
        chrom, pos, ref, alt, label, group = map(list, zip(*ROWS, strict=True))
        columns = {
            "alt": alt,
            "chrom": chrom,
            "pos": pos,
            "OMIM": [None] * 5,
            "label": list(map(bool, label)),
            "ref": ref,
        }
        parquet.write_table(pa.table(columns | {"match_group": group}), path)
    elif form == "csv":
        path.write_text(lines().replace("\t", ","))
    else:
        path.write_text(lines())
    return path


@pytest.mark.parametrize("form", ["tsv", "csv", "parquet", "vcf.gz"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    rows = read(save(tmp_path, form))
    assert [decode(part) for part in np.split(rows.tokens, np.cumsum(rows.lengths)[:-1])] == [
        "CT",
        "TG",
        "TCT",
        "GGAA",
        "AC",
    ]
    assert rows.labels.tolist() == ["1", "0", "0", "1", "0"]
    columns = {name: values.tolist() for name, values in rows.columns.items()}
    assert columns == {
        "chromosome": [0, 0, 1, 1, 2], "start": [1, 4, 3, 8, 0], "ref": [1, 1, 2, 1, 1], "group": [0, 0, 1, 1, -1],
        "gene": [-1] * 5,
    }  # fmt: skip


def test_the_nearest_gene_is_counted_from_its_first_to_its_last_coding_base(tmp_path):
    annotation = tmp_path / "genes.gff3"
    annotation.write_text(GFF)
    distances = read(save(tmp_path, "tsv"), annotation=annotation).columns["gene"]
    genes = {0: (7, 14), 1: (2, 5)}
    for distance, (start, length, chromosome) in zip(
        distances, [(1, 1, 0), (4, 1, 0), (3, 2, 1), (8, 1, 1), (0, 1, 2)], strict=True
    ):
        first, end = genes.get(chromosome, (None, None))
        expected = (
            -1 if first is None else min(abs(a - b) for a in range(start, start + length) for b in range(first, end))
        )
        assert distance == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines([*ROWS, ("1", 3, "C", "T", 0, "")]), "line 7: expected REF G, which chr1 has at 3, found C"),
        (lines([*ROWS, ("1", 16, "C", "T", 0, "")]), "line 7: expected an interval within chr1, which has 15 bases"),
        (lines([*ROWS, ("1", 0, "C", "T", 0, "")]), "line 7: expected a position from 1, found '0'"),
        (lines([*ROWS, ("1", "x", "C", "T", 0, "")]), "line 7: expected a position from 1, found 'x'"),
        (lines([*ROWS, ("9", 1, "C", "T", 0, "")]), "line 7: expected a chromosome of the genome, found '9'"),
        (lines([*ROWS, ("1", 2, "C", "T", 0, "a")]), "line 7: expected one label a variant, found 0 here and 1"),
        (lines([*ROWS, ("1", 3, "G", "T", 0, "c")]), "in each match_group, found none in 'c', which begins in row 6"),
        (lines([*ROWS, ("1", 3, "G", "G", 0, "")]), "line 7: expected two alleles"),
        (lines([*ROWS, ("1", 3, "G", "<DEL>", 0, "")]), "line 7: expected an allele of A, C, G and T, found '<DEL>'"),
        (lines([*ROWS, ("1", 3, "G", "", 0, "")]), "line 7: expected an allele"),
        (lines([*ROWS, ("X", 3, "N", "A", 0, "")]), "line 7: expected an allele"),
        (lines([*ROWS, ("1", 3, "G", "A", 2, "")]), "line 7: expected the label 0 or 1, found '2'"),
        (lines([*ROWS, ("1", 3, "G", "A", "nan", "")]), "line 7: expected the label 0 or 1, found 'nan'"),
        (lines(ROWS[1:3] + ROWS[4:], TABLE).replace("\ta\n", "\t\n").replace("\tb\n", "\t\n"), "found 3 of 0 alone"),
        (lines([]), "expected variants, found none"),
        (lines().replace("alt", "alternative", 1), "expected one column 'alt' in the header"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(tmp_path, text, message):
    path = tmp_path / "v.tsv"
    path.write_text(text)
    with pytest.raises(ConvNovaError, match=message) as error:
        read(path)
    assert "v.tsv" in str(error.value) and "\n" not in str(error.value)


def test_a_line_of_a_vcf_has_one_alternative(tmp_path):
    path = save(tmp_path, "vcf.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\tC\tT\t", b"\tC\tT,G\t")))
    with pytest.raises(ConvNovaError, match=r"line 3: expected one ALT, found 2; split the line with `bcftools norm"):
        read(path)
