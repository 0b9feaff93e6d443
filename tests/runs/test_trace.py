import hashlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
from small_run import SHARD, WEIGHTS, convnova

from convnova.config.load import load_config
from convnova.config.run import Job
from convnova.errors import ConvNovaError, DamagedFile
from convnova.files import seal, write_json
from convnova.runs.trace import FileState, Input, Trace, read_trace

JOB = Job("nucleotide_transformer", "H3", "convnova", "heldout", 1)
METRICS = Path(JOB.folder("small")) / "metrics.json"
RECORD = Path(WEIGHTS).with_suffix(".json")
CONFIG = Path("results/small/config.yaml")
HG38 = "https://storage.googleapis.com/basenji_barnyard2/"
H3 = (
    "/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/9722b77543efe3c72dc19fa20f4524912aa6bf3b/H3/"
)


def files(trace: Trace) -> dict[str, Input]:
    """Every file of a trace by its path, at whatever depth."""
    return {file.path: file for top in trace.inputs for file in top.walk()}


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_fine_tuning_leads_to_its_score_settings_code_and_machine(small):
    trace, metrics = read_trace(METRICS), json.loads(METRICS.read_text())
    made = metrics["provenance"]
    assert trace.path == str(METRICS) and trace.record == metrics
    low, high = metrics["interval"]
    interval = f"95% bootstrap interval {low:.6f} to {high:.6f}"
    assert trace.scores[0] == f"mcc {metrics['mcc']:.6f} on 32 test rows, {interval}"
    assert f"auroc {metrics['auroc']:.6f}" in trace.scores[1] and "mcc" not in trace.scores[1]
    assert trace.scores[2].startswith("epoch 1 of 1, the best on ") and trace.scores[2].endswith(" validation rows")
    model, training, hash_ = trace.settings
    assert model.startswith("convnova: width 4, kernel 3") and model.endswith(f"; {metrics['parameters']:,} parameters")
    assert "epochs 1, batch_size 16" in training and "lr 0.001, final_lr 0.1" in training and "None" not in training
    assert hash_ == f"hash {made['settings']}, as the run's config says"
    assert trace.code.startswith(f"convnova {made['convnova']}, commit {made['commit']}")
    assert trace.code.endswith(", WITH UNCOMMITTED CHANGES") == made["dirty"]
    assert made["host"] == "" and trace.machine.startswith(made["hardware"]["processor"])
    assert f"torch {made['packages']['torch']}" in trace.packages
    assert trace.cost[0] == f"{made['started']}, in {made['seconds']} s of wall time"
    assert trace.cost[1].startswith(f"peak memory {made['peak_memory_mb']:,} MB")
    assert read_trace(Path(str(METRICS).replace("heldout", "released"))).scores[-1] == "epoch 1 of 1, the best on test"


def test_its_files_lead_to_the_addresses_that_they_came_from(small):
    found = files(read_trace(METRICS))
    raw = "resources/small/raw"
    assert list(found) == [
        SHARD, f"{raw}/nucleotide_transformer/H3/train.fna", f"{raw}/nucleotide_transformer/H3/test.fna", WEIGHTS,
        "resources/small/genomes/hg38/genome.safetensors", f"{raw}/hg38/hg38.ml.fa.gz",
        f"{raw}/hg38/sequences_human.bed",
    ]  # fmt: skip
    for path, file in found.items():
        assert (file.sha256, file.state, file.differs) == (sha256(path), FileState.UNCHANGED, False)
    train, fasta = found[f"{raw}/nucleotide_transformer/H3/train.fna"], found[f"{raw}/hg38/hg38.ml.fa.gz"]
    assert (train.urls, fasta.urls) == ([f"https://huggingface.co{H3}train.fna"], [f"{HG38}hg38.ml.fa.gz"])
    assert any("licence: CC BY-NC-SA 4.0" in note for note in train.notes)
    size = Path(train.path).stat().st_size
    assert any("fetched from resources/small/mirror/hugg" in note and f"{size:,} bytes" in note for note in train.notes)
    assert read_trace(METRICS).differences == []


def test_the_commands_make_the_same_number_again(small):
    before, (in_the_run, alone) = json.loads(METRICS.read_text()), read_trace(METRICS).commands
    assert in_the_run == f"convnova run --cores all --configfile {CONFIG} --force {METRICS}"
    shutil.rmtree(METRICS.parent)
    words = shlex.split(alone)
    assert words[0] == "convnova" and convnova(*words[1:]) == 0
    again, keys = json.loads(METRICS.read_text()), ("mcc", "auroc", "interval")
    assert [again[key] for key in keys] == [before[key] for key in keys]


def test_a_pretraining_leads_from_its_weights_to_the_genome(small):
    trace, record = read_trace(RECORD), json.loads(RECORD.read_text())
    (epoch,) = record["epochs"]
    assert trace.path == WEIGHTS and trace.commands[0].endswith(f"--force {WEIGHTS}")
    first, second = trace.scores
    assert f"entropy {epoch['loss']:.6f} nats, accuracy {epoch['accuracy']:.4f} over validation windows" in first
    assert second == f"epoch 1 of 1, the best on validation; {record['bases']:,} bases"
    assert "length 64" in trace.settings[1] and "windows 16" in trace.settings[1]
    urls = [url for file in files(trace).values() for url in file.urls]
    assert urls == [f"{HG38}hg38.ml.fa.gz", f"{HG38}sequences_human.bed"]


def test_memory_and_threads_are_those_that_were_measured(small):
    metrics = json.loads(METRICS.read_text())
    metrics["provenance"] |= {"peak_gpu_memory_mb": 12345, "dirty": True}
    metrics["provenance"]["attempts"] = [{"threads": threads, "seconds": 1} for threads in (4, 4, 2)]
    write_json(METRICS, seal(metrics | {"groups": {"DHS": {"mcc": 0.25}, "TF": {"mcc": 0.5}}}))
    trace = read_trace(METRICS)
    assert trace.cost[1].endswith(" MB, of the GPU 12,345 MB")
    assert trace.cost[0].endswith(" s of wall time, in 3 attempts") and " cores (4, then 2 used)" in trace.machine
    assert trace.code.endswith("WITH UNCOMMITTED CHANGES")
    assert trace.scores[0].startswith("DHS: mcc 0.250000 on") and trace.scores[1].startswith("TF: mcc 0.500000 on")


def test_files_that_changed_or_are_gone_are_named(small):
    bed = "resources/small/raw/hg38/sequences_human.bed"
    Path(SHARD).write_bytes(Path(SHARD).read_bytes()[:-1] + b"\1")
    Path(bed).write_text("chr1\t0\t2000\ttrain\n")
    changed = [f"{path}: CHANGED SINCE: its sha256 is now {sha256(path)}" for path in (SHARD, bed)]
    assert read_trace(METRICS).differences == changed
    Path(WEIGHTS).unlink()
    trace = read_trace(METRICS)
    assert files(trace)[WEIGHTS].state == FileState.MISSING and bed not in files(trace)
    assert f"{WEIGHTS}: NO LONGER THERE" in trace.differences


def test_files_fetched_again_without_a_checksum_or_in_a_storage(small):
    lock = Path("resources/small/raw/hg38/.hg38.ml.fa.gz.lock.json")
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"sha256": 64 * "0"}))
    fasta = files(read_trace(RECORD))["resources/small/raw/hg38/hg38.ml.fa.gz"]
    assert f"FETCHED AGAIN SINCE: the fetched file has sha256 {64 * '0'}" in fasta.notes
    metrics = json.loads(METRICS.read_text())
    metrics["provenance"]["inputs"]["task"]["sha256"] = ""
    metrics["provenance"]["inputs"]["weights"]["path"] = ".snakemake/storage/weights.safetensors"
    write_json(METRICS, seal(metrics))
    trace = read_trace(METRICS)
    assert [file.state for file in trace.inputs] == [FileState.NOT_RECORDED, FileState.STORED]
    assert trace.differences == []


def test_a_config_that_changed_since_is_said_and_the_values_used_stay(small):
    CONFIG.write_text(CONFIG.read_text().replace("  epochs: 1\n  batch_size: 16\n", "  epochs: 7\n  batch_size: 16\n"))
    assert load_config(CONFIG).finetune.epochs == 7
    _, training, hash_ = read_trace(METRICS).settings
    assert "epochs 1, batch_size 16" in training
    assert f"CHANGED SINCE: its hash is now {load_config(CONFIG).job_fingerprint(JOB)}" in hash_
    CONFIG.write_text(CONFIG.read_text().replace("- 1\n- 2\n", "- 2\n"))
    assert "CHANGED SINCE: it has no such fine-tuning any more" in read_trace(METRICS).settings[2]


def test_a_result_away_from_its_run_says_what_it_knows(small):
    shutil.copytree(METRICS.parent, "elsewhere")
    trace = read_trace(Path("elsewhere/metrics.json"))
    assert "no config of a run lies beside this result" in trace.settings[2] and "epochs 1" in trace.settings[1]
    assert "--configfile THE_CONFIG_OF_THE_RUN --force" in trace.commands[0]
    task, weights = trace.inputs
    assert task.state == FileState.UNCHANGED
    raw = [(role, f"{role}.fna", FileState.UNLOCATED) for role in ("train", "test")]
    assert [(file.role, file.path, file.state) for file in task.inputs] == raw
    assert not any(file.urls for file in files(trace).values())


def test_a_file_of_the_users_own_has_no_address(small):
    config = CONFIG.read_text().replace("source: nucleotide_transformer\n", "source: null\n")
    CONFIG.write_text(config.replace("format: nucleotide_transformer", "format: fasta"))
    train, _ = read_trace(METRICS).inputs[0].inputs
    assert (train.path, train.urls, train.notes) == ("H3/train.fna", [], ["a file of the user"])
    assert train.state == FileState.MISSING


@pytest.mark.parametrize("path", [METRICS, RECORD])
def test_a_json_of_another_program_is_an_error(small, path):
    write_json(path, seal({"mcc": 0.5, "predictions_sha256": json.loads(METRICS.read_text())["predictions_sha256"]}))
    with pytest.raises(ConvNovaError, match=f"{path.name}: expected .* found no 'provenance'"):
        read_trace(path)
    path.write_text('{"mcc": 0.5}')
    with pytest.raises(DamagedFile, match=f"{path.name}: expected .* checksum"):
        read_trace(path)
