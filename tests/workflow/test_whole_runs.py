"""Whole runs, shortened, through the snakemake command: the embedded one, and one on real files."""

import json

import pytest
import yaml
from commands import FORMS, ROOT, snakemake
from own_run import config_file


@pytest.mark.slow
def test_the_embedded_run_with_fewer_models_seeds_and_epochs(tmp_path):
    """All four suites from simulated downloads to tables; the whole of it is what `make run` does."""
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    small = {"settings": {"width": 4, "blocks": 2}, "suites": {}}
    content |= {"run": "small", "seeds": [1], "protocols": ["released"], "models": {"convnova": small}}
    for suite in content["suites"].values():
        if isinstance(suite, dict):
            suite.pop("protocols", None)
    content["pretrain"] |= {"epochs": 1, "windows": 32}
    content["finetune"] = {"epochs": 1, "batch_size": 16}
    path, results = config_file(tmp_path, **content), tmp_path / "results/small"
    snakemake(tmp_path, "--cores", "2", "--configfile", path)
    for suite in content["suites"]:
        for form in FORMS:
            assert "simulated" in (results / f"tables/{suite}.{form}").read_text()
        assert (results / f"figures/{suite}.png").stat().st_size > 5000
    assert "Nothing to be done" in snakemake(tmp_path, "-n", "--configfile", path)


@pytest.mark.slow
def test_real_yeast_from_fasta_to_tables(shared, tmp_path):
    """The yeast genome, its histone marks with dev as train, and human promoters: a shortened run on real files."""
    data = shared / "data"
    tasks = {}
    for mark in ("H3", "H4"):
        folder = data / "gue_emp_yeast_histone" / mark
        tasks[mark] = {"train": f"{folder}/dev.csv.gz", "test": f"{folder}/test.csv.gz", "max_length": 500}
    names = {"train": "train", "valid": "dev", "test": "test"}
    files = {split: f"{data}/gue_promoter/prom_300_tata/{name}.csv.gz" for split, name in names.items()}
    tasks["prom_300_tata"] = files | {"metric": "f1_macro", "max_length": 300}
    (genome,) = (data / "genome_yeast_R64").glob("*.fa.gz")
    path = config_file(
        tmp_path, run="real", genome=str(genome), seeds=[1], protocols=["heldout"],
        models={"convnova": {"settings": {"width": 4, "blocks": 2}}, "cnn": None},
        pretrain={"length": 512, "windows": 128, "batch_size": 16}, finetune={"epochs": 1, "batch_size": 32},
        suites={"yeast": {"format": "csv", "tasks": tasks}},
    )  # fmt: skip
    snakemake(tmp_path, "--cores", "2", "--configfile", path)
    rows = {}
    for task in tasks:
        path = tmp_path / f"results/real/runs/yeast/{task}/cnn/heldout/seed=1/metrics.json"
        metrics = json.loads(path.read_text())
        counts = metrics["rows"]
        rows[task] = (counts["train"] + (counts["valid"] if "valid" not in tasks[task] else 0), counts["test"])
        assert metrics["auroc"] > 0.6
    assert rows == {"H3": (1497, 1497), "H4": (1461, 1461), "prom_300_tata": (4904, 613)}
    assert "simulated" not in (tmp_path / "results/real/tables/yeast.md").read_text()
