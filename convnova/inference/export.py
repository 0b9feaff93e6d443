"""A trained ConvNova as a folder of the Hugging Face hub: weights, settings, code, tokenizer and model card.

Who loads it needs PyTorch and `transformers`, and not this package: `templates/modeling_convnova.py` has the model.
"""

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from convnova.config.schema import METRICS
from convnova.data.dna import IUPAC, LETTERS, PAD
from convnova.errors import ConvNovaError
from convnova.files import scratch_folder, write_json
from convnova.inference.network import Network
from convnova.models.weights import save_weights

TEMPLATES, CODE = Path(__file__).with_name("templates"), "modeling_convnova"
HUB_WEIGHTS = "model.safetensors"


class HubForm(NamedTuple):
    """What a network is on the hub: what loads it, its class, its last linear layer there, and what it is for.

    That layer is `head` here, whatever it predicts. There it has two names, so that no head is taken for another one.
    """

    loader: str
    code: str
    head: str
    pipeline: str


SEQUENCES = HubForm(
    "AutoModelForSequenceClassification", "ConvNovaForSequenceClassification", "classifier", "text-classification"
)
HUB_FORMS = {
    "features": HubForm("AutoModel", "ConvNovaModel", "", "feature-extraction"),
    "masked": HubForm("AutoModelForMaskedLM", "ConvNovaForMaskedLM", "lm_head", "fill-mask"),
    "classes": SEQUENCES,
    "multilabel": SEQUENCES,
    "regression": SEQUENCES,
    "per_base": HubForm(
        "AutoModelForTokenClassification", "ConvNovaForTokenClassification", "classifier", "token-classification"
    ),
}
"""By the kind of the network."""
PROBLEMS = {"multilabel": "multi_label_classification", "regression": "regression"}
"""By the kind of the network, as `transformers` calls what its outputs are trained for."""


def export(network: Network, about: dict[str, Any], outputs: list[str], folder: str | Path) -> None:
    """Write a model for the Hugging Face hub.

    Args:
        network: the trained network.
        about: what is known of it, as of `Model`.
        outputs: names of its classes or labels.
        folder: a new or an empty one; it is written whole or not at all.

    Raises:
        ConvNovaError: another architecture than ConvNova, a model of bins, or a folder with files.
    """
    folder = Path(folder)
    numbers = network.numbers
    if numbers and numbers.bin_size:
        raise ConvNovaError("expected a model of whole sequences or of single bases to export, found one of bins")
    if about["architecture"] != "convnova":
        raise ConvNovaError(f"expected a model of the architecture convnova to export, found {about['architecture']}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConvNovaError(f"{folder}: expected a new or an empty folder, found files; name another one")
    config = asdict(getattr(network.module, "backbone", network.module).config)
    about = about | {"settings": config}  # those of the authors' code have other names
    weights, state = {}, network.module.state_dict()
    if numbers:  # there the last layer gives them in the user's units
        state["head.bias"] = numbers.unscaled(state["head.bias"]).float()
        if numbers.loss == "mse":
            state["head.weight"] = state["head.weight"] * state["head.weight"].new_tensor(numbers.scale)[:, None]
        as_they_are = replace(numbers, mean=[0.0] * len(numbers.mean), scale=[1.0] * len(numbers.scale))
        about["numbers"] = asdict(as_they_are)
    for name, tensor in state.items():
        weights[re.sub(r"^head\.", f"{HUB_FORMS[network.kind].head}.", name)] = tensor
    with scratch_folder(folder) as temporary:
        model = temporary / "model"
        save_weights(weights, model / HUB_WEIGHTS, about)
        write_json(model / "config.json", config | _hub_config(network, outputs))
        write_json(model / "tokenizer.json", _tokenizer())
        write_json(model / "tokenizer_config.json", _tokenizer_config(network, about))
        shutil.copyfile(TEMPLATES / f"{CODE}.py", model / f"{CODE}.py")
        (model / "README.md").write_text(_card(network, about, outputs), encoding="utf-8")
        model.rename(folder)


def _hub_config(network: Network, outputs: list[str]) -> dict[str, Any]:
    """What `transformers` must know besides the settings of the architecture: code, head and padding."""
    module, form = network.module, HUB_FORMS[network.kind]
    forms = [HUB_FORMS["features"], form] + ([SEQUENCES] if network.kind == "masked" else [])  # to be fine-tuned
    config = {
        "model_type": "convnova",
        "architectures": [form.code],
        "auto_map": {"AutoConfig": f"{CODE}.ConvNovaConfig"} | {each.loader: f"{CODE}.{each.code}" for each in forms},
        "pad_token_id": PAD,
        "padding_is_read": network.padding.counted,
        "pad_to": network.padding.to,
        "pad_left": network.padding.left,
    }
    if not outputs:
        return config
    return config | {
        "pooling": "mean" if network.kind == "per_base" else module.pooling,  # bases are not pooled
        "head": "linear" if module.convolutions is None else "cnn",
        "id2label": {str(number): name for number, name in enumerate(outputs)},
        "label2id": {name: number for number, name in enumerate(outputs)},
        "problem_type": PROBLEMS.get(network.kind, "single_label_classification"),
    }


def _tokenizer() -> dict[str, Any]:
    """Letters to tokens as `data.dna.encode` reads them, in the form of the library `tokenizers`.

    A letter that no nucleotide sequence has is an error there, as here: there is no token for the unknown.
    """
    cases = {letter: letter.lower() for letter in "ACG"} | {"T": "tuU", "N": f"n.{IUPAC}{IUPAC.lower()}-"}
    replaced = [
        {"type": "Replace", "pattern": {"Regex": f"[{letters}]"}, "content": letter}
        for letter, letters in cases.items()
    ]
    pad = {"id": PAD, "content": "<pad>", "special": True, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [pad | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)],
        "normalizer": {"type": "Sequence", "normalizers": replaced},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {letter: number for number, letter in enumerate(LETTERS)} | {"<pad>": PAD},
            "unk_token": "<no nucleotide>",
        },
    }


def _tokenizer_config(network: Network, about: dict[str, Any]) -> dict[str, Any]:
    """How sequences are padded and cut."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "padding_side": "left" if network.padding.left else "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    if longest := network.padding.to or about.get("max_length"):
        config["model_max_length"] = longest
    return config | ({"mask_token": "N"} if network.kind == "masked" else {})


def _card(network: Network, about: dict[str, Any], outputs: list[str]) -> str:
    """The model card, from the provenance of the weights."""
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), **options)
    return environment.get_template("model_card.md").render(
        about=about,
        kind=network.kind,
        form=HUB_FORMS[network.kind],
        labels=outputs,
        metrics=METRICS,
        receptive_field=getattr(network.module, "backbone", network.module).config.receptive_field,
        parameters=sum(parameter.numel() for parameter in network.module.parameters()),
    )
