"""A genome: from FASTA to memory-mapped tokens, and windows over them by arithmetic.

A genome is a folder: `genome.safetensors` holds one uint8 tensor a chromosome, `intervals.tsv` says which
bases are for training, validation and test.
"""

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from convnova.data import array_file
from convnova.data import intervals as bed_file
from convnova.data.dna import LETTER_TO_TOKEN, NOT_DNA, N
from convnova.data.dna import OTHER as OTHER_LETTER
from convnova.data.fasta import Piece, pieces
from convnova.data.intervals import Interval, bed_tool, merge
from convnova.errors import ConvNovaError
from convnova.files import sha256
from convnova.log import log, progress

SHARD, INTERVALS = "genome.safetensors", "intervals.tsv"
SPLITS = ("train", "valid", "test")

TOKEN_BITS, LOWER, OTHER, WRONG = 7, 8, 16, 128


def _code(letter: int) -> int:
    token = int(LETTER_TO_TOKEN[letter])
    code = WRONG if token == NOT_DNA else N | OTHER if token == OTHER_LETTER else token
    return code | LOWER if chr(letter).islower() else code


CODES = bytes(map(_code, range(256)))
"""Letter to token with a bit for lower case, one for IUPAC codes and gaps, one for what is not DNA."""


def tokenize_genome(
    fasta: Path,
    out: Path,
    bed: Path | None = None,
    valid: Iterable[str] = (),
    test: Iterable[str] = (),
    train: Iterable[str] = (),
) -> None:
    """Write the folder `out`: the chromosomes of a FASTA as tokens, and the intervals of each split.

    A BED with a fourth column states each interval's split. Otherwise whole chromosomes (or the BED's
    intervals on them) go to a split: those in `valid` and `test`, or if neither names any, chromosomes
    chosen by `choose_chromosomes`; of the others only those in `train`, if that names any, are trained on.

    Raises:
        ConvNovaError: the FASTA or BED is not one, they do not fit together, `valid` or `test` names
            what is not there, or `bedtools` is missing. Nothing is written then.
    """
    fasta, out = Path(fasta), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    inputs = {"fasta": fasta, "bed": bed} if bed else {"fasta": fasta}
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent) as temporary:
        with array_file.ArrayFileWriter(Path(temporary, SHARD)) as shard:
            letters = _append_chromosomes(fasta, shard)
            lengths = {name: count["bases"] for name, count in letters.items()}
            intervals = _only(set(train), _split(bed, lengths, set(valid), set(test)), lengths)
            if bed:
                _report_overlap(bed, intervals)
            shard.metadata["inputs"] = {
                role: {"name": Path(path).name, "sha256": sha256(path)} for role, path in inputs.items()
            }
            shard.metadata["letters"] = letters
        rows = ["\t".join(Interval._fields), *("\t".join(map(str, interval)) for interval in intervals)]
        Path(temporary, INTERVALS).write_text("\n".join(rows) + "\n", encoding="utf-8")
        out.mkdir(exist_ok=True)
        for name in (SHARD, INTERVALS):
            os.replace(Path(temporary, name), out / name)


def _append_chromosomes(fasta: Path, shard: array_file.ArrayFileWriter) -> dict[str, dict[str, int]]:
    """Append each record's tokens to the shard; count its letters."""
    letters: dict[str, dict[str, int]] = {}
    record, name = 0, ""
    with progress(f"reading {fasta.name}", unit="bases") as work:
        for piece in pieces(fasta):
            if piece.record != record:
                record, name = piece.record, _name(piece, fasta, letters)
                letters[name] = dict.fromkeys(("bases", "N", "lower", "other"), 0)
            codes = _codes(piece, fasta)
            shard.append(name, codes & TOKEN_BITS)
            count = letters[name]
            count["bases"] += codes.size
            count["lower"] += int(np.count_nonzero(codes & LOWER))
            count["other"] += (other := int(np.count_nonzero(codes & OTHER)))
            count["N"] += int(np.count_nonzero(codes & TOKEN_BITS == N)) - other
            work.update(codes.size)
    total = {key: sum(count[key] for count in letters.values()) for key in letters[name]}
    log(
        f"{fasta}: {len(letters)} chromosomes, {total['bases']:,} bases, of which {total['N']:,} N, "
        f"{total['lower']:,} lower case, {total['other']:,} other letters, read as N"
    )
    return letters


def _name(piece: Piece, fasta: Path, known: Iterable[str]) -> str:
    """The first word of the header, which must be there and new."""
    name = piece.header.split(maxsplit=1)[0] if piece.header else ""
    if not name or name in known:
        found = f"{name!r} a second time" if name else "none"
        raise ConvNovaError(f"{fasta}: expected another name for every record, found {found} in line {piece.line - 1}")
    return name


def _codes(piece: Piece, fasta: Path) -> np.ndarray:
    codes = np.frombuffer(piece.letters.translate(CODES, b"\r\n"), np.uint8)
    if codes.max() >= WRONG:
        wrong = re.search(rb"[^%s\r\n]" % re.escape(_letters_allowed()), piece.letters)
        line = piece.line + piece.letters.count(b"\n", 0, wrong.start())
        raise ConvNovaError(
            f"{fasta}: expected nucleotides (A, C, G, T, N or an IUPAC code), found {chr(wrong[0][0])!r} "
            f"in line {line}, record {piece.header.split(maxsplit=1)[0]!r}; is it a protein sequence?"
        )
    return codes


def _letters_allowed() -> bytes:
    return bytes(letter for letter in range(256) if CODES[letter] < WRONG)


def _split(bed: Path | None, lengths: dict[str, int], valid: set[str], test: set[str]) -> list[Interval]:
    """Every interval with its split: from the BED's fourth column, or by chromosome, or by position."""
    intervals = _read_bed(bed, lengths) if bed else [Interval(name, 0, end, "") for name, end in lengths.items()]
    for name in sorted(valid | test):
        if name not in lengths or name in valid & test:
            found = f"{name!r} in both" if name in lengths else f"{name!r}, which the FASTA lacks"
            raise ConvNovaError(f"genome: expected chromosomes of {', '.join(lengths)} as valid or test, found {found}")
    if intervals[0].split:
        if valid or test:
            raise ConvNovaError(f"{bed}: expected either splits in the BED or valid and test chromosomes, found both")
    elif chosen := choose_chromosomes(lengths, dict.fromkeys(valid, "valid") | dict.fromkeys(test, "test")):
        log(f"splits by chromosome: {', '.join(f'{name} {split}' for name, split in chosen.items())}, all others train")
        intervals = [interval._replace(split=chosen.get(interval.chrom, "train")) for interval in intervals]
    else:
        log("splits by position: of every chromosome the first 90% train, then 5% valid, then 5% test")
        intervals = [part for interval in intervals for part in _by_position(interval, lengths[interval.chrom])]
    for split in SPLITS[:2]:
        if all(interval.split != split for interval in intervals):
            raise ConvNovaError(f"{bed or 'genome'}: expected intervals of the split {split!r}, found none")
    return intervals


def _only(train: set[str], intervals: list[Interval], lengths: dict[str, int]) -> list[Interval]:
    """The intervals without those for training on chromosomes that `train`, if there is any, does not name."""
    if unknown := sorted(train - set(lengths)):
        raise ConvNovaError(f"genome: expected chromosomes of {', '.join(lengths)} as train, found {unknown[0]!r}")
    return [part for part in intervals if not train or part.split != "train" or part.chrom in train]


def _read_bed(bed: Path, lengths: dict[str, int]) -> list[Interval]:
    intervals: list[Interval] = []
    for line, fields in bed_file.lines(bed):
        where = f"{bed} line {line}"
        name, start, end = bed_file.checked(fields, lengths, where)
        split = fields[3] if len(fields) > 3 else ""
        if split not in (*SPLITS, "") or (intervals and bool(split) != bool(intervals[0].split)):
            raise ConvNovaError(f"{where}: expected train, valid or test in column 4 of every line, found {split!r}")
        intervals.append(Interval(name, start, end, split))
    if not intervals:
        raise ConvNovaError(f"{bed}: expected intervals, found an empty file")
    return intervals


def choose_chromosomes(lengths: dict[str, int], given: dict[str, str]) -> dict[str, str]:
    """Chromosome to split, for validation and for test, each about 5% of all bases, never the largest.

    Those whose length is nearest to 5% come first, more are added while that brings the sum nearer.
    None may hold more than 10%. A split that `given` has chromosomes for is left as it is.

    Returns:
        an empty dictionary if none is given and a split would have less than 2.5%: split by position then.

    Raises:
        ConvNovaError: only one split is given, and no chromosome suits the other.
    """
    share = sum(lengths.values()) / 20
    largest = max(lengths, key=lambda name: lengths[name])
    others = sorted((name for name in lengths if name != largest), key=lambda name: abs(lengths[name] - share))
    chosen = dict(given)
    for split in SPLITS[1:]:
        taken = 0
        for name in others if split not in given.values() else ():
            if name not in chosen and taken + lengths[name] / 2 <= share:
                chosen[name], taken = split, taken + lengths[name]
        if split not in given.values() and taken < share / 2:
            if given:
                raise ConvNovaError(f"genome: expected chromosomes for {split} too, found none near 5%; name some")
            return {}
    return chosen


def _by_position(interval: Interval, length: int) -> list[Interval]:
    borders = (0, length * 90 // 100, length * 95 // 100, length)
    parts = zip(borders, borders[1:], SPLITS, strict=False)
    cut = (Interval(interval.chrom, max(interval.start, a), min(interval.end, b), split) for a, b, split in parts)
    return [part for part in cut if part.start < part.end]


def _report_overlap(bed: Path, intervals: list[Interval]) -> None:
    """Say how many bases of a BED's validation and test intervals are in its train intervals as well."""
    merged = {split: merge(part for part in intervals if part.split == split) for split in SPLITS}
    for split in SPLITS[1:]:
        if merged["train"] and merged[split]:
            bases = sum(part.end - part.start for part in merged[split])
            shared = bed_tool(merged[split]).intersect(bed_tool(merged["train"]))
            log(f"{bed}: {bases:,} {split} bases, of which {sum(part.length for part in shared):,} are train bases too")


def read_genome(folder: Path) -> dict[str, np.ndarray]:
    """Memory-map a genome: chromosome to its tokens, uint8 (bases,)."""
    return {name: np.asarray(tokens) for name, tokens in array_file.read(Path(folder, SHARD)).items()}


def read_intervals(folder: Path) -> dict[str, list[Interval]]:
    """The intervals of each split, in the order of the file."""
    rows = Path(folder, INTERVALS).read_text(encoding="utf-8").splitlines()[1:]
    splits: dict[str, list[Interval]] = {}
    for chrom, start, end, split in (row.split("\t") for row in rows):
        splits.setdefault(split, []).append(Interval(chrom, int(start), int(end), split))
    return splits
