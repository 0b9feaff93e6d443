"""Every default has a source, and what a run changes is not credited to others."""

import importlib
from pathlib import Path

import pytest

from convnova import models
from convnova.config.hyperparameter_sources import ARCHITECTURES, MODEL, PRETRAINING, TRAINING, merge_sources
from convnova.config.hyperparameters import Pretraining, Training
from convnova.config.schema import Model


@pytest.mark.parametrize("kind, table", [(Training, TRAINING), (Pretraining, PRETRAINING)])
def test_every_default_of_training_and_of_pretraining_has_a_source(kind, table):
    assert set(kind.model_fields) - {"source"} == set(table)


def test_every_default_of_a_model_and_of_its_architecture_has_a_source():
    """Of every file of the folder that has a `Config`, whoever adds it."""
    assert set(MODEL) == {"strands", "head", "frozen", "pooling"} <= set(Model.model_fields)
    for path in Path(models.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"convnova.models.{path.stem}".removesuffix(".__init__"))
        if hasattr(module, "Config"):
            assert set(ARCHITECTURES[path.stem]) == set(module.Config.__dataclass_fields__), path.stem


@pytest.mark.parametrize(
    "old, new, new_keys, expected",
    [
        ("paper", None, [], "paper"),
        ("paper", "mine", [], "mine"),
        (None, None, ["b"], None),
        (None, "mine", ["b"], "mine"),
        ("paper", None, ["b", "c"], {"a": "paper", "b": "run config", "c": "run config"}),
        ("paper", "mine", ["b"], {"a": "paper", "b": "mine"}),
        ("paper", {"b": "mine"}, ["b", "c"], {"a": "paper", "b": "mine", "c": "run config"}),
        ({"a": "paper", "b": "code"}, None, ["b"], {"a": "paper", "b": "run config"}),
    ],
)
def test_what_a_run_changes_comes_from_the_run_config_unless_it_says_otherwise(old, new, new_keys, expected):
    assert merge_sources(old, ["a", "b"], new, new_keys) == expected
