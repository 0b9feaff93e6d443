"""A bit that flips in any file of a run: the command that reads it says so in one line, and moves the file aside."""

from pathlib import Path

import pytest
from small_run import CATALOGUE, SHARD, WEIGHTS, convnova

from convnova.config.run import Job

OF_RUN, OF_NAME = ("--config", "results/small/config.yaml"), ("--run", "small")
PUBLISHED = ("--published", str(CATALOGUE / "published.csv"))
OF_TASK = (*OF_RUN, "--task", "nucleotide_transformer/H3")
GENOME, RAW = "resources/small/genomes/hg38", "resources/small/raw"
FASTA, BED = f"{RAW}/hg38/hg38.ml.fa.gz", f"{RAW}/hg38/sequences_human.bed"
TRAIN, TEST = (f"{RAW}/nucleotide_transformer/H3/{split}.fna" for split in ("train", "test"))
JOB = Job("nucleotide_transformer", "H3", "convnova", "heldout", 1)
METRICS = f"{JOB.folder('small')}/metrics.json"
FINETUNE = ("finetune", *OF_RUN, "--job", JOB.name, "--dataset", SHARD, "--weights", WEIGHTS, "--out", "results/new")
PRETRAIN = ("pretrain", *OF_RUN, "--backbone", "convnova", "--genome", GENOME, "--out", "results/new")
AUDIT = ("audit", *OF_TASK, "--dataset", SHARD, "--genome", GENOME, "--out", "results/new.json")
TOKENIZE = ("tokenize-task", *OF_TASK, "--out", "results/new.safetensors", f"train={TRAIN}", f"test={TEST}")
CASES = {
    "raw task": (TRAIN, TOKENIZE),
    "raw genome": (FASTA, ("tokenize-genome", "--fasta", FASTA, "--bed", BED, "--out", "results/new")),
    "raw intervals": (BED, ("tokenize-genome", "--fasta", FASTA, "--bed", BED, "--out", "results/new")),
    "task, fine-tuning": (SHARD, FINETUNE),
    "task, audit": (SHARD, AUDIT),
    "genome, pretraining": (f"{GENOME}/genome.safetensors", PRETRAIN),
    "genome, audit": (f"{GENOME}/genome.safetensors", AUDIT),
    "intervals": (f"{GENOME}/intervals.tsv", PRETRAIN),
    "weights": (WEIGHTS, FINETUNE),
    "scores, table": (METRICS, ("tables", *OF_NAME, *PUBLISHED, "scores")),
    "scores, test rows": (METRICS, ("tables", *OF_NAME, *PUBLISHED, "test_rows")),
    "scores, figures": (METRICS, ("figures", *OF_NAME, *PUBLISHED)),
    "scores, report": (METRICS, ("report", *OF_NAME, *PUBLISHED, "--out", "results/new.html")),
    "scores, explain": (METRICS, ("explain", METRICS)),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_named_in_a_line_and_moved_aside_and_nothing_is_made_of_it(small, capsys, case):
    file, words = CASES[case]
    content = bytearray(Path(file).read_bytes())
    content[len(content) // 2] ^= 1
    Path(file).write_bytes(content)
    capsys.readouterr()
    assert convnova(*words) == 1
    line = [line for line in capsys.readouterr().err.splitlines() if "error: " in line][-1]
    assert file in line and f"moved to {file}.damaged: run the same command again" in line
    assert not Path(file).exists() and Path(f"{file}.damaged").read_bytes() == content
    assert not any(path.is_file() for path in Path("results").rglob("new*"))


@pytest.mark.parametrize("table", ["scores", "test_rows"])
def test_a_score_that_another_step_has_just_moved_aside_is_not_merely_missing(small, capsys, table):
    Path(METRICS).rename(f"{METRICS}.damaged")
    tables = {path: path.read_bytes() for path in Path("results/small/tables").iterdir()}
    assert convnova("tables", *OF_NAME, *PUBLISHED, table) == 1
    assert f"error: {METRICS}: was damaged and moved to {METRICS}.damaged" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("results/small/tables").iterdir()} == tables
