"""What can be said of a variant without a model: the substitution, whether it hits a CpG, how far the next gene is.

A logistic regression on these numbers, fitted on all chromosomes but one and read on that one, for each in turn. So the
baseline knows labels, as no zero-shot score does, but of no chromosome that it scores. A model that scores lower has
not shown that it reads the sequence.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

TRANSITIONS = ({0, 2}, {1, 3})
"""A and G, C and T as tokens."""


@dataclass(frozen=True)
class Config:
    """Settings of the baseline."""

    penalty: float = 1.0
    """Of the squared weights, of numbers with mean 0 and standard deviation 1."""

    receptive_field = 3


def features(pairs: list[tuple[np.ndarray, np.ndarray]], around: np.ndarray, gene: np.ndarray) -> np.ndarray:
    """What the regression reads, float64 (n, 3): transition or not, in a CpG or not, log of the distance to a gene.

    Args:
        pairs: tokens of the reference and of the alternative allele of each variant.
        around: tokens of the base before, the first of the reference allele and the base after (n, 3).
        gene: bases to the nearest gene (n,); negative where that is not known.
    """
    transition = [len(ref) == len(alt) == 1 and {*ref.tolist(), *alt.tolist()} in TRANSITIONS for ref, alt in pairs]
    before, at, after = around.T
    cpg = ((at == 1) & (after == 2)) | ((before == 1) & (at == 2))
    return np.column_stack([transition, cpg, np.log1p(np.maximum(gene, 0))]).astype(float)


def scores(values: np.ndarray, labels: np.ndarray, chromosomes: np.ndarray, penalty: float) -> np.ndarray:
    """Log-odds of label 1 of each variant, by the other chromosomes' variants, float64 (n,).

    Args:
        values: see `features` (n, m).
        labels: 0 or 1 (n,).
        chromosomes: a number a chromosome (n,); where there is one alone, all scores are 0.
        penalty: of the squared weights.
    """
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    scaled = np.column_stack([np.ones(len(scaled)), scaled])
    results = np.zeros(len(values))
    for chromosome in np.unique(chromosomes):
        held = chromosomes == chromosome
        if held.all():
            break
        x, y = scaled[~held], labels[~held]
        fitted = minimize(_loss, np.zeros(x.shape[1]), args=(x, y, penalty), jac=True, method="L-BFGS-B")
        results[held] = scaled[held] @ fitted.x
    return results


def _loss(weights: np.ndarray, x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """The loss of a logistic regression and its gradient; the first weight is the intercept and has no penalty."""
    logits, slopes = x @ weights, np.append(0, weights[1:])
    value = np.logaddexp(0, logits).sum() - y @ logits + penalty / 2 * slopes @ slopes
    return value, x.T @ (expit(logits) - y) + penalty * slopes
