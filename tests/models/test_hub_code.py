"""The classes that the authors published, by their own code: tiny checkpoints, loaded through the pipeline's calls.

Their Python files are in no package, and not ours to copy: docs/models.md says how to fetch them. `CONVNOVA_HUB_CODE`
names the folder, with a subfolder a model. Caduceus imports `mamba_ssm`, which needs CUDA: where it is missing, and not
elsewhere, a stand-in with this package's scan takes its place, so its kernels and fused norms are not tried.
"""

import importlib.util
import json
import math
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_huggingface as tiny
import test_lora
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from convnova.config.load import load
from convnova.models import build_backbone, build_predictor, caduceus
from convnova.runs.validate import validate

CODE = os.environ.get("CONVNOVA_HUB_CODE")
pytestmark = pytest.mark.skipif(not CODE, reason="CONVNOVA_HUB_CODE names no folder with the authors' code")


@dataclass(frozen=True)
class Case:
    """A model's own classes, and small settings for them in the form of the published ones."""

    classes: dict[str, str]
    """By what loads them: AutoConfig, the loader, and AutoTokenizer where its code has one."""
    settings: dict[str, Any]
    tokens: str
    """Which of `tiny.TOKENS`; before the first one are `special` tokens."""
    special: int
    unused: str
    """Parts of the network that features do not pass through."""


CASES = {
    "nucleotide_transformer_v2": Case(
        {"AutoConfig": "EsmConfig", "AutoModelForMaskedLM": "EsmForMaskedLM"},
        {"vocab_size": 4 + 4**6 + 5, "pad_token_id": 1, "mask_token_id": 2, "max_position_embeddings": 66,
         "position_embedding_type": "rotary", "add_bias_fnn": False, "token_dropout": False,
         "emb_layer_norm_before": False, "tie_word_embeddings": False, **tiny.SMALL},
        "esm", 1, "lm_head position_embeddings contact_head",
    ),
    "dnabert2": Case(
        {"AutoConfig": "BertConfig", "AutoModel": "BertModel"},
        {"vocab_size": len(tiny.BYTE_PAIRS), "alibi_starting_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
         "hidden_dropout_prob": 0.1, "max_position_embeddings": 64, "type_vocab_size": 2, **tiny.SMALL},
        "bert", 1, "pooler",
    ),
    "hyenadna_released": Case(
        {"AutoConfig": "HyenaConfig", "AutoModel": "HyenaDNAModel", "AutoTokenizer": "HyenaDNATokenizer"},
        {"vocab_size": 12, "pad_token_id": 4, "d_model": 16, "d_inner": 64, "n_layer": 2, "max_seq_len": 64,
         "emb_dim": 5, "filter_order": 8, "activation_freq": 10},
        "custom", 0, "",
    ),
    "caduceus_ph_released": Case(
        {"AutoConfig": "CaduceusConfig", "AutoModel": "Caduceus", "AutoTokenizer": "CaduceusTokenizer"},
        {"vocab_size": 12, "d_model": 16, "n_layer": 2, "fused_add_norm": False, "residual_in_fp32": False},
        "custom", 0, "",
    ),
}  # fmt: skip


class Mamba(nn.Module):
    """For `mamba_ssm`'s: (B, L, d) to the same. As there, weights are read past their layers, on the fast path all."""

    use_fast_path = True

    def __init__(self, d_model: int, layer_idx: int, device: Any = None, dtype: Any = None):
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(d_model, 4 * d_model, False), nn.Linear(2 * d_model, d_model, False)
        self.direction = caduceus.Direction(2 * d_model, math.ceil(d_model / 16), caduceus.Config())

    def forward(self, x: Tensor, inference_params: None = None) -> Tensor:
        u, z = (x @ self.in_proj.weight.T).chunk(2, -1)
        y = self.direction(u, None) * nn.functional.silu(z)
        return y @ self.out_proj.weight.T if self.use_fast_path else self.out_proj(y)


class Block(nn.Module):
    """For `mamba_ssm`'s: what is still to be added to its output comes and goes as `residual`."""

    def __init__(self, dim: int, mixer_cls: Any, norm_cls: Any, fused_add_norm: bool, residual_in_fp32: bool):
        super().__init__()
        self.mixer, self.norm = mixer_cls(dim), norm_cls(dim)

    def forward(self, x: Tensor, residual: Tensor | None, inference_params: None) -> tuple[Tensor, Tensor]:
        residual = x if residual is None else x + residual
        return self.mixer(self.norm(residual)), residual


STAND_INS = {
    "mamba_ssm": {},
    "mamba_ssm.modules.mamba_simple": {"Mamba": Mamba, "Block": Block},
    "mamba_ssm.ops.triton.layernorm": {"RMSNorm": nn.RMSNorm, "layer_norm_fn": None, "rms_norm_fn": None},
}


@pytest.fixture(scope="module")
def mamba_ssm():
    """A stand-in for the package."""
    if importlib.util.find_spec("mamba_ssm") is not None:
        pytest.skip("mamba_ssm is installed, whose kernels do not run on a CPU")
    with pytest.MonkeyPatch.context() as patched:
        for name, content in STAND_INS.items():
            patched.setitem(sys.modules, name, ModuleType(name))
            vars(sys.modules[name]).update(content)
        yield


@pytest.fixture(scope="module", params=CASES)
def made(request, tmp_path_factory) -> tuple[Case, nn.Module, dict[str, Any]]:
    """A small network of config/pretrained_by_others.yaml, saved, and the settings by which the pipeline loads it."""
    name, case, code = request.param, CASES[request.param], Path(CODE) / request.param
    if not code.is_dir():
        pytest.skip(f"no {code}; docs/models.md says how to fetch it")
    needs = yaml.safe_load((tiny.CATALOGUE / f"models/{name}.yaml").read_text())["settings"].get("needs", "")
    if "mamba-ssm" in needs:
        request.getfixturevalue("mamba_ssm")
    folder = tmp_path_factory.mktemp("hub") / name
    network, own = save(case, code, folder), {"path": str(folder), "needs": needs.replace("mamba-ssm", "")}
    suites = {"nucleotide_transformer": ["H3"]}
    config = load({"suites": suites, "models": {name: {"settings": own}}}, [], tiny.CATALOGUE)
    validate(config)
    return case, network, config.settings(name, "nucleotide_transformer")


def save(case: Case, code: Path, folder: Path) -> nn.Module:
    """Code, settings, tokenizer and weights, none of which is zero or one."""
    folder.mkdir()
    {"esm": tiny.esm_tokenizer, "bert": tiny.bert_tokenizer, "custom": tiny.letters}[case.tokens](folder)
    where = {}
    for file in code.glob("*.py"):
        shutil.copy(file, folder)
        for name in re.findall(r"^class (\w+)\(", file.read_text(), re.MULTILINE):
            where[name] = f"{file.stem}.{name}"
    places = {kind: where[name] for kind, name in case.classes.items() if name in where}
    (folder / "config.json").write_text(json.dumps({**case.settings, "auto_map": places}))
    if tokenizer := places.get("AutoTokenizer"):
        about = {"tokenizer_class": case.classes["AutoTokenizer"], "auto_map": {"AutoTokenizer": [tokenizer, None]}}
        (folder / "tokenizer_config.json").write_text(json.dumps({**about, "model_max_length": 64}))
    loader = getattr(tiny.transformers, list(case.classes)[1])
    settings = tiny.transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    torch.manual_seed(0)
    network = loader.from_config(settings, trust_remote_code=True).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    once = {tensor.data_ptr(): name for name, tensor in reversed(network.state_dict().items())}
    weights = {name: network.state_dict()[name] for name in once.values()}  # what is shared: under its first name alone
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return network


def test_what_is_loaded_is_what_was_saved(made):
    _, network, settings = made
    found, expected = build_backbone("huggingface", settings).network, network.state_dict()
    assert type(found).__name__ == type(network).__name__ and found.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    assert sum(p.numel() for p in found.parameters()) == sum(p.numel() for p in network.parameters()), "shared as there"


def test_features_are_those_that_the_class_itself_gives(made):
    """The mean over its tokens without special ones, and for a base the vector of its token."""
    case, network, settings = made
    words, tokens = tiny.TOKENS[case.tokens].split(), tiny.tokens_of(tiny.SEQUENCE)
    tokenizer = tiny.transformers.AutoTokenizer.from_pretrained(settings["path"], trust_remote_code=True)
    ids = torch.tensor([tokenizer(tiny.SEQUENCE)["input_ids"]])
    model = build_backbone("huggingface", settings).eval()  # first, since it takes DNABERT-2's old kernels out
    expected = getattr(network, "esm", network)(ids)[0][0, case.special : case.special + len(words)]
    assert ids.shape[1] > len(words) and expected.std(0).min() > 1e-3
    per_base = expected.repeat_interleave(torch.tensor(list(map(len, words))), 0)
    torch.testing.assert_close(model(tokens)[0], per_base, atol=1e-5, rtol=1e-5)
    pooled = build_predictor("huggingface", settings, "classes", 3, 40).eval().pooled(tokens)
    torch.testing.assert_close(pooled[0], expected.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "per_base"])
def test_padding_is_masked_out(made, kind):
    tiny.test_a_padded_batch_in_any_order_gives_what_single_sequences_give(made[-1], kind, "linear")


def test_gradients_reach_every_weight_that_features_pass_through(made):
    model = build_backbone("huggingface", made[-1])
    model(tiny.tokens_of(tiny.SEQUENCE, "ACGTTGCAAT")).square().sum().backward()
    idle = {name for name, p in model.network.named_parameters() if p.grad is None or not p.grad.any()}
    assert all({*name.split(".")} & {*made[0].unused.split()} for name in idle), idle


ROW = 2 * (16 + 16)
"""Weights of an adapter of rank 2 to a layer from 16 to 16 features."""
ADAPTERS = {
    "EsmForMaskedLM": 2 * (4 * ROW + 2 * (16 + 64) + 2 * (16 + 32)), "BertModel": 2 * 2 * (16 + 48),
    "HyenaDNAModel": 2 * (2 * (16 + 48) + ROW), "Caduceus": 2 * 2 * 2 * (32 + 16),
}  # fmt: skip
"""By the class. Nucleotide Transformer v2 has a layer for both halves of its gated one; Wqkv and in_proj make three."""


def test_an_adapter_is_where_it_should_be_and_learns(made):
    name = type(made[1]).__name__
    case = made[-1], ADAPTERS[name]
    test_lora.test_an_adapter_begins_as_the_identity_and_is_trained_with_the_head_alone(case)
    test_lora.test_its_state_is_what_was_trained_and_is_enough_to_make_it_again(case)
    if name != "Caduceus":  # its directions share weights, and each has an adapter: no one product can be added
        test_lora.test_what_is_learned_is_the_product_beside_weights_that_stay(case)


@pytest.mark.parametrize("frozen", [False, True])
def test_fine_tuning_changes_the_network_unless_it_is_frozen(made, frozen):
    tiny.test_fine_tuning_reaches_the_network_and_frozen_does_not(made[-1], frozen)


def test_training_goes_on_after_an_evaluation(made):
    tiny.test_what_a_network_keeps_of_an_evaluation_is_no_hindrance_to_training(made[-1])
