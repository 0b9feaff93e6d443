"""The table of costs, and its figure."""

import json
import math

import pandas as pd
import pytest

from convnova.config.load import load
from convnova.errors import ConvNovaError
from convnova.reporting.cost_table import cost_figure, mean_scores, read_costs, write_costs


def cost(model: str, length: int, **values) -> dict:
    """A measurement."""
    machine = {"device": "cpu", "threads": 1, "precision": "float32"}
    return {"model": model, "title": model.upper(), "length": length, "receptive_field": 13, **machine, **values}


def test_the_table_has_a_line_a_measurement_and_the_mean_score(tmp_path, monkeypatch):
    rows = [
        {"suite": "s", "task": task, "row": task, "model": model, "protocol": "heldout", "seed": 1, "score": score}
        for task, model, score in [("t", "a", 0.5), ("u", "a", 0.7), ("t", "b", 0.2)]
    ]
    assert mean_scores(pd.DataFrame(rows)) == {"a": 0.5, "b": 0.2}
    monkeypatch.setattr("convnova.reporting.cost_table.read_scores", lambda path: pd.DataFrame(rows))
    limited = {"out_of_memory": True, "inference_bases_per_second": 1234.5, "inference_memory_mb": 300.0}
    costs = [cost("a", 32), cost("a", 64), cost("b", 32, receptive_field=None), cost("b", 64, **limited)]
    models = {name: {"like": "cnn", "title": name} for name in ("a", "b")}
    config = load({"run": "x", "models": models, "suites": {"gue": ["H3"]}, "cost": {"lengths": [32, 64]}})
    for content in costs:
        path = tmp_path / f"results/x/cost/{content['model']}/{content['length']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    write_costs(config.rooted_at(tmp_path), tmp_path)
    table = pd.read_csv(tmp_path / "tables/cost.tsv", sep="\t")
    assert table["length"].tolist() == [32, 64, 32, 64]
    assert table["receptive_field"].tolist() == [13, 13, math.inf, 13]
    assert table["score"].tolist() == [0.5, 0.5, 0.2, 0.2]
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"cost.pdf", "cost.svg", "cost.png"}
    assert "whole sequence</td>" in (tmp_path / "tables/cost.html").read_text()
    assert (tmp_path / "tables/cost.md").read_text().count("out of memory") == 2


def test_a_file_that_is_no_measurement_is_named(tmp_path):
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(ConvNovaError, match="wrong.json: expected what `convnova cost` writes"):
        read_costs([tmp_path / "wrong.json"])


def test_every_length_is_on_the_axis_also_where_the_last_model_has_fewer():
    measured = {"inference_bases_per_second": 1.0, "training_memory_mb": 2.0}
    costs = [cost(model, length, **measured) for model, length in [("a", 512), ("a", 4096), ("b", 512)]]
    for axes in cost_figure(costs, simulated=False).axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["512", "4,096"]


def test_scores_are_drawn_against_operations_a_point_a_model():
    """At the shortest length alone; a model without a score, or whose operations were not counted, has no point. One
    of no operations that are counted has one, which a logarithmic axis would not show."""
    scores = {"a": 0.61, "b": 0.58, "d": 0.9, "e": 0.3}
    flops = [("a", 4096, 9e9), ("a", 512, 2e5), ("b", 512, 4e6), ("c", 512, 7e6), ("d", 512, None), ("e", 512, 0.0)]
    costs = [cost(model, length, flops_per_base=value, score=scores.get(model)) for model, length, value in flops]
    axes = cost_figure(costs, simulated=False).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"A": [[2e5, 0.61]], "B": [[4e6, 0.58]], "C": [], "D": [], "E": [[0.0, 0.3]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("FLOPs a base, at 512 bp", "mean score")
    assert axes.get_xscale() == "linear" and axes.get_xlim()[0] == 0
    assert cost_figure(costs[:-1], simulated=False).axes[0].get_xscale() == "log"
