import csv
import hashlib
import json
from pathlib import Path

import pytest
from made_up_scores import MADE
from small_run import SHARD, WEIGHTS, convnova, finish

from convnova.config.load import load, load_config
from convnova.config.run import Job
from convnova.runs.outputs import TEST_ROW_TABLE, extra_table_titles
from convnova.runs.provenance_table import provenance_frame, provenance_sentence, read_provenance

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
JOBS = [Job("nucleotide_transformer", "H3", "cnn", "heldout", seed) for seed in (1, 2)]


@pytest.fixture
def config():
    return load({"run": "x", "models": ["cnn"], "suites": {"nucleotide_transformer": ["H3"]}}, [], CATALOGUE)


def sentence(config, *changes: dict) -> str:
    """The sentence for a result a change of the made-up provenance."""
    made = {job: MADE | change for job, change in zip(JOBS, changes, strict=False)}
    return provenance_sentence(config, provenance_frame(made))


def test_the_sentence_sums_up_all_results(config):
    assert sentence(config, {}, {"seconds": 30.0, "dirty": True, "peak_memory_mb": 900}).startswith(
        "Made from 2 results by convnova 0.1, commit aaaaaaaaaaaa; convnova 0.1, commit aaaaaaaaaaaa with uncommitted "
        f"changes; config {config.fingerprint(config)}; h: P, G; computed in "
        "float32; 1.5 min of wall time together, at most 1,500 MB."
    )
    assert "1 result by" in sentence(config, {})
    assert "commit unknown" in sentence(config, {"commit": None})
    assert "; 2.4 s of wall time together" in sentence(config, {"seconds": 2.36})
    assert sentence(config) == ""


def test_where_results_of_one_model_differ_in_precision_the_fewer_are_named(config):
    rows = [("cnn", 1, "bfloat16"), ("legnet", 1, "float32"), *(("cnn", seed, "float32") for seed in range(2, 8)),
            *(("cnn", seed, "bfloat16") for seed in (8, 9, 10))]  # fmt: skip
    jobs = {Job("gue", "H3", model, "heldout", seed): MADE | {"precision": kind} for model, seed, kind in rows}
    text = provenance_sentence(config, provenance_frame(jobs))
    assert (
        "(cnn in float32 but in bfloat16: gue/H3 heldout seed 1, gue/H3 heldout seed 8, gue/H3 heldout seed 9 and 1 "
        "more; legnet in float32)" in text
    )


def test_every_result_of_a_run_has_its_line(small):
    lines = list(csv.DictReader(Path("results/small/tables/provenance.tsv").read_text().splitlines(), delimiter="\t"))
    assert len(lines) == 8
    shard, weights = (hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (SHARD, WEIGHTS))
    for line in lines:
        job = Job(*(line[name] for name in Job._fields))
        made = json.loads((Path(job.folder("small")) / "metrics.json").read_text())["provenance"]
        assert (line["task_sha256"], line["weights_sha256"]) == (shard, weights if job.model == "convnova" else "")
        for key in ("commit", "dirty", "settings", "precision", "seconds", "peak_memory_mb"):
            assert line[key] == str(made[key])
        assert f"torch {made['packages']['torch']}" in line["packages"]
        assert line["machine"].startswith(made["hardware"]["processor"])


def test_every_table_for_reading_says_what_it_was_made_from(small):
    config = load_config("results/small/config.yaml")
    text = provenance_sentence(config, read_provenance(Path("results/small/tables/scores.tsv")))
    assert text.startswith("Made from 8 results by convnova ") and config.fingerprint(config) in text
    names = (*config.suites, *extra_table_titles(config), TEST_ROW_TABLE)
    for path in (f"results/small/tables/{name}.{form}" for name in names for form in ("md", "tex", "html")):
        assert Path(path).read_text().count("Made from 8 results by convnova ") == 1


def test_tables_without_it_say_nothing(small):
    Path("results/small/tables/provenance.tsv").unlink()
    words = ("comparisons", "--run", "results/small/config.yaml", "--out", "again")
    assert convnova("tables", *words, "--published", str(CATALOGUE / "published.csv")) == 0
    assert "Made from" not in Path("again/tables/nucleotide_transformer.md").read_text()
    finish()
    assert "Made from 8 results" in Path("results/small/tables/nucleotide_transformer.md").read_text()
