"""Your own data through the snakemake command: a whole run, what re-runs, and bad input."""

import itertools
import json
import os
import re
import time
import zipfile
from pathlib import Path

import pytest
import yaml
from commands import FORMS, ROOT, jobs, snakemake
from own_run import SHELL_WORDS, own_data, without_costs


def run(folder: Path, *words: str, code: int = 0) -> str:
    return snakemake(folder, *words, "--cores", "2", "--configfile", str(folder / "mine.yaml"), code=code)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """The folder of a finished run on own data."""
    folder = tmp_path_factory.mktemp("own")
    own_data(folder, tasks=("one", "two"))
    run(folder)
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_ones_own_data_from_files_to_tables(own):
    results = own / "results/own"
    metrics = json.loads((results / "runs/mine/one/convnova/heldout/seed=1/metrics.json").read_text())
    assert {"mcc", "f1_macro", "accuracy", "auroc"} <= metrics.keys()
    assert metrics["provenance"]["inputs"]["weights"]["path"] == "results/own/pretrain/convnova/weights.safetensors"
    for form in FORMS:
        for name in ("mine", "test_rows"):
            text = (results / "tables" / f"{name}.{form}").read_text()
            assert "one" in text and "simulated genome" not in text
    for name, form in itertools.product(("mine", "pretraining"), ("pdf", "svg", "png")):
        assert (results / "figures" / f"{name}.{form}").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_a_score_that_changed_on_disk_is_in_no_table_and_the_same_command_makes_it_anew(own):
    results = own / "results/own"
    path, scores = results / "runs/mine/one/convnova/heldout/seed=1/metrics.json", results / "tables/scores.tsv"
    table, metrics = scores.read_text(), json.loads(path.read_text())
    path.write_text(path.read_text().replace(f'"accuracy": {metrics["accuracy"]}', '"accuracy": 0.999'))
    scores.unlink()
    message = run(own, code=1)
    assert f"{path.relative_to(own)}: expected content of its checksum" in message and not scores.exists()
    run(own)
    again = json.loads(path.read_text())
    assert again["accuracy"] == metrics["accuracy"] and path.with_name("metrics.json.damaged").exists()
    assert [line.split("\t")[7] for line in scores.read_text().splitlines()] == [
        line.split("\t")[7] for line in table.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_a_task_and_weights_that_changed_on_disk_are_made_anew_by_the_same_command(own):
    """The command says what it has found, and the next one makes that anew; a score that was deleted comes back."""
    scores = own / "results/own/runs/mine/one/convnova/heldout/seed=1/metrics.json"
    before = json.loads(scores.read_text())
    for name in ("resources/own/tasks/mine/one.safetensors", "results/own/pretrain/convnova/weights.safetensors"):
        path = own / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        scores.unlink()
        assert f"moved to {name}.damaged: run the same command again" in run(own, code=1)
        run(own)
        assert path.read_bytes() == content
    assert json.loads(scores.read_text())["accuracy"] == before["accuracy"]


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_a_finished_run_has_nothing_to_do_and_a_change_reruns_what_it_concerns(own):
    assert "Nothing to be done" in run(own, "-n")
    changed = yaml.safe_load((own / "mine.yaml").read_text())
    changed["suites"]["mine"]["tasks"]["one"]["training"] = {"lr": 0.01}
    (own / "other.yaml").write_text(yaml.safe_dump(changed))
    concerned = ("tokenize_task", "finetune", "pretrain", "tokenize_genome")
    counts = jobs(snakemake(own, "-n", "--configfile", str(own / "other.yaml")))
    assert [counts.get(rule, 0) for rule in concerned] == [0, 2, 0, 0]
    time.sleep(1)
    os.utime(own / "two.train.csv")
    counts = jobs(run(own, "-n"))
    assert [counts.get(rule, 0) for rule in concerned] == [1, 2, 0, 0]


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_snakemakes_own_report_has_every_result_with_its_category(own):
    assert "Report created" in run(own, "--report", "report.zip")
    with zipfile.ZipFile(own / "report.zip") as report:
        names = {Path(name).name for name in report.namelist()}
        page = report.read("report/report.html").decode()
    assert {"report.html", "mine.md", "test_rows.html", "mine.svg"} <= names
    for category in ("Report", "Tables", "Figures", "Audit"):
        assert f'"{category}"' in page
    assert "Every pair of models on the test rows of each task" in page


@pytest.mark.slow
@pytest.mark.xdist_group("own data")
def test_names_of_files_folders_and_chromosomes_are_words_and_nothing_runs(own, tmp_path):
    """The same data under names that a shell would take apart: the same tables, and no command was run."""
    folder = tmp_path / SHELL_WORDS.strip()
    folder.mkdir()
    config = Path(own_data(folder, tasks=("one", "two"), prefix=SHELL_WORDS))
    config = config.rename(folder / f"{SHELL_WORDS}.yaml")
    snakemake(folder, "--cores", "2", "--configfile", str(config))
    tables = sorted(path.name for path in (own / "results/own/tables").iterdir())
    assert {"mine.md", "test_rows.tex", "audit.tsv", "provenance.tsv", "leaks.tsv"} < set(tables)
    for name in tables:
        # files have other names, and so have the genome and the config's checksum
        same = [re.sub(r"\w*genome\b|config \w{16}", "", str(without_costs(root / "results/own/tables" / name)))
                .replace(repr(SHELL_WORDS)[1:-1], "") for root in (own, folder)]  # fmt: skip
        assert name == "provenance.tsv" or same[0] == same[1], name
    assert not [*tmp_path.rglob("PWNED"), *ROOT.glob("PWNED")]


@pytest.mark.parametrize("name", ["{x}.csv", "a{ x,[a-z]{2} }.csv"])
def test_a_path_that_snakemake_would_take_for_a_pattern_is_refused(tmp_path, name):
    own_data(tmp_path)
    content = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    content["suites"]["mine"]["tasks"]["one"]["train"] = name
    (tmp_path / name).touch()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    printed = run(tmp_path, "-n", code=1)
    (line,) = (line for line in printed.splitlines() if "suites.mine.tasks.one.train" in line)
    assert name in line and "rename" in line and "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, content, named",
    [
        ("one.train.csv", "sequence,label\nMKVLE,1\n", "row 1.*letter 'L'"),
        ("one.test.csv", "sequence,label\n", "split 'test'"),
        ("one.test.csv", "sequence,label\nACGT,7\n", "row 1.*'7'"),
        ("one.train.csv", "seq,label\nACGT,1\n", "sequence"),
        ("genome.fa.gz", "\x1f\x8b\x08broken", "damaged"),
    ],
    ids=["protein", "empty split", "label outside", "no column", "corrupt gzip"],
)
def test_bad_input_is_one_line_and_leaves_no_output(tmp_path, name, content, named):
    own_data(tmp_path)
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    target = "genomes/genome/genome.safetensors" if name == "genome.fa.gz" else "tasks/mine/one.safetensors"
    out = tmp_path / "resources/own" / target
    printed = run(tmp_path, str(out.relative_to(tmp_path)), code=1)
    (line,) = {line for line in printed.splitlines() if line.startswith("convnova ") and "error:" in line}
    assert re.search(f"{name}.*{named}", line) and "Traceback" not in printed, line
    assert not out.exists() and not list(out.parent.glob(".*"))


def test_a_missing_file_is_refused_before_any_job(tmp_path):
    own_data(tmp_path)
    (tmp_path / "one.test.csv").unlink()
    printed = run(tmp_path, code=1)
    (line,) = (line for line in printed.splitlines() if "one.test.csv" in line)
    assert "suites.mine.tasks.one.test" in line and "Traceback" not in printed
    assert not (tmp_path / "results").exists() and not (tmp_path / "resources").exists()
