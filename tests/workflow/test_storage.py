"""A run whose files are kept in a storage, every job in an empty folder: each finds what its rule names, and no more.

`tests/cloud/on_cloud.py` does the same by Kubernetes or AWS Batch and S3.
"""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from commands import ROOT, jobs, run
from own_run import config_file, without_costs

PLUGINS = Path(__file__).parent / "plugins"
SMALL = {
    "simulate": {"seed": 1}, "run": "small", "genome": "hg38", "seeds": [1], "protocols": ["heldout"],
    "pretrain": {"length": 256, "batch_size": 16, "windows": 32, "epochs": 1}, "finetune": {"epochs": 1},
    "models": dict.fromkeys(("convnova", "convnova_scratch"), {"settings": {"width": 4, "blocks": 1}, "suites": {}}),
    "suites": {"nucleotide_transformer": ["H3"]},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rsync") is None, reason="the program rsync is missing, which copies to the storage")
def test_without_a_shared_file_system_a_run_ends_with_the_same_tables(tmp_path):
    checkout, storage = tmp_path / "checkout", tmp_path / "storage"
    check_out(checkout, SMALL)
    given = ("snakemake", "--configfile", "mine.yaml")
    stored = ("--default-storage-provider", "fs", "--default-storage-prefix", str(storage))
    apart = (*given, "--executor", "apart", "--jobs", "2", "--seconds-between-status-checks", "1", *stored)
    here = {"PYTHONPATH": f"{PLUGINS}{os.pathsep}{checkout}", "TMPDIR": str(tmp_path)}
    run(*apart, folder=checkout, **here)
    assert not (checkout / "results/small").exists() and not (checkout / "resources").exists()
    assert "Nothing to be done" in run(*apart, "-n", folder=checkout, **here)
    config_file(checkout, **SMALL | {"seeds": [1, 2]})
    assert jobs(run(*apart, folder=checkout, **here))["finetune"] == 2
    run(*given, "--cores", "2", folder=checkout, **here)

    apart_tables, tables = (
        {path.name: without_costs(path) for path in (root / "results/small/tables").iterdir()}
        for root in (storage, checkout)
    )
    assert {"scores.tsv", "provenance.tsv", "test_rows.html", "audit.md", "nucleotide_transformer.tex"} < tables.keys()
    assert apart_tables == tables
    weights = "results/small/pretrain/convnova/weights.safetensors"
    assert (storage / weights).read_bytes() == (checkout / weights).read_bytes()
    learning = "results/small/figures/learning.png"  # drawn from what every fine-tuning recorded
    assert (storage / learning).read_bytes() == (checkout / learning).read_bytes()
    one = "results/small/runs/nucleotide_transformer/H3/convnova/heldout/seed=1/metrics.json"
    assert yaml.safe_load((storage / one).read_text())["provenance"]["inputs"]["weights"]["path"] == weights
    page = (storage / "results/small/report.html").read_text()
    assert "kept in a storage, not looked at" in page and "NOT THERE ANY MORE" not in page


def check_out(folder: Path, content: dict) -> None:
    """A checkout of this workflow as it stands, with a config; jobs are sent what git knows of."""
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=ROOT).split("\0")
    for name in filter(lambda name: (ROOT / name).is_file(), files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    config_file(folder, **content)
    run("git", "init", "-q", folder=folder)
    run("git", "add", "--all", folder=folder)
