"""Parameter counts, compared with the published ones as published, and docs/models.md against the code."""

import csv
import re
from pathlib import Path

import pytest
from torch import nn

from convnova.config.load import load
from convnova.models import build_backbone, build_predictor, receptive_field

ROOT = Path(__file__).resolve().parents[2]
UNITS = {"K": 1e3, "M": 1e6}
NAMES = {"convnova": "ConvNova", "cnn": "CNN (supervised)", "hyenadna": "HyenaDNA", "caduceus": "Caduceus-PS"}
"""Of architectures, in published.csv."""


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


def configured(model: str, suite: str) -> tuple[str, dict]:
    """Architecture and settings of a model of the config on a suite."""
    config = load({"models": [model], "genome": "hg38", "suites": [suite]}, [], ROOT / "config")
    return config.models[model].architecture, config.settings(model, suite)


def is_as_published(parameters: int, number: str) -> bool:
    """Whether a count rounds to the published number, or is within 2% of it."""
    value, unit = float(number[:-1]), UNITS[number[-1]]
    rounding = 0.5 * 10.0 ** -len(number[:-1].partition(".")[2])
    return abs(parameters / unit - value) <= max(rounding, 0.02 * value)


RELEASED_HYENADNA = {"nucleotide_transformer": 1_641_088, "genomic_benchmarks": 436_096}
"""Counted in the class that its authors put on the hub, of the width and layers of their configs for these suites."""


@pytest.mark.parametrize("suite", RELEASED_HYENADNA)
def test_hyenadna_has_the_parameters_of_the_released_class_but_for_ten_rows_of_the_vocabulary(suite):
    """Of 16 letters there, 12 rounded up to eights; here five letters and padding. Causal or not, the same."""
    architecture, settings = configured("hyenadna", suite)
    assert settings["causal"] is False
    for causal in (False, True):
        model = build_backbone(architecture, {**settings, "causal": causal})
        assert count(model) + (16 - 6) * settings["width"] == RELEASED_HYENADNA[suite]


def convolutions(model) -> list[tuple[int, int, int, int]]:
    """Channels in and out, taps and dilation of each convolution, in order."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv1d)]
    return [(layer.in_channels, layer.out_channels, *layer.kernel_size, *layer.dilation) for layer in layers]


def dilated(channels: int, dilations: list[int]) -> list[tuple[int, int, int, int]]:
    return [layer for rate in dilations for layer in ((channels, 384, 3, rate), (384, channels, 1, 1))]


def test_basenji2_has_the_layers_that_convnovas_authors_released():
    """As printed by their class with their arguments for Genomic Benchmarks: 7,433,767 parameters without a head."""
    model = build_backbone(*configured("basenji2", "genomic_benchmarks"))
    tower = [(5, 288, 15, 1), (288, 339, 5, 1), (339, 399, 5, 1), (399, 470, 5, 1)]
    assert convolutions(model) == [*tower, *dilated(470, [1, 2, 3, 4, 6, 9, 14]), (470, 512, 1, 1)]
    assert count(model) == 7_433_767
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert {layer.eps for layer in norms} == {1e-3} and all(layer.weight.all() for layer in norms)


def test_basenji2_has_the_published_layers():
    """calico/basenji, manuscripts/cross2020/params_human.json: channels grow 1.1776 times and dilations 1.5 times, each
    rounded."""
    model = build_backbone("basenji2", {})
    channels = [5, 288, 339, 399, 470, 554, 652, 768]
    tower = [(*pair, 5 if i else 15, 1) for i, pair in enumerate(zip(channels, channels[1:], strict=False))]
    blocks = dilated(768, [1, 2, 3, 4, 6, 9, 14, 21, 32, 48, 72])
    assert convolutions(model) == [*tower, *blocks, (768, 1536, 1, 1)]
    scales = [layer.weight.any().item() for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert scales == [True] * 7 + [True, False] * 11 + [True], "each dilated block is the identity at first"


def test_legnet_has_the_size_that_convnovas_authors_released():
    """Counted in their class: 2,126,770 with two classes, 130 of them in the last layer."""
    architecture, settings = configured("legnet", "genomic_benchmarks")
    assert count(build_predictor(architecture, settings, "classes", 2, 500)) == 2_126_770


def test_the_u_net_has_the_parameters_of_convnova():
    assert count(build_backbone("unet", {})) == pytest.approx(count(build_backbone("convnova", {})), rel=0.05)


def documented() -> list[list[str]]:
    """Rows of the table of models in docs/models.md, the names of `the same` filled in."""
    text = (ROOT / "docs/models.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    rows = rows[2 : next(i for i, row in enumerate(rows) if "dnabert2" in row[0])]
    for before, row in zip(rows, rows[1:], strict=False):
        row[0] = row[0].replace("the same", before[0])
    return rows


def test_the_table_of_models_is_what_the_code_says():
    """Parameters and receptive field of every row, and the published numbers of its models, which the sizes are."""
    rows = documented()
    numbers = {"basenji2": {"30.09M"}}  # with 5,313 tracks: multimolecule.danling.org/models/basenji
    with (ROOT / "config/published.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            numbers.setdefault(row["model"], set()).add(row["params"])
    assert len(rows) == 13
    for names, _, parameters, number, field, _ in rows:
        suite = "genomic_benchmarks" if "Genomic Benchmarks" in names else "nucleotide_transformer"
        for name in re.findall(r"`(\w+)`", names) or ["basenji2"]:
            own = name == "unet" or "published size" in names
            architecture, settings = (name, {}) if own else configured(name, suite)
            wide, size = receptive_field(architecture, settings, "classes"), _parameters(architecture, settings, own)
            assert field.split(";")[0] == ("whole sequence" if wide is None else f"{wide:,} bp"), names
            assert parameters == f"{size:,}", names
            assert bool(number) == (architecture in NAMES or own and name != "unet"), names
            assert not number or is_as_published(size, number), names
            assert not number or number in numbers[NAMES.get(architecture, architecture)], names


def _parameters(architecture: str, settings: dict, own: bool) -> int:
    if architecture == "cnn":
        return count(build_predictor("cnn", settings, "classes", 2, 1024))
    if architecture == "basenji2" and own:
        return count(build_predictor("basenji2", {}, "classes", 5313, 500))
    return count(build_backbone(architecture, settings))


def test_what_the_docs_say_of_other_forms():
    text = (ROOT / "docs/models.md").read_text()
    assert f"500 bp: {count(build_predictor('cnn', {}, 'classes', 2, 500)):,}" in text
    assert "{nucleotide_transformer:,} and {genomic_benchmarks:,}".format(**RELEASED_HYENADNA) in text
