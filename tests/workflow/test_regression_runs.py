"""Real numbers through the snakemake command: the example of docs/your_data.md, with fewer rows and a narrow model."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import ROOT, snakemake
from scipy.stats import pearsonr


def blocks(language: str) -> list[str]:
    """The blocks of code on the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/your_data.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_example_of_the_docs_from_numbers_to_tables(tmp_path, monkeypatch):
    (script,) = (block for block in blocks("python") if "activity" in block)
    (config,) = (yaml.safe_load(block) for block in blocks("yaml") if "run: assay" in block)
    monkeypatch.chdir(tmp_path)
    exec(compile(script.replace("2000", "200").replace("500", "80"), "simulate.py", "exec"), {})
    config |= {"models": {"convnova_scratch": {"settings": {"width": 4, "blocks": 1}}, "kmers": None}, "seeds": [1]}
    config["finetune"] = {"epochs": 2, "batch_size": 16, "lr": 4.0e-3}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    snakemake(tmp_path, "--cores", "2", "--configfile", str(tmp_path / "mine.yaml"))
    results = tmp_path / "results/assay"
    metrics = json.loads((results / "runs/assay/reporter/kmers/heldout/seed=1/metrics.json").read_text())
    test, predictions = (
        pd.read_csv("test.csv"),
        pd.read_parquet(results / "runs/assay/reporter/kmers/heldout/seed=1/predictions.parquet"),
    )
    predicted = pd.DataFrame(predictions["score"].tolist(), columns=["activity", "half_life"])
    of_targets = [pearsonr(test[name], predicted[name])[0] for name in predicted]
    assert metrics["pearson"] == pytest.approx(sum(of_targets) / 2, abs=1e-5)
    assert abs(predicted["activity"].mean() - 180) < 40, "in the units of the file"
    assert "Pearson r" in (results / "tables/assay.md").read_text() and (results / "report.html").is_file()
    assert (results / "figures/predicted.png").stat().st_size > 5000
