import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from made_up_scores import CONFIG, GOLDEN, NT, changed, only, thousand_runs

from convnova.files import seal
from convnova.reporting.comparison_figures import differences, indistinct, learning, overview, ranks, write_comparisons
from convnova.reporting.comparison_tables import pairs
from convnova.reporting.figures import STYLE, look
from convnova.reporting.scores import read_scores
from convnova.runs.outputs import comparison_titles

ONE = only(CONFIG, NT, "convnova", "cnn")


@pytest.fixture
def scores():
    found = read_scores(GOLDEN / "scores.tsv")
    return found[(found["suite"] == NT) & found["model"].isin(ONE.models)]


def texts(path: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


@pytest.mark.slow
def test_every_figure_is_written_with_its_models_and_protocol(scores, tmp_path):
    written = write_comparisons(scores, ONE, tmp_path)
    names = [f"{name}.{form}" for name in comparison_titles(ONE) for form in ("pdf", "svg", "png")]
    assert [path.name for path in written] == names
    for name in comparison_titles(ONE):
        found = texts(tmp_path / f"{name}.svg")
        assert any("CNN" in text for text in found) and any("heldout" in text for text in found)
    assert {"CNN", "ConvNova minus the other"} <= set(texts(tmp_path / "differences.svg"))


def test_overview_has_every_mean_and_is_darkest_at_the_best_of_a_task():
    frame, config = thousand_runs()
    frame = frame[~((frame["model"] == "model_1") & (frame["row"] == "task_3"))]
    with matplotlib.rc_context(STYLE):
        axes = overview(frame, config).axes[0]
    heldout = frame[frame["protocol"] == "heldout"]
    means = {key: f"{value:.3f}" for key, value in heldout.groupby(["row", "model"])["score"].mean().items()}
    tasks, models = [row.label for row in config.suites[NT].table_rows], list(config.models)
    shown = {(tasks[int(text.get_position()[1])], models[int(text.get_position()[0])]): text for text in axes.texts}
    assert {key: text.get_text() for key, text in shown.items()} == means
    cells = axes.collections[0].get_array().reshape(len(tasks), len(models))
    for place, task in enumerate(tasks):
        of_task = {model: float(mean) for (row, model), mean in means.items() if row == task}
        assert models[int(cells[place].argmax())] == max(of_task, key=of_task.__getitem__)
    assert cells.mask.sum() == 1 and cells.mask[tasks.index("task_3"), models.index("model_1")]


def test_models_that_tests_do_not_tell_apart_are_joined():
    frame, config = thousand_runs()
    models = list(config.models)
    random = np.random.default_rng(0)
    level = dict(zip(models, (0.9, 0.9, 0.9, 0.5, 0.5, 0.2), strict=True))
    frame = frame.assign(score=[level[model] + random.normal(0, 0.01) for model in frame["model"]])
    titles = list(config.model_titles.values())
    assert indistinct(titles, pairs(frame, config, NT, "heldout")) == [(0, 2), (3, 4)]
    assert indistinct(titles[:3], []) == [(0, 2)] and indistinct(titles[:1], []) == []


@pytest.mark.parametrize(("tasks", "bars"), [(1, 0), (2, 1)])
def test_ranks_have_a_bar_of_what_is_not_told_apart_but_none_over_one_task(tasks, bars):
    frame, config = thousand_runs()
    config = changed(
        config, suites={NT: dict(config.suites[NT]) | {"tasks": dict(list(config.suites[NT].tasks.items())[:tasks])}}
    )
    with matplotlib.rc_context(STYLE):
        axes = ranks(frame[frame["row"].isin(config.suites[NT].tasks)], config).axes[0]
    assert len(axes.get_lines()) == bars
    heldout = frame[(frame["protocol"] == "heldout") & frame["row"].isin(config.suites[NT].tasks)]
    by_task = heldout.groupby(["row", "model"])["score"].mean().unstack("model").rank(axis=1, ascending=False)
    expected = by_task.mean().sort_values(kind="stable")
    assert [label.get_text() for label in axes.get_yticklabels()] == [config.model_titles[m] for m in expected.index]
    assert [dots.get_offsets().data[0, 0] for dots in axes.collections[1::2]] == pytest.approx(expected.tolist())
    assert f"{tasks} tasks" in axes.get_xlabel() or "not tested" in axes.get_xlabel()


def test_differences_are_those_of_pairs_of_a_seed_and_their_mean_beside_the_name_of_the_row():
    frame, config = thousand_runs()
    config = only(config, "model_0", "model_3", "model_5")
    frame = frame[frame["model"].isin(config.models)]
    with matplotlib.rc_context(STYLE):
        axes = differences(frame, config).axes[0]
    heldout = frame[frame["protocol"] == "heldout"].set_index(["model", "row", "seed"])["score"]
    expected = {}
    for model, color in (("model_3", look(config, "model_3")["color"]), ("model_5", look(config, "model_5")["color"])):
        for row, pairs_of_row in (heldout["model_0"] - heldout[model]).groupby(level="row"):
            expected[color, row] = {*pairs_of_row.round(9), round(pairs_of_row.mean(), 9)}
    drawn = {}
    rows = [label.get_text() for label in axes.get_yticklabels()]
    for dots in axes.collections:
        (height,) = set(dots.get_offsets().data[:, 1])
        key = matplotlib.colors.to_hex(dots.get_facecolor()[0]).upper(), rows[round(height)]
        drawn[key] = drawn.get(key, set()) | {*dots.get_offsets().data[:, 0].round(9)}
    assert drawn == expected and axes.get_xlabel() == "Model 0 minus the other"


def test_curves_are_those_of_the_metrics_files(scores, tmp_path):
    epochs = {
        "heldout": [{"epoch": 1, "score": 0.3, "test": 0.6}, {"epoch": 2, "score": 0.5, "test": 0.4}],
        "released": [{"epoch": 1, "score": 0.9, "test": 0.9}],
    }
    for protocol, content in epochs.items():
        (tmp_path / protocol).write_text(json.dumps(seal({"epochs": content, "best_epoch": len(content)})))
    runs = scores[(scores["row"] == "H3") & (scores["model"] == "cnn")]
    runs = runs.assign(path=[str(tmp_path / protocol) for protocol in runs["protocol"]])
    with matplotlib.rc_context(STYLE):
        axes, *others = learning(runs, only(CONFIG, "convnova", "cnn")).axes
    assert [panel.get_ylabel() for panel in (axes, *others)] == ["MCC", "F1 (macro)", "accuracy", "mean AUROC"]
    drawn = {tuple(line.get_ydata()) for line in axes.get_lines()}
    assert drawn == {(0.3, 0.5), (0.6, 0.4)}
    assert {line.get_color() for line in axes.get_lines()} == {look(ONE, "cnn")["color"]}
