import itertools
import json

import pytest
import torch
import yaml
from torch import nn

from convnova.cli.main import main
from convnova.models import build_predictor
from convnova.training import compute_cost

SMALL = {"like": "convnova", "title": "mine", "settings": {"width": 8, "kernel": 3, "blocks": 2}}


@pytest.fixture
def cost(tmp_path, monkeypatch):
    """What the command writes of a model at one length, in next to no time."""
    monkeypatch.setattr(compute_cost, "SECONDS", 0.0)
    monkeypatch.setattr(compute_cost, "BASES", 64)

    def measure(model: dict, length: int = 32) -> dict:
        config, out = tmp_path / "mine.yaml", tmp_path / "cost.json"
        config.write_text(yaml.safe_dump({"genome": "hg38", "models": {"mine": model}, "cost": {"lengths": [32]}}))
        words = ["--config", str(config), "--model", "mine", "--length", str(length), "--threads", "1"]
        assert main(["cost", *words, "--out", str(out)]) == 0
        return json.loads(out.read_text())

    return measure


def test_a_measurement_says_what_was_run(cost):
    hyena = {"like": "hyenadna_scratch", "title": "mine", "settings": {"width": 8, "length": 20}}
    measured = [cost(model, length) for model in (SMALL, hyena) for length in (16, 32, 80)]
    assert [(each["length"], each["sequences"]) for each in measured] == [(16, 4), (32, 2), (80, 1)] * 2
    assert [each["receptive_field"] for each in measured] == [13, 13, 13, None, None, None]
    model = build_predictor("convnova", SMALL["settings"] | {"tail_expansion": 2}, "classes", 2, 32)
    assert measured[0]["parameters"] == sum(p.numel() for p in model.parameters())
    for each in measured:
        assert (each["model"], each["title"], each["device"], each["threads"]) == ("mine", "mine", "cpu", 1)
        assert each["inference_bases_per_second"] > each["training_bases_per_second"] > 0
        assert 100 < each["inference_memory_mb"] <= each["training_memory_mb"] + 1 < 5000
        assert len(each["provenance"]["settings"]) == 16


def test_operations_are_those_of_a_count_by_hand():
    """Two stems of 9 x 5 taps, two convolutions a block, four linear layers, a head; two operations each."""
    width, kernel, blocks, length = 8, 3, 2, 50
    tail = width * 2 * width + 2 * (2 * width) ** 2 + 2 * width * width
    a_base = 2 * (9 * 5 * width) + blocks * 2 * kernel * width**2 + tail
    model = build_predictor("convnova", SMALL["settings"], "classes", 3, length)
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


@pytest.mark.parametrize("least, seconds, median", [(0.0, [9, 4, 1, 2], 2), (8.0, [9, 4, 1, 2, 3], 2.5)])
def test_throughput_is_the_median_after_a_warm_up_of_three_runs_or_enough_seconds(least, seconds, median, monkeypatch):
    clock = iter([0, *(time for run in itertools.accumulate(seconds) for time in (run, run))])
    monkeypatch.setattr(compute_cost, "SECONDS", least)
    monkeypatch.setattr(compute_cost.time, "perf_counter", lambda: next(clock))
    calls = []
    time, memory = compute_cost.timed(lambda: calls.append(1), torch.device("cpu"))
    assert (time, len(calls)) == (median, len(seconds)) and memory > 50


def test_a_gpu_is_waited_for_before_each_look_at_the_clock(monkeypatch):
    done = []
    monkeypatch.setattr(compute_cost, "SECONDS_ON_GPU", 0.0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: done.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3_000_000)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("waited"))
    monkeypatch.setattr(compute_cost.time, "perf_counter", lambda: done.append("clock") or len(done))
    assert compute_cost.timed(lambda: done.append("ran"), torch.device("cuda"))[1] == 3
    assert done == ["reset"] + ["waited", "clock", "ran", "waited", "clock"] * 4


class Greedy(nn.Module):
    """Needs a petabyte, always or in training alone."""

    def __init__(self, always: bool):
        super().__init__()
        self.always, self.layer = always, nn.Linear(1, 2)

    def forward(self, tokens):
        return torch.empty(1 << 50) if self.always or self.training else self.layer(tokens[:, :1].float())


@pytest.mark.parametrize("always", [True, False])
def test_where_memory_ends_that_is_the_result_beside_what_was_measured_before(cost, monkeypatch, always):
    monkeypatch.setattr(compute_cost, "build_predictor", lambda *_, **__: Greedy(always))
    measured = cost(SMALL)
    assert measured["out_of_memory"] is True and "training_memory_mb" not in measured
    before = {"inference_bases_per_second", "inference_memory_mb", "flops_per_base"}
    assert before & set(measured) == (set() if always else before)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"), compute_cost.note_out_of_memory({}, "training"):
        raise RuntimeError("shapes do not fit")


def test_predictions_from_both_strands_cost_two_passes_and_training_one(cost, monkeypatch):
    read, build = [], compute_cost.build_predictor

    def noted(*args, **options):
        network = build(*args, **options)
        network.register_forward_pre_hook(lambda model, inputs: read.append((model.training, inputs[0].tolist())))
        return network

    monkeypatch.setattr(compute_cost, "build_predictor", noted)
    forward = cost(SMALL)
    read.clear()
    both = cost(SMALL | {"strands": "both"})
    assert (forward["strands"], both["strands"]) == ("forward", "both")
    assert both["flops_per_base"] == 2 * forward["flops_per_base"] and both["parameters"] == forward["parameters"]
    tokens, opposite = (tokens for training, tokens in read[:2] if not training)
    assert opposite == [[3 - base for base in reversed(line)] for line in tokens]
    assert all(read_tokens == tokens for training, read_tokens in read if training)


def test_the_head_and_the_frozen_part_are_those_of_the_config(cost, monkeypatch):
    """BEND's head: 3 x 8 x 64 + 3 x 64 x 64 products a base more, and a linear layer of 64 in place of 8."""
    built, build = [], compute_cost.build_predictor
    monkeypatch.setattr(
        compute_cost, "build_predictor", lambda *args, **options: built.append(build(*args, **options)) or built[-1]
    )
    plain, bend = cost(SMALL), cost(SMALL | {"frozen": True, "head": "cnn", "pooling": "max"})
    assert bend["flops_per_base"] - plain["flops_per_base"] == 2 * (3 * 8 * 64 + 3 * 64 * 64) + 2 * 2 * (64 - 8) / 32
    assert bend["parameters"] - plain["parameters"] == (3 * 8 + 1 + 3 * 64 + 1) * 64 + 2 * (64 - 8)
    network = built[-1]
    assert network.pooling == "max" and all(p.grad is None for p in network.backbone.parameters())
    assert not any(p.requires_grad for p in network.backbone.parameters())
