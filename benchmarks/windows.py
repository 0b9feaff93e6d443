"""Random windows of a genome as masked batches: from the shard, and with pyfaidx and a Python tokenizer, in turns.

    python benchmarks/windows.py --megabases 200 --length 1024 --json windows.json

makes a FASTA and its shard and prints, for each way, bases a second of one core (median over rounds) and the ratio.
Both give batches of the same windows with 15% of the bases hidden, once.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyfaidx
from sharding import make_fasta

from convnova.dna import LETTER_TO_TOKEN, N
from convnova.genome import shard_genome, windows
from convnova.masking import mask
from convnova.randomness import order

TOKEN = {chr(letter): min(int(token), N) for letter, token in enumerate(LETTER_TO_TOKEN)}


def main() -> None:
    """Make the genome, take turns, print and write JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--megabases", type=int, default=200, help="a multiple of 10; default 200")
    options.add_argument("--length", type=int, default=1024, help="bases a window")
    options.add_argument("--batch", type=int, default=128, help="windows a batch")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the numbers here too")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fasta, shard = Path(folder, "genome.fa"), Path(folder, "shard")
        make_fasta(fasta, asked.megabases)
        shard_genome(fasta, shard)
        results = compare(fasta, shard, asked)
    print(json.dumps(results, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


def compare(fasta: Path, shard: Path, asked: argparse.Namespace) -> dict[str, float]:
    """Bases a second of both ways; the slow one makes two batches a round, ours two hundred."""
    data, faidx = windows(shard, "train", asked.length), pyfaidx.Fasta(str(fasta))
    names, shuffled = list(faidx.keys()), order(len(data), 1, 0)

    def rows(step: int) -> np.ndarray:
        return np.take(shuffled, np.arange(step * asked.batch, (step + 1) * asked.batch), mode="wrap")

    def ours(step: int) -> np.ndarray:
        return mask(data.tokens(rows(step)), 0.15, 1, step)[0]

    def theirs(step: int) -> np.ndarray:
        tokens = []
        for segment, start in zip(*places(data, rows(step)), strict=True):
            text = str(faidx[names[segment]][start : start + asked.length])
            tokens.append([TOKEN[letter] for letter in text])
        return mask(np.array(tokens, np.uint8), 0.15, 1, step)[0]

    assert all((ours(step) == theirs(step)).all() for step in range(3))
    speeds: dict[str, list[float]] = {"ours": [], "pyfaidx": []}
    for number in range(asked.rounds):
        for name, make, steps in (("ours", ours, 200), ("pyfaidx", theirs, 2)):
            start = time.process_time()
            for step in range(number * steps, (number + 1) * steps):
                make(step)
            speeds[name].append(steps * asked.batch * asked.length / (time.process_time() - start))
    ratio = statistics.median(fast / slow for fast, slow in zip(speeds["ours"], speeds["pyfaidx"], strict=True))
    medians = {f"{name}_megabases_per_second": statistics.median(values) / 1e6 for name, values in speeds.items()}
    return {"length": asked.length, "batch": asked.batch, **medians, "ratio": ratio}


def places(data: object, rows: np.ndarray) -> tuple[list[int], list[int]]:
    """Chromosome number and start of some windows."""
    segment = np.searchsorted(data.first, rows, side="right") - 1
    start = data.start[segment] + (rows - data.first[segment]) * data.width[segment]
    return data.chromosome[segment].tolist(), start.tolist()


if __name__ == "__main__":
    main()
