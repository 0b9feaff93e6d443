"""Genes: promoter with or without TATA box, exons of skewed codons, introns with consensus splice sites."""

from dataclasses import dataclass

import numpy as np

from convnova.data.dna import C, decode, encode
from convnova.simulation.sequence import draw_bases, draw_motif, plant

UPSTREAM = 300
"""Bases of a locus before the transcription start."""
DOWNSTREAM = 100
"""Bases of a locus after the transcript."""

CORE_PROMOTER = (("TATAWAAG", -31), ("YYANWYY", -2), ("RGWYV", 28))
"""TATA box, initiator and downstream element, with the position of their first base relative to the start."""
TATA_MOTIFS = ("GGGGCGGGG",) * 6 + ("AGCCAATCAG",) * 6
CPG_MOTIFS = ("GCGCATGCGC", "ACCGGAAGTG", "AAGATGGCGG", "TCTCGCGAGA") * 2

PROMOTER_COMPOSITION = (0.25, 0.22, 0.24, 0.29)

FAVOURED_CODONS = "GCA GAA AAG GAG ATC GGA GTG ACC TTC CAG AAC GAC GAT AGA GCC AAA"
FAVOUR = 9.0
"""How much more often a favoured codon is used than another."""
STOP_CODONS = np.stack([encode(codon)[0] for codon in ("TAA", "TAG", "TGA")])

EXON_LENGTHS = (200, 320)
INTRON_LENGTHS = (260, 420)
LONG_INTRON_LENGTHS = (420, 640)
INTRON_COMPOSITION = (0.26, 0.18, 0.22, 0.34)
DONOR = "GTRAGT"
DONOR_ENHANCER = "TGGGTG"
ACCEPTOR_ENHANCER = "TTCTCTT"
"""G triplets after donors and pyrimidines before acceptors, which help introns to be recognised."""
INTRON_FLANK = 130
"""Bases of an intron from either end that hold them."""
BRANCH_POINT = "TACTAAC"


@dataclass
class Gene:
    """A locus, read in the sense of its gene: transcription starts at UPSTREAM.

    Attributes:
        tokens: uint8 (bases,).
        tata: whether the promoter has a TATA box.
        coding: start and end, from 0 and half-open, of the coding parts of the exons, without the stop codon.
        introns: start and end of the introns.
    """

    tokens: np.ndarray
    tata: bool
    coding: list[tuple[int, int]]
    introns: list[tuple[int, int]]


def _codon_table() -> tuple[np.ndarray, np.ndarray]:
    """The 61 codons that are not stops, as tokens (61, 3), and how often each is used."""
    codons = np.indices((4, 4, 4), dtype=np.uint8).reshape(3, 64).T
    codons = codons[~(codons[:, None] == STOP_CODONS).all(axis=2).any(axis=1)]
    favoured = FAVOURED_CODONS.split()
    usage = np.array([FAVOUR if decode(codon) in favoured else 1.0 for codon in codons])
    return codons, usage / usage.sum()


CODONS, CODON_USAGE = _codon_table()


def _coding_sequence(length: int, cuts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """ATG, codons, stop: CAG before each cut, G after it, and no stop in frame but the last codon."""
    codons = CODONS[rng.choice(len(CODONS), size=length // 3, p=CODON_USAGE)]
    codons[0], codons[-1] = encode("ATG")[0], STOP_CODONS[rng.integers(3)]
    tokens = codons.reshape(-1)
    for cut in cuts:
        tokens[cut - 3 : cut + 1] = encode("CAGG")[0]
    stops = (codons[:-1, None] == STOP_CODONS).all(axis=2).any(axis=1)
    codons[:-1][stops, 0] = C
    return tokens


def _intron(length: int, rng: np.random.Generator) -> np.ndarray:
    """GT...AG: donor consensus and G triplets, branch point, polypyrimidine tract, CAG."""
    tokens = draw_bases(length, INTRON_COMPOSITION, rng)
    plant(tokens[8:INTRON_FLANK], [DONOR_ENHANCER] * 8, rng, both_strands=False)
    plant(tokens[-INTRON_FLANK:-52], [ACCEPTOR_ENHANCER] * 8, rng, both_strands=False)
    tokens[:6] = draw_motif(DONOR, rng)
    branch = length - int(rng.integers(40, 50))
    tokens[branch : branch + len(BRANCH_POINT)] = draw_motif(BRANCH_POINT, rng)
    tokens[-30:-4] = draw_bases(26, (0.03, 0.32, 0.03, 0.62), rng)
    tokens[:2], tokens[-3:] = encode("GT")[0], encode("CAG")[0]
    return tokens


def _promoter(tata: bool, rng: np.random.Generator) -> np.ndarray:
    """UPSTREAM + 60 bases around the start of transcription, which is at UPSTREAM."""
    tokens = draw_bases(UPSTREAM + 60, PROMOTER_COMPOSITION, rng)
    plant(tokens[50 : UPSTREAM - 40], TATA_MOTIFS if tata else CPG_MOTIFS, rng)
    for motif, position in CORE_PROMOTER[0 if tata else 1 :]:
        start = UPSTREAM + position + int(rng.integers(-1, 2))
        tokens[start : start + len(motif)] = draw_motif(motif, rng)
    return tokens


def make_gene(tata: bool, exons: int, intron_lengths: tuple[int, int], rng: np.random.Generator) -> Gene:
    """A gene on the forward strand of its locus.

    Args:
        tata: whether its promoter has a TATA box.
        exons: how many coding exons it has; there is one intron fewer.
        intron_lengths: least and, excluded, largest number of bases of an intron.
        rng: random numbers.
    """
    exon_lengths = rng.integers(*EXON_LENGTHS, size=exons)
    exon_lengths[-1] += -exon_lengths.sum() % 3
    cuts = np.cumsum(exon_lengths)[:-1]
    coding = _coding_sequence(int(exon_lengths.sum()), cuts, rng)
    leader = draw_bases(int(rng.integers(10, 60)), (0.25, 0.25, 0.25, 0.25), rng)
    pieces = [_promoter(tata, rng), leader, encode("GCCACC")[0]]
    coding_parts, introns = [], []
    end = sum(map(len, pieces))
    for number, exon in enumerate(np.split(coding, cuts), start=1):
        is_last = number == exons
        coding_parts.append((end, end + len(exon) - 3 * is_last))
        pieces.append(exon)
        end += len(exon)
        if not is_last:
            pieces.append(_intron(int(rng.integers(*intron_lengths)), rng))
            introns.append((end, end + len(pieces[-1])))
            end += len(pieces[-1])
    tail = draw_bases(int(rng.integers(120, 200)) + DOWNSTREAM, (0.28, 0.22, 0.22, 0.28), rng)
    tail[-DOWNSTREAM - 26 : -DOWNSTREAM - 20] = encode("AATAAA")[0]
    return Gene(np.concatenate([*pieces, tail]), tata, coding_parts, introns)
