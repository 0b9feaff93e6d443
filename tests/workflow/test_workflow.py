"""The workflow itself, through the snakemake command: its form, its graph, whole runs, and what re-runs."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
FORMS = ("tsv", "md", "tex", "html")


def run(*words: str, folder: Path, code: int = 0) -> str:
    """Run a command in `folder` and return all that it printed."""
    done = subprocess.run(
        words, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
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


def test_the_workflow_is_lint_free_and_formatted():
    assert "good condition" in run("snakemake", "--lint", folder=ROOT)
    run("snakefmt", "--check", "Snakefile", "workflow", folder=ROOT)


def test_environments_and_constraints_have_the_pins_of_the_package():
    pins = set(re.findall(r'^    "([\w-]+==[\w.]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    constraints = set((ROOT / "constraints.txt").read_text().lower().splitlines())
    assert len(pins) > 20 and pins <= constraints
    (conda,) = (part["pip"] for part in _conda_parts() if isinstance(part, dict))
    assert set(conda) - {"-e .."} <= pins and "torch==2.13.0" in conda


def _conda_parts() -> list:
    return yaml.safe_load((ROOT / "envs/convnova.yaml").read_text())["dependencies"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("config", {"finetune": 108, "simulate": 1, "fetch": 17, "items": 1}),
        ("paper", {"finetune": 2240, "pretrain": 9, "task_shard": 28}),
        ("yeast", {"finetune": 264, "fetch": 22, "pretrain": 1, "leaks": 1}),
        ("ablations", {"finetune": 285, "pretrain": 1}),
        ("cost", {"cost": 45, "cost_tables": 1}),
    ],
)
def test_the_whole_graph_is_built(tmp_path, name, expected):
    counts = jobs(snakemake(tmp_path, "-n", "--configfile", str(ROOT / f"config/{name}.yaml")))
    assert {rule: counts[rule] for rule in expected} == expected
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("yeast_local", {"finetune": 120, "pretrain": 1, "genome_shard": 2, "task_shard": 5, "leaks": 1}),
        ("yeast_study", {"finetune": 96, "pretrain": 4, "genome_shard": 1, "task_shard": 2, "study": 1}),
    ],
)
def test_the_yeast_runs_on_files_of_ones_own(tmp_path, name, expected):
    """The graph needs the files' names alone; one that is missing is told with its key."""
    content = (ROOT / f"config/{name}.yaml").read_text()
    for path in re.findall(r"[\w./-]+\.gz", content):
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).touch()
    told = snakemake(tmp_path, "-n", "--configfile", str(ROOT / f"config/{name}.yaml"), "--config", "data=files")
    assert {rule: jobs(told)[rule] for rule in expected} == expected
    assert jobs(told).get("fetch", 0) == 0


def test_a_task_of_a_folder_of_intervals_fetches_each_file_and_the_genome(tmp_path):
    suites = {"genomic_benchmarks_intervals": ["human_nontata_promoters"], "gue": ["H3"]}
    path = config_file(tmp_path, models=["cnn"], suites=suites)
    told = snakemake(tmp_path, "-n", "-p", "--configfile", path)
    assert jobs(told)["fetch"] == 5 + 2 + 3
    source = "resources/raw/genomic_benchmarks/intervals/human_nontata_promoters/"
    assert f" intervals={source} genome=resources/mine/genomes/hg38/genome.safetensors" in told
    assert f" {source}train/negative.csv.gz, " in told


def test_a_wrong_config_is_refused_before_any_job_starts(tmp_path):
    path = config_file(tmp_path, models=["cnn"], suites={"nucleotide_transformer": ["H3"]}, sedes=[1])
    told = snakemake(tmp_path, "--cores", "1", "--configfile", path, code=1)
    (line,) = (line for line in told.splitlines() if "unknown key" in line)
    assert "mine.yaml: sedes = [1]: unknown key; did you mean 'seeds'?" in line
    assert "Traceback" not in told
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".snakemake") == ["mine.yaml"]


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
def test_a_finished_run_has_nothing_to_do_and_a_change_reruns_what_it_concerns(own):
    assert "Nothing to be done" in own.run("-n")
    changed = yaml.safe_load(Path(own.config).read_text())
    changed["suites"]["mine"]["tasks"]["one"]["training"] = {"lr": 0.01}
    other = own.folder / "other.yaml"
    other.write_text(yaml.safe_dump(changed))
    concerned = ("task_shard", "finetune", "pretrain", "genome_shard")
    counts = jobs(snakemake(own.folder, "-n", "--configfile", str(other)))
    assert [counts.get(rule, 0) for rule in concerned] == [0, 2, 0, 0]
    time.sleep(1)
    os.utime(own.folder / "two.train.csv")
    counts = jobs(own.run("-n"))
    assert [counts.get(rule, 0) for rule in concerned] == [1, 2, 0, 0]


@pytest.mark.slow
def test_snakemakes_own_report_has_every_result_with_its_category(own):
    told = own.run("--report", "report.zip")
    assert "Report created" in told
    with zipfile.ZipFile(own.folder / "report.zip") as report:
        names = {Path(name).name for name in report.namelist()}
        page = report.read("report/report.html").decode()
    assert {"report.html", "mine.md", "items.html", "mine.svg"} <= names
    for category in ("Report", "Tables", "Figures", "Audit"):
        assert f'"{category}"' in page
    assert "Every pair of models on the test items of each task" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, content, told",
    [
        ("one.train.csv", "sequence,label\nMKVLE,1\n", r"one.train.csv.* row 1.*letter 'L'"),
        ("one.test.csv", "sequence,label\n", r"one.test.csv|test.*no rows|empty"),
        ("one.test.csv", "sequence,label\nACGT,7\n", r"one.test.csv.*row 1.*'7'"),
        ("one.train.csv", "seq,label\nACGT,1\n", r"one.train.csv.*sequence"),
        ("genome.fa.gz", "\x1f\x8b\x08broken", r"genome.fa.gz: expected whole gzip"),
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


@pytest.mark.slow
def test_the_embedded_run_with_fewer_models_seeds_and_epochs(tmp_path):
    """All four suites from simulated downloads to tables; the whole of it is what `make run` does."""
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    small = {"settings": {"width": 4, "blocks": 2}, "suites": {}}
    content |= {"run": "small", "seeds": [1], "protocols": ["released"], "models": {"convnova": small}}
    content["pretrain"] |= {"epochs": 1, "windows": 32}
    content["finetune"] = {"epochs": 1, "batch_size": 16}
    snakemake(tmp_path, "--cores", "2", "--configfile", config_file(tmp_path, **content))
    for suite in ("nucleotide_transformer", "genomic_benchmarks", "gene_finding", "chromatin_profile"):
        for form in FORMS:
            assert "simulated" in (tmp_path / f"results/small/tables/{suite}.{form}").read_text()
        assert (tmp_path / f"results/small/figures/{suite}.png").stat().st_size > 5000
    assert "Nothing to be done" in snakemake(tmp_path, "-n", "--configfile", str(tmp_path / "mine.yaml"))


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
