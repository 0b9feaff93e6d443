import itertools
import json
import math

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from convnova.cli.main import main
from convnova.errors import ConvNovaError
from convnova.models import build_predictor
from convnova.reporting.cost_table import cost_figure, mean_scores, read_costs, write_costs
from convnova.training import compute_cost

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
        patched.setattr(compute_cost, "SECONDS", 0.0)
        patched.setattr(compute_cost, "BASES", 1024)
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
    assert compute_cost.operations(model, torch.zeros(1, length, dtype=torch.uint8)) == expected
    assert model.training and all(part.fast for part in model.modules() if hasattr(part, "fast")), "left as it was"


def test_attention_is_counted():
    """Of two layers and 50 positions: each reads 50 others, twice 2 operations a channel."""
    settings, length = {"width": 32, "layers": 2, "heads": 2, "expansion": 2}, 50
    model = build_predictor("transformer", settings, "classes", 2, length)
    linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear)) - 2 * 32
    expected = 2 * (linear * length + 2 * 32) + 2 * 4 * 32 * length**2
    assert compute_cost.operations(model, torch.zeros(1, length, dtype=torch.uint8)) == expected


@pytest.mark.parametrize("taken, median", [([9, 4, 1, 2], 2), ([50, 40, 60], 50)])
def test_throughput_is_the_median_after_a_warm_up_unless_a_run_is_long(taken, median, monkeypatch):
    clock = iter([0, *(time for run in itertools.accumulate(taken) for time in (run, run))])
    monkeypatch.setattr(compute_cost, "SECONDS", 0.0)
    monkeypatch.setattr(compute_cost.time, "perf_counter", lambda: next(clock))
    calls = []
    seconds, memory = compute_cost.timed(lambda: calls.append(1), torch.device("cpu"))
    assert (seconds, len(calls)) == (median, len(taken)) and memory > 50


class Greedy(nn.Module):
    """Needs a petabyte, always or in training alone."""

    def __init__(self, always: bool):
        super().__init__()
        self.always, self.layer = always, nn.Linear(1, 2)

    def forward(self, tokens):
        return torch.empty(1 << 50) if self.always or self.training else self.layer(tokens[:, :1].float())


@pytest.mark.parametrize("always", [True, False])
def test_where_memory_ends_that_is_the_result_beside_what_was_measured_until_there(measured, monkeypatch, always):
    monkeypatch.setattr(compute_cost, "SECONDS", 0.0)
    monkeypatch.setattr(compute_cost, "build_predictor", lambda *_, **__: Greedy(always))
    config, _ = measured
    out = config.parent / f"greedy_{always}.json"
    words = ["--model", "convnova_scratch", "--length", "64", "--out", str(out), "--threads", "1"]
    assert main(["cost", "--config", str(config), *words]) == 0
    (told,) = read_costs([out])
    assert told["out_of_memory"] is True and "training_memory_mb" not in told
    known = {"inference_bases_per_second", "inference_memory_mb", "flops_per_base"}
    assert known & set(told) == (set() if always else known)
    write_costs(read_costs([out]), {}, False, config.parent / "t", config.parent / "f")
    assert (config.parent / "t/cost.md").read_text().count("out of memory") == (4 if always else 2)


def told_of(tmp_path, model: dict) -> dict:
    """What `cost` writes of a model at 32 bases, in next to no time."""
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"genome": "hg38", "models": {"mine": model}, "cost": {"lengths": [32]}}))
    words = ["--config", str(config), "--model", "mine", "--length", "32", "--out", str(tmp_path / "told.json")]
    assert main(["cost", *words, "--threads", "1"]) == 0
    return json.loads((tmp_path / "told.json").read_text())


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(compute_cost, "SECONDS", 0.0)
    monkeypatch.setattr(compute_cost, "BASES", 64)


SMALL = {"like": "convnova", "title": "mine", "settings": {"width": 8, "kernel": 3, "blocks": 2}}


def test_predictions_from_both_strands_cost_two_passes_and_training_one(tmp_path, quick, monkeypatch):
    read, predicted = [], compute_cost.predicted
    monkeypatch.setattr(
        compute_cost,
        "predicted",
        lambda network, tokens: (read.append((network.training, tokens.tolist())), predicted(network, tokens))[1],
    )
    one = told_of(tmp_path, SMALL)
    read.clear()
    both = told_of(tmp_path, SMALL | {"strands": "both"})
    assert (one["strands"], both["strands"]) == ("forward", "both")
    assert both["flops_per_base"] == 2 * one["flops_per_base"] and both["parameters"] == one["parameters"]
    own, opposite = (tokens for training, tokens in read[:2] if not training)
    assert opposite == [[3 - base for base in reversed(line)] for line in own]
    assert all(tokens == own for training, tokens in read if training)


def test_the_head_and_the_frozen_part_are_those_of_the_config(tmp_path, quick, monkeypatch):
    """BEND's head: 3 x 8 x 64 + 3 x 64 x 64 products a base more, and a linear layer of 64 in place of 8."""
    built, build = [], compute_cost.build_predictor
    monkeypatch.setattr(
        compute_cost, "build_predictor", lambda *args, **options: built.append(build(*args, **options)) or built[-1]
    )
    plain, own = told_of(tmp_path, SMALL), told_of(tmp_path, SMALL | {"frozen": True, "head": "cnn", "pooling": "max"})
    assert own["flops_per_base"] - plain["flops_per_base"] == 2 * (3 * 8 * 64 + 3 * 64 * 64) + 2 * 2 * (64 - 8) / 32
    assert own["parameters"] - plain["parameters"] == (3 * 8 + 1 + 3 * 64 + 1) * 64 + 2 * (64 - 8)
    network = built[-1]
    assert network.pooling == "max" and all(p.grad is None for p in network.backbone.parameters())
    assert not any(p.requires_grad for p in network.backbone.parameters())


def test_a_gpu_is_waited_for_before_each_look_at_the_clock(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append("waited"))
    monkeypatch.setattr(compute_cost.time, "perf_counter", lambda: done.append("clock") or len(done))
    compute_cost.seconds_of(lambda: done.append("ran"), torch.device("cuda"))
    assert done == ["waited", "clock", "ran", "waited", "clock"]


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
    folder, scores = measured[0].parent, mean_scores(pd.DataFrame(rows))
    write_costs(read_costs(measured[1]), scores, False, folder / "t", folder / "f")
    table = pd.read_csv(measured[0].parent / "t/cost.tsv", sep="\t")
    assert table["length"].tolist() == [32, 64, 32, 64]
    assert table["receptive_field"].tolist() == [13, 13, math.inf, math.inf]
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
    with pytest.raises(ConvNovaError, match="wrong.json: expected what `convnova cost` writes"):
        read_costs([wrong])


def test_every_length_is_on_the_axis_also_where_the_last_model_has_fewer():
    line = {"title": "a", "inference_bases_per_second": 1.0, "training_memory_mb": 2.0}
    lines = [{**line, "model": model, "length": length} for model, length in [("a", 512), ("a", 4096), ("b", 512)]]
    for axes in cost_figure(lines, simulated=False).axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["512", "4,096"]


def test_scores_are_drawn_against_operations_a_point_a_model():
    """At the shortest length alone; a model without a score, or whose operations were not counted, has no point. One
    of no operations that are counted has one, which a logarithmic axis would not show."""
    scores = {"a": 0.61, "b": 0.58, "d": 0.9, "e": 0.3}
    costs = [("a", 4096, 9e9), ("a", 512, 2e5), ("b", 512, 4e6), ("c", 512, 7e6), ("d", 512, None), ("e", 512, 0.0)]
    lines = [
        {"model": model, "title": model.upper(), "length": length, "flops_per_base": flops, "score": scores.get(model)}
        for model, length, flops in costs
    ]
    axes = cost_figure(lines, simulated=False).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"A": [[2e5, 0.61]], "B": [[4e6, 0.58]], "C": [], "D": [], "E": [[0.0, 0.3]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("FLOPs a base, at 512 bp", "mean score")
    assert axes.get_xscale() == "linear" and axes.get_xlim()[0] == 0
    assert cost_figure(lines[:-1], simulated=False).axes[0].get_xscale() == "log"
