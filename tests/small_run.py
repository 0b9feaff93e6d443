"""A whole run in seconds, made with the command as the workflow does: for tests of what reads a finished run."""

import random
import sys
from pathlib import Path

import yaml

from convnova.cli.main import main
from convnova.config.load import load_config
from convnova.config.run import Job, RunConfig

CATALOGUE = Path(__file__).resolve().parents[1] / "config"
SETTINGS = {"width": 4, "kernel": 3, "blocks": 1, "dilation_base": 1}
RUN = {
    "run": "small", "simulate": {"seed": 1}, "genome": "hg38",
    "pretrain": {"length": 64, "windows": 16, "batch_size": 8},
    "models": {"convnova": {"settings": SETTINGS}, "cnn": None}, "seeds": [1, 2],
    "suites": {"nucleotide_transformer": {"tasks": ["H3"]}}, "finetune": {"epochs": 1, "batch_size": 16},
}  # fmt: skip
SHARD = "resources/small/tasks/nucleotide_transformer/H3.safetensors"
WEIGHTS = "results/small/pretrain/convnova/weights.safetensors"
TABLE = "results/small/tables/nucleotide_transformer.tsv"


def convnova(*words: str) -> int:
    """Run one command as from a shell."""
    before, sys.argv = sys.argv, ["/environment/bin/convnova", *words]
    try:
        return main(list(words))
    finally:
        sys.argv = before


def make() -> RunConfig:
    """Everything from raw files to tables and figures, in the working directory."""
    Path("mine.yaml").write_text(yaml.safe_dump(RUN, sort_keys=False))
    config_file = "results/small/config.yaml"
    assert convnova("config", "--run", "mine.yaml", "--catalogue", str(CATALOGUE), "--out", config_file) == 0
    config = load_config(config_file)
    write_mirror(config)
    with_config = ("--config", config_file)
    for source, files in {"hg38": ["hg38.ml.fa.gz", "sequences_human.bed"], **raw_files()}.items():
        for file in files:
            out = config.path_of(file, source)
            assert convnova("fetch", *with_config, "--source", source, "--file", file, "--out", out) == 0
    genome = "resources/small/genomes/hg38"
    fasta, bed = (config.path_of(name, "hg38") for name in ("hg38.ml.fa.gz", "sequences_human.bed"))
    assert convnova("tokenize-genome", "--fasta", fasta, "--bed", bed, "--out", genome) == 0
    roles = [f"{role}={config.path_of(f'H3/{role}.fna', 'nucleotide_transformer')}" for role in ("train", "test")]
    of_task = (*with_config, "--task", "nucleotide_transformer/H3")
    assert convnova("tokenize-task", *of_task, "--out", SHARD, *roles) == 0
    pretraining = ("--backbone", "convnova", "--genome", genome, "--out", str(Path(WEIGHTS).parent), "--threads", "1")
    assert convnova("pretrain", *with_config, *pretraining) == 0
    for job in config.jobs():
        assert finetune(config, job) == 0
    audit = "results/small/audit/nucleotide_transformer/H3.json"
    assert convnova("audit", *of_task, "--dataset", SHARD, "--genome", genome, "--out", audit) == 0
    finish()
    return config


def finetune(config: RunConfig, job: Job) -> int:
    """One fine-tuning of the run, with its log where the workflow puts it."""
    weights = ["--weights", WEIGHTS] if config.models[job.model].pretrained else []
    return convnova(
        "--log", f"results/small/logs/finetune/{job.name}.log", "finetune", "--config", "results/small/config.yaml",
        "--job", job.name, "--dataset", SHARD, *weights, "--out", job.folder("small"), "--threads", "1",
    )  # fmt: skip


def finish() -> None:
    """Scores, tables and figures from the fine-tunings that are there."""
    words = ("--run", "results/small/config.yaml", "--published", str(CATALOGUE / "published.csv"))
    assert convnova("tables", *words, "scores", "test_rows", "comparisons") == 0
    assert convnova("figures", *words) == 0


def raw_files() -> dict[str, list[str]]:
    return {"nucleotide_transformer": ["H3/train.fna", "H3/test.fna"]}


def write_mirror(config: RunConfig) -> None:
    """A genome of two chromosomes and a task, at the addresses of the real ones."""
    drawn = random.Random(1)
    chromosomes = {name: "".join(drawn.choices("ACGT", k=2000)) for name in ("chr1", "chr2")}
    contents = {
        ("hg38", "hg38.ml.fa.gz"): "".join(f">{name}\n{bases}\n" for name, bases in chromosomes.items()),
        ("hg38", "sequences_human.bed"): "chr1\t0\t2000\ttrain\nchr2\t0\t1000\tvalid\nchr2\t1000\t2000\ttest\n",
    }
    for split, count in (("train", 64), ("test", 32)):
        rows = [(i % 2, "TATAAA" * (i % 2) + "".join(drawn.choices("ACGT", k=60))) for i in range(count)]
        text = "".join(f">{i}|{label}\n{bases}\n" for i, (label, bases) in enumerate(rows))
        contents["nucleotide_transformer", f"H3/{split}.fna"] = text
    for (source, file), text in contents.items():
        path = Path(config.mirror) / config.sources[source].urls(file)[0].removeprefix("https://")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
