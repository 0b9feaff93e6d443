"""The k-mer baseline beside scikit-learn's counts and logistic regression."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.data.dna import PAD, encode
from convnova.models.kmer_regression import Config, predictor, words
from convnova.training.loop import Trainer


def sequences(count, length, seed=0):
    """Random ones; those of class 1 have more G and C, but not so many that the classes come apart."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    shares = np.array([[0.25, 0.25, 0.25, 0.25], [0.22, 0.28, 0.27, 0.23]])[labels]
    letters = np.array(list("ACGT"))
    return ["".join(letters[random.choice(4, length, p=share)]) for share in shares], labels


def tokens_of(texts):
    longest = max(map(len, texts))
    found = np.full((len(texts), longest), PAD, np.uint8)
    for line, text in enumerate(texts):
        found[line, : len(text)] = encode(text)[0]
    return torch.from_numpy(found)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_words_are_those_that_count_vectorizer_counts(k):
    texts = [*sequences(20, 60)[0], "ACGTNACGTA", "NNNN", "AC", "GATTACA"]
    alphabet = ["".join(letters) for letters in product("ACGT", repeat=k)]
    vectorizer = CountVectorizer(analyzer="char", ngram_range=(k, k), lowercase=False, vocabulary=alphabet)
    found = words(tokens_of(texts), k)
    counts = np.stack([np.bincount(row, minlength=4**k + 1)[:-1] for row in found.numpy()])
    np.testing.assert_array_equal(counts, vectorizer.transform(texts).toarray())


class AllAtOnce:
    """Every sequence in every step."""

    steps_per_epoch = 1

    def __init__(self, tokens, labels):
        self.whole = Batch(tokens, torch.from_numpy(labels), len(labels))

    def batch(self, step):
        return self.whole

    def loss(self, model, batch):
        return F.cross_entropy(model(batch.tokens), batch.targets, reduction="sum")

    def evaluate(self, model):
        return {"score": 0.0}


def test_the_one_loop_finds_the_optimum_of_logistic_regression(tmp_path):
    texts, labels = sequences(200, 40)
    tokens = tokens_of(texts)
    model = predictor(Config(k=1), "classes", 2, 40, pool_padding=True)
    settings = Training(epochs=300, batch_size=300, lr=0.02, weight_decay=0, warmup=0, final_lr=0, clip=None)
    Trainer(model, AllAtOnce(tokens, labels), settings, 1, "k-mers", tmp_path).run()
    counts = CountVectorizer(analyzer="char", ngram_range=(1, 1), lowercase=False).fit_transform(texts)
    reference = LogisticRegression(C=1e9, max_iter=10_000, tol=1e-9).fit(counts, labels)
    found = model(tokens).softmax(-1).detach().numpy()
    np.testing.assert_allclose(found, reference.predict_proba(counts), atol=5e-3)
    assert np.ptp(found[:, 1]) > 0.3


def test_padding_on_either_side_is_masked_out():
    model = predictor(Config(k=3), "classes", 4, 12)
    torch.nn.init.normal_(model.weights.weight[:-1])
    (alone,) = model(tokens_of(["ACGTTGCA"]))
    left = torch.cat([torch.full((1, 4), 4, dtype=torch.uint8), tokens_of(["ACGTTGCA"])], 1)
    torch.testing.assert_close(model(left)[0], alone)
    torch.testing.assert_close(model(tokens_of(["ACGTTGCA", "A" * 12]))[0], alone)


def test_an_output_a_base_counts_the_words_around_it():
    model = predictor(Config(k=3, window=5), "per_base", 9, 30)
    torch.nn.init.normal_(model.weights.weight[:-1])
    (text,) = sequences(1, 30)[0]
    found = model(tokens_of([text]))[0]
    assert found.shape == (30, 9)
    around = [encode(text[at - 1 : at + 2])[0] for at in range(8, 13)]
    numbers = [int(word @ [16, 4, 1]) for word in around]
    torch.testing.assert_close(found[10], model.weights.weight[numbers].sum(0))
