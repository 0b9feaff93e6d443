"""How the tests of the workflow call it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
FORMS = ("tsv", "md", "tex", "html")


def run(*words: str, folder: Path, code: int = 0, **environment: str) -> str:
    """Run a command in `folder` and return all that it printed."""
    done = subprocess.run(
        words, cwd=folder, env=ENVIRONMENT | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


def snakemake(folder: Path, *words: str, code: int = 0) -> str:
    """Run the workflow with `folder` as the working directory."""
    return run("snakemake", *words, "-s", str(ROOT / "Snakefile"), "--directory", str(folder), folder=ROOT, code=code)


def jobs(told: str) -> dict[str, int]:
    """Rule to number of jobs, from the table that snakemake prints."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", told, re.MULTILINE)}


def config_file(folder: Path, **content) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)
