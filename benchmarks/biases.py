"""What choosing the epoch on test, means over batches and padding that counts are worth, on real tasks.

    python benchmarks/biases.py --data DIR --out DIR --cores 2

Reads from --data the GUE copies of a yeast histone mark and of TATA promoters (dev as train, test), and the yeast
genome with its annotation; from these it cuts a task of its own whose sequences differ in length. Writes the config of
two runs to --out, `biases` (heldout and released) and `biases_padding` (a study of padding and its side, by validation
score), and runs the workflow on both. Run it where the Snakefile lies; what it says is in
`results/biases/tables/protocols.md` and `results/biases_padding/tables/study.md`.
"""

import argparse
import gzip
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import yaml

from convnova.fasta import pieces

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
FINETUNE = {"epochs": 5, "batch_size": 32, "lr": 4.0e-3, "warmup": 0.1}


def chromosomes(fasta: Path) -> dict[str, str]:
    """Name to upper-case sequence."""
    found: dict[str, list[str]] = {}
    for piece in pieces(fasta):
        found.setdefault(piece.header.split()[0], []).append(piece.letters.decode().replace("\n", "").upper())
    return {name: "".join(parts) for name, parts in found.items()}


def genes(annotation: Path) -> dict[str, list[tuple[int, int]]]:
    """Chromosome to the merged intervals of its genes, 0-based and half-open, ascending."""
    names, found = {}, {}
    with gzip.open(annotation, "rt") as stream:
        for line in stream:
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 9 and fields[2] == "region" and (name := re.search(r"chromosome=(\w+)", fields[8])):
                names[fields[0]] = name[1]
            if len(fields) == 9 and fields[2] == "gene" and fields[0] in names:
                found.setdefault(names[fields[0]], []).append((int(fields[3]) - 1, int(fields[4])))
    merged: dict[str, list[tuple[int, int]]] = {}
    for name, intervals in found.items():
        for start, end in sorted(intervals):
            before = merged.setdefault(name, [])
            if before and start <= before[-1][1]:
                before[-1] = (before[-1][0], max(end, before[-1][1]))
            else:
                before.append((start, end))
    return merged


def write_genes_or_between(data: Path, out: Path) -> dict[str, str]:
    """A task: sequence inside a gene (1) or between two (0); both classes have the same lengths, 60 to 500 bases."""
    sequences = chromosomes(data / "genome_yeast_R64/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz")
    random = np.random.default_rng(1)
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for name, intervals in genes(data / "genome_yeast_R64/GCA_000146045.2_R64.annotation.gff.gz").items():
        split = "test" if name in TEST_CHROMOSOMES else "train"
        for (first, left), (right, _) in zip(intervals, intervals[1:], strict=False):
            length = right - left
            if not SHORTEST <= length <= LONGEST or left - first < length:
                continue
            start = int(random.integers(first, left - length + 1))
            rows[split] += [f"{sequences[name][left:right]},0", f"{sequences[name][start : start + length]},1"]
    for split, lines in rows.items():
        chosen = random.permutation(len(lines))[: ROWS[split]]
        text = "sequence,label\n" + "".join(f"{lines[row]}\n" for row in chosen)
        (out / f"genes_{split}.csv").write_text(text)
    return {split: str(out / f"genes_{split}.csv") for split in rows}


def configs(data: Path, out: Path) -> dict[str, dict]:
    """The two runs."""
    tasks = {
        task: {role: str(data / path) for role, path in files.items()} | {"metric": "mcc"}
        for task, files in CSV.items()
    }
    lengths = {"genes": write_genes_or_between(data, out) | {"metric": "mcc"}}
    common = {"models": MODELS, "seeds": [1, 2, 3]}
    styles = {"masked": "padding masked", "pooled": "counted, at the left", "pooled_right": "counted, at the right"}
    padded = {
        style: MODELS["convnova_scratch"]
        | {"like": "convnova_scratch", "title": title, "training": FINETUNE | {"padding": style}}
        for style, title in styles.items()
    }

    def of_run(tasks: dict, **changes: object) -> dict:
        return common | {"suites": {"real": {"title": "Real tasks", "format": "csv", "tasks": tasks}}} | changes

    return {
        "biases": of_run(tasks | lengths, finetune=FINETUNE),
        "biases_padding": of_run(
            lengths, models=padded, base="masked", protocols=["heldout"], seeds=[1, 2, 3, 4, 5, 6]
        ),
    }


def main() -> None:
    """Write the inputs, run the workflow on each config."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cores", default="2")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = configs(options.data, options.out)
    for name, content in found.items():
        (options.out / f"{name}.yaml").write_text(yaml.safe_dump({"run": name, **content}, sort_keys=False))
    for name in found:
        command = [shutil.which("snakemake") or "snakemake", "--cores", options.cores, "--keep-going", "--configfile"]
        subprocess.run([*command, str(options.out / f"{name}.yaml")], check=True)


if __name__ == "__main__":
    main()
