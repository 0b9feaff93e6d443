"""A trained ConvNova as a folder of the Hugging Face hub: weights, settings, code, tokenizer and model card.

Who loads it needs PyTorch and `transformers`, and not this package: `templates/modeling_convnova.py` has the model.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from safetensors.torch import save_file

from convnova.config.schema import METRICS
from convnova.data.dna import IUPAC, LETTERS, PAD
from convnova.errors import ConvNovaError
from convnova.files import scratch_folder, write_json
from convnova.inference.network import Network
from convnova.models.weights import full_disk_refused

TEMPLATES, CODE = Path(__file__).with_name("templates"), "modeling_convnova"
HUB_WEIGHTS, HUB_CONFIG = "model.safetensors", "config.json"
AUTO_CLASS = {
    "features": "AutoModel", "masked": "AutoModelForMaskedLM", "classes": "AutoModelForSequenceClassification",
    "multilabel": "AutoModelForSequenceClassification", "per_base": "AutoModelForTokenClassification",
}  # fmt: skip
"""What loads a network, by its kind."""
HEAD = {"masked": "lm_head", "classes": "classifier", "multilabel": "classifier", "per_base": "classifier"}
"""Name of the last linear layer there; here it is `head`. Two names, so that no head is taken for another one."""
PIPELINES = {
    "AutoModel": "feature-extraction", "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
}  # fmt: skip
"""What the hub calls what a model is for."""


def export(network: Network, about: dict[str, Any], outputs: list[str], folder: str | Path) -> None:
    """Write a model for the Hugging Face hub.

    Args:
        network: the trained network.
        about: what is known of it, as of `Model`.
        outputs: names of its classes or labels.
        folder: a new or an empty one; it is written whole or not at all.

    Raises:
        ConvNovaError: another architecture than ConvNova, or a folder with files.
    """
    folder = Path(folder)
    if about["architecture"] != "convnova":
        raise ConvNovaError(f"expected a model of the architecture convnova to export, found {about['architecture']}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConvNovaError(f"{folder}: expected a new or an empty folder, found files; name another one")
    config = _config(network, about, outputs)
    with scratch_folder(folder) as temporary:
        model = temporary / "model"
        model.mkdir()
        weights = {}
        for name, tensor in network.module.state_dict().items():
            name = f"{HEAD[network.kind]}.{name.removeprefix('head.')}" if name.startswith("head.") else name
            weights[name] = tensor.cpu().contiguous()
        with full_disk_refused(folder):
            save_file(weights, model / HUB_WEIGHTS, metadata={"format": "pt"})
        write_json(model / HUB_CONFIG, config)
        write_json(model / "tokenizer.json", _tokenizer())
        write_json(model / "tokenizer_config.json", _tokenizer_config(network, about))
        shutil.copyfile(TEMPLATES / f"{CODE}.py", model / f"{CODE}.py")
        (model / "README.md").write_text(_card(network, config), encoding="utf-8")
        model.rename(folder)


def _config(network: Network, about: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    """Settings of the architecture, of the head and of padding, for `transformers`; under `convnova` all of `about`."""
    module, auto_class = network.module, AUTO_CLASS[network.kind]
    settings = asdict(getattr(module, "backbone", module).config)
    loaders = {auto_class, "AutoModel"} | (
        {"AutoModelForSequenceClassification"} if network.kind == "masked" else set()
    )
    classes = {
        loader: f"{CODE}.ConvNova{loader.removeprefix('Auto').removeprefix('Model') or 'Model'}" for loader in loaders
    }
    config = {
        "model_type": "convnova",
        "architectures": [classes[auto_class].partition(".")[2]],
        "auto_map": {"AutoConfig": f"{CODE}.ConvNovaConfig", **dict(sorted(classes.items()))},
        **settings,
        "pad_token_id": PAD,
        "padding_is_read": network.padding.counted,
        "pad_to": network.padding.to,
        "pad_left": network.padding.left,
    }
    if outputs:
        config |= {
            "pooling": module.pooling,
            "head": "linear" if module.convolutions is None else "cnn",
            "id2label": {str(number): name for number, name in enumerate(outputs)},
            "label2id": {name: number for number, name in enumerate(outputs)},
            "problem_type": f"{'multi' if network.kind == 'multilabel' else 'single'}_label_classification",
        }
    about = about | {"architecture": "convnova", "settings": settings}
    # JSON has no infinity
    return config | {"convnova": json.loads(json.dumps(about), parse_constant=lambda _: None)}


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


def _card(network: Network, config: dict[str, Any]) -> str:
    """The model card, from the provenance of the weights."""
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), **options)
    return environment.get_template("model_card.md").render(
        about=config["convnova"],
        kind=network.kind,
        auto_class=AUTO_CLASS[network.kind],
        pipeline=PIPELINES[AUTO_CLASS[network.kind]],
        labels=list(config.get("label2id", ())),
        metrics=METRICS,
        receptive_field=getattr(network.module, "backbone", network.module).config.receptive_field,
        parameters=sum(parameter.numel() for parameter in network.module.parameters()),
    )
