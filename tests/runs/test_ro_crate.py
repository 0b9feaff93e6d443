import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from small_run import convnova

from convnova.config.load import load_file
from convnova.errors import ConvNovaError
from convnova.runs.ro_crate import write_crate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(small) -> Path:
    """The finished run in a folder with the workflow."""
    shutil.copy(ROOT / "Snakefile", "Snakefile")
    for folder in ("workflow", "config"):
        shutil.copytree(ROOT / folder, folder)
    return small


def crate(out: str, config: str = "results/small/config.yaml") -> dict[str, dict]:
    """The entities by their ids, of which none may be there twice."""
    path = write_crate(load_file(config), Path(out))
    graph = json.loads(path.read_text())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}


def references(value) -> list[str]:
    """Every `{"@id": ...}` within a value."""
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else references(list(value.values()))
    return []


@pytest.mark.parametrize("out", ["copied", "ro-crate-metadata.json", "../ro-crate-metadata.json"])
def test_every_file_of_the_crate_is_there_with_its_checksum(checkout, out):
    root = (checkout / out).parent if out.endswith(".json") else checkout / out
    found = [entity for entity in crate(out).values() if "sha256" in entity]
    assert len(found) > 30
    for entity in found:
        content = (root / entity["@id"]).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest() and entity["contentSize"] == str(len(content))


def test_every_reference_is_an_entity_of_the_crate(checkout):
    entities = crate("copied")
    for entity in entities.values():
        assert set(references(entity)) - {"https://w3id.org/ro/crate/1.1"} <= set(entities)


def test_results_workflow_and_config_are_parts(checkout):
    entities = crate("copied")
    parts = references(entities["./"]["hasPart"])
    for path in Path("results/small").rglob("*"):
        if path.name in ("metrics.json", "weights.json", "config.yaml") or path.parent.name in ("tables", "figures"):
            assert str(path) in parts
    assert {str(path) for path in Path("workflow").rglob("*.smk")} <= set(parts)
    assert entities["./"]["mainEntity"] == {"@id": "Snakefile"}
    assert "ComputationalWorkflow" in entities["Snakefile"]["@type"]


def test_the_run_is_an_action_from_first_to_last(checkout):
    action = crate("copied")["#run-small"]
    made = [json.loads(path.read_text())["provenance"] for path in Path("results/small").rglob("metrics.json")]
    begin, end = (datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
    assert begin <= min(datetime.fromisoformat(of_one["started"]) for of_one in made) <= end
    assert (end - begin).total_seconds() >= max(of_one["seconds"] for of_one in made) - 1
    assert action["instrument"] == {"@id": "Snakefile"}
    assert len([path for path in references(action["result"]) if path.endswith("metrics.json")]) == 8


def test_a_simulated_run_says_so_and_a_real_one_has_its_addresses(checkout):
    simulated = crate("copied")
    assert "simulated data" in simulated["./"]["name"]
    assert not [name for name, entity in simulated.items() if name.startswith("http") and entity["@type"] == "File"]
    config = Path("results/small/config.yaml")
    config.write_text(config.read_text().replace("simulate:\n  seed: 1\n", ""))
    real = crate("real")
    fasta = real["https://storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz"]
    assert "UCSC" in fasta["license"] and {"@id": fasta["@id"]} in real["#run-small"]["object"]
    assert "imulated" not in real["./"]["name"] + real["./"]["description"]


@pytest.mark.parametrize(
    "out, told",
    [("crate.json", "expected a folder or a file named ro-crate-metadata.json"),
     ("results/ro-crate-metadata.json", "expected a place at or above")],
)  # fmt: skip
def test_a_place_that_cannot_hold_a_crate_is_an_error(checkout, out, told):
    with pytest.raises(ConvNovaError, match=told):
        crate(out)


def test_without_workflow_or_results_there_is_no_crate(small, capsys):
    assert convnova("crate", "--run", "small", "--out", "copied") == 1
    assert "expected a Snakefile, found none" in capsys.readouterr().err
    shutil.rmtree("results/small/runs")
    assert convnova("crate", "--run", "small", "--out", "copied") == 1
    assert "expected results of fine-tunings, found none" in capsys.readouterr().err
    assert not Path("copied").exists()
