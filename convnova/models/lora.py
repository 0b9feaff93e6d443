"""Low-rank adapters (LoRA; Hu et al. 2021, arXiv 2106.09685) in networks pretrained by others, by the library `peft`.

    y = W x + b + alpha / rank * B A dropout(x)        A (rank, inputs), B (outputs, rank)

A linear layer keeps W and b. A and B are trained, and B begins at zero, so that y begins as it was. The state of such a
model, which checkpoints and kept weights hold, is every A and B, the head, and the checksum of every W; what is not
trained is loaded from where it came from.
"""

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from convnova.errors import ConvNovaError, nearest

TARGETS = {
    "Esm": ("query", "key", "value", "dense"),  # as the authors of GUE adapt Nucleotide Transformer
    "Bert": ("Wqkv", "query", "key", "value"),  # DNABERT-2 has the first one, for all three
    "HyenaDNA": ("in_proj", "out_proj"),
    "Caduceus": ("x_proj", "out_proj"),  # mamba_ssm computes with the weights of the others, and does not call them
}
"""How the name of a network's class begins, to the last parts of the names of layers that get an adapter."""
OUTSIDE = {"lm_head", "pooler", "contact_head"}
"""Parts that features do not pass through."""


class Base(nn.Module):
    """The checksum of the weights that an adapter belongs to, as a part of the model's state."""

    def __init__(self, layers: Iterable[nn.Module]):
        super().__init__()
        checksum = hashlib.sha256()
        for layer in layers:
            checksum.update(layer.weight.detach().contiguous().view(torch.uint8).numpy())
        self.sha256 = checksum.digest()

    def get_extra_state(self) -> Tensor:
        """The checksum, uint8 (32,)."""
        return torch.tensor(list(self.sha256), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare it with that of a saved state; another one is a RuntimeError, as of other wrong states."""
        if bytes(state.tolist()) != self.sha256:
            raise RuntimeError("an adapter to other pretrained weights; take the path and revision of its training")


def check_installed() -> None:
    """Raise a `ConvNovaError` where `peft` is missing."""
    if find_spec("peft") is None:
        raise ConvNovaError("lora: expected the package peft, found none; pip install '.[pretrained]'")


def adapt(model: Any, rank: int, alpha: float | None, dropout: float, targets: list[str]) -> None:
    """Put an adapter into the network of a predictor; then only it and the head are trained, and are the state.

    Args:
        model: a `huggingface.TokenPredictor`, changed in place.
        rank: of the adapter.
        alpha: scale of the product times the rank; None for twice the rank.
        dropout: of what A reads.
        targets: last parts of the names of the layers; none for those of `TARGETS`.

    Raises:
        ConvNovaError: no `peft`, no such layer; or, when the model is run, a layer that it does not call.
    """
    check_installed()
    from peft import LoraConfig, inject_adapter_in_model

    network, layers = model.backbone.network, _layers(model.backbone.network, targets)
    model.base = Base(layers.values())
    model.backbone.requires_grad_(False)
    options = {"r": rank, "lora_alpha": alpha or 2 * rank, "lora_dropout": dropout}
    inject_adapter_in_model(LoraConfig(target_modules=list(layers), **options), network)
    for part in network.modules():
        if hasattr(part, "use_fast_path"):  # mamba_ssm's, which calls none of its layers
            part.use_fast_path = False
    not_called = set(layers)
    for name in layers:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: not_called.discard(name))

    def refuse_idle(*_: Any) -> None:
        if not_called:
            raise ConvNovaError(
                f"lora.targets: expected layers that the model calls, found {min(not_called)}; leave it out"
            )

    model.register_forward_hook(refuse_idle)
    model.register_state_dict_post_hook(_keep_trained)
    model.register_load_state_dict_post_hook(_expect_trained)


def _layers(network: nn.Module, targets: Iterable[str]) -> dict[str, nn.Module]:
    """The layers that get an adapter, by name."""
    linear = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and not OUTSIDE.intersection(name.split("."))
    }
    known = sorted({name.rpartition(".")[-1] for name in linear})
    for target in targets:
        if target not in known:
            raise ConvNovaError(f"lora.targets = {target!r}: {nearest(target, known)}")
    start = next(filter(type(network).__name__.startswith, TARGETS), "")
    wanted = targets or TARGETS.get(start, ())
    if not {*wanted}.intersection(known):
        found = f"no default for {type(network).__name__}; set some of {', '.join(known)}"
        raise ConvNovaError(f"lora.targets: expected names of linear layers, found {found}")
    return {name: layer for name, layer in linear.items() if name.rpartition(".")[-1] in wanted}


def _is_of_base(name: str) -> bool:
    return "backbone." in name and ".lora_" not in name


def _keep_trained(model: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave of a state what is trained."""
    for name in [name for name in state if name.startswith(prefix) and _is_of_base(name)]:
        del state[name]


def _expect_trained(_: nn.Module, keys: Any) -> None:
    """Miss nothing else in a state."""
    keys.missing_keys[:] = [name for name in keys.missing_keys if not _is_of_base(name)]
