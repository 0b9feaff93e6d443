"""The workflow on a cluster, as tests and scripts here run it: the profile filled in, and the config of a small run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}
PIPED = {"cwd": ROOT, "env": ENVIRONMENT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
IMPATIENT = [
    "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
    "--max-status-checks-per-second", "1", "--latency-wait", "5",
]  # fmt: skip


TOLD = re.compile(rb"[\d.]+ (?:min|s) of wall time together, at most \d+ MB")
"""What the last line of a table says of the cost of its run."""


def fill_in(folder: Path, of: str = "slurm", **values: object) -> Path:
    """A copy of a profile with some of its list filled in."""
    text = (ROOT / of / "config.yaml").read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^  {name}: \S+", f"  {name}: {value!r}", text, flags=re.MULTILINE)
        assert count == 1, name
    profile = folder / "profile"
    profile.mkdir(exist_ok=True)
    (profile / "config.yaml").write_text(text)
    return profile


def own_data(folder: Path, seeds: list[int], length: int = 3000, **pretrain: object) -> Path:
    """A genome and a task of one's own, and the config of a run that pretrains, fine-tunes and makes a table."""
    random = np.random.default_rng(0)
    letters = np.array(list("ACGT"))
    records = [f">{name}\n{''.join(letters[random.integers(0, 4, length)])}\n" for name in "abc"]
    (folder / "genome.fa").write_text("".join(records))
    for split, rows in (("train", 60), ("test", 30)):
        lines = [f"{''.join(letters[random.integers(0, 4, 50)])},{row % 2}\n" for row in range(rows)]
        (folder / f"{split}.csv").write_text("sequence,label\n" + "".join(lines))
    small = {"settings": {"width": 4, "blocks": 1, "kernel": 3}}
    content = {
        "run": "own", "genome": "genome.fa", "seeds": seeds, "protocols": ["heldout"],
        "models": {"convnova": small}, "finetune": {"epochs": 1},
        "pretrain": {"length": 100, "batch_size": 8} | pretrain,
        "suites": {"mine": {"format": "csv", "tasks": {"one": {"train": "train.csv", "test": "test.csv"}}}},
    }  # fmt: skip
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(folder: Path, profile: Path | None, *words: str) -> list[str]:
    """The snakemake command that runs `mine.yaml` in `folder`, on the cluster or, without a profile, here."""
    where = ["--profile", str(profile), *IMPATIENT] if profile else ["--cores", "2"]
    fixed = ["-s", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(folder / "mine.yaml")]
    return ["snakemake", *words, *where, *fixed]


def run(folder: Path, profile: Path | None, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run it; exit status and all that was printed."""
    done = subprocess.run(
        command(folder, profile, *words), cwd=ROOT, env=environment or ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def tables(folder: Path) -> dict[str, bytes]:
    """Every table of the run by its name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "results/own/tables").iterdir())}


def without_costs(content: bytes) -> bytes:
    """A file of results but for times and memory."""
    return TOLD.sub(b"", content)


def processes(folder: Path, step: str) -> list[int]:
    """The `convnova` processes of a step that work in a folder, by id."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            here = os.readlink(path / "cwd") == str(folder)
        except OSError:
            continue
        if here and step.encode() in words and any(word.endswith(b"/convnova") for word in words):
            found.append(int(path.name))
    return sorted(found)
