"""Tasks of variants through the snakemake command: a whole run on own files, and what is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import snakemake
from own_run import own_data
from sklearn.metrics import roc_auc_score

TASKS = {
    "ratio": {"kind": "variants", "score": "minus_llr", "metric": "auroc", "test": "v.tsv"},
    "moved": {"kind": "variants", "score": "effect", "fine_tuned": "mine/one", "test": "v.tsv"},
}


def with_variants(folder: Path, **changes: object) -> str:
    """The config of a run on random letters, with variants on its genome beside the task."""
    path = Path(own_data(folder, seeds=(1, 2)))
    content = yaml.safe_load(path.read_text())
    text = gzip.decompress((folder / "genome.fa.gz").read_bytes()).decode().split()
    genome, rng = dict(zip([name[1:] for name in text[::2]], text[1::2], strict=True)), np.random.default_rng(1)
    rows = ["chrom\tpos\tref\talt\tlabel"]
    for number in range(40):
        chrom, pos = "abc"[number % 3], int(rng.integers(1, 3000))
        ref = genome[chrom][pos - 1]
        rows.append(f"{chrom}\t{pos}\t{ref}\t{'ACGT'[('ACGT'.index(ref) + 1) % 4]}\t{number % 2}")
    (folder / "v.tsv").write_text("\n".join(rows) + "\n")
    content["models"] |= {"convnova_scratch": content["models"]["convnova"], "variant_baseline": None}
    tasks = {name: task | changes for name, task in TASKS.items()}
    content["suites"]["scored"] = {"format": "variants", "genome": content["genome"], "tasks": tasks}
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.slow
def test_variants_from_files_to_tables(tmp_path):
    """A ratio comes of the pretrained model alone and once; the change of outputs of every fine-tuned one."""
    snakemake(tmp_path, "--cores", "2", "--configfile", with_variants(tmp_path))
    results = tmp_path / "results/own"
    scores = pd.read_csv(results / "tables/scores.tsv", sep="\t")
    jobs = scores[scores["suite"] == "scored"].groupby(["task", "model"])["seed"].apply(list).to_dict()
    assert jobs == {
        ("ratio", "convnova"): [1], ("ratio", "variant_baseline"): [1], ("moved", "convnova"): [1, 2],
        ("moved", "convnova_scratch"): [1, 2], ("moved", "variant_baseline"): [1],
    }  # fmt: skip
    folder = results / "runs/scored/ratio/convnova/heldout/seed=1"
    predictions = pd.read_parquet(folder / "predictions.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["auroc"] == pytest.approx(roc_auc_score(predictions["label"], predictions["score"]))
    assert metrics["provenance"]["inputs"]["weights"]["path"] == "results/own/pretrain/convnova/weights.safetensors"
    moved = json.loads((results / "runs/scored/moved/convnova/heldout/seed=2/metrics.json").read_text())
    weights = moved["provenance"]["inputs"]["weights"]["path"]
    assert weights == "results/own/runs/mine/one/convnova/heldout/seed=2/weights.safetensors"
    table = (results / "tables/scored.md").read_text()
    assert "ratio" in table and "variant baseline" in table and "n=" not in table
    assert (results / "figures/scored.png").is_file() and "No model is trained" in (
        results / "tables/audit.md"
    ).read_text()
    assert "Nothing to be done" in snakemake(tmp_path, "--cores", "2", "--configfile", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, "score: expected one of tasks of kind variants"),
        ({"fine_tuned": "mine/none"}, "fine_tuned"),
        ({"metric": "mcc"}, "metric = mcc: of kind variants, so expected one of auprc_by_chromosome"),
        ({"kind": "classes", "score": None, "fine_tuned": None}, "kind = classes: format variants holds variants"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(tmp_path, changes, message):
    assert message in snakemake(tmp_path, "-n", "--configfile", with_variants(tmp_path, **changes), code=1)
