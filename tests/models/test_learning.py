"""Every model of the comparison learns from the sequence of the embedded genome: what no head's bias could."""

import numpy as np
import pytest
import torch
from test_models import TINY

from convnova.config.hyperparameters import Pretraining, Training
from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences, Padding, collate
from convnova.data.genome import tokenize_genome
from convnova.data.windows import Windows, windows
from convnova.models import build_backbone, build_predictor
from convnova.models.heads import MaskedLanguageModel
from convnova.simulation.genome import Genome, Region, make_genome
from convnova.simulation.histone_marks import STATES
from convnova.training.finetune import Supervised
from convnova.training.loop import Trainer
from convnova.training.pretrain import MaskedLanguage

PLAIN = [name for name in TINY if "," not in name]
WINDOW = 100
"""Bases of a window of the embedded genome, of ten in a chromatin bin."""


def slow_where(name: str, slow: bool):
    """A name to try, marked where it takes its time."""
    return pytest.param(name, marks=pytest.mark.slow) if slow else name


@pytest.fixture(scope="module")
def embedded() -> Genome:
    """The genome of the embedded run."""
    return make_genome(seed=1)


@pytest.fixture(scope="module")
def chromatin(embedded, tmp_path_factory) -> list[Windows]:
    """Windows in its chromatin bins, full of repeats and motifs: of chr1 for training, of chr8 for validation."""
    folder = tmp_path_factory.mktemp("embedded")
    chromosomes = [Region(name, 0, len(embedded.tokens[name])) for name in ("chr1", "chr8")]
    (folder / "genome.fa").write_text("".join(f">{c.chromosome}\n{embedded.letters(c)}\n" for c in chromosomes))
    bins = [place for place, _ in embedded.bins if place.chromosome in ("chr1", "chr8")]
    lines = [f"{b.chromosome}\t{b.start}\t{b.end}\t{'train' if b.chromosome == 'chr1' else 'valid'}\n" for b in bins]
    (folder / "bins.bed").write_text("".join(lines))
    tokenize_genome(folder / "genome.fa", folder / "genome", folder / "bins.bed")
    return [windows(folder / "genome", split, WINDOW) for split in ("train", "valid")]


def states(genome: Genome) -> dict[str, LabelledSequences]:
    """Windows of two chromatin states: 0 has many G and C, 1 many A and T; motifs and repeats differ too."""
    motifs = [[3 * program + i for program in STATES[state] for i in range(3)] for state in (0, 2)]
    splits = {}
    for split, chromosomes in {"train": ("chr1", "chr2"), "valid": ("chr7",), "test": ("chr8",)}.items():
        bins = [(place, present[motifs[0]].any(), present[motifs[1]].any()) for place, present in genome.bins
                if place.chromosome in chromosomes]  # fmt: skip
        rows = [(place._replace(start=start, end=start + WINDOW), int(second)) for place, first, second in bins
                if first or second for start in range(place.start, place.end, 2 * WINDOW)]  # fmt: skip
        tokens, labels = np.concatenate([genome.cut(place) for place, _ in rows]), np.array([row[1] for row in rows])
        numbers = np.arange(len(rows) + 1)
        splits[split] = LabelledSequences(tokens, numbers * WINDOW, labels, "classes", numbers[:-1], WINDOW)
    return splits


def entropy(labels: torch.Tensor) -> float:
    """Cross entropy of the best guess that does not look at the sequence, in nats: no bias of a head goes below it."""
    shares = labels.bincount().double() / len(labels)
    return float(torch.special.entr(shares).sum())


def assert_all_learn(model: torch.nn.Module, loss: torch.Tensor) -> None:
    """Every parameter has a gradient, and none has only zeros."""
    model.zero_grad()
    loss.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("name", [slow_where(name, "caduceus" in name) for name in PLAIN])
def test_masked_bases_are_guessed_better_than_by_their_frequencies(name, chromatin, tmp_path, monkeypatch):
    """The loss falls below the entropy of the hidden letters themselves, which takes a look at their surroundings."""
    monkeypatch.setattr("convnova.training.pretrain.MAX_VALIDATION_WINDOWS", 100)
    settings = Pretraining(length=WINDOW, windows=192, batch_size=4, epochs=3, lr=1e-2, warmup=0.1, precision="float32")
    torch.manual_seed(0)
    model, objective = MaskedLanguageModel(build_backbone(*TINY[name])), MaskedLanguage(settings, *chromatin)
    history = Trainer(model, objective, settings, 1, "test", tmp_path).run()
    hidden = torch.cat([batch.targets for _, batch in objective.validation()])
    assert len(hidden) > 1000 and history.evaluations[-1]["loss"] < entropy(hidden) - 0.01
    assert_all_learn(model.train(), objective.loss(model, objective.batch(0)))


@pytest.mark.parametrize("name", ["cnn", "kmer_regression", *(slow_where(name, "caduceus" in name) for name in PLAIN)])
def test_the_sequence_tells_classes_of_the_embedded_genome(name, embedded, tmp_path):
    """On chr8, which was not trained on, the loss is far below the entropy of the labels."""
    splits, task = states(embedded), Task()
    torch.manual_seed(0)
    model = build_predictor(*TINY.get(name, (name, {})), "classes", 2, WINDOW)
    settings = Training(epochs=2, batch_size=8, lr=1e-2, warmup=0.1, precision="float32")
    objective = Supervised(task, settings, 1, splits, Padding(model.fixed_length))
    rows = collate(splits["test"], np.arange(len(splits["test"])), objective.padding)
    history = Trainer(model, objective, settings, 1, "test", tmp_path).run()
    assert history.step == 2 * objective.steps_per_epoch
    with torch.inference_mode():
        loss = objective.loss(model.eval(), rows).item() / rows.count
    assert rows.count >= 100 and loss < 0.6 * entropy(rows.targets)
    assert_all_learn(model.train(), objective.loss(model, rows))
