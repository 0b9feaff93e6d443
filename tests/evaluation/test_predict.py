import numpy as np
import pytest
import torch
from dna_strings import labelled
from scipy.special import expit, softmax

from convnova.data.batches import Padding
from convnova.errors import ConvNovaError
from convnova.evaluation.predict import predict


class Counts(torch.nn.Module):
    """Logits of a sequence: how many A and how many T it has; of a base: whether it is A, C, G or T."""

    def __init__(self, per_base: bool = False):
        super().__init__()
        self.weight, self.per_base = torch.nn.Parameter(torch.ones(1)), per_base

    def forward(self, tokens):
        letters = self.weight * (tokens[..., None] == torch.arange(4)).float()
        return letters if self.per_base else letters.sum(1)[:, [0, 3]]


ROWS = [2, 0, 1]
LOGITS = np.array([[1, 0], [2, 0], [0, 1]])
"""Of A, AA and TCG."""


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_probabilities_of_rows_in_their_order(batch_size):
    predicted = predict(Counts(), labelled("classes", [0, 0, 0], ROWS), Padding(), batch_size)
    np.testing.assert_allclose(predicted, softmax(LOGITS, axis=1), rtol=1e-6)


def test_the_mean_over_strands_of_independent_labels():
    """The reverse complement has as many T as the sequence has A."""
    data = labelled("multilabel", [[0, 0]] * 3, ROWS)
    forward, both = (predict(Counts(), data, Padding(), 2, strands) for strands in ("forward", "both"))
    np.testing.assert_allclose(forward, expit(LOGITS), rtol=1e-6)
    np.testing.assert_allclose(both, (expit(LOGITS) + expit(LOGITS[:, ::-1])) / 2, rtol=1e-6)


@pytest.mark.parametrize("padding", [Padding(), Padding(to=5, counted=True, left=True)])
def test_classes_of_bases_without_padding(padding):
    predicted = predict(Counts(per_base=True), labelled("per_base", [0] * 6, ROWS), padding, 2)
    assert (predicted.dtype, predicted.tolist()) == (np.uint8, [0, 0, 0, 3, 1, 2])


def test_bases_of_a_network_that_diverged_have_no_class():
    """The most probable of scores that are no numbers would be class 0."""
    model = Counts(per_base=True)
    model.weight.data[:] = torch.nan
    with pytest.raises(ConvNovaError, match="diverged"):
        predict(model, labelled("per_base", [0] * 6, ROWS), Padding(), 2)
