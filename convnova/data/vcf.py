"""Variants of a VCF, line by line: plain, gzip or bgzip. Format: https://samtools.github.io/hts-specs/VCFv4.3.pdf"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError
from convnova.files import atomic

COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
LONGEST_POSITION = 18
"""Digits; more do not fit 64 bits, and no chromosome has so many bases."""


class Variant(NamedTuple):
    """A line of a VCF.

    Attributes:
        where: file and line, for messages.
        fields: all columns as text.
        start: 0-based position of the first base of `ref`.
        ref: the reference allele, upper case.
        alts: the alternative alleles, upper case.
    """

    where: str
    fields: list[str]
    start: int
    ref: str
    alts: list[str]


def vcf_lines(path: str | Path) -> Iterator[str | Variant]:
    """Yield every line of a VCF: those of the header as text, the one that names the columns last, then the variants.

    Raises:
        ConvNovaError: no line that names the columns, a line with fewer than eight columns or without a position, or
            no variants.
    """
    in_header, empty = True, True
    with open_bytes(path) as stream:
        for number, line in text_lines(stream, str(path), "surrogateescape"):  # which gives bytes back
            line, where = line.rstrip("\r\n"), f"{path} line {number}"
            fields = line.split("\t")
            if in_header:
                if not line.startswith("##"):
                    if fields[:5] != [f"#{COLUMNS[0]}", *COLUMNS[1:5]]:
                        expected = "a VCF, with the line '#CHROM POS ID REF ALT ...' (tabs between) before the variants"
                        raise ConvNovaError(f"{where}: expected {expected}, found {line[:60]!r}")
                    in_header = False
                yield line
            elif line:
                if len(fields) < len(COLUMNS):
                    raise ConvNovaError(f"{where}: expected {len(COLUMNS)} columns, tabs between, found {line[:60]!r}")
                if not fields[1].isdecimal() or len(fields[1]) > LONGEST_POSITION:
                    raise ConvNovaError(f"{where}: expected a position in column 2, found {fields[1][:60]!r}")
                empty = False
                yield Variant(where, fields, int(fields[1]) - 1, fields[3].upper(), fields[4].upper().split(","))
    if empty:
        raise ConvNovaError(f"{path}: expected variants, found none")


@contextmanager
def writing_vcf(path: Path) -> Iterator[Callable[[str], object]]:
    """Yield what writes text to a file, whole or not at all; bgzip, as tabix needs it, where the name ends in .gz or
    .bgz."""
    with atomic(path) as temporary:
        if path.suffix in (".gz", ".bgz"):
            from pysam import BGZFile  # takes 0.1 s

            with BGZFile(str(temporary), "wb") as packed:
                yield lambda text: packed.write(text.encode(errors="surrogateescape"))
        else:
            with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
                yield file.write
