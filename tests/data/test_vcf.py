"""Variants of a VCF: every line with its place, and what is refused."""

import gzip

import pytest

from convnova.data.vcf import Variant, vcf_lines
from convnova.errors import ConvNovaError

HEADER = "##fileformat=VCFv4.3\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tanna\n"
LINES = HEADER + "chr1\t5\trs1\ta\tC,<DEL>\t.\tPASS\tDP=3\tGT\t0/1\n\nchr2\t7\t.\tAG\tt\t9\t.\t.\tGT\t1/1\r\n"


@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_as_they_stand(tmp_path, packed):
    path = tmp_path / "v.vcf.gz"
    path.write_bytes(gzip.compress(LINES.encode()) if packed else LINES.encode())
    *header, first, second = vcf_lines(path)
    assert header == HEADER.splitlines()
    fields = ["chr1", "5", "rs1", "a", "C,<DEL>", ".", "PASS", "DP=3", "GT", "0/1"]
    assert first == Variant(f"{path} line 4", fields, 4, "A", ["C", "<DEL>"])
    assert second[2:] == (6, "AG", ["T"]) and second.fields[-1] == "1/1" and second.where.endswith("line 6")


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "v.vcf: expected variants, found none"),
        (HEADER, "v.vcf: expected variants, found none"),
        ("##fileformat=VCFv4.3\n", "v.vcf: expected variants, found none"),
        ("chr1\t5\t.\tA\tC\t.\t.\t.\n", "v.vcf line 1: .*#CHROM"),
        (HEADER.replace("\t", " "), "v.vcf line 3: .*tabs"),
        (HEADER + "chr1\t5\t.\tA\tC\n", "v.vcf line 4: expected 8 columns"),
        (HEADER + "chr1\tfive\t.\tA\tC\t.\t.\t.\n", "v.vcf line 4: .*position.*'five'"),
        (HEADER + f"chr1\t{'9' * 5000}\t.\tA\tC\t.\t.\t.\n", "v.vcf line 4: .*position"),
    ],
)
def test_what_is_no_vcf_is_refused_with_its_line(tmp_path, text, words):
    (tmp_path / "v.vcf").write_text(text)
    with pytest.raises(ConvNovaError, match=words):
        list(vcf_lines(tmp_path / "v.vcf"))
