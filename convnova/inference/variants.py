"""Scores of variants: what the alternative allele changes, in a window of the genome around it.

    masked-language model   log P(alternative) - log P(reference) of the alleles' bases, which are masked together in
                            the allele's own window; of alleles of equal length the two windows are one
    fine-tuned model        logits with the alternative - logits with the reference; of a model of single bases, those
                            of the allele's first base

Both windows begin at the same base. The variant is in their middle, or off it where the chromosome ends. An allele that
is not scored has a reason, and is counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convnova.data.dna import decode, encode
from convnova.data.indexed_fasta import open_genome
from convnova.data.intervals import parse_interval
from convnova.data.vcf import Variant, vcf_lines, writing_vcf
from convnova.errors import ConvNovaError
from convnova.inference.network import Network
from convnova.log import log, progress

if TYPE_CHECKING:
    import pandas

LINES, BASES = 4096, 1 << 24
"""Of a VCF that are scored together: lines, and bases of their windows."""
LISTED = 10
"""Alleles without a score that the log names at most, for each reason."""
LLR, SKIPPED = "LLR", "CONVNOVA_SKIPPED"
REASONS = {
    "letters": "an allele that is not of A, C, G and T",
    "position": "a place that the genome lacks",
    "reference": "a REF that is not what the genome has",
    "length": "an allele longer than half the window",
}


class Window(NamedTuple):
    """Tokens of a window, uint8 (length,), and where the allele's bases are in it."""

    tokens: np.ndarray
    at: range


class Skipped(NamedTuple):
    """Why an allele is not scored: one of `REASONS`, and a line that names the place."""

    reason: str
    message: str


def windows_of(
    variant: Variant, alt: str, genome: Mapping[str, Any], lengths: Mapping[str, int], window: int
) -> "tuple[Window, Window] | Skipped":
    """The windows with the reference and with the alternative, or why there are none.

    Args:
        variant: a line of a VCF.
        alt: one of its alternative alleles.
        genome: chromosome to what its tokens are cut from.
        lengths: chromosome to its bases.
        window: bases of a window; fewer where the chromosome is shorter.
    """
    where, ref = variant.where, variant.ref
    for allele in (ref, alt):
        if not allele or {*allele} - {*"ACGT"}:
            return Skipped("letters", f"{where}: expected an allele of A, C, G and T, found {allele[:60]!r}")
    try:
        place = (variant.fields[0], str(variant.start), str(variant.start + len(ref)))
        chrom, start, end = parse_interval(place, lengths, where)
    except ConvNovaError as error:
        return Skipped("position", str(error))
    if (found := decode(genome[chrom][start:end])) != ref:
        return Skipped("reference", f"{where}: expected REF {found}, which {chrom} has there, found {ref[:60]}")
    if max(len(ref), len(alt)) > window // 2:
        return Skipped("length", f"{where}: expected alleles of at most {window // 2} bases, half the window")
    first = min(max(0, start - window // 2), max(0, lengths[chrom] - window))
    around = genome[chrom][first : end + window]
    left, right = around[: start - first], around[end - first :]
    surplus = max(0, len(left) + max(len(ref), len(alt)) - window)  # of a long allele at the end of a chromosome

    def with_allele(letters: str) -> Window:
        tokens = np.concatenate([left[surplus:], encode(letters)[0], right])[:window]
        return Window(tokens, range(len(left) - surplus, len(left) - surplus + len(letters)))

    return with_allele(ref), with_allele(alt)


def differences(network: Network, pairs: list[tuple[Window, Window]], strands: str) -> np.ndarray:
    """Scores of pairs of windows, float32 (n, outputs); of a masked-language model (n, 1).

    Args:
        network: the network.
        pairs: windows with the reference and with the alternative.
        strands: `both` for the mean over a window and its reverse complement.
    """
    references, alternatives = zip(*pairs, strict=True)
    if network.kind != "masked":
        both = [*references, *alternatives]
        logits = network.logits([window.tokens for window in both], [window.at.start for window in both], strands)
        return logits[len(pairs) :] - logits[: len(pairs)]
    others = [number for number, (ref, alt) in enumerate(pairs) if len(ref.at) != len(alt.at)]
    read = [*references, *(alternatives[number] for number in others)]
    values = network.letters([window.tokens for window in read], [window.at for window in read], strands)
    of_alternative = {number: values[len(pairs) + place] for place, number in enumerate(others)}

    def total(window: Window, letters: np.ndarray) -> float:
        return letters[range(len(window.at)), window.tokens[window.at.start : window.at.stop]].sum()

    scores = [
        total(alternatives[number], of_alternative.get(number, values[number]))
        - total(references[number], values[number])
        for number in range(len(pairs))
    ]
    return np.array(scores, np.float32)[:, None]


def scored_lines(
    network: Network, vcf: Path, genome: Path, window: int, strands: str, strict: bool
) -> Iterator[tuple[str | Variant, list[np.ndarray | Skipped]]]:
    """Every line of a VCF, in its order, with the scores of its alternative alleles; those of the header have none.

    Args:
        network: a masked-language model or a fine-tuned network.
        vcf: plain, gzip or bgzip.
        genome: a FASTA or the folder of a tokenized genome.
        window: bases of a window.
        strands: `both` for the mean over a window and its reverse complement.
        strict: refuse a variant that is not of this genome, in place of leaving it without a score.

    Raises:
        ConvNovaError: no VCF, no genome; with `strict` a place or a reference that the genome does not have.
    """
    chromosomes = open_genome(genome)
    lengths = {name: len(tokens) for name, tokens in chromosomes.items()}
    lines, counts, listed = vcf_lines(vcf), Counter(), []
    with progress("scoring variants", unit="alleles") as bar:
        while part := list(islice(lines, max(1, min(LINES, BASES // window)))):
            results = []
            for line in part:
                alts = line.alts if isinstance(line, Variant) else []
                results.append([windows_of(line, alt, chromosomes, lengths, window) for alt in alts])
            for result in (result for of_line in results for result in of_line):
                reason = result.reason if isinstance(result, Skipped) else "scored"
                if strict and reason in ("position", "reference"):
                    raise ConvNovaError(f"{result.message}; without strict it is left without a score")
                counts[reason] += 1
                if reason != "scored" and counts[reason] <= LISTED:
                    listed.append(result.message)
            pairs = [result for of_line in results for result in of_line if not isinstance(result, Skipped)]
            scores = iter(differences(network, pairs, strands) if pairs else ())
            for line, of_line in zip(part, results, strict=True):
                yield line, [result if isinstance(result, Skipped) else next(scores) for result in of_line]
            bar.update(len(pairs))
    for message in listed:
        log(f"not scored: {message}")
    skipped = [f"{counts[reason]:,} for {text}" for reason, text in REASONS.items() if counts[reason]]
    log(
        f"{counts['scored']:,} of {counts.total():,} alleles are scored"
        + f"; not: {', '.join(skipped)}" * bool(skipped)
    )


def write_vcf(
    scored: Iterator[tuple[str | Variant, list[np.ndarray | Skipped]]], names: list[str], made_by: str, out: Path
) -> None:
    """Write a VCF back with the scores in INFO, each field declared in the header; what is not scored has its reason.

    Args:
        scored: as of `scored_lines`.
        names: of the scores.
        made_by: a line for the header.
        out: the file, which is written whole or not at all; bgzip where its name ends in .gz or .bgz.
    """
    keys = [f"CONVNOVA_{re.sub('[^A-Za-z0-9_.]', '_', name)}" for name in names]
    keys = [key if keys.count(key) == 1 else f"{key}_{number}" for number, key in enumerate(keys)]
    what = "Log-likelihood" if names == [LLR] else "Logit of {}"
    texts = [f"{what.format(name)} of ALT minus that of REF" for name in names]
    declared = [(key, "Float", re.sub(r'[\\"]', "_", text)) for key, text in zip(keys, texts, strict=True)]
    declared.append((SKIPPED, "String", f"Why there is no score: {', '.join(REASONS)}"))
    heads = [f'##INFO=<ID={key},Number=A,Type={kind},Description="{text}">' for key, kind, text in declared]
    ours = [head.partition(",")[0] for head in heads]
    with writing_vcf(out) as write:
        for line, results in scored:
            if isinstance(line, str):
                if line.startswith("#CHROM"):
                    write("".join(f"{head}\n" for head in [*heads, f"##convnova={made_by}"]))
                if line.partition(",")[0] not in ours:  # of an earlier scoring
                    write(f"{line}\n")
                continue
            values = {}
            for number, key in enumerate(keys):
                values[key] = ["." if isinstance(result, Skipped) else f"{result[number]:.6g}" for result in results]
            if any(isinstance(result, Skipped) for result in results):
                values[SKIPPED] = [result.reason if isinstance(result, Skipped) else "." for result in results]
            earlier = {".", SKIPPED, *values}
            info = [part for part in line.fields[7].split(";") if part.partition("=")[0] not in earlier]
            info += [f"{key}={','.join(column)}" for key, column in values.items()]
            write("\t".join([*line.fields[:7], ";".join(info), *line.fields[8:]]) + "\n")


def table_of(
    scored: Iterator[tuple[str | Variant, list[np.ndarray | Skipped]]], names: list[str]
) -> "pandas.DataFrame":
    """A row an alternative allele: chrom, pos (from 1), id, ref, alt, its scores, and why there are none.

    Args:
        scored: as of `scored_lines`.
        names: of the scores.
    """
    import pandas

    rows = []
    for line, results in scored:
        for alt, result in zip(line.fields[4].split(",") if isinstance(line, Variant) else (), results, strict=True):
            skipped = isinstance(result, Skipped)
            scores = [np.nan] * len(names) if skipped else result.tolist()
            chrom, pos, name, ref = line.fields[:4]
            rows.append([chrom, int(pos), name, ref, alt, *scores, result.reason if skipped else ""])
    return pandas.DataFrame(rows, columns=["chrom", "pos", "id", "ref", "alt", *names, "skipped"])
