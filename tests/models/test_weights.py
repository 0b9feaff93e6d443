"""Weights on disk: whole, with the JSON of the same training, and loaded only into the model they fit."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from convnova.errors import ConvNovaError
from convnova.models.weights import load_strictly, load_weights, save_weights


def test_weights_of_another_shape_are_refused_with_both_shapes():
    other = nn.Linear(4, 2)
    with pytest.raises(ConvNovaError, match=r"here.*\(2, 3\).*\(2, 4\)"):
        load_strictly(nn.Linear(3, 2), other.state_dict(), "here")


@pytest.mark.parametrize("stopped_at", ["weights.json", "weights.safetensors"])
def test_weights_and_json_of_two_trainings_are_never_taken_together(tmp_path, monkeypatch, stopped_at):
    path, replace = tmp_path / "weights.safetensors", os.replace
    save_weights({"w": torch.zeros(1)}, path, {"training": 1})

    def stopping(source, target):
        if Path(target).name == stopped_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        save_weights({"w": torch.ones(1)}, path, {"training": 2})
    with pytest.raises(ConvNovaError, match=r"weights.safetensors: expected"):
        load_weights(path)


def test_weights_without_their_json_are_refused(tmp_path):
    with pytest.raises(ConvNovaError, match=r"weights.safetensors: expected"):
        load_weights(tmp_path / "weights.safetensors")
