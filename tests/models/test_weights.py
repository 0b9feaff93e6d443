import os
from pathlib import Path

import pytest
import torch
from torch import nn

from convnova.errors import ConvNovaError
from convnova.models.weights import full_disk_refused, load_strictly, load_weights, save_weights


def test_weights_and_their_json_come_back_as_saved(tmp_path):
    weights = {"w": torch.randn(3, 4).T, "b": torch.tensor([1.5])}
    save_weights(weights, tmp_path / "a/weights.safetensors", {"seed": 7})
    found, about = load_weights(tmp_path / "a/weights.safetensors")
    assert about == {"form": 1, "seed": 7} and found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_weights_that_do_not_fit_are_refused_with_every_name_and_both_shapes():
    state = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2)).state_dict()
    state["1.wieght"] = state.pop("1.weight")
    with pytest.raises(ConvNovaError, match="here: .*use the settings") as refused:
        load_strictly(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), state, "here")
    for part in ('Missing .*"1.weight"', 'Unexpected .*"1.wieght"', r"0.weight: .*\[2, 4\].*\[2, 3\]"):
        refused.match(part)
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_named(tmp_path):
    message = "weights: expected to write it, found no space left; make room"
    with pytest.raises(ConvNovaError, match=message), full_disk_refused(tmp_path / "weights"):
        raise RuntimeError("no space\n left")


@pytest.mark.parametrize("damage", ["weights.json", "weights.safetensors"])
def test_weights_without_their_json_or_damaged_are_refused(damage, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights({"w": torch.zeros(1)}, path, {})
    (tmp_path / damage).write_text("{")
    with pytest.raises(ConvNovaError, match="weights.safetensors: expected weights and a JSON beside them"):
        load_weights(path)


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
    with pytest.raises(ConvNovaError, match="expected weights and a JSON beside them"):
        load_weights(path)
