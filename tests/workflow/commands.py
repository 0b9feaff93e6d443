"""How the tests of the workflow call it."""

import re
import subprocess
from pathlib import Path

from own_run import ENVIRONMENT, PIPED, ROOT

FORMS = ("tsv", "md", "tex", "html")


def run(*words: str, folder: Path, code: int = 0, **environment: str) -> str:
    """Run a command in `folder` and return all that it printed."""
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT | environment, **PIPED)
    assert done.returncode == code, done.stdout
    return done.stdout


def snakemake(folder: Path, *words: str, code: int = 0) -> str:
    """Run the workflow with `folder` as the working directory."""
    return run("snakemake", *words, "-s", str(ROOT / "Snakefile"), "--directory", str(folder), folder=ROOT, code=code)


def jobs(printed: str) -> dict[str, int]:
    """Rule to number of jobs, from the table that snakemake prints; `finetune` counts `finetune_scores` too."""
    rows = re.findall(r"^ ?(\w[\w ]*?) +(\d+) *$", printed, re.MULTILINE)
    counts = {rule.replace(" ", "_"): int(count) for rule, count in rows}  # as the logger of the default profile has it
    if "finetune_scores" in counts:
        counts["finetune"] = counts.get("finetune", 0) + counts["finetune_scores"]
    return counts
