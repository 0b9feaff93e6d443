import os
import random
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
    assert about | {"form": 2, "seed": 7} == about and found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.json"])
def test_every_bit_that_flips_in_weights_is_noticed(tmp_path, file):
    path = tmp_path / "weights.safetensors"
    save_weights({"backbone.w": torch.randn(30, 40)}, path, {"settings": {"width": 8}})
    whole, draw, about = (tmp_path / file).read_bytes(), random.Random(1), load_weights(path)[1]
    for _ in range(200):
        content, place = bytearray(whole), draw.randrange(len(whole))
        content[place] ^= 1 << draw.randrange(8)
        (tmp_path / file).write_bytes(content)
        try:
            same = load_weights(path)[1]
        except ConvNovaError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # a space between two words of the JSON
            assert file == "weights.json" and same == about


def test_weights_of_the_first_form_which_had_no_checksums_are_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights({"w": torch.ones(2)}, path, {})
    path.with_suffix(".json").write_text('{"form": 1, "seed": 7}')
    weights, about = load_weights(path)
    assert torch.equal(weights["w"], torch.ones(2)) and about == {"form": 1, "seed": 7}


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
