"""Low-rank adapters: what they compute and train, and fine-tunings of one from a config to `convnova.load`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import test_huggingface as tiny
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from stopping import stopped

import convnova
from convnova.cli.train import finetune_job
from convnova.config.load import load
from convnova.config.run import Job, RunConfig
from convnova.data.prepare_task import tokenize_task
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import read_metrics
from convnova.models import build_predictor
from convnova.models.weights import load_strictly
from convnova.runs.validate import validate

pytest.importorskip("peft", reason="the optional package peft is not installed")

MIX = "self.mix = torch.nn.Linear(config.d_model, config.d_model)"
RETURNS = "return (self.mix(x + x.mean(1, keepdim=True)),)"


def layered(folder: Path, model: str, *layers: str, returns: str) -> dict:
    """A network with a class and layers of these names, without biases, and what it computes of `x`."""
    made = "; ".join(f"self.{name} = torch.nn.Linear(config.d_model, config.d_model, bias=False)" for name in layers)
    code = tiny.CODE.replace("TinyModel", model).replace(MIX, f"{made}; self.use_fast_path = True")
    return tiny.custom(folder, code.replace(RETURNS, returns), model)


MAMBA = """x = x @ self.in_proj.weight.T
        if self.use_fast_path:
            return (x @ self.x_proj.weight.T @ self.out_proj.weight.T,)
        return (self.out_proj(self.x_proj(x)),)"""
"""As mamba_ssm: it always reads the weight of the first layer past it, and those of the others on its fast path."""

ROW = 2 * (16 + 16)
"""Weights of an adapter of rank 2 to a layer from 16 to 16 features."""
CASES = {
    "nucleotide transformer": (tiny.esm, 2 * (4 * ROW + 2 * 2 * (16 + 32))),
    "bert": (tiny.bert, 2 * 3 * ROW),
    "dnabert2": (lambda folder: layered(folder, "BertModel", "Wqkv", returns="return (self.Wqkv(x),)"), ROW),
    "hyenadna": (
        lambda folder: layered(
            folder, "HyenaDNAModel", "in_proj", "out_proj", "fc1", returns="return (self.out_proj(self.in_proj(x)),)"
        ),
        2 * ROW,
    ),
    "caduceus": (
        lambda folder: layered(folder, "Caduceus", "in_proj", "x_proj", "out_proj", returns=MAMBA), 2 * ROW,
    ),
}  # fmt: skip
"""What makes a network, and the weights of its adapter of rank 2, of the layers that its architecture's targets are."""

LORA = {"rank": 2, "alpha": 6.0, "dropout": 0.0, "targets": []}
HEAD = 16 * 3 + 3
TOKENS = tiny.tokens_of(tiny.SEQUENCE, tiny.SEQUENCE[::-1], "ACGTTGCAAT")


def predictor(settings: dict, lora: dict | None = LORA, seed: int = 1) -> torch.nn.Module:
    """A model of three classes, not in training."""
    torch.manual_seed(seed)
    options = {} if lora is None else {"lora": lora}
    return build_predictor("huggingface", settings, "classes", 3, 40, **options).eval()


def trained(settings: dict, lora: dict = LORA) -> torch.nn.Module:
    """The same after some steps, in which the loss has fallen."""
    model, losses = predictor(settings, lora).train(), []
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-2)
    for _ in range(12):
        losses.append(F.cross_entropy(model(TOKENS), torch.tensor([0, 1, 2])))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    return model.eval()


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory) -> tuple[dict, int]:
    """Settings that load a network just made, and the weights that its adapter should have."""
    folder, (make, count) = tmp_path_factory.mktemp("models") / request.param.replace(" ", "_"), CASES[request.param]
    torch.manual_seed(0)
    return {"path": str(folder), **make(folder)}, count


def test_an_adapter_begins_as_the_identity_and_is_trained_with_the_head_alone(case):
    settings, count = case
    plain, model = predictor(settings, None), predictor(settings)
    assert torch.equal(model(TOKENS), plain(TOKENS))
    numbers = {"lora" if "lora" in name else name: 0 for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            numbers["lora" if "lora" in name else name] += parameter.numel()
    assert numbers == {"lora": count, "head.weight": 16 * 3, "head.bias": 3}
    model(TOKENS).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_what_is_learned_is_the_product_beside_weights_that_stay(case):
    """The same logits from the network without adapters, with alpha / rank * B A added to its weights by hand."""
    settings, _ = case
    plain, model = predictor(settings, None), trained(settings)
    weights, added = dict(model.named_parameters()), 0
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            layer, _, kind = name.rpartition(".")
            if not name.startswith("head."):
                adapted = f"{layer}.base_layer.{kind}"
                assert torch.equal(weights[adapted if adapted in weights else name], parameter), name
            if kind == "weight" and f"{layer}.lora_A.default.weight" in weights:
                b, a = (weights[f"{layer}.lora_{factor}.default.weight"] for factor in "BA")
                parameter.add_(3 * b @ a)
                added += 1
        plain.head.load_state_dict(model.head.state_dict())
        assert added and not torch.allclose(predictor(settings)(TOKENS), model(TOKENS), atol=1e-3)
        torch.testing.assert_close(model(TOKENS), plain(TOKENS), atol=1e-5, rtol=1e-5)


def test_its_state_is_what_was_trained_and_is_enough_to_make_it_again(case):
    settings, count = case
    model, other = trained(settings), predictor(settings, seed=2)
    state = model.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == count + HEAD + 32
    load_strictly(other, state, "it")
    assert torch.equal(other(TOKENS), model(TOKENS))
    for name in state:
        with pytest.raises(ConvNovaError, match=f'it: .*Missing.*"{name}"'):
            load_strictly(other, {key: state[key] for key in state if key != name}, "it")
    with pytest.raises(ConvNovaError, match='it: .*Unexpected.*"more"'):
        load_strictly(other, state | {"more": torch.zeros(1)}, "it")


def test_an_adapter_to_other_weights_is_refused(tmp_path):
    settings = {"path": str(tmp_path), **tiny.bert(tmp_path)}
    state, weights = trained(settings).state_dict(), load_file(tmp_path / "model.safetensors")
    changed = next(name for name in weights if name.endswith("1.attention.self.value.weight"))
    save_file(weights | {changed: -weights[changed]}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConvNovaError, match="it: .*an adapter to other pretrained weights"):
        load_strictly(predictor(settings), state, "it")


def test_dropout_acts_in_training_alone(tmp_path):
    model = trained({"path": str(tmp_path), **tiny.custom(tmp_path)}, LORA | {"dropout": 0.5, "targets": ["mix"]})
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    assert not torch.equal(model(TOKENS), model(TOKENS))


@pytest.mark.parametrize(
    "name, targets, words",
    [
        ("nucleotide transformer", ["query", "quary"], "lora.targets = 'quary': did you mean 'query'?"),
        ("nucleotide transformer", ["decoder"], "lora.targets = 'decoder': "),
        ("hyenadna", ["in_proj", "fc1"], "lora.targets: .*calls, found fc1"),
        ("caduceus", ["in_proj"], "lora.targets: .*calls, found in_proj"),
        ("tiny", [], "lora.targets: .*no default for TinyModel; set some of mix"),
    ],
)
def test_targets_that_are_not_there_or_without_effect_are_refused(name, targets, words, tmp_path):
    make = tiny.custom if name == "tiny" else CASES[name][0]
    with pytest.raises(ConvNovaError, match=words):
        predictor({"path": str(tmp_path), **make(tmp_path)}, LORA | {"targets": targets})(TOKENS)


def run_config(folder: Path, lora: dict | None = None, **model: object) -> RunConfig:
    """A task of long runs of A or T, and a network made in the folder, to be fine-tuned with an adapter."""
    path = folder / "hub"
    if not path.exists():
        torch.manual_seed(0)
        tiny.esm(path)
        random = np.random.default_rng(0)
        for split, count in (("train", 64), ("test", 24)):
            rows = ["".join(random.choice([*"ACGT"], 40)) for _ in range(count)]
            lines = [f"{row[:14]}{'AT'[i % 2] * 12}{row[26:]},{i % 2}" for i, row in enumerate(rows)]
            (folder / f"{split}.csv").write_text("\n".join(["sequence,label", *lines, ""]))
    own = {"path": str(path), "revision": "", "remote_code": False, "needs": "", "longest": 60}
    training = {"lora": lora or {"rank": 2, "dropout": 0.1}, "lr": 2e-2, "epochs": 3, "batch_size": 16}
    content = {
        "models": {"adapted": {"like": "nucleotide_transformer_v2", "title": "adapted", "settings": own, **model}},
        "finetune": training | {"precision": "float32"},
        "suites": {"own": {"format": "csv", "tasks": {"runs": {
            "train": str(folder / "train.csv"), "test": str(folder / "test.csv"), "max_length": 40}}}},
    }  # fmt: skip
    return load({"run": "x", **content}, [], tiny.CATALOGUE)


def run(folder: Path, name: str, **changes: object) -> Path:
    """The folder of a fine-tuning's results."""
    config, dataset = run_config(folder, **changes), folder / "task.safetensors"
    files = {split: folder / f"{split}.csv" for split in ("train", "test")}
    if not dataset.exists():
        tokenize_task(config.suites["own"].tasks["runs"], "csv", files, dataset)
    finetune_job(config, Job("own", "runs", "adapted", "heldout", 1), dataset, folder / name)
    return folder / name


def predictions(out: Path) -> np.ndarray:
    table = pyarrow.parquet.read_table(out / "predictions.parquet")
    return np.stack(table["score"].to_numpy(zero_copy_only=False))


def test_a_fine_tuning_keeps_a_small_file_from_which_load_gives_its_predictions(tmp_path):
    out = run(tmp_path, "out")
    metrics, base = read_metrics(out / "metrics.json"), tmp_path / "hub/model.safetensors"
    trained = CASES["nucleotide transformer"][1] + 17 * 2
    whole = sum(
        p.numel() for p in tiny.Backbone(tiny.Config(str(base.parent), loader="AutoModelForMaskedLM")).parameters()
    )
    assert (metrics["trained_parameters"], metrics["parameters"]) == (trained, whole + trained)
    assert metrics["training"]["lora"] == {"rank": 2, "alpha": None, "dropout": 0.1, "targets": []}
    assert len({epoch["score"] for epoch in metrics["epochs"]}) > 1
    assert (out / "weights.safetensors").stat().st_size < base.stat().st_size / 20
    letters = [line.split(",")[0] for line in (tmp_path / "test.csv").read_text().splitlines()[1:]]
    table = convnova.load(out).predict(letters)
    np.testing.assert_allclose(table[["0", "1"]].to_numpy(), predictions(out), atol=1e-6)
    untrained = convnova.load(run(tmp_path, "one step", lora={"rank": 2, "alpha": 1e-6})).predict(letters)
    assert not np.allclose(untrained[["0", "1"]].to_numpy(), predictions(out), atol=1e-3)
    torch.manual_seed(1)
    tiny.esm(tmp_path / "hub")
    with pytest.raises(ConvNovaError, match="out/weights.safetensors: .*an adapter to other pretrained weights"):
        convnova.load(out)


def same_results(one: Path, other: Path) -> bool:
    first, second = (load_file(out / "weights.safetensors") for out in (one, other))
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return same and np.array_equal(predictions(one), predictions(other))


def test_stopped_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, monkeypatch, capsys):
    whole = run(tmp_path, "whole")
    stopped(monkeypatch, 6, lambda: run(tmp_path, "parts"))
    (checkpoint,) = (tmp_path / "parts").glob("checkpoints/*/step-*")
    # the adapter, the head, their two averages each, and those of the best epoch; not the network
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    assert size < (tmp_path / "hub/model.safetensors").stat().st_size / 4
    assert same_results(whole, run(tmp_path, "parts"))
    assert "step-000000006" in capsys.readouterr().err


KILLED = """
import os, pathlib, signal, sys
sys.path[:0] = {folders!r}
import torch, test_lora
from convnova.training.finetune import Supervised
torch.set_num_threads(1)
loss, calls = Supervised.loss, iter(range(1, 10_000))

def dying(self, model, batch):
    if next(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, model, batch)

Supervised.loss = dying
test_lora.run(pathlib.Path(sys.argv[1]), "parts")
"""


@pytest.mark.slow
def test_killed_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, capsys):
    whole, here = run(tmp_path, "whole"), Path(__file__).parent
    words = ["-c", KILLED.format(folders=[str(here), str(here.parent)]), str(tmp_path)]
    killed = subprocess.run([sys.executable, *words], env=os.environ | {"CONVNOVA_CHECKPOINT_SECONDS": "0"})
    assert killed.returncode == -signal.SIGKILL
    assert same_results(whole, run(tmp_path, "parts"))
    assert "continuing from " in capsys.readouterr().err


@pytest.mark.parametrize(
    "models, finetune, words",
    [
        ({"convnova_scratch": None}, {"rank": 8}, "convnova_scratch.*lora: expected a model pretrained by others"),
        ({"cnn": {"training": {"lora": {"rank": 8}}}}, None, "cnn.*lora: expected a model pretrained by others"),
        ({"dnabert2": {"frozen": True}}, {"rank": 8}, "dnabert2.*lora: expected `frozen: false`"),
        ({"dnabert2": None}, {"rank": 0}, "finetune.lora.rank = 0: "),
        ({"dnabert2": None}, {"rank": 8, "alfa": 1}, "finetune.lora.alfa = 1: unknown key; did you mean 'alpha'"),
        ({"dnabert2": None}, {"alpha": 8}, "finetune.lora.rank: expected this key"),
        ({"dnabert2": None}, {"rank": 8, "dropout": 1}, "finetune.lora.dropout = 1: "),
    ],
)
def test_what_cannot_have_an_adapter_is_refused_before_any_job(models, finetune, words, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    content = {"suites": {"nucleotide_transformer": ["H3"]}, "models": models}
    with pytest.raises(ConvNovaError, match=words):
        validate(load(content | ({"finetune": {"lora": finetune}} if finetune else {}), [], tiny.CATALOGUE))


def test_an_adapter_in_pretraining_is_refused():
    content = {"genome": "hg38", "models": ["convnova"], "pretrain": {"lora": {"rank": 8}}}
    with pytest.raises(ConvNovaError, match="convnova.pretraining: lora: "):
        validate(load(content, [], tiny.CATALOGUE))


def test_without_peft_it_is_said_what_to_install(tmp_path, monkeypatch):
    config = run_config(tmp_path)
    validate(config)
    monkeypatch.setattr("convnova.models.lora.find_spec", lambda name: None)
    with pytest.raises(ConvNovaError, match=r"lora: expected the package peft, found none; pip install '.\[pretr"):
        validate(config)
    with pytest.raises(ConvNovaError, match="expected the package peft"):
        predictor(config.settings("adapted", "own"))


def test_settings_of_an_adapter_change_the_hash_and_no_adapter_does_not(tmp_path):
    job = Job("own", "runs", "adapted", "heldout", 1)
    configs = [run_config(tmp_path, lora={"rank": rank}) for rank in (2, 3)]
    without = configs[0].model_copy(update={"finetune": configs[0].finetune.changed({"lora": None})})
    assert len({config.job_fingerprint(job) for config in (*configs, without)}) == 3
    assert "lora" not in json.dumps(without.training(job).model_dump(exclude={"source"}))
