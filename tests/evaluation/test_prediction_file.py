import numpy as np
import pytest
import torch

from convnova.data.batches import LabelledSequences, Padding
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict
from convnova.evaluation.prediction_file import read_predictions, write_predictions


def labelled(labels: np.ndarray, kind: str) -> LabelledSequences:
    """Three sequences of 2, 3 and 1 bases, of which the last two rows are asked for."""
    return LabelledSequences(np.zeros(6, np.uint8), np.array([0, 2, 5, 6]), labels, kind, np.array([1, 2]), 3)


def test_classes_come_back_as_they_were_written(tmp_path):
    scores = np.array([[0.25, 0.75], [1, 0]], np.float32)
    data = labelled(np.array([0, 1, 0]), "classes")
    write_predictions(tmp_path / "p.parquet", data, scores, "abc", fold=3)
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.settings, found.rows.tolist(), found.labels.tolist()) == ("abc", [1, 2], [1, 0])
    assert np.array_equal(found.predicted, scores)


def test_bases_come_back_with_the_lengths_of_their_sequences(tmp_path):
    data = labelled(np.array([0, 1, 2, 3, 4, 5]), "per_base")
    write_predictions(tmp_path / "p.parquet", data, np.array([2, 2, 4, 5], np.uint8), "")
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.settings, found.lengths.tolist()) == ("", [3, 1])
    assert (found.labels.tolist(), found.predicted.tolist()) == ([2, 3, 4, 5], [2, 2, 4, 5])


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_what_is_no_file_of_predictions_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(ConvNovaError, match=r"p\.parquet: expected predictions .* run the fine-tuning again"):
        read_predictions(tmp_path / "p.parquet")


def test_bases_of_a_network_that_diverged_have_no_class(tmp_path):
    """The most probable of scores that are no numbers would be class 0."""

    class Diverged(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, tokens):
            return torch.full((*tokens.shape, 3), torch.nan)

    with pytest.raises(ConvNovaError, match="the training diverged"):
        predict(Diverged(), labelled(np.zeros(6, int), "per_base"), Padding(), 2)


def test_the_mean_over_strands_of_independent_labels():
    """A network that counts A and T: of the reverse complement it counts T and A."""

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, tokens):
            return self.weight * torch.stack([(tokens == 0).sum(1), (tokens == 3).sum(1)], 1)

    tokens, labels = np.array([0, 0, 3, 1, 2, 0], np.uint8), np.zeros((3, 2), np.uint8)
    data = LabelledSequences(tokens, np.array([0, 2, 5, 6]), labels, "multilabel", np.array([1, 2]), 3)
    forward, both = (predict(Counts(), data, Padding(), 2, strands) for strands in ("forward", "both"))

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    np.testing.assert_allclose(forward, [[0.5, sigmoid(1)], [sigmoid(1), 0.5]], rtol=1e-6)
    mean = (sigmoid(1) + 0.5) / 2
    np.testing.assert_allclose(both, [[mean, mean], [mean, mean]], rtol=1e-6)
