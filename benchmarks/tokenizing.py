"""FASTA to tokenized genome against `gzip -dc` of the same file, in turns, in one run.

    python benchmarks/tokenizing.py --megabases 300 --rounds 5 --json tokenizing.json

makes FASTA files of a third of the size and of the whole, packs each with gzip and with bgzip, and prints for
each the median seconds of both and the peak memory. Every round is a new process; its time is that of
`tokenize_genome` alone, the file flushed to disk included, while `gzip -dc` writes to /dev/null.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pysam

LINE = 60
ONE_ROUND = """
import sys, time
from pathlib import Path
from convnova.data.genome import tokenize_genome
from convnova.training.devices import peak_resident
start = time.perf_counter()
tokenize_genome(Path(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - start, peak_resident())
"""


def make_fasta(path: Path, megabases: int, seed: int = 1) -> None:
    """Write random chromosomes of 10 Mb, some of it lower case and N, in lines of 60 letters."""
    random = np.random.default_rng(seed)
    with path.open("wb") as stream:
        for chromosome in range(1, megabases // 10 + 1):
            letters = np.frombuffer(b"ACGT", np.uint8)[random.integers(0, 4, 10_000_020, np.uint8)]
            for start in random.integers(0, len(letters), 400):
                letters[start : start + 10_000] |= ord("a") ^ ord("A")
            letters[:10_000] = ord("N")
            lines = np.full((len(letters) // LINE, LINE + 1), ord("\n"), np.uint8)
            lines[:, :LINE] = letters.reshape(-1, LINE)
            stream.write(b">chr%d\n" % chromosome + lines.tobytes())


def pack(plain: Path, form: str) -> Path:
    """Compress a file with gzip or bgzip, at the level that each uses by default."""
    packed = plain.with_name(f"{plain.name}.{form}.gz")
    if form == "bgzip":
        pysam.tabix_compress(str(plain), str(packed), force=True)
    else:
        with packed.open("wb") as stream:
            subprocess.run(["gzip", "-c", plain], stdout=stream, check=True)
    return packed


def time_gzip(path: Path) -> float:
    """Seconds that `gzip -dc` takes."""
    start = time.perf_counter()
    subprocess.run(["gzip", "-dc", path], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def time_tokenizing(path: Path, folder: Path) -> tuple[float, float]:
    """Seconds that the tokenized genome takes, and the peak memory in bytes."""
    command = [sys.executable, "-c", ONE_ROUND, path, folder / "genome"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, memory = map(float, printed.split())
    return seconds, memory


def compare(path: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Medians over rounds in which both take turns."""
    pairs = [(time_gzip(path), *time_tokenizing(path, folder)) for _ in range(rounds)]
    gzip_seconds, tokenize_seconds, memory = map(list, zip(*pairs, strict=True))
    return {
        "gzip_seconds": statistics.median(gzip_seconds),
        "tokenize_seconds": statistics.median(tokenize_seconds),
        "ratio": statistics.median(ours / theirs for theirs, ours, _ in pairs),
        "peak_megabytes": max(memory) / 1e6,
    }


def main() -> None:
    """Make the files, compare, print a table and write JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--megabases", type=int, default=300, help="a multiple of 30; default 300")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path, help="write the numbers here too")
    asked = options.parse_args()
    results = []
    print("megabases  form   gzip -dc s  ours s  ratio  peak MB")
    with tempfile.TemporaryDirectory() as folder:
        for megabases in (asked.megabases // 3, asked.megabases):
            plain = Path(folder, f"{megabases}.fa")
            make_fasta(plain, megabases)
            for form in ("gzip", "bgzip"):
                row = {"megabases": megabases, "form": form, **compare(pack(plain, form), Path(folder), asked.rounds)}
                results.append(row)
                print("{:9d}  {:5s}  {:10.2f}  {:7.2f}  {:5.2f}  {:7.0f}".format(*row.values()), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
