"""Folders for the Hugging Face hub: `transformers` alone gives the numbers of this package, and what the card says."""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from own_run import ENVIRONMENT
from saved_models import CONVNOVA, save_language_model, save_predictor

import convnova
from convnova.cli.main import main
from convnova.data.batches import Padding
from convnova.data.dna import encode
from convnova.errors import ConvNovaError
from convnova.files import seal
from convnova.inference.export import TEMPLATES
from convnova.inference.model import Model
from convnova.inference.network import Network
from convnova.models import build_backbone
from convnova.models.convnova import Config

SEQUENCES = ["ACGTTGCANNACGT", "TTTGACCAGTTAGACGATCATTTGACA", "g", "ACGUTGCarGACGA-", "ACGTTGCAGGACGA" * 3]
FULL = {"ffn": True, "final_conv": True, "stacks": 2, "tail_expansion": 3, "dropout": 0.1}
PRETRAINED = {
    "plain": {},
    "full": FULL,
    "reverse_complement": {"second_branch": "reverse_complement"},
    "one_branch": {"second_branch": "none"},
    "gate_sum": {"gate": "sum"},
    "gate_none": {"gate": "none", "second_branch": "none"},
    "wide_reach": {"width": 5, "blocks": 10},
}
NUMBERS = {"loss": "mse", "mean": [5.0, 0.0, -200.0], "scale": [2.0, 1.0, 30.0], "bin_size": None}
FINETUNED = {
    "classes": {},
    "classes_full": {"settings": CONVNOVA | FULL},
    "maximum": {"pooling": "max"},
    "mean_and_maximum": {"pooling": "mean_max"},
    "convolutional_head": {"head": "cnn", "frozen": True},
    "labels": {"kind": "multilabel"},
    "bases": {"kind": "per_base"},
    "bases_mean_and_maximum": {"kind": "per_base", "pooling": "mean_max"},
    "bases_convolutional_head": {"kind": "per_base", "head": "cnn"},
    "numbers": {"kind": "regression", "numbers": NUMBERS},
    "counts": {"kind": "regression", "numbers": NUMBERS | {"loss": "poisson"}},
    "released": {"pool_padding": True},
    "released_reverse": {"pool_padding": True, "settings": CONVNOVA | {"second_branch": "reverse_complement"}},
}
CASES = [*PRETRAINED, *FINETUNED, "features"]
HUB_CLASS = {
    "masked": "ConvNovaForMaskedLM", "classes": "ConvNovaForSequenceClassification", "features": "ConvNovaModel",
    "multilabel": "ConvNovaForSequenceClassification", "per_base": "ConvNovaForTokenClassification",
    "regression": "ConvNovaForSequenceClassification",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Model]:
    """A model of every form, by its name; its folder for the hub is `hub/<name>` beside its own."""
    folder, loaded = tmp_path_factory.mktemp("models"), {}
    for name, settings in PRETRAINED.items():
        save_language_model(folder / name, settings=CONVNOVA | settings)
    for name, options in FINETUNED.items():
        save_predictor(folder / name, **options)
        if "pool_padding" in options:  # as in the authors' code
            about = json.loads((folder / name / "weights.json").read_text())
            padding = {"to": 60, "counted": True, "left": True}
            (folder / name / "weights.json").write_text(
                json.dumps(seal(about | {"padding": padding, "max_length": 60}))
            )
    loaded = {path.name: convnova.load(path, precision="float32") for path in folder.iterdir()}
    network = Network(build_backbone("convnova", CONVNOVA).eval(), "features", Padding(), "float32", None)
    loaded["features"] = Model(
        network, {"architecture": "convnova", "settings": {"hidden_dim": 8}}, str(folder / "features")
    )
    for name, model in loaded.items():
        model.export(folder / "hub" / name)
    return loaded


def hub_folder(model: Model) -> Path:
    return Path(model.path).parent / "hub" / Path(model.path).name


def test_all_settings_of_the_architecture_are_in_the_code():
    code = ast.parse((TEMPLATES / "modeling_convnova.py").read_text())
    config = next(node for node in code.body if isinstance(node, ast.ClassDef) and node.name == "ConvNovaConfig")
    init = next(node for node in config.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    written = zip(init.args.args[1:], init.args.defaults, strict=True)
    defaults = {each.arg: value.value for each, value in written if isinstance(value, ast.Constant)}
    assert {field.name: field.default for field in fields(Config)}.items() <= defaults.items()


@pytest.mark.parametrize("name", CASES)
def test_the_folder_is_the_same_model_here(models, name):
    again = convnova.load(hub_folder(models[name]), precision="float32")
    assert again.network.kind == models[name].network.kind and again.outputs == models[name].outputs
    for per_base in (False, True):
        ours, theirs = (np.vstack(model.embed(SEQUENCES, per_base)) for model in (models[name], again))
        np.testing.assert_array_equal(ours, theirs)
    if models[name].network.kind == "regression":  # whose scale is in the last layer there
        names = models[name].outputs
        ours, theirs = (model.predict(SEQUENCES)[names].to_numpy() for model in (models[name], again))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert np.abs(ours).max() > 5
    elif name in FINETUNED:
        assert models[name].predict(SEQUENCES).equals(again.predict(SEQUENCES))


@pytest.mark.slow
def test_a_name_on_the_hub_is_that_model(models, tmp_path):
    """From the cache of the library, as after a download."""
    pytest.importorskip("huggingface_hub")
    cache, commit = tmp_path / "hub/models--me--mine", "0" * 40
    shutil.copytree(hub_folder(models["classes"]), cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(commit)
    script = "import convnova; print(convnova.load('me/mine').predict(['ACGT']).iloc[0, 1:].tolist())"
    environment = ENVIRONMENT | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    expected = models["classes"].predict(["ACGT"]).iloc[0, 1:].tolist()
    assert ast.literal_eval(done.stdout) == pytest.approx(expected, abs=1e-6), done.stderr
    (cache / "snapshots" / commit / "model.json").unlink()  # as where others have put a model
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "expected a JSON beside it" in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module", params=["installed", pytest.param("newest", marks=pytest.mark.external)])
def numbers(request, models, tmp_path_factory) -> dict[str, np.ndarray]:
    """What `transformers` gives for every folder: the installed one, and the newest in an environment of its own."""
    folder, python = tmp_path_factory.mktemp("numbers"), sys.executable
    if request.param == "newest":
        python = newest_transformers(folder / "environment")
    else:
        pytest.importorskip("transformers", reason="the optional package transformers is not installed")
    script = [python, "-P", Path(__file__).with_name("hub_numbers.py"), hub_folder(models["plain"]).parent]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "PYTHONPATH": ""}
    done = subprocess.run([*script, folder / "out.npz", *SEQUENCES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = dict(np.load(folder / "out.npz"))
    assert request.param == "installed" or int(str(results["version"]).split(".")[0]) >= 5
    return results


def newest_transformers(folder: Path) -> Path:
    """The interpreter of a new environment with the newest `transformers`, beside the torch of this one."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "torch.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "bin/python"
    install = [python, "-m", "pip", "install", "-q", "--upgrade", "transformers"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot fetch transformers: {done.stderr[-200:]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("form", ["token", "mask", "left"])
@pytest.mark.parametrize("name", CASES)
def test_transformers_gives_the_same_numbers_on_batches_with_padding(models, numbers, name, form):
    model, place, kind = models[name], f"{name}/{form}", models[name].network.kind
    tokens = [encode(sequence)[0] for sequence in SEQUENCES]
    width = max(map(len, tokens))
    if kind in ("classes", "multilabel", "regression"):
        expected = model.network.logits(tokens, [0] * len(tokens), "forward")
        if kind == "regression":  # the folder gives them in the user's units, counts as logarithms
            expected = model.predict(SEQUENCES)[model.outputs].to_numpy()
            expected = np.log(expected) if name == "counts" else expected
        np.testing.assert_allclose(numbers[f"{place}/{HUB_CLASS[kind]}"], expected, atol=1e-5, rtol=1e-5)
        if "cnn" not in str(FINETUNED[name]):
            np.testing.assert_allclose(numbers[f"{place}/pooler_output"], model.embed(tokens), atol=1e-5, rtol=1e-5)
        return
    for row, line in enumerate(tokens):
        columns = slice(width - len(line), width) if form == "left" else slice(0, len(line))
        with torch.inference_mode():
            module, line = model.network.module.eval(), torch.from_numpy(line)[None]
            parts = {HUB_CLASS[kind]: module(line), "last_hidden_state": getattr(module, "backbone", module)(line)}
        for part, expected in parts.items():
            np.testing.assert_allclose(numbers[f"{place}/{part}"][row, columns], expected[0], atol=1e-5, rtol=1e-5)
    if kind != "per_base":
        np.testing.assert_allclose(numbers[f"{place}/pooler_output"], model.embed(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_tokenizer_and_dilations_are_those_of_the_training(models, numbers):
    for name, model in models.items():
        ours = getattr(model.network.module, "backbone", model.network.module).config.dilations
        assert numbers[f"{name}/dilations"].tolist() == ours
    assert max(numbers["wide_reach/dilations"]) == 1024
    assert numbers["released/length"] == 60 and numbers["classes/length"] > 1e9
    assert numbers["plain/mask"] == 4 and numbers["classes/mask"] == -1


def test_the_card_says_where_the_model_comes_from(models):
    card = (hub_folder(models["classes"]) / "README.md").read_text()
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "text-classification"
    for words in ("| **mcc** | 0.500 | 0.400 to 0.600 |", "simulated genome", "no, yes, maybe", "| lr | 0.001 |"):
        assert words in text, words
    assert "chosen by the test" not in text
    for name in CASES:
        text = (hub_folder(models[name]) / "README.md").read_text()
        assert "None" not in text and "{" not in text


def test_the_card_of_a_real_run(finished, tmp_path):
    """Every claim of it is in the JSON beside the weights."""
    for part in ("pretrain/convnova", "runs/nucleotide_transformer/H3/convnova/heldout/seed=1"):
        folder = finished / "results/small" / part
        about = json.loads((folder / "weights.json").read_text())
        convnova.load(folder).export(tmp_path / part)
        text = (tmp_path / part / "README.md").read_text()
        for file in about["provenance"]["inputs"].values():
            assert file["sha256"] in text and file["path"] in text
        assert about["provenance"]["command"] in text and about["provenance"]["commit"] in text
        if "interval" in about:
            assert f"| {about['interval'][0]:.3f} to {about['interval'][1]:.3f} |" in text
            assert f"test: {about['rows']['test']} sequences" in text
        else:
            assert f"{about['epochs'][0]['loss']:.4f} nats" in text


def test_the_command_writes_the_same_folder(models, tmp_path):
    assert main(["export", models["classes"].path, "--hub", str(tmp_path / "hub")]) == 0
    for file in hub_folder(models["classes"]).iterdir():
        assert (tmp_path / "hub" / file.name).read_bytes() == file.read_bytes()


def test_what_cannot_be_exported_is_said_in_a_line_and_leaves_nothing(models, tmp_path, full_disk):
    save_predictor(tmp_path / "cnn", "cnn", {})
    with pytest.raises(ConvNovaError, match="convnova to export, found cnn"):
        convnova.load(tmp_path / "cnn").export(tmp_path / "hub")
    with pytest.raises(ConvNovaError, match="cnn: expected a new or an empty folder"):
        models["plain"].export(tmp_path / "cnn")
    save_language_model(tmp_path / "large", settings={"width": 64})
    with full_disk(), pytest.raises(ConvNovaError, match="model.safetensors: expected to write it"):
        convnova.load(tmp_path / "large").export(tmp_path / "hub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn", "large"]
