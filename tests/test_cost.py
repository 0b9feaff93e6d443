import itertools
import json

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from convnova import cost, cost_page
from convnova.cli import main
from convnova.cost_page import mean_scores, read_costs
from convnova.models import build_predictor
from convnova.scores import COLUMNS

MODELS = {
    "convnova_scratch": {"settings": {"width": 8, "kernel": 3, "blocks": 2}},
    "hyenadna_scratch": {"settings": {"width": 8, "length": 20}},
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The costs of two small models at two lengths, made with the command."""
    tmp_path = tmp_path_factory.mktemp("cost")
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"models": MODELS, "cost": {"lengths": [32, 64]}}))
    files = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cost, "SECONDS", 0.0)
        patched.setattr(cost, "BASES", 1024)
        for model in MODELS:
            for length in ("32", "64"):
                files.append(tmp_path / model / f"{length}.json")
                words = ["--config", str(config), "--model", model, "--length", length, "--threads", "1"]
                assert main(["cost", *words, "--out", str(files[-1])]) == 0
    return config, files


def test_a_measurement_says_what_was_run(measured):
    told = [json.loads(file.read_text()) for file in measured[1]]
    assert [(each["length"], each["sequences"]) for each in told] == [(32, 32), (64, 16)] * 2
    assert [each["receptive_field"] for each in told] == [13, 13, None, None]
    model = build_predictor(
        "convnova", {**MODELS["convnova_scratch"]["settings"], "tail_expansion": 2}, "classes", 2, 32
    )
    assert told[0]["parameters"] == sum(p.numel() for p in model.parameters())
    for each in told:
        speeds = each["inference_bases_per_second"], each["training_bases_per_second"]
        assert speeds[0] > speeds[1] > 0
        assert 100 < each["inference_memory_mb"] <= each["training_memory_mb"] < 5000


def test_operations_are_those_of_a_count_by_hand():
    """Two stems of 9 x 5 taps, two convolutions a block, four linear layers, a head; two operations each."""
    width, kernel, blocks, length = 8, 3, 2, 50
    tail = width * 2 * width + 2 * (2 * width) ** 2 + 2 * width * width
    a_base = 2 * (9 * 5 * width) + blocks * 2 * kernel * width**2 + tail
    settings = {"width": width, "kernel": kernel, "blocks": blocks}
    model = build_predictor("convnova", settings, "classes", 3, length)
    expected = 2 * (a_base * length + width * 3)
    assert cost.operations(model, torch.zeros(1, length, dtype=torch.uint8)) == expected


def test_attention_is_counted():
    """Of two layers and 50 positions: each reads 50 others, twice 2 operations a channel."""
    settings, length = {"width": 32, "layers": 2, "heads": 2, "expansion": 2}, 50
    model = build_predictor("transformer", settings, "classes", 2, length)
    linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear)) - 2 * 32
    expected = 2 * (linear * length + 2 * 32) + 2 * 4 * 32 * length**2
    assert cost.operations(model, torch.zeros(1, length, dtype=torch.uint8)) == expected


@pytest.mark.parametrize("taken, median", [([9, 4, 1, 2], 2), ([50, 40, 60], 50)])
def test_throughput_is_the_median_after_a_warm_up_unless_a_run_is_long(taken, median, monkeypatch):
    clock = iter([0, *(time for run in itertools.accumulate(taken) for time in (run, run))])
    monkeypatch.setattr(cost, "SECONDS", 0.0)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    calls = []
    seconds, memory = cost.timed(lambda: calls.append(1), torch.device("cpu"))
    assert (seconds, len(calls)) == (median, len(taken)) and memory > 50


def test_where_memory_ends_that_is_the_result(measured, monkeypatch):
    class Greedy(nn.Module):
        weight = nn.Parameter(torch.zeros(1))

        def forward(self, tokens):
            return torch.empty(1 << 50)

    monkeypatch.setattr(cost, "build_predictor", lambda *_: Greedy())
    config, _ = measured
    out = config.parent / "greedy.json"
    words = ["--model", "convnova_scratch", "--length", "64", "--out", str(out), "--threads", "1"]
    assert main(["cost", "--config", str(config), *words]) == 0
    (told,) = read_costs([out])
    assert told["out_of_memory"] is True and "training_memory_mb" not in told


def tables(measured, *words: str) -> int:
    config, files = measured
    folders = ("--tables", str(config.parent / "t"), "--figures", str(config.parent / "f"))
    return main(["cost-tables", "--config", str(config), *folders, *words, *map(str, files)])


def test_the_table_has_a_line_a_measurement_and_the_mean_score(measured):
    rows = [
        {
            "suite": "s",
            "task": t,
            "row": t,
            "model": m,
            "protocol": "heldout",
            "seed": 1,
            "metric": "mcc",
            "score": score,
        }
        for t, m, score in [
            ("a", "convnova_scratch", 0.5),
            ("b", "convnova_scratch", 0.7),
            ("a", "hyenadna_scratch", 0.2),
        ]
    ]
    assert mean_scores(pd.DataFrame(rows)) == {"convnova_scratch": 0.5, "hyenadna_scratch": 0.2}
    scores = measured[0].parent / "scores.tsv"
    pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(scores, sep="\t", index=False)
    assert tables(measured, "--scores", str(scores)) == 0
    table = pd.read_csv(measured[0].parent / "t/cost.tsv", sep="\t")
    assert table["length"].tolist() == [32, 64, 32, 64]
    assert table["receptive_field"].tolist() == ["13", "13", "whole sequence", "whole sequence"]
    assert table["score"].tolist() == [0.5, 0.5, 0.2, 0.2]
    assert {path.name for path in (measured[0].parent / "f").iterdir()} == {"cost.pdf", "cost.svg", "cost.png"}
    assert "whole sequence</td>" in (measured[0].parent / "t/cost.html").read_text()


def test_a_model_or_file_that_is_not_there_is_named(measured, capsys):
    config, _ = measured
    wrong = config.parent / "wrong.json"
    words = ["--config", str(config), "--model", "convnowa", "--length", "64", "--out", str(wrong)]
    assert main(["cost", *words]) == 1
    assert "did you mean 'convnova_scratch'?" in capsys.readouterr().err
    wrong.write_text("{}")
    assert tables((config, [wrong])) == 1
    assert "expected what `convnova cost` writes" in capsys.readouterr().err


def test_every_length_is_on_the_axis_also_where_the_last_model_has_fewer(tmp_path, monkeypatch):
    line = {"title": "a", "inference_bases_per_second": 1.0, "training_memory_mb": 2.0}
    lines = [{**line, "model": model, "length": length} for model, length in [("a", 512), ("a", 4096), ("b", 512)]]
    kept = []
    monkeypatch.setattr(cost_page, "save", lambda figure, path: kept.append(figure) or [])
    cost_page.draw(lines, False, tmp_path)
    for axes in kept[0].axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["512", "4,096"]
