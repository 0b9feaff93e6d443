import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_scores import CONFIG, CP, GB, NT, changed, only, thousand_runs
from matplotlib.image import imread

from convnova.config.schema import Simulate
from convnova.errors import ConvNovaError
from convnova.reporting.figures import COLOURS, write_figures, write_pretraining


@pytest.fixture(scope="module")
def figures(scores, published, tmp_path_factory):
    return write_figures(scores, published, CONFIG, tmp_path_factory.mktemp("figures"))


def texts(path: Path) -> list[str]:
    """The texts of an SVG, in order."""
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


def test_every_suite_has_its_figure_in_three_forms(figures):
    names = {f"{suite}.{form}" for suite in CONFIG.suites for form in ("pdf", "svg", "png")}
    assert {path.name for path in figures} == names
    for path in (path for path in figures if path.suffix == ".png"):
        picture = imread(path)
        assert picture.shape[1] == 1440 and picture.shape[0] > 300  # 7.2 inches at 200 dots
        assert len(np.unique(picture)) > 50 and path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_svg_names_tasks_models_protocols_and_numbers(figures):
    drawn = {path.stem: {*texts(path)} for path in figures if path.suffix == ".svg"}
    assert drawn[NT] >= {
        "H3 · MCC", "promoter_tata · F1 (macro)", "ConvNova", "CNN", "Nucleotide Transformer tasks", "heldout",
        "epoch chosen on validation rows", "released", "0.80", "one seed", "published (ConvNova Table 1)",
    }  # fmt: skip
    assert "median AUROC" in drawn[CP]


def shapes(path: Path, colour: str) -> tuple[int, int]:
    """How many filled and how many open shapes of a colour the SVG draws, the legend's apart."""
    drawing = path.read_text().split('<g id="legend_1">')[0]
    styles = re.findall(r'<(?:use|path) [^>]*style="([^"]*)"', drawing)
    filled = sum(f"fill: {colour.lower()}" in style and "stroke:" not in style for style in styles)
    opened = sum(f"stroke: {colour.lower()}" in style and "fill: none" in style for style in styles)
    return filled, opened


def test_each_seed_is_a_dot_and_each_published_value_a_diamond(figures, scores):
    path = next(path for path in figures if path.name == f"{NT}.svg")
    mine = scores[scores["suite"] == NT]
    for model, colour, diamonds in (("convnova", COLOURS[0], 4), ("cnn", COLOURS[2], 0)):
        filled, opened = shapes(path, colour)
        assert filled == (mine["model"] == model).sum()
        assert opened == diamonds  # two tasks, in either panel


def test_figures_are_the_same_bytes_each_time(figures, scores, published, tmp_path):
    again = write_figures(scores[scores["suite"] == NT], published, only(CONFIG, NT), tmp_path)
    first = [path for path in figures if path.stem == NT]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


@pytest.mark.parametrize("simulate", [Simulate(), None])
def test_a_simulated_genome_is_said_on_the_figure_and_has_no_diamond(scores, published, tmp_path, simulate):
    """Whether the config or a result says that it is simulated."""
    scores = scores[scores["suite"] == NT].assign(simulated=simulate is None)
    write_figures(scores, published, changed(only(CONFIG, NT), simulate=simulate), tmp_path)
    found = texts(tmp_path / f"{NT}.svg")
    assert "Simulated genome: not comparable with published numbers" in found
    assert not any(text.startswith("published (") for text in found)
    assert shapes(tmp_path / f"{NT}.svg", COLOURS[0])[1] == 0


def test_one_protocol_fits_a_column_and_long_names_are_broken(scores, published, tmp_path):
    suite = CONFIG.suites[GB]
    tasks = {**suite.tasks, "dummy_mouse_enhancers_ensembl": {"metric": "accuracy"}}
    config = changed(CONFIG, protocols=["released"], suites={GB: dict(suite) | {"tasks": tasks}})
    write_figures(scores[scores["suite"] == GB], published, config, tmp_path)
    assert imread(tmp_path / f"{GB}.png").shape[1] == 700  # 3.5 inches
    names = {"human_enhancers_cohn", "dummy_mouse_enhancers_", "ensembl", "accuracy"}
    assert names <= {*texts(tmp_path / f"{GB}.svg")}


def test_a_suite_without_scores_is_drawn_empty_under_any_title(scores, published, tmp_path):
    title = "$\\bad{ <b> & ünd"  # a dollar begins no formula
    models = {"cnn": {"title": title, "architecture": "cnn"}}
    write_figures(scores[:0], published, changed(only(CONFIG, GB), models=models), tmp_path)
    assert {"human_enhancers_cohn", title} <= {*texts(tmp_path / f"{GB}.svg")}


def test_a_thousand_runs_fit_a_page(published, tmp_path):
    frame, config = thousand_runs()
    write_figures(frame, published, config, tmp_path)
    assert imread(tmp_path / f"{NT}.png").shape[0] < 2000  # 10 inches


def log_of_pretraining(path: Path, steps: int = 300) -> Path:
    step = np.arange(1, steps + 1)
    train = pd.DataFrame({"step": step, "epoch": 0, "split": "train", "loss": 1.386 - step / steps / 5, "lr": 1e-3})
    train = train.assign(bases=step * 100_000, seconds=step)
    valid = train[step % 100 == 0].assign(split="valid")
    pd.concat([train, valid]).to_csv(path, index=False)
    return path


def test_the_curve_of_pretraining(tmp_path):
    logs = {name: log_of_pretraining(tmp_path / f"{name}.csv") for name in ("convnova", "convnova@mine")}
    written = write_pretraining(logs, True, tmp_path / "first")
    found = texts(tmp_path / "first" / "pretraining.svg")
    simulated = "Simulated genome: not comparable with published numbers"
    assert {"convnova", "convnova@mine", "bases seen (Mb)", "validation", simulated} <= {*found}
    assert any(text.startswith("ln 4") for text in found)
    assert imread(tmp_path / "first" / "pretraining.png").shape[1] == 700
    again = write_pretraining(logs, True, tmp_path / "second")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    write_pretraining(logs, False, tmp_path / "real")
    assert not any("Simulated" in text for text in texts(tmp_path / "real" / "pretraining.svg"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "log.csv: .* found nothing"),
        ("step,loss\n1,1.3\n", "log.csv: .*split, bases missing"),
        ("split,loss,bases\nvalid,1.3,10\n", "log.csv: .*training steps"),
    ],
)
def test_a_log_that_cannot_be_drawn_is_refused(tmp_path, content, named):
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ConvNovaError, match=named):
        write_pretraining({"convnova": tmp_path / "log.csv"}, False, tmp_path / "out")
    assert not (tmp_path / "out").exists()
