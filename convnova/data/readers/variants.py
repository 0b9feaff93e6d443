"""Variants with a label each: a VCF, or a table or parquet file with the columns chrom, pos, ref, alt and label.

The label is 1 for the variants to be found, such as causal ones, and 0 for their controls. An optional `match_group`
names the controls that were drawn for one positive. In a VCF both stand in INFO, as LABEL and MATCH_GROUP. Positions
are from 1, as in a VCF. TraitGym has these columns: https://huggingface.co/datasets/songlab/TraitGym
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnova.data import dna
from convnova.data.gene_annotation import read_annotation
from convnova.data.intervals import bed_tool, parse_interval
from convnova.data.readers.apart import apart
from convnova.data.readers.csv import read_header, table_rows
from convnova.data.readers.parquet import column_names, parquet_rows
from convnova.data.readers.rows import Genome, SequenceRows, TaskFiles
from convnova.data.unpack import open_bytes, text_lines
from convnova.data.vcf import vcf_lines
from convnova.errors import ConvNovaError

COLUMNS, GROUP = ("chrom", "pos", "ref", "alt", "label"), "match_group"
EXTRA = ("chromosome", "start", "ref", "group", "gene")
CLASSES = {"0": 0, "1": 1, "false": 0, "true": 1}
NO_GENE = -1
"""The distance to the nearest gene where no annotation is given, or the chromosome has no gene."""


class Line(NamedTuple):
    """A variant as it stands in a file, and where."""

    where: str
    chrom: str
    pos: str
    ref: str
    alt: str
    label: str
    group: str


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read the variants of the test split.

    Yields:
        All of them as one piece: in `tokens` the reference allele of a row and, behind it, the alternative; in
        `columns` the `chromosome` (its number in the genome), `start` (from 0), `ref` (bases of the reference allele),
        `group` (a number; -1 for none) and `gene` (bases to the nearest coding gene, 0 within one; `NO_GENE`).

    Raises:
        ConvNovaError: no such file; of a row: an allele that is not of A, C, G and T, a reference that the genome does
            not have, a place off its chromosome, another label than 0 and 1, both labels for one variant; a group
            without a positive; one label alone.
    """
    path = raw.files["test"]
    genome = raw.needed_genome(path)
    names = {name: number for number, name in enumerate(genome)}
    lengths = {name: len(tokens) for name, tokens in genome.items()}
    groups: dict[str, int] = {}
    seen: dict[tuple[str, int, str, str], tuple[str, str]] = {}
    tokens, labels, places = [], [], []
    for line in variant_lines(path):
        chrom, start = _place(line, genome, lengths)
        label = str(CLASSES.get(line.label.lower(), ""))
        if not label:
            raise ConvNovaError(f"{line.where}: expected the label 0 or 1, found {line.label[:60]!r}")
        first, other = seen.setdefault((chrom, start, line.ref, line.alt), (line.where, label))
        if other != label:
            raise ConvNovaError(
                f"{line.where}: expected one label a variant, found {label} here and {other} in {first}"
            )
        group = groups.setdefault(line.group, len(groups)) if line.group else -1
        tokens.append(dna.encode(line.ref + line.alt)[0])
        labels.append(label)
        places.append((names[chrom], start, len(line.ref), group))
    _check_labels(path, labels, [place[3] for place in places], list(groups))
    columns = np.array(places, np.int64).T
    chromosomes = list(genome)
    genes = np.full(len(places), NO_GENE, np.int64)
    if annotation := raw.files.get("annotation"):
        genes = _gene_distances(annotation, lengths, [(chromosomes[place[0]], *place[1:3]) for place in places])
    yield SequenceRows(
        "test", np.concatenate(tokens), np.array([len(part) for part in tokens], np.int64), np.array(labels),
        str(path), 1, columns=dict(zip(EXTRA, [*columns, genes], strict=True)),
    )  # fmt: skip


def variant_lines(path: Path) -> Iterator[Line]:
    """Yield the variants of a file, alleles in upper case.

    Raises:
        ConvNovaError: no such file, a missing column, or a line of a VCF with several ALT.
    """
    if path.suffix == ".parquet":
        wanted = (*COLUMNS, *(name for name in apart(column_names, path) if name == GROUP))
        rows = ((f"{path} row {number}", row) for number, row in enumerate(parquet_rows(path, wanted), start=1))
    elif ".vcf" in path.name:
        yield from _lines_of_vcf(path)
        return
    else:
        with open_bytes(path) as stream:
            header = read_header(text_lines(stream, str(path)), str(path))[1]
        rows = _rows_of_table(path, (*COLUMNS, *(name for name in header if name == GROUP)))
    for where, row in rows:
        chrom, pos, ref, alt, label, group = (text.strip() for text in (*row, "")[: len(COLUMNS) + 1])
        yield Line(where, chrom, pos, ref.upper(), alt.upper(), label, group)


def _rows_of_table(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    with open_bytes(path) as stream:
        for number, row in table_rows(stream, str(path), wanted):
            yield f"{path} line {number}", row


def _lines_of_vcf(path: Path) -> Iterator[Line]:
    for variant in vcf_lines(path):
        if isinstance(variant, str):
            continue
        if len(variant.alts) != 1:
            advice = "split the line with `bcftools norm -m -`"
            raise ConvNovaError(f"{variant.where}: expected one ALT, found {len(variant.alts)}; {advice}")
        info = dict(part.partition("=")[::2] for part in variant.fields[7].split(";"))
        place = (variant.fields[0], variant.fields[1], variant.ref, variant.alts[0])
        yield Line(variant.where, *place, info.get("LABEL", ""), info.get("MATCH_GROUP", ""))


def _place(line: Line, genome: Genome, lengths: Mapping[str, int]) -> tuple[str, int]:
    """Chromosome and start of a variant, after a check of its alleles."""
    for allele in (line.ref, line.alt):
        if not allele or {*allele} - {*"ACGT"}:
            raise ConvNovaError(f"{line.where}: expected an allele of A, C, G and T, found {allele[:60]!r}")
    if line.ref == line.alt:
        raise ConvNovaError(f"{line.where}: expected two alleles, found {line.ref[:60]} twice")
    pos = int(line.pos) if line.pos.isdecimal() and len(line.pos) < 18 else 0
    if pos < 1:
        raise ConvNovaError(f"{line.where}: expected a position from 1, found {line.pos[:60]!r}")
    chrom, start, end = parse_interval((line.chrom, str(pos - 1), str(pos - 1 + len(line.ref))), lengths, line.where)
    if (found := dna.decode(genome[chrom][start:end])) != line.ref:
        raise ConvNovaError(
            f"{line.where}: expected REF {found}, which {chrom} has at {pos}, found {line.ref[:60]}; "
            "is this the genome that the variants were called on?"
        )
    return chrom, start


def _check_labels(path: Path, labels: list[str], groups: list[int], names: list[str]) -> None:
    """Both labels must be there, and a positive in each group."""
    if not labels:
        raise ConvNovaError(f"{path}: expected variants, found none")
    if len({*labels}) < len({*CLASSES.values()}):
        raise ConvNovaError(
            f"{path}: expected variants of the labels 0 and 1, found {len(labels):,} of {labels[0]} alone"
        )
    positive = {group for group, label in zip(groups, labels, strict=True) if label == "1"}
    if missing := sorted({*groups} - positive - {-1}):
        row = groups.index(missing[0]) + 1
        others = f" and {len(missing) - 1:,} other groups" * (len(missing) > 1)
        found = f"none in {names[missing[0]]!r}, which begins in row {row:,}{others}"
        raise ConvNovaError(f"{path}: expected a variant of label 1 in each match_group, found {found}")


def _gene_distances(annotation: Path, lengths: Mapping[str, int], places: list[tuple[str, int, int]]) -> np.ndarray:
    """Bases to the nearest coding gene, int64 (n,), by `bedtools closest`.

    Args:
        annotation: GFF3.
        lengths: chromosome to its number of bases.
        places: chromosome, start and length of each variant.
    """
    distances = np.empty(len(places), np.int64)
    of_chromosomes = read_annotation(annotation, lengths).values()
    genes = [(gene.chrom, gene.coding[0][0], gene.coding[-1][1]) for group in of_chromosomes for gene in group]
    rows = ((chrom, start, start + length, row) for row, (chrom, start, length) in enumerate(places))
    for hit in bed_tool(rows).sort().closest(bed_tool(genes).sort(), d=True, t="first"):
        distances[int(hit.name)] = int(hit.fields[-1])  # -1 where the chromosome has no gene
    return distances
