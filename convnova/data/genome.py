"""A tokenized genome: from FASTA to one memory-mapped file, and which of its bases belong to which split.

It is a folder: `genome.safetensors` holds one uint8 tensor a chromosome, `intervals.tsv` says which bases are for
training, validation and test.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from convnova.data import dna
from convnova.data.array_file import METADATA, ArrayFileWriter, read_arrays, read_metadata
from convnova.data.fasta import Piece, pieces
from convnova.data.intervals import Interval, bed_rows, bed_tool, merge, parse_interval
from convnova.errors import ConvNovaError, DamagedFile
from convnova.files import scratch_folder, sha256, sha256_of_raw
from convnova.log import log, progress

GENOME_FILE, INTERVALS_FILE = "genome.safetensors", "intervals.tsv"
SPLITS = ("train", "valid", "test")


def tokenize_genome(
    fasta: Path,
    out: Path,
    bed: Path | None = None,
    valid: Iterable[str] = (),
    test: Iterable[str] = (),
    train: Iterable[str] = (),
    rows: int | None = None,
) -> None:
    """Write the folder `out`: the chromosomes of a FASTA as tokens, and the intervals of each split.

    A BED with a fourth column states each interval's split. Otherwise whole chromosomes (or the BED's
    intervals on them) go to a split: those in `valid` and `test`, or if neither names any, chromosomes
    chosen by `choose_chromosomes`; of the others only those in `train`, if that names any, are trained on.

    Args:
        fasta: the chromosomes, plain, gzip or bgzip.
        out: the folder of the tokenized genome; one that stands there is replaced file by file.
        bed: intervals to read; default every base.
        valid, test, train: names of chromosomes as in the FASTA.
        rows: intervals in the BED, if that is known.

    Raises:
        ConvNovaError: the FASTA or BED is not one, has other than `rows` intervals, they do not fit together, `valid`
            or `test` names what is not there, or `bedtools` is missing. Nothing is written then.
    """
    fasta, out = Path(fasta), Path(out)
    inputs = {"fasta": fasta, "bed": bed} if bed else {"fasta": fasta}
    hashes = {role: {"name": Path(path).name, "sha256": sha256_of_raw(path)} for role, path in inputs.items()}
    with scratch_folder(out) as temporary:
        with ArrayFileWriter(Path(temporary, GENOME_FILE)) as file:
            letters = _append_chromosomes(fasta, file)
            lengths = {name: count["bases"] for name, count in letters.items()}
            skipped: Counter[str] = Counter()
            whole = [Interval(name, 0, end) for name, end in lengths.items()]
            given = _read_bed(bed, lengths, rows, skipped) if bed else whole
            intervals = _assign_splits(given, str(bed or "genome"), lengths, set(valid), set(test), set(train))
            if bed:
                log(f"{bed}: {len(given):,} intervals" + "".join(f"; {skipped[what]:,} {what}" for what in skipped))
                _report_overlap(bed, intervals)
            rows = ["\t".join(Interval._fields), *("\t".join(map(str, interval)) for interval in intervals)]
            Path(temporary, INTERVALS_FILE).write_text("\n".join(rows) + "\n", encoding="utf-8")
            written = sha256(Path(temporary, INTERVALS_FILE))
            file.metadata |= {"inputs": hashes, "letters": letters, "intervals": written}
            file.metadata |= {"read": len(given), "skipped": skipped}
        out.mkdir(exist_ok=True)
        for name in (GENOME_FILE, INTERVALS_FILE):
            os.replace(Path(temporary, name), out / name)


def _append_chromosomes(fasta: Path, file: ArrayFileWriter) -> dict[str, dict[str, int]]:
    """Append each record's tokens to the file; count the letters of each chromosome by kind."""
    counts: dict[str, np.ndarray] = {}
    record, name = 0, ""
    with progress(f"reading {fasta.name}", unit="bases") as work:
        for piece in pieces(fasta):
            if piece.record != record:
                record, name = piece.record, (piece.header.split(maxsplit=1) or [""])[0]
                if not name or name in counts or name == METADATA:
                    found = "a reserved name" if name == METADATA else f"{name!r} a second time" if name else "none"
                    where = f"line {piece.line - 1}"
                    raise ConvNovaError(f"{fasta}: expected another name for every record, found {found} in {where}")
                counts[name] = np.zeros(4, np.int64)
            codes = _codes(piece, fasta)
            file.append(name, np.minimum(codes, dna.N))  # other letters become N, which is the largest token
            of_kind = codes == dna.N, np.frombuffer(piece.letters, np.uint8) >= ord("a"), codes == dna.OTHER
            counts[name] += codes.size, *map(np.count_nonzero, of_kind)
            work.update(codes.size)
    bases, n, lower, other = sum(counts.values())
    log(
        f"{fasta}: {len(counts)} chromosomes, {bases:,} bases, of which {n:,} N, "
        f"{lower:,} lower case, {other:,} other letters, read as N"
    )
    kinds = ("bases", "N", "lower", "other")
    return {name: dict(zip(kinds, count.tolist(), strict=True)) for name, count in counts.items()}


def _codes(piece: Piece, fasta: Path) -> np.ndarray:
    """Token or OTHER of each letter of a piece, uint8 (letters,), line ends left out."""
    codes = np.frombuffer(piece.letters.translate(dna.LETTER_TO_TOKEN.tobytes(), b"\r\n"), np.uint8)
    if (codes == dna.NOT_DNA).any():
        wrong = piece.letters.translate(None, b"\r\n")[int(np.argmax(codes == dna.NOT_DNA))]
        line = piece.line + piece.letters.count(b"\n", 0, piece.letters.index(wrong))
        raise ConvNovaError(
            f"{fasta}: expected nucleotides (A, C, G, T, N or an IUPAC code), found {chr(wrong)!r} "
            f"in line {line}, record {piece.header.split(maxsplit=1)[0]!r}; is it a protein sequence?"
        )
    return codes


def _assign_splits(
    intervals: list[Interval], bed: str, lengths: Mapping[str, int], valid: set[str], test: set[str], train: set[str]
) -> list[Interval]:
    """Every interval with its split: from the BED's fourth column, or by chromosome, or by position."""
    for name in sorted(valid | test | train):
        if name not in lengths or name in valid & test | train & (valid | test):
            found = f"{name!r} in both" if name in lengths else f"{name!r}, which the FASTA lacks"
            known = ", ".join(lengths)
            raise ConvNovaError(f"genome: expected chromosomes of {known} as train, valid or test, found {found}")
    if intervals[0].split:
        if valid or test:
            raise ConvNovaError(f"{bed}: expected either splits in the BED or valid and test chromosomes, found both")
    elif split_of := choose_chromosomes(lengths, dict.fromkeys(valid, "valid") | dict.fromkeys(test, "test"), train):
        choice = ", ".join(f"{name} {split}" for name, split in split_of.items())
        log(f"splits by chromosome: {choice}, all others train")
        intervals = [interval._replace(split=split_of.get(interval.chrom, "train")) for interval in intervals]
    else:
        log("splits by position: of every chromosome the first 90% train, then 5% valid, then 5% test")
        intervals = [part for interval in intervals for part in _by_position(interval, lengths[interval.chrom])]
    intervals = [part for part in intervals if not train or part.split != "train" or part.chrom in train]
    for split in SPLITS[:2]:
        if all(interval.split != split for interval in intervals):
            raise ConvNovaError(f"{bed}: expected intervals of the split {split!r}, found none")
    return intervals


def _read_bed(bed: Path, lengths: Mapping[str, int], rows: int | None, skipped: Counter[str]) -> list[Interval]:
    intervals: list[Interval] = []
    for line, fields in bed_rows(bed, skipped):
        where = f"{bed} line {line}"
        split = fields[3] if len(fields) > 3 else ""
        interval = Interval(*parse_interval(fields, lengths, where), split)
        if split not in (*SPLITS, "") or (intervals and bool(split) != bool(intervals[0].split)):
            raise ConvNovaError(f"{where}: expected train, valid or test in column 4 of every line, found {split!r}")
        intervals.append(interval)
    if not intervals:
        raise ConvNovaError(f"{bed}: expected intervals, found an empty file")
    if rows not in (None, len(intervals)):
        raise ConvNovaError(
            f"{bed}: expected {rows:,} intervals as published, found {len(intervals):,}; fetch it again"
        )
    return intervals


def choose_chromosomes(
    lengths: Mapping[str, int], given: Mapping[str, str], train: Collection[str] = ()
) -> dict[str, str]:
    """Chromosome to split, for validation and for test, each about 5% of all bases, never the largest.

    Those whose length is nearest to 5% come first, more are added while that brings the sum nearer.
    None may hold more than 10%. A split that `given` has chromosomes for is left as it is.

    Args:
        lengths: chromosome to its number of bases.
        given: chromosome to `valid` or `test`, as a user wants it.
        train: chromosomes that a user wants in neither.

    Returns:
        an empty dictionary if none is given and a split would have less than 2.5%: split by position then.

    Raises:
        ConvNovaError: only one split is given, and no chromosome suits the other.
    """
    share = sum(lengths.values()) / 20
    largest = max(lengths, key=lambda name: lengths[name])
    others = sorted(
        (name for name in lengths if name not in (largest, *train)), key=lambda name: abs(lengths[name] - share)
    )
    split_of = dict(given)
    for split in SPLITS[1:]:
        if split in given.values():
            continue
        bases = 0
        for name in others:
            if name not in split_of and bases + lengths[name] / 2 <= share:
                split_of[name], bases = split, bases + lengths[name]
        if bases < share / 2:
            if given:
                raise ConvNovaError(f"genome: expected chromosomes for {split} too, found none near 5%; name some")
            return {}
    return split_of


def _by_position(interval: Interval, length: int) -> list[Interval]:
    """The parts of an interval in the first 90%, the next 5% and the last 5% of its chromosome of `length` bases."""
    borders, parts = (0, length * 90 // 100, length * 95 // 100, length), []
    for split, first, last in zip(SPLITS, borders, borders[1:], strict=False):
        start, end = max(interval.start, first), min(interval.end, last)
        parts += [Interval(interval.chrom, start, end, split)] if start < end else []
    return parts


def _report_overlap(bed: Path, intervals: list[Interval]) -> None:
    """Log how many bases of a BED's validation and test intervals are in its train intervals as well."""
    merged = {split: merge(part for part in intervals if part.split == split) for split in SPLITS}
    for split in SPLITS[1:]:
        if merged["train"] and merged[split]:
            bases = sum(part.end - part.start for part in merged[split])
            shared = bed_tool(merged[split]).intersect(bed_tool(merged["train"]))
            log(f"{bed}: {bases:,} {split} bases, of which {sum(part.length for part in shared):,} are train bases too")


def read_genome(folder: Path) -> dict[str, np.ndarray]:
    """Memory-map a genome: chromosome to its tokens, uint8 (bases,).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fasta = Path(folder, "genome.fa")
        ...     _ = fasta.write_text("".join(f">chr{number}\\n{'ACGT' * 100}\\n" for number in range(20)))
        ...     tokenize_genome(fasta, Path(folder, "genome"))
        ...     read_genome(Path(folder, "genome"))["chr1"][:5]
        array([0, 1, 2, 3, 0], dtype=uint8)
    """
    return {name: np.asarray(tokens) for name, tokens in read_arrays(Path(folder, GENOME_FILE)).items()}


def read_intervals(folder: Path) -> dict[str, list[Interval]]:
    """The intervals of each split, in the order of the file.

    Raises:
        ConvNovaError: the file is not the one that was written with the genome.
    """
    path = Path(folder, INTERVALS_FILE)
    if not path.is_file() or sha256(path) != read_metadata(Path(folder, GENOME_FILE)).get("intervals"):
        found = "found others; make both again"
        raise DamagedFile(f"{path}: expected the intervals of the genome beside it, {found}", path)
    splits: dict[str, list[Interval]] = {}
    for row in Path(folder, INTERVALS_FILE).read_text(encoding="utf-8").splitlines()[1:]:
        chrom, start, end, split = row.split("\t")
        splits.setdefault(split, []).append(Interval(chrom, int(start), int(end), split))
    return splits
