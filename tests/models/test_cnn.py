import subprocess
import sys

import torch

from convnova.data.dna import PAD
from convnova.models.cnn import CNN, Config, PerBaseCNN


def test_the_layers_of_the_published_baseline():
    """251 bases: (((251-7)//2-7)//2-7)//2 = 25 positions of 4 channels go into the linear layers."""
    model = CNN(Config(), outputs=2, length=251)
    convolutions = (100 * 8 + 1) * 16 + (16 * 8 + 1) * 8 + (8 * 8 + 1) * 4
    rest = 6 * 100 + 2 * (16 + 8 + 4) + (25 * 4 + 1) * 512 + 513 * 2
    assert sum(p.numel() for p in model.parameters()) == convolutions + rest
    assert model(torch.zeros(3, 251, dtype=torch.uint8)).shape == (3, 2)
    names = [type(layer).__name__ for layer in model.convolutions if not isinstance(layer, torch.nn.Identity)]
    assert names == ["Conv1d", "BatchNorm1d", "ReLU", "MaxPool1d", *["Conv1d", "BatchNorm1d", "MaxPool1d"] * 2]


def test_short_sequences_are_read_at_the_shortest_length_that_leaves_something():
    model = CNN(Config(), outputs=3, length=20).eval()
    assert model.fixed_length == 70
    assert model(torch.full((2, 70), PAD, dtype=torch.uint8)).shape == (2, 3)


def test_it_warns_of_nothing():
    """A warning of PyTorch would stand among the bars of a run; it is given once a process."""
    script = "import torch; from convnova.models.cnn import *\n"
    script += "PerBaseCNN(Config(embedding=8), outputs=9)(torch.zeros(2, 70, dtype=torch.uint8))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr == ""


def test_an_output_a_base():
    model = PerBaseCNN(Config(embedding=8), outputs=9).eval()
    read: list[torch.Tensor] = []
    model.head.register_forward_hook(lambda _, inputs, __: read.append(inputs[0]))
    tokens = torch.randint(0, 5, (2, 133), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert model(tokens).shape == (2, 133, 9)
    assert (read[0] < 0).any(), "no ReLU but after the first convolution"
