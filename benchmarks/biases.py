"""How much choosing the epoch on test, means over batches and padding that counts change scores, on real tasks.

    python benchmarks/biases.py --data DIR --out DIR --cores 2

Reads from --data the GUE copies of a yeast histone mark and of TATA promoters (dev as train, test), and the yeast
genome with its annotation; from these it cuts two more tasks whose sequences differ in length. Writes the configs
of three runs to --out: `biases` (heldout and released), `biases_padding` (an ablation of padding and its side, by
validation score, on the two tasks) and `biases_padding_embedded` (the same on the simulated genome), and runs the
workflow on each. Run it where the Snakefile lies; the results are in `results/biases/tables/protocols.md` and
`results/biases_padding*/tables/ablation.md`.
"""

import argparse
import gzip
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import yaml

from convnova.data.fasta import pieces
from convnova.data.intervals import Interval, merge

CSV = {
    "H3": {"train": "gue_emp_yeast_histone/H3/dev.csv.gz", "test": "gue_emp_yeast_histone/H3/test.csv.gz"},
    "promoter_tata": {
        "train": "gue_promoter/prom_300_tata/dev.csv.gz",
        "test": "gue_promoter/prom_300_tata/test.csv.gz",
    },
}
SHORTEST, LONGEST = 60, 500
ROWS = {"train": 1000, "test": 800}
TEST_CHROMOSOMES = ("XIII", "XIV", "XV", "XVI")
MODELS = {"convnova_scratch": {"settings": {"width": 16}, "suites": {}}}
EMBEDDED = {"epochs": 3, "batch_size": 4, "lr": 2.0e-3, "beta2": 0.95, "warmup": 0.2}
FINETUNE = {"epochs": 5, "batch_size": 32, "lr": 4.0e-3, "warmup": 0.1}


def chromosomes(fasta: Path) -> dict[str, str]:
    """Name to upper-case sequence."""
    parts: dict[str, list[str]] = {}
    for piece in pieces(fasta):
        parts.setdefault(piece.header.split()[0], []).append(piece.letters.decode().replace("\n", "").upper())
    return {name: "".join(letters) for name, letters in parts.items()}


def genes(annotation: Path) -> dict[str, list[tuple[int, int, str]]]:
    """Chromosome to start, end and strand of its genes, 0-based and half-open, ascending."""
    names, intervals = {}, {}
    with gzip.open(annotation, "rt") as stream:
        for line in stream:
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 9 and fields[2] == "region" and (name := re.search(r"chromosome=(\w+)", fields[8])):
                names[fields[0]] = name[1]
            if len(fields) == 9 and fields[2] == "gene" and fields[0] in names:
                intervals.setdefault(names[fields[0]], []).append((int(fields[3]) - 1, int(fields[4]), fields[6]))
    return {name: sorted(parts) for name, parts in intervals.items()}


def write_tasks(data: Path, out: Path) -> dict[str, dict[str, str]]:
    """Two tasks of sequences of 60 to 500 bases, 1,000 to train on and 800 of other chromosomes to test.

    genes: inside a gene (1) or between two (0); both classes have the same lengths.
    strands: a piece of a gene as its messenger reads (1) or as the opposite strand does (0), by chance.
    """
    sequences = chromosomes(data / "genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz")
    intervals = genes(data / "genome_yeast_R64/GCA_000146045.2_R64.annotation.gff.gz")
    return {
        "genes": _write(out, "genes", inside_or_between(sequences, intervals)),
        "strands": _write(out, "strands", strands_of_genes(sequences, intervals)),
    }


def inside_or_between(sequences: dict[str, str], genes: dict[str, list[tuple[int, int, str]]]) -> dict[str, list[str]]:
    """Lines of the task `genes`, by split."""
    random = np.random.default_rng(1)
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for name, intervals in genes.items():
        joined = merge(Interval(name, start, end) for start, end, _ in intervals)
        for (_, first, left, _), (_, right, *_) in zip(joined, joined[1:], strict=False):
            length = right - left
            if not SHORTEST <= length <= LONGEST or left - first < length:
                continue
            start = int(random.integers(first, left - length + 1))
            lines = [f"{sequences[name][left:right]},0", f"{sequences[name][start : start + length]},1"]
            rows["test" if name in TEST_CHROMOSOMES else "train"] += lines
    return {split: [lines[row] for row in random.permutation(len(lines))] for split, lines in rows.items()}


def strands_of_genes(sequences: dict[str, str], genes: dict[str, list[tuple[int, int, str]]]) -> dict[str, list[str]]:
    """Lines of the task `strands`, by split."""
    random = np.random.default_rng(2)
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for name, intervals in genes.items():
        for start, end, strand in intervals:
            length, label = int(random.integers(SHORTEST, LONGEST + 1)), int(random.integers(2))
            if end - start < length:
                continue
            first = int(random.integers(start, end - length + 1))
            piece = sequences[name][first : first + length]
            if (strand == "+") != bool(label):
                piece = piece.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            rows["test" if name in TEST_CHROMOSOMES else "train"].append(f"{piece},{label}")
    return {split: [lines[row] for row in random.permutation(len(lines))] for split, lines in rows.items()}


def _write(out: Path, name: str, rows: dict[str, list[str]]) -> dict[str, str]:
    for split, lines in rows.items():
        (out / f"{name}_{split}.csv").write_text("\n".join(["sequence,label", *lines[: ROWS[split]]]) + "\n")
    return {split: str(out / f"{name}_{split}.csv") for split in rows} | {"metric": "mcc"}


def configs(data: Path, out: Path) -> dict[str, dict]:
    """The runs."""
    tasks = {
        task: {role: str(data / path) for role, path in files.items()} | {"metric": "mcc"}
        for task, files in CSV.items()
    }
    lengths = write_tasks(data, out)
    styles = {"masked": "padding masked", "pooled": "counted, at the left", "pooled_right": "counted, at the right"}
    padded = {
        style: MODELS["convnova_scratch"] | {"like": "convnova_scratch", "title": title, "training": {"padding": style}}
        for style, title in styles.items()
    }
    real = {"title": "Real tasks", "format": "csv"}
    ablation = {
        "models": padded,
        "ablation": {"baseline": "masked"},
        "protocols": ["heldout"],
        "seeds": [1, 2, 3, 4, 5, 6],
    }
    embedded = {"nucleotide_transformer": {"tasks": ["H3", "H4"], "training": EMBEDDED}}
    return {
        "biases": {
            "models": MODELS,
            "seeds": [1, 2, 3],
            "suites": {"real": real | {"tasks": tasks | {"genes": lengths["genes"]}}},
            "finetune": FINETUNE,
        },
        "biases_padding": ablation | {"suites": {"real": real | {"tasks": lengths, "training": FINETUNE}}},
        "biases_padding_embedded": ablation | {"simulate": {"seed": 1}, "suites": embedded},
    }


def main() -> None:
    """Write the inputs, run the workflow on each config."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cores", default="2")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = configs(options.data, options.out)
    for name, content in runs.items():
        (options.out / f"{name}.yaml").write_text(yaml.safe_dump({"run": name, **content}, sort_keys=False))
    for name in runs:
        command = [shutil.which("snakemake") or "snakemake", "--cores", options.cores, "--keep-going", "--configfile"]
        subprocess.run([*command, str(options.out / f"{name}.yaml")], check=True)


if __name__ == "__main__":
    main()
