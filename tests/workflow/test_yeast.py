"""A run on real files, shortened, through the snakemake command."""

import json

import pytest
from commands import config_file, snakemake


@pytest.mark.slow
def test_real_yeast_from_fasta_to_tables(shared, tmp_path):
    """The yeast genome, its histone marks with dev as train, and human promoters: a shortened run on real files."""
    data = shared / "data"
    histone = data / "gue_emp_yeast_histone"
    promoter = data / "gue_promoter/prom_300_tata"
    tasks = {
        mark: {
            "train": str(histone / mark / "dev.csv.gz"),
            "test": str(histone / mark / "test.csv.gz"),
            "max_length": 500,
        }
        for mark in ("H3", "H4")
    }
    splits = {
        split: str(promoter / f"{name}.csv.gz")
        for split, name in (("train", "train"), ("valid", "dev"), ("test", "test"))
    }
    tasks["prom_300_tata"] = splits | {"metric": "f1_macro", "max_length": 300}
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
        told = json.loads((tmp_path / f"results/real/runs/yeast/{task}/cnn/heldout/seed=1/metrics.json").read_text())
        rows[task] = (told["rows"]["train"] + (told["rows"]["valid"] if "H" in task else 0), told["rows"]["test"])
        assert told["auroc"] > 0.6
    assert rows == {"H3": (1497, 1497), "H4": (1461, 1461), "prom_300_tata": (4904, 613)}
    assert "simulated" not in (tmp_path / "results/real/tables/yeast.md").read_text()
