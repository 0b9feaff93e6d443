"""The workflow on a cluster, as tests and scripts here run it: the profile filled in, the command, its processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for scripts, which pytest does not start
import own_run  # noqa: E402

ENVIRONMENT, PIPED, ROOT = own_run.ENVIRONMENT, own_run.PIPED, own_run.ROOT

IMPATIENT = [
    "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
    "--max-status-checks-per-second", "1", "--latency-wait", "5",
]  # fmt: skip


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


def command(folder: Path, profile: Path | None, *words: str) -> list[str]:
    """The snakemake command that runs `mine.yaml` in `folder`, on the cluster or, without a profile, here."""
    where = ["--profile", str(profile), *IMPATIENT] if profile else ["--cores", "2"]
    fixed = ["-s", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(folder / "mine.yaml")]
    return ["snakemake", *words, *where, *fixed]


def run(folder: Path, profile: Path | None, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run it; exit status and all that was printed."""
    done = subprocess.run(command(folder, profile, *words), cwd=ROOT, env=environment or ENVIRONMENT, **PIPED)
    return done.returncode, done.stdout


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
