"""Genes of an annotation in GFF3, and BEND's label for every base of a chromosome.

GFF3: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md; coordinates from 1, both ends
included, which become 0-based and half-open here. Labels: `labels_simple_direction_DA` of BEND (Marin et al. 2024,
arXiv 2311.12570): coding sequence without its stop codon, donor, intron and acceptor on the forward strand 0 to 3, on
the reverse strand 4 to 7, all else 8.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from convnova.data.intervals import NUMBER, parse_interval
from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError
from convnova.log import log

CODING, DONOR, INTRON, ACCEPTOR = range(4)
REVERSE = 4
"""What is added to a label on the reverse strand."""
NONCODING = 8

STOP_CODON = 3
SHORTEST_INTRON = 20
"""Bases between two coding parts below which they are no intron but a shift of the reading frame."""


class Transcript(NamedTuple):
    """The coding parts of one transcript, ascending, 0-based and half-open, each start before its end."""

    name: str
    chrom: str
    strand: str
    coding: list[tuple[int, int]]

    @property
    def introns(self) -> list[tuple[int, int]]:
        """What lies between coding parts, as far as it is long enough to be one."""
        gaps = [(left[1], right[0]) for left, right in itertools.pairwise(self.coding)]
        return [(start, end) for start, end in gaps if end - start >= SHORTEST_INTRON]


def read_annotation(
    path: str | Path, lengths: Mapping[str, int], skipped: Counter[str] | None = None
) -> dict[str, list[Transcript]]:
    """The coding transcripts on each chromosome that an annotation describes, in the order of the file.

    A chromosome is known by the first column, or, as NCBI has it, by the attribute `chromosome` of a `region` that is a
    whole chromosome; NCBI's scaffolds that the genome lacks are passed over. A chromosome that the annotation does not
    mention is not among the keys, for nothing is known of its bases.

    Args:
        path: GFF3, plain or gzip.
        lengths: chromosome to its number of bases.
        skipped: where comment lines and features of such scaffolds are counted.

    Raises:
        ConvNovaError: a line that is none of GFF3's, a chromosome or place that the genome lacks, coding sequence
            without a strand or a parent, or none at all.
    """
    names: dict[str, str] = {}
    chromosomes: dict[str, None] = {}  # an ordered set
    coding: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    skipped, scaffolds = Counter() if skipped is None else skipped, set()
    for where, fields, attributes in _features(path, skipped):
        if fields[2] == "region" and "chromosome" in attributes and fields[0] not in lengths:
            if attributes.get("genome", "chromosome") == "chromosome":
                names[fields[0]] = attributes["chromosome"]
            else:
                scaffolds.add(fields[0])
        if fields[0] in scaffolds:
            skipped[f"features of {Path(path).name} on scaffolds that the genome lacks"] += 1
            continue
        interval = (names.get(fields[0], fields[0]), str(int(fields[3]) - 1), fields[4])
        chrom, start, end = parse_interval(interval, lengths, where)
        chromosomes[chrom] = None
        if fields[2] != "CDS":
            continue
        if fields[6] not in ("+", "-") or not attributes.get("Parent"):
            found = f"{fields[6]!r}, {fields[8]!r}"
            raise ConvNovaError(f"{where}: expected a strand and a Parent of the CDS, found {found}")
        for parent in attributes["Parent"].split(","):
            coding.setdefault((parent, chrom, fields[6]), []).append((start, end))
    if not coding:
        raise ConvNovaError(f"{path}: expected lines of the type CDS, found none; is it a GFF3 with genes?")
    transcripts: dict[str, list[Transcript]] = {chrom: [] for chrom in chromosomes}
    for (name, chrom, strand), parts in coding.items():
        transcripts[chrom].append(Transcript(name, chrom, strand, sorted(parts)))
    introns = sum(len(transcript.introns) for group in transcripts.values() for transcript in group)
    without = [name for name in lengths if name not in transcripts]
    log(
        f"{path}: {len(coding):,} coding transcripts with {introns:,} introns on {len(transcripts)} chromosomes"
        + (f"; nothing on {', '.join(without)}, which get no labels" if without else "")
    )
    return transcripts


def _features(path: str | Path, skipped: Counter[str]) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """File and line for messages, the nine columns, and the attributes of every feature."""
    with open_bytes(path) as stream:
        for number, line in text_lines(stream, str(path)):
            if line.startswith("##FASTA"):
                return
            if line.startswith("#") or not line.strip():
                if line.startswith("#"):
                    skipped[f"comment lines of {Path(path).name}"] += 1
                continue
            fields, where = line.rstrip("\r\n").split("\t"), f"{path} line {number}"
            if len(fields) != 9 or not (NUMBER.fullmatch(fields[3]) and NUMBER.fullmatch(fields[4])):
                raise ConvNovaError(f"{where}: expected the nine columns of GFF3, found {line.strip()[:60]!r}")
            pairs = (part.partition("=") for part in fields[8].split(";"))
            yield where, fields, {key.strip(): unquote(value) for key, _, value in pairs}


def label_bases(length: int, transcripts: Iterable[Transcript]) -> np.ndarray:
    """BEND's label of every base of a chromosome: int8 (length,).

    Where genes overlap, coding sequence wins over introns, and of two coding sequences, or two introns, that of the
    transcript with more coding bases (of equals, the later one in the file).
    """
    labels = np.full(length, NONCODING, np.int8)
    by_size = sorted(transcripts, key=lambda transcript: sum(end - start for start, end in transcript.coding))
    for transcript in by_size:
        reverse = REVERSE * (transcript.strand == "-")
        for start, end in transcript.introns:
            labels[start:end] = INTRON + reverse
            # The first base of an intron is the donor, in the direction of the gene, and the last one the acceptor.
            donor, acceptor = (end - 1, start) if reverse else (start, end - 1)
            labels[donor], labels[acceptor] = DONOR + reverse, ACCEPTOR + reverse
    for transcript in by_size:
        for start, end in _translated(transcript):
            labels[start:end] = CODING + REVERSE * (transcript.strand == "-")
    return labels


def _translated(transcript: Transcript) -> list[tuple[int, int]]:
    """The coding parts without the stop codon; frame shifts are coding too."""
    joined = [transcript.coding[0]]
    for start, end in transcript.coding[1:]:
        if start - joined[-1][1] < SHORTEST_INTRON:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    is_reverse = transcript.strand == "-"
    left, parts = STOP_CODON, []
    for start, end in joined if is_reverse else joined[::-1]:  # from the end of the gene on
        cut = min(left, end - start)
        left -= cut
        parts.append((start + cut, end) if is_reverse else (start, end - cut))  # empty if all of it was cut
    return parts
