"""Data of one's own through the snakemake command: a whole run, what re-runs, and bad input."""

import gzip
import json
import os
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import FORMS, config_file, jobs, snakemake


class OwnData:
    """Two tasks of one's own, a genome of one's own, and the smallest of models."""

    def __init__(self, folder: Path):
        self.folder = folder
        random = np.random.default_rng(0)
        letters = np.array(list("ACGT"))
        with gzip.open(folder / "genome.fa.gz", "wt") as file:
            for name in "abc":
                file.write(f">{name}\n{''.join(letters[random.integers(0, 4, 3000)])}\n")
        for task in ("one", "two"):
            for split, rows in (("train", 60), ("test", 30)):
                lines = [f"{''.join(letters[random.integers(0, 4, 50)])},{row % 2}\n" for row in range(rows)]
                (folder / f"{task}.{split}.csv").write_text("sequence,label\n" + "".join(lines))
        tasks = {task: {split: f"{task}.{split}.csv" for split in ("train", "test")} for task in ("one", "two")}
        small = {"settings": {"width": 4, "blocks": 1, "kernel": 3}}
        self.config = config_file(
            folder, run="own", genome="genome.fa.gz", seeds=[1], protocols=["heldout"],
            models={"convnova": small, "convnova_scratch": small}, finetune={"epochs": 1},
            pretrain={"length": 100, "batch_size": 8}, suites={"mine": {"format": "csv", "tasks": tasks}},
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        return snakemake(self.folder, *words, "--cores", "2", "--configfile", self.config, code=code)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> OwnData:
    """A finished run on one's own data."""
    data = OwnData(tmp_path_factory.mktemp("own"))
    data.run()
    return data


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_ones_own_data_from_files_to_tables(own):
    results = own.folder / "results/own"
    told = json.loads((results / "runs/mine/one/convnova/heldout/seed=1/metrics.json").read_text())
    assert {"mcc", "f1_macro", "accuracy", "auroc"} <= told.keys()
    assert told["provenance"]["inputs"]["weights"]["path"] == "results/own/pretrain/convnova/weights.safetensors"
    for form in FORMS:
        for name in ("mine", "items"):
            text = (results / "tables" / f"{name}.{form}").read_text()
            assert "one" in text and "simulated genome" not in text
    for form in ("pdf", "svg", "png"):
        assert (results / "figures" / f"mine.{form}").stat().st_size > 5000
        assert (results / "figures" / f"pretraining.{form}").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_a_finished_run_has_nothing_to_do_and_a_change_reruns_what_it_concerns(own):
    assert "Nothing to be done" in own.run("-n")
    changed = yaml.safe_load(Path(own.config).read_text())
    changed["suites"]["mine"]["tasks"]["one"]["training"] = {"lr": 0.01}
    other = own.folder / "other.yaml"
    other.write_text(yaml.safe_dump(changed))
    concerned = ("tokenize_task", "finetune", "pretrain", "tokenize_genome")
    counts = jobs(snakemake(own.folder, "-n", "--configfile", str(other)))
    assert [counts.get(rule, 0) for rule in concerned] == [0, 2, 0, 0]
    time.sleep(1)
    os.utime(own.folder / "two.train.csv")
    counts = jobs(own.run("-n"))
    assert [counts.get(rule, 0) for rule in concerned] == [1, 2, 0, 0]


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_snakemakes_own_report_has_every_result_with_its_category(own):
    told = own.run("--report", "report.zip")
    assert "Report created" in told
    with zipfile.ZipFile(own.folder / "report.zip") as report:
        names = {Path(name).name for name in report.namelist()}
        page = report.read("report/report.html").decode()
    assert {"report.html", "mine.md", "items.html", "mine.svg"} <= names
    for category in ("Report", "Tables", "Figures", "Audit"):
        assert f'"{category}"' in page
    assert "Every pair of models on the test rows of each task" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, content, told",
    [
        ("one.train.csv", "sequence,label\nMKVLE,1\n", r"one.train.csv.* row 1.*letter 'L'"),
        ("one.test.csv", "sequence,label\n", r"one.test.csv: expected rows of the split 'test', found"),
        ("one.test.csv", "sequence,label\nACGT,7\n", r"one.test.csv.*row 1.*'7'"),
        ("one.train.csv", "seq,label\nACGT,1\n", r"one.train.csv.*sequence"),
        ("genome.fa.gz", "\x1f\x8b\x08broken", r"genome.fa.gz: expected .*gzip"),
    ],
    ids=["protein", "empty split", "label outside", "no column", "corrupt gzip"],
)
def test_bad_input_is_one_line_and_leaves_no_output(tmp_path, name, content, told):
    data = OwnData(tmp_path)
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    target = "genomes/genome/genome.safetensors" if name == "genome.fa.gz" else "tasks/mine/one.safetensors"
    out = tmp_path / "resources/own" / target
    printed = data.run(str(out.relative_to(tmp_path)), code=1)
    (line,) = {line for line in printed.splitlines() if line.startswith("convnova ") and "error:" in line}
    assert re.search(told, line), line
    assert "Traceback" not in printed
    assert not out.exists() and not list(out.parent.glob(".*"))


def test_a_missing_file_is_refused_before_any_job(tmp_path):
    data = OwnData(tmp_path)
    (tmp_path / "two.test.csv").unlink()
    told = data.run(code=1)
    (line,) = (line for line in told.splitlines() if "two.test.csv" in line)
    assert "suites.mine.tasks.two.test" in line and "Traceback" not in told
    assert not (tmp_path / "results").exists() and not (tmp_path / "resources").exists()
