"""A network for packages that read one-hot letters, channels first: tangermeme, captum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnova.data.batches import Padding
from convnova.data.dna import PAD, N


class OneHot(nn.Module):
    """A network on one-hot letters A, C, G, T.

    What the four channels of a position lack to 1 is N, so a position of zeros is N, and attributions by gradients are
    relative to N. Gradients reach the letters in networks that begin with a convolution of letters (ConvNova, its
    U-Net, ConvNeXt, LegNet, Basenji2), not in those that look up embeddings of tokens.

    Attributes:
        network: tokens (n, length) to logits.
        padding: how the network pads what is shorter than it reads.
    """

    def __init__(self, network: nn.Module, padding: Padding):
        super().__init__()
        self.network, self.padding = network, padding

    def forward(self, letters: Tensor) -> Tensor:
        """Logits of (n, 4, length) letters: (n, outputs), or (n, length, outputs) a base."""
        is_base = letters.detach().sum(1) > 0
        tokens = torch.where(is_base, letters.detach().argmax(1), N).to(torch.uint8)
        missing = max(0, (self.padding.to or 0) - tokens.shape[1])
        ends = (missing, 0) if self.padding.left else (0, missing)
        tokens = F.pad(tokens, ends, value=N if self.padding.counted else PAD)
        if letters.requires_grad:
            five = torch.cat([letters, 1 - letters.sum(1, keepdim=True)], 1)  # (n, 5, length)
            five = F.pad(five, ends)
            if self.padding.counted:
                five = five + F.one_hot(torch.tensor(N), 5).view(1, 5, 1) * (five.detach().sum(1, keepdim=True) == 0)
            tokens.letters = five.transpose(1, 2).contiguous()
        return self.network(tokens)
