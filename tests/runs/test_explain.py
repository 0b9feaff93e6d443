import json
import shutil
from pathlib import Path

import pytest
from small_run import SHARD, TABLE, WEIGHTS, convnova, finish

from convnova.config.load import load_config
from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.files import seal
from convnova.runs import explain as explanations
from convnova.runs.explain import as_text
from convnova.runs.trace import read_trace

JOB = Job("nucleotide_transformer", "H3", "convnova", "heldout", 1)
METRICS = f"{JOB.folder('small')}/metrics.json"


def explain(words: list[str], run: RunConfig | None = None) -> str:
    """What the command prints."""
    return "\n\n".join(map(as_text, explanations.explain(words, run))) + "\n"


def test_the_text_has_all_of_the_trace(small):
    text, trace = explain([METRICS]), read_trace(Path(METRICS))
    assert text.startswith(f"{METRICS}\nSimulated genome: ")
    for line in (*trace.scores, *trace.settings, trace.code, trace.machine, trace.packages, *trace.cost):
        assert f" {line}\n" in text
    assert [line.strip() for line in text.splitlines()[-2:]] == [f"again     {trace.commands[0]}", trace.commands[1]]
    for file in (file for top in trace.inputs for file in top.walk()):
        below = text.split(f" {file.path}\n", 1)[1]
        for line in (f"sha256 {file.sha256}, unchanged since", *file.urls, *file.notes):
            assert f" {line}\n" in below
    assert "CHANGED" not in text.replace("UNCOMMITTED CHANGES", "")
    assert explain([WEIGHTS, METRICS]) == explain([WEIGHTS]) + "\n" + text


def test_a_real_run_is_not_called_simulated_and_a_file_that_changed_has_a_section(small):
    Path(METRICS).write_text(json.dumps(seal(json.loads(Path(METRICS).read_text()) | {"simulated": False})))
    assert "imulated" not in explain([METRICS])
    Path(SHARD).write_bytes(Path(SHARD).read_bytes()[:-1] + b"\1")
    assert explain([METRICS]).splitlines()[-1].startswith(f"  CHANGED   {SHARD}: CHANGED SINCE: its sha256 is now ")


def test_a_file_beside_the_metrics_their_folder_and_a_path_from_elsewhere_mean_the_same(small, monkeypatch, capsys):
    text = explain([METRICS])
    for beside in ("predictions.parquet", "log.csv", ""):
        assert explain([str(Path(METRICS).parent / beside)]) == text
    assert convnova("explain", METRICS) == 0 and capsys.readouterr().out == text
    assert convnova("explain", "nowhere") == 1
    monkeypatch.chdir("/")
    assert explain([str(small / METRICS)]) == text


def test_a_cell_of_a_table_gives_its_fine_tunings(small):
    text = explain([TABLE, "H3", "convnova", "heldout"])
    assert text.startswith(f"{TABLE}: 2 fine-tunings behind H3 convnova heldout\n  convnova heldout: mean ")
    assert " over seeds 1,2; simulated genome\n" in text
    assert text.count("of wall time") == 2 and text.count(": mean ") == 1
    for seed in (1, 2):
        assert explain([METRICS.replace("seed=1", f"seed={seed}")]).rstrip("\n") in text
    assert explain([TABLE, "H3", "cnn", "released", "seed=2"]).count("of wall time") == 1
    assert explain([TABLE.replace(".tsv", ".html"), "H3", "cnn"]).count("of wall time") == 4
    for name in ("scores.tsv", "comparisons.md", "protocols.html", "test_rows.tsv", "convnova_table_1.tex"):
        table = f"results/small/tables/{name}"
        assert explain([table, "H3", "cnn"]).count("of wall time") == 4
        assert explain([table]).startswith(f"{table}: 4 cells from 8 results")


def test_a_table_alone_lists_its_cells(small):
    lines = explain([TABLE]).splitlines()
    assert lines[0] == f"{TABLE}: 4 cells from 8 results, in scores.tsv"
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        f"H3 {model} {protocol}" for model in ("convnova", "cnn") for protocol in ("heldout", "released")
    ]
    assert f": mcc {json.loads(Path(METRICS).read_text())['mcc']:.6f} (seed 1), " in lines[1]
    assert lines[-2:] == [
        f"  again: convnova run --cores all --configfile results/small/config.yaml --force {TABLE}",
        f"  a cell: convnova explain {TABLE} H3 convnova heldout",
    ]


def test_a_number_made_again_since_the_table_is_said(small):
    metrics = json.loads(Path(METRICS).read_text())
    Path(METRICS).write_text(json.dumps(seal(metrics | {"mcc": 0.123})))
    cell = [TABLE, "H3", "convnova", "heldout", "1"]
    assert f"made again since: the table was made when mcc was {metrics['mcc']:.6f}" in explain(cell)
    shutil.rmtree(Path(METRICS).parent)
    assert "NO LONGER THERE; the table says mcc" in explain(cell)
    finish()
    assert explain(cell[:-1]).count("of wall time") == 1


def test_of_a_run_names_are_short_and_without_any_all_scores_are_listed(small, capsys):
    run = load_config("results/small/config.yaml")
    assert explain([JOB.name], run) == explain([METRICS])
    cell = ["H3", "cnn", "heldout"]
    assert explain(["tables/nucleotide_transformer.tsv", *cell], run) == explain([TABLE, *cell])
    listed = explain(["results/small/tables/scores.tsv"])
    assert explain([], run) == listed and listed.count(" (seed ") == 8
    assert convnova("explain", "--run", "small") == 0 and capsys.readouterr().out == listed
    with pytest.raises(ConvNovaError, match="--run"):
        explain([])


def test_json_has_all_that_the_text_has(small, capsys):
    words = [TABLE, "H3", "cnn", "heldout"]
    assert convnova("explain", "--json", METRICS, TABLE, *words) == 0
    result, listing, cell = json.loads(capsys.readouterr().out)
    assert result["record"] == json.loads(Path(METRICS).read_text()) and result["path"] == METRICS
    assert result["inputs"][0]["path"] == SHARD and result["inputs"][0]["state"] == "unchanged since"
    found = {(each["row"], each["model"], each["protocol"]): each["scores"] for each in listing["cells"]}
    assert len(found) == 4 and found["H3", "convnova", "heldout"][0]["path"] == METRICS
    assert found["H3", "convnova", "heldout"][0]["score"] == result["record"]["mcc"]
    assert cell["words"] == words[1:] and [score["changed"] for score in cell["scores"]] == ["", ""]
    assert cell["lines"][0]["seeds"] == "1,2" and cell["scores"][1]["trace"]["record"]["seed"] == 2
    shutil.rmtree(cell["scores"][0]["path"].removesuffix("metrics.json"))
    assert convnova("explain", "--json", *words) == 0
    gone = json.loads(capsys.readouterr().out)[0]["scores"][0]
    assert gone["trace"] is None and "NO LONGER THERE" in gone["changed"]


@pytest.mark.parametrize(
    "words, named",
    [
        ("nowhere/metrics.json", "nowhere/metrics.json: .* found nothing"), ("mine.yaml", "mine.yaml: .*metrics.json"),
        ("results/small/figures/pretraining.svg", "pretraining.svg: .*metrics.json"),
        ("results/small/tables/provenance.tsv", "provenance.tsv: .*table of scores"),
        (f"{TABLE} H4", "row 'H4'; .*'H3'"), (f"{TABLE} H3 convnov", "model 'convnov' of H3; .*'convnova'"),
        (f"{TABLE} H3 cnn heldout 7", "seed '7' of H3 cnn heldout; .* 1, 2"),
        (f"{TABLE} H3 cnn heldout 1 x", "at most .* found H3 cnn heldout 1 x"),
    ],
)  # fmt: skip
def test_mistakes_are_named(small, words, named):
    with pytest.raises(ConvNovaError, match=named):
        explain(words.split())
