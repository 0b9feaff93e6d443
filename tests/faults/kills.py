"""`kill -9` at random times, to the main process, a job or all of a run: the same command ends with the same tables.

    PYTHONPATH=tests:. python tests/faults/kills.py FOLDER --kills 50 --seed 1 [--config config/config.yaml --share 0.1]

starts the run again after each kill, as a user does: `snakemake --unlock` where the main process was killed, and then
the same command. The next kill comes after up to this share of the seconds that an undisturbed run takes. A run that
has come to its end is compared and begun anew, until all kills are done. The jobs of a main process that was killed
alone live on beside its successor. The counts are in docs/reliability.md; a short form is
in `test_kills.py`.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml
from own_run import ENVIRONMENT, ROOT, config_file, without_costs

SMALL = {"settings": {"width": 4, "blocks": 2, "kernel": 5}, "suites": {}}
SHORT = {
    "run": "struck", "simulate": {"seed": 1}, "genome": "hg38", "seeds": [1], "protocols": ["heldout"],
    "pretrain": {"length": 256, "batch_size": 16, "windows": 640, "epochs": 3},
    "finetune": {"epochs": 2, "batch_size": 16}, "models": {"convnova": SMALL, "cnn": None},
    "suites": {"nucleotide_transformer": ["H3"]},
}  # fmt: skip
TARGETS = ("main", "job", "all")
RESULTS = ("tables/*", "pretrain/*/weights.safetensors", "runs/**/predictions.parquet", "runs/**/weights.safetensors")
LEFT = (".*.tmp", ".lock", ".writing-*", "checkpoints", "*.part")
MOST_STARTS = 20
"""In a row without a kill: a step refuses to run as long as a job of an earlier main process is at it."""


class Attack:
    """A run in a folder of its own, and what was done to it."""

    def __init__(self, folder: Path, content: dict, seed: int):
        self.folder, self.draw, self.counts = folder, random.Random(seed), Counter()
        self.results = folder / "results" / content["run"]
        folder.mkdir(parents=True)
        config_file(folder, **content)

    def start(self, *words: str) -> subprocess.Popen:
        """The command, or another form of it."""
        place = ["-s", str(ROOT / "Snakefile"), "--directory", str(self.folder)]
        command = ["snakemake", "--cores", "2", *words, *place, "--configfile", str(self.folder / "mine.yaml")]
        self.printed = (self.folder / "main.log").open("w+")
        environment = ENVIRONMENT | {"CONVNOVA_CHECKPOINT_SECONDS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self.printed, stderr=subprocess.STDOUT, start_new_session=True
        )

    def run(self, longest: float | None) -> bool:
        """Start it, and kill something after a random time of up to `longest` seconds; says if it came to its end."""
        main, struck = self.start(), False
        while main.poll() is None and not struck:  # there may have been no job to kill
            with contextlib.suppress(subprocess.TimeoutExpired):
                main.wait(None if longest is None else self.draw.uniform(0, longest))
            target = self.draw.choice(TARGETS)
            struck = main.poll() is None and self.strike(main, target)
        code = main.wait()
        text = (self.folder / "main.log").read_text()
        assert "Traceback" not in text, text
        if struck:
            self.counts[target] += 1
            if target != "job":
                assert self.start("--unlock").wait() == 0
        elif code:
            assert "held by process" in text, text
            self.counts["held"] += 1
        return code == 0

    def strike(self, main: subprocess.Popen, target: str) -> bool:
        """Kill it; says whether there was something to kill."""
        processes = self.processes()
        jobs = [process for process, words in processes.items() if any(word.endswith("/convnova") for word in words)]
        if target == "job" and not jobs:
            return False
        victims = {"main": [main.pid], "all": [main.pid, *processes]}.get(target) or [self.draw.choice(jobs)]
        for process in victims:
            steps = [word for word in processes.get(process, []) if word in STEPS]
            self.counts.update(f"{target}: {step}" for step in steps[:1])
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return True

    def processes(self) -> dict[int, list[str]]:
        """The processes that work in the folder, with their words."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(path / "cwd") == str(self.folder):
                    found[int(path.name)] = (path / "cmdline").read_bytes().decode().split("\0")
        return found

    def content(self) -> dict[str, object]:
        """What the run has made, times and memory left out."""
        paths = [path for pattern in RESULTS for path in self.results.glob(pattern)]
        return {str(path.relative_to(self.results)): without_costs(path) for path in paths}


STEPS = ("simulate", "fetch", "tokenize-genome", "tokenize-task", "audit", "pretrain", "finetune", "tables", "figures",
         "report")  # fmt: skip


def attack(folder: Path, content: dict, kills: int, seed: int, share: float = 1) -> Counter:
    """Kill until there were so many kills, and compare every run that came to its end.

    Args:
        folder: a new one.
        content: the config.
        kills: how many.
        seed: of the draws.
        share: of the seconds that an undisturbed run takes, until the next kill at the latest.

    Returns:
        How often what was killed, how many runs were compared, and how often a step refused to run beside another.
    """
    whole = Attack(folder / "undisturbed", content, seed)
    began = time.monotonic()
    assert whole.run(None)
    seconds, expected = share * (time.monotonic() - began), whole.content()
    struck = Attack(folder / "struck", content, seed)
    counts, idle = struck.counts, 0
    while True:
        left = kills - sum(counts[target] for target in TARGETS)
        ended = struck.run(seconds if left else None)
        print(f"{time.monotonic() - began:.0f} s, {'ended' if ended else 'went on'}: {dict(counts)}", flush=True)
        idle = 0 if ended or left > kills - sum(counts[target] for target in TARGETS) else idle + 1
        assert idle < MOST_STARTS, "no end"
        if not ended:
            continue
        same = struck.content()
        different = [name for name in expected.keys() | same.keys() if expected.get(name) != same.get(name)]
        assert not different, f"other than undisturbed: {', '.join(sorted(different))}"
        counts["compared"] += 1
        remaining = [str(path) for pattern in LEFT for path in struck.folder.rglob(pattern)]
        assert not remaining or struck.processes(), remaining
        if not left:
            return counts
        shutil.rmtree(struck.folder / "results")
        shutil.rmtree(struck.folder / "resources")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1)
    parser.add_argument("--config", type=Path, help="default: the small run of the short form")
    options = parser.parse_args()
    content = yaml.safe_load(options.config.read_text()) if options.config else SHORT
    content.setdefault("run", "embedded")
    began = time.monotonic()
    counts = attack(options.folder.resolve(), content, options.kills, options.seed, options.share)
    print(f"{time.monotonic() - began:.0f} s: {dict(sorted(counts.items()))}")
    sys.exit(0)
