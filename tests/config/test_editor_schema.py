"""The JSON Schema for editors, by the package jsonschema, which knows nothing of ours."""

import json

import jsonschema
import pytest
from own_config import CATALOGUE, own_config

from convnova.cli.main import main
from convnova.files import read_yaml

SCHEMA = json.loads((CATALOGUE / "schema.json").read_text())
RUNS = sorted(set(CATALOGUE.glob("*.yaml")) - {CATALOGUE / "genomes.yaml", CATALOGUE / "sources.yaml"})


def test_the_file_is_what_the_command_prints(capsys):
    """If this fails: convnova config --schema > config/schema.json"""
    assert main(["config", "--schema"]) == 0
    assert capsys.readouterr().out == (CATALOGUE / "schema.json").read_text()


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_config_of_the_project_fits(path):
    jsonschema.validate(read_yaml(path), SCHEMA)


@pytest.mark.parametrize(
    "changes, place",
    [
        ({"sedes": [1]}, []),
        ({"protocols": ["cross"]}, ["protocols", 0]),
        ({"finetune": {"lr": "fast"}}, ["finetune", "lr"]),
        ({"models": "cnn"}, ["models"]),
        ({"suites__mine__tasks__H3__lr": 0.1}, ["suites", "mine", "tasks", "H3"]),
    ],
)
def test_what_the_reader_refuses_the_schema_marks(changes, place):
    jsonschema.validate(own_config(suites__mine__tasks__H3__classes=[0, 1]), SCHEMA)
    with pytest.raises(jsonschema.ValidationError) as error:
        jsonschema.validate(own_config(**changes), SCHEMA)
    assert list(error.value.absolute_path) == place
