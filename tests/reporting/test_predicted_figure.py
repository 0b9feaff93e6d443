"""The figure of predicted against measured, and pairs of models on numbers, from predictions on disk."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from made_up_scores import write_result
from matplotlib.image import imread
from scipy.stats import pearsonr

from convnova.config.run import RunConfig
from convnova.reporting.paired_test_rows import compare_test_rows
from convnova.reporting.predicted_figure import DENSE, MOST_MODELS, write_predicted
from convnova.runs.outputs import figures

NOISE = {"good": 0.3, "fair": 1.0, "poor": 3.0, "bad": 9.0, "awful": 27.0, "worst": 81.0}


def run(folder: Path, models: int = 3, rows: int = 60, bins: int = 0) -> tuple[RunConfig, dict]:
    """A run with predictions of so much noise; its config, and model to labels and predictions."""
    task = {"kind": "regression", "train": "train.csv", "test": "test.csv", "label_column": ["dev", "hk"]}
    suite = {"format": "csv", "tasks": {"assay": task}}
    if bins:
        task = {"kind": "regression", "train": "t.bed", "test": "t.bed", "signal": "s.bw", "bin_size": 8}
        suite = {"format": "bigwig", "genome": "g", "tasks": {"track": task}}
    names = list(NOISE)[:models]
    config = RunConfig(
        run="r", seeds=[1, 2], protocols=["heldout"], suites={"own": suite}, genomes={"g": {"fasta": "g.fa"}},
        models={name: {"title": name.title(), "architecture": "cnn"} for name in names},
    ).rooted_at(folder)  # fmt: skip
    random, made = np.random.default_rng(0), {}
    labels = random.normal(100, 10, size=(rows, bins or 2))
    for job in config.jobs():
        predicted = labels + random.normal(size=labels.shape) * 10 * NOISE[job.model]
        made.setdefault(job.model, (labels, predicted))
        columns = {"label": as_lists(labels), "score": as_lists(predicted)}
        epochs = [{"epoch": 1, "score": -NOISE[job.model]}]
        write_result(config, job, columns, epochs=epochs, seed=job.seed)
    return config, made


def as_lists(numbers: np.ndarray) -> pyarrow.Array:
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers.ravel()), numbers.shape[1])


def texts(path: Path) -> list[str]:
    """The texts of an SVG, in order."""
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


def drawn(path: Path) -> int:
    """How many points an SVG draws: what it uses inside of collections."""
    groups = [group for group in ElementTree.parse(path).iter() if group.get("id", "").startswith("PathCollection")]
    return sum(element.tag.endswith("}use") for group in groups for element in group.iter())


def test_a_row_a_target_and_a_column_a_model_with_every_row_and_its_scores(tmp_path):
    config, made = run(tmp_path)
    paths = write_predicted(config, tmp_path / "figures")
    assert {f"results/r/figures/{path.name}" for path in paths} == {*figures(config, "predicted")}
    svg = next(path for path in paths if path.suffix == ".svg")
    found = texts(svg)
    assert found.count("Good") == found.count("Fair") == 2 and {"assay dev", "assay hk", "measured"} <= {*found}
    for labels, predicted in made.values():
        for target in range(2):
            assert f"Pearson r {pearsonr(labels[:, target], predicted[:, target]).statistic:.2f}" in found
    assert drawn(svg) == 3 * 2 * 60
    assert imread(next(path for path in paths if path.suffix == ".png")).shape[0] > 700


def test_of_many_models_the_best_by_validation_are_shown_and_many_bins_as_a_density(tmp_path):
    config, made = run(tmp_path, models=6, rows=300, bins=10)
    svg = next(path for path in write_predicted(config, tmp_path / "figures") if path.suffix == ".svg")
    found = texts(svg)
    assert "Worst" not in found and len({"Good", "Fair", "Poor", "Bad", "Awful"} & {*found}) == MOST_MODELS
    pooled = pearsonr(*(numbers.ravel() for numbers in made["good"])).statistic
    assert f"Pearson r {pooled:.2f}" in found and DENSE < 300 * 10
    assert svg.stat().st_size < 1_000_000


def test_a_run_without_predictions_of_numbers_has_no_such_figure(tmp_path):
    config, _ = run(tmp_path, models=1)
    assert write_predicted(config.rooted_at(tmp_path / "elsewhere"), tmp_path / "figures") == []


@pytest.mark.parametrize("bins", [0, 4])
def test_pairs_of_models_are_compared_on_the_same_rows(tmp_path, bins):
    config, made = run(tmp_path, bins=bins)
    table = compare_test_rows(config)
    line = table.data[(table.data["a"] == "good") & (table.data["b"] == "poor")].iloc[0]
    assert (line["metric"], line["n"], line["seeds"], line["higher"]) == ("pearson", 60, 2, 2)
    assert line["difference"] > 0.3 and line["p_holm"] < 0.01 and line["low"] > 0
    assert np.isnan(line["auroc_difference"]) and "Pearson r difference" in line["sentence"]
