"""The model that ours is measured beside: the authors' own code, or its equations written down again."""

import copy
import importlib.util
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.models.convnova import Config
from convnova.models.heads import VOCABULARY, MaskedLanguageModel
from convnova.models.layers import Linear


def released_model(path: str, config: Config, with_head: bool) -> nn.Module:
    """The authors' model of the same settings, from their own file."""
    spec = importlib.util.spec_from_file_location("released_convnova", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    args = SimpleNamespace(hidden_dim=config.width, num_cnn_stacks=1, dropout=0.0)
    return module.CNNModel(
        args, 5, for_representation=not with_head, pretrain=with_head, dilation=config.dilation_base,
        kernel_size=config.kernel, num_conv1d=config.blocks, d_inner=config.tail_expansion,
        final_conv=config.final_conv, ffn=config.ffn,
    )  # fmt: skip


class Published(nn.Module):
    """The published equations with the weights of one of ours: channels first, PyTorch's own layers."""

    def __init__(self, ours: nn.Module):
        super().__init__()
        ours = copy.deepcopy(ours)
        self.head = ours.head if isinstance(ours, MaskedLanguageModel) else nn.Identity()
        self.ours = ours.backbone if isinstance(ours, MaskedLanguageModel) else ours
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.__class__ = nn.Linear

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) tokens to (B, L, d) features, or (B, L, 5) logits."""
        ours, letters = self.ours, F.one_hot(tokens, VOCABULARY).float().transpose(1, 2)
        x = F.gelu(F.conv1d(letters, ours.stem.weight, ours.stem.bias, padding="same"))
        complement = letters[:, [3, 2, 1, 0, 4]]
        c = F.gelu(F.conv1d(complement, ours.second_stem.weight, ours.second_stem.bias, padding="same"))
        for block in ours.blocks:
            convolved = []
            for inputs, norm, conv in ((x, block.norm, block.conv), (c, block.gate_norm, block.gate_conv)):
                normed = norm(inputs.transpose(1, 2)).transpose(1, 2)
                convolved.append(F.conv1d(normed, conv.weight, conv.bias, padding="same", dilation=block.dilation))
            gate = torch.sigmoid(convolved[1])
            x, c = x + F.gelu(convolved[0]) * gate, c + gate
            if block.ffn is not None:
                x = x + block.ffn(x.transpose(1, 2)).transpose(1, 2)
        x = x.transpose(1, 2)
        x = x + ours.tail(x)
        return self.head(x if ours.final_conv is None else ours.final_conv(x))
