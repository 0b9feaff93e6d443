import hashlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
from small_run import SHARD, TABLE, WEIGHTS, convnova, finetune, finish

from convnova.config.load import load_config
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.runs.explain import explain

JOB = Job("nucleotide_transformer", "H3", "convnova", "heldout", 1)
METRICS = f"{JOB.folder('small')}/metrics.json"
ADDRESSES = [
    "https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/"
    "9722b77543efe3c72dc19fa20f4524912aa6bf3b/H3/train.fna",
    "https://storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz",
    "https://storage.googleapis.com/basenji_barnyard2/sequences_human.bed",
]


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_whole_way_back_of_a_number(small):
    text = explain([METRICS])
    metrics = json.loads(Path(METRICS).read_text())
    assert text.startswith(f"{METRICS}\nSimulated genome: ")
    assert f"mcc {metrics['mcc']:.6f} on 32 test rows" in text
    assert "lr 0.001, final_lr 0.1" in text and "epochs 1, batch_size 16" in text and "width 4, kernel 3" in text
    assert metrics["provenance"]["commit"] in text and metrics["provenance"]["packages"]["torch"] in text
    assert f"{metrics['provenance']['seconds']} s of wall time" in text
    assert f"peak memory {metrics['provenance']['peak_memory_mb']:,} MB" in text
    for address in ADDRESSES:
        assert address in text
    raw = "resources/small/raw/nucleotide_transformer/H3/test.fna"
    for path in (SHARD, WEIGHTS, "resources/small/genomes/hg38/genome.safetensors", raw):
        assert f"sha256 {sha256(path)}, unchanged since" in text.split(path, 1)[1]
    assert "fetched from resources/small/mirror/huggingface.co/" in text
    assert "CHANGED" not in text.replace("UNCOMMITTED CHANGES", "")


@pytest.mark.parametrize("beside", ["predictions.parquet", "log.csv", ""])
def test_a_file_beside_the_metrics_and_their_folder_mean_the_same(small, beside):
    assert explain([str(Path(METRICS).parent / beside)]) == explain([METRICS])


def test_paths_are_found_from_another_folder(small, monkeypatch):
    text = explain([METRICS])
    monkeypatch.chdir("/")
    assert explain([str(small / METRICS)]) == text


def test_the_printed_command_makes_the_same_number_again(small):
    before = json.loads(Path(METRICS).read_text())
    (line,) = [line.strip() for line in explain([METRICS]).splitlines() if line.strip().startswith("convnova ")]
    shutil.rmtree(Path(METRICS).parent)
    words = shlex.split(line)
    assert words[0] == "convnova" and convnova(*words[1:]) == 0
    again = json.loads(Path(METRICS).read_text())
    assert [again[key] for key in ("mcc", "auroc", "interval")] == [before[key] for key in ("mcc", "auroc", "interval")]


def test_the_snakemake_line_names_the_result_and_its_config(small):
    assert f"snakemake --cores all --configfile results/small/config.yaml --force {METRICS}\n" in explain([METRICS])


def test_a_pretraining_is_explained_by_its_weights(small):
    text = explain([WEIGHTS])
    assert text == explain(["results/small/pretrain/convnova/weights.json"])
    assert "masked cross entropy" in text and "length 64" in text and "windows 16" in text
    assert ADDRESSES[1] in text and ADDRESSES[0] not in text
    assert f"--force {WEIGHTS}" in text


def test_shard_and_weights_that_changed_since_are_said(small):
    Path(SHARD).write_bytes(Path(SHARD).read_bytes()[:-1] + b"\1")
    Path(WEIGHTS).unlink()
    text = explain([METRICS])
    assert f"  CHANGED   {SHARD}: CHANGED SINCE: its sha256 is now {sha256(SHARD)}" in text
    assert f"{WEIGHTS}: NOT THERE ANY MORE" in text


def test_a_raw_file_that_changed_since_is_said(small):
    Path("resources/small/raw/hg38/sequences_human.bed").write_text("chr1\t0\t2000\ttrain\n")
    assert "resources/small/raw/hg38/sequences_human.bed: CHANGED SINCE" in explain([WEIGHTS])


def test_a_config_that_changed_since_is_said_and_the_values_used_stay(small):
    config = Path("results/small/config.yaml")
    config.write_text(config.read_text().replace("  epochs: 1\n  batch_size: 16\n", "  epochs: 7\n  batch_size: 16\n"))
    assert load_config(config).finetune.epochs == 7
    text = explain([METRICS])
    assert "the run's config CHANGED SINCE: its hash is now" in text and "epochs 1, batch_size 16" in text
    config.write_text(config.read_text().replace("- 1\n- 2\n", "- 2\n"))
    assert "CHANGED SINCE: it has no such fine-tuning any more" in explain([METRICS])


def test_a_cell_of_a_table_gives_its_fine_tunings(small):
    text = explain([TABLE, "H3", "convnova", "heldout"])
    assert text.startswith(f"{TABLE}: 2 fine-tunings behind H3 convnova heldout\n")
    assert text.count("of wall time") == 2
    for seed in (1, 2):
        alone = explain([METRICS.replace("seed=1", f"seed={seed}")])
        assert alone.rstrip("\n") in text
    assert explain([TABLE, "H3", "cnn", "released", "seed=2"]).count("of wall time") == 1
    assert explain([TABLE.replace(".tsv", ".html"), "H3", "cnn"]).count("of wall time") == 4
    assert explain(["results/small/tables/scores.tsv", "H3", "cnn"]).count("of wall time") == 4


@pytest.mark.parametrize("name", ["comparisons.md", "protocols.html", "items.tsv", "convnova_table_1.tex"])
def test_a_table_of_all_suites_leads_back_as_well(small, name):
    table = f"results/small/tables/{name}"
    assert explain([table, "H3", "cnn", "heldout", "1"]).count("of wall time") == 1
    assert explain([table]).startswith(f"{table}: 4 cells from 8 results")


def test_a_table_alone_lists_its_cells(small):
    lines = explain([TABLE]).splitlines()
    assert lines[0] == f"{TABLE}: 4 cells from 8 results, in scores.tsv"
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        f"H3 {model} {protocol}" for model in ("convnova", "cnn") for protocol in ("heldout", "released")
    ]
    assert lines[-1] == f"  a cell: convnova explain {TABLE} H3 convnova heldout"


def test_a_number_made_again_since_the_table_is_said(small):
    metrics = json.loads(Path(METRICS).read_text())
    Path(METRICS).write_text(json.dumps(metrics | {"mcc": 0.123}))
    assert "made again since: the table was made when mcc was" in explain([TABLE, "H3", "convnova", "heldout", "1"])
    Path(METRICS).unlink()
    assert "NOT THERE ANY MORE; the table says mcc" in explain([TABLE, "H3", "convnova", "heldout", "1"])


def test_a_result_away_from_its_run_tells_what_it_knows(small):
    shutil.copytree(Path(METRICS).parent, "elsewhere")
    text = explain(["elsewhere/metrics.json"])
    assert "no config of a run lies beside this result" in text and "epochs 1, batch_size 16" in text
    assert "--configfile THE_CONFIG_OF_THE_RUN --force" in text
    assert f"sha256 {sha256(SHARD)}, unchanged since" in text
    assert "neither place nor address is known" in text and "https://" not in text


@pytest.mark.parametrize(
    "words, told",
    [
        (["nowhere/metrics.json"], "nowhere/metrics.json: expected a result, found nothing"),
        (["mine.yaml"], "mine.yaml: expected a metrics.json, a file beside one"),
        (["results/small/figures/pretraining.svg"], "expected a metrics.json, a file beside one"),
        ([TABLE, "H4"], "no result with row 'H4'; did you mean 'H3'?"),
        ([TABLE, "H3", "convnov"], "no result with model 'convnov' of H3; did you mean 'convnova'?"),
        ([TABLE, "H3", "cnn", "heldout", "7"], "no result with seed '7' of H3 cnn heldout; expected one of 1, 2"),
        ([TABLE, "H3", "cnn", "heldout", "1", "x"], "expected at most a row, a model, a protocol and a seed"),
    ],
)
def test_mistakes_are_named(small, words, told):
    with pytest.raises(ConvNovaError) as caught:
        explain(words)
    assert told in str(caught.value)


def test_a_metrics_file_of_another_program_is_an_error(small):
    Path(METRICS).write_text('{"mcc": 0.5}')
    with pytest.raises(ConvNovaError, match="expected the metrics of a fine-tuning, found none of 'suite'"):
        explain([METRICS])


def test_the_command_prints_it(small, capsys):
    assert convnova("explain", METRICS) == 0
    assert capsys.readouterr().out == explain([METRICS])
    assert convnova("explain", "nowhere") == 1


def test_a_run_without_one_result_explains_the_others(small):
    Path(METRICS).unlink()
    finish()
    assert explain([TABLE, "H3", "convnova", "heldout"]).count("of wall time") == 1
    assert finetune(load_config("results/small/config.yaml"), JOB) == 0
