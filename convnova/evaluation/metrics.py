"""Scores of predictions, computed once over all of them.

All of it is numpy. A fine-tuning computes every one of these scores, and `import sklearn.metrics` costs it 1.3 s
(3.1 s instead of 1.8 s until its modules are loaded; AMD EPYC, scikit-learn 1.9.1); a job of the embedded run takes
some seconds, and a paper has thousands. The bootstrap needs the same formulas over a thousand confusion matrices or
resampled rankings at a time. The tests hold each of them equal to scikit-learn's to 1e-12.

A score that is not defined, such as AUROC where test has one class, is left out of the result, never guessed.
"""

import numpy as np

from convnova.errors import ConvNovaError

CONFUSION_METRICS = ("mcc", "f1_macro", "f1_binary", "accuracy")
"""Metrics that a confusion matrix determines."""

RANKING_METRICS = ("auroc", "auprc")
"""Metrics that depend on the order of the scores."""

SUM_TOLERANCE = 0.02
"""How far from 1 the sum of a row of probabilities may be: what bfloat16 loses."""


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the rows or bases of each true class (rows of the matrix) and predicted class (columns).

    Args:
        labels: integers below `classes`, of any shape.
        predicted: integers below `classes`, of the same shape.
        classes: how many classes there are.

    Returns:
        int64 (classes, classes).

    Raises:
        ConvNovaError: the shapes differ, there are no labels, or an id is outside the classes.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.size == 0:
        raise ConvNovaError(f"expected labels and as many predictions, found {labels.shape} and {predicted.shape}")
    for name, ids in (("label", labels), ("predicted class", predicted)):
        if ids.min() < 0 or ids.max() >= classes:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise ConvNovaError(f"expected every {name} in 0..{classes - 1}, found {wrong}; check the task's classes")
    cells = labels.astype(np.int64).ravel() * classes + predicted.ravel()
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def sequence_confusions(labels: np.ndarray, predicted: np.ndarray, lengths: np.ndarray, classes: int) -> np.ndarray:
    """Count the bases of each sequence by true and predicted class.

    Args:
        labels: class ids (bases,), sequence after sequence.
        predicted: class ids (bases,).
        lengths: bases of each sequence (n,).
        classes: how many classes there are.

    Returns:
        int64 (n, classes, classes), true classes in rows.
    """
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    cells = (sequence * classes + labels) * classes + predicted
    return np.bincount(cells, minlength=len(lengths) * classes**2).reshape(-1, classes, classes)


def from_confusion(metric: str, confusions: np.ndarray) -> np.ndarray:
    """A metric of each confusion matrix.

    Args:
        metric: one of `CONFUSION_METRICS`. `f1_macro` is the mean over the classes that are among the labels or
            predicted; `f1_binary` is the F1 of class 1, 0 if it does not occur.
        confusions: counts (..., classes, classes), true classes in rows.

    Returns:
        float64 (...).
    """
    counts = np.asarray(confusions, dtype=np.float64)
    if metric == "mcc":
        return mcc_from_confusion(counts)
    correct, occurrences = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1) + counts.sum(-2)
    if metric == "accuracy":
        return correct.sum(-1) / counts.sum((-2, -1))
    # 2 TP / (2 TP + FP + FN) of each class; NaN for a class that is neither among the labels nor predicted.
    f1 = np.divide(2 * correct, occurrences, out=np.full(occurrences.shape, np.nan), where=occurrences > 0)
    return np.nan_to_num(f1[..., 1], nan=0.0) if metric == "f1_binary" else np.nanmean(f1, axis=-1)


def mcc_from_confusion(confusions: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient, for any number of classes; 0 where it is 0/0.

    Args:
        confusions: counts (..., classes, classes).

    Returns:
        float64 (...).

    Formula: R_K of Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    counts = np.asarray(confusions, dtype=np.float64)
    true, predicted = counts.sum(-1), counts.sum(-2)
    n = true.sum(-1)
    covariance = n * np.trace(counts, axis1=-2, axis2=-1) - (true * predicted).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (predicted**2).sum(-1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(covariance), where=spread > 0)


def ranking_counts(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How many positives and negatives have at least each of the scores, from the highest score down.

    Args:
        positive: bool or 0 and 1 (n,).
        scores: of each row (n,).
        weights: how often each row counts (resamples, n); once by default.

    Returns:
        Positives and negatives, both int64 (thresholds,) or (resamples, thresholds); equal scores are one threshold.
    """
    order = np.argsort(scores)[::-1]
    falling = scores[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), scores.size - 1)
    if weights is None:
        positives = np.cumsum(positive[order], dtype=np.int64)[ends]
        return positives, ends + 1 - positives
    weights = weights[:, order]
    positives = np.cumsum(weights * positive[order], axis=1)[:, ends]
    return positives, np.cumsum(weights, axis=1)[:, ends] - positives


def from_ranking(metric: str, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, or average precision; NaN where there is one class only.

    Args:
        metric: `auroc`; or `auprc`, the precision at each threshold weighted by the recall gained there.
        positives: how many score at or above each threshold, thresholds falling (..., thresholds).
        negatives: the same of negatives.

    Returns:
        float64 (...).
    """
    positives, negatives = positives.astype(np.float64), negatives.astype(np.float64)
    gained = np.diff(positives, axis=-1, prepend=0)
    if metric == "auroc":
        # Positives above a negative count 1, those with the same score 1/2.
        area = (np.diff(negatives, axis=-1, prepend=0) * (positives - gained / 2)).sum(-1)
        whole = positives[..., -1] * negatives[..., -1]
    else:
        area = (gained * (positives / np.maximum(positives + negatives, 1))).sum(-1)
        whole = np.where(negatives[..., -1] > 0, positives[..., -1], 0)
    return np.divide(area, whole, out=np.full(np.shape(area), np.nan), where=whole > 0)


def mean_area(labels: np.ndarray, scores: np.ndarray, metric: str, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC or AUPRC: of class 1 where there are two, else the mean over classes of one against the rest.

    Classes without a positive or without a negative are left out of the mean; NaN where no class is left.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).
        metric: one of `RANKING_METRICS`.
        weights: how often each row counts (resamples, n); once by default.

    Returns:
        float64 () or (resamples,).

    Raises:
        ConvNovaError: another metric.
    """
    if metric not in RANKING_METRICS:
        raise ConvNovaError(f"metric: expected one of {', '.join(CONFUSION_METRICS + RANKING_METRICS)}, found {metric}")
    columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    counts = (ranking_counts(labels == column, scores[:, column], weights) for column in columns)
    areas = np.stack([from_ranking(metric, *pair) for pair in counts])
    defined = ~np.isnan(areas)
    total, count = np.where(defined, areas, 0).sum(0), defined.sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def check_scores(scores: np.ndarray) -> None:
    """Refuse scores (n, columns) with NaN or infinity.

    Raises:
        ConvNovaError: names the first such row and column.
    """
    if not np.isfinite([scores.min(), scores.max()]).all():  # NaN is the least of any numbers
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise ConvNovaError(
            f"expected finite scores, found {scores[row, column]} in row {row}, column {column}; "
            "the training diverged: lower its learning rate"
        )


def check_probabilities(labels: np.ndarray, scores: np.ndarray) -> None:
    """Refuse what is not one row of class probabilities for each label.

    Raises:
        ConvNovaError: shapes that do not fit, scores that are not finite, or rows that do not sum to 1:
            the AUROC of logits would be another one, without a warning.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.shape != scores.shape[:1] or not labels.size:
        raise ConvNovaError(
            f"expected labels (n,) and scores (n, 2 or more classes), found {labels.shape} and {scores.shape}"
        )
    check_scores(scores)
    sums = scores.sum(1, dtype=np.float64)
    wrong = np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) | (scores.min(1) < 0))
    if wrong.size:
        row = wrong[0]
        raise ConvNovaError(
            f"row {row}: expected probabilities that sum to 1, found a sum of {sums[row]:.3f} and a least of "
            f"{scores[row].min():.3f}; apply softmax first"
        )


def classification(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """All scores of a task with one class a sequence; the predicted class is the most probable one.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).

    Returns:
        mcc, f1_macro and accuracy; f1_binary where there are two classes; auroc and auprc, as `mean_area`, where
        they are defined.

    Raises:
        ConvNovaError: see `check_probabilities` and `confusion`.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    check_probabilities(labels, scores)
    classes = scores.shape[1]
    counts = confusion(labels, scores.argmax(1), classes)
    names = [name for name in CONFUSION_METRICS if name != "f1_binary" or classes == 2]
    result = {name: float(from_confusion(name, counts)) for name in names}
    areas = {name: float(mean_area(labels, scores, name)) for name in RANKING_METRICS}
    return result | {name: area for name, area in areas.items() if not np.isnan(area)}


def per_base(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """MCC, macro F1 and accuracy over all bases pooled.

    Args:
        labels: class ids (bases,).
        predicted: class ids (bases,).

    Raises:
        ConvNovaError: as `confusion`.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    counts = confusion(labels, predicted, int(max(labels.max(initial=0), predicted.max(initial=0))) + 1)
    return {name: float(from_confusion(name, counts)) for name in ("mcc", "f1_macro", "accuracy")}


def multilabel(labels: np.ndarray, scores: np.ndarray, groups: dict[str, tuple[int, int]]) -> dict[str, object]:
    """AUROC and AUPRC of each label, summed up over all labels and over groups of them.

    Args:
        labels: 0 or 1 (n, m).
        scores: probabilities or logits (n, m).
        groups: name to the first label and one past the last.

    Returns:
        auroc and auprc (means over labels), auroc_median, n_labels (scored), n_left_out (one class only in
        test), and `groups`: for each its auroc (the median, as DeepSEA and HyenaDNA report it), auroc_mean,
        n_labels, n_left_out.

    Raises:
        ConvNovaError: shapes that differ, a label other than 0 and 1, a score that is not finite.
    """
    if labels.ndim != 2 or labels.shape != scores.shape or not labels.size:
        raise ConvNovaError(f"expected labels and scores (n, labels) alike, found {labels.shape} and {scores.shape}")
    if labels.min() < 0 or labels.max() > 1:
        raise ConvNovaError(f"expected labels 0 and 1, found labels from {labels.min()} to {labels.max()}")
    check_scores(scores)
    counts = (ranking_counts(*columns) for columns in zip(labels.T, scores.T, strict=True))
    aurocs, auprcs = np.array([[from_ranking(metric, *pair) for metric in RANKING_METRICS] for pair in counts]).T
    result: dict[str, object] = _summary(aurocs, "auroc_median", "auroc")
    if result["n_labels"]:
        result["auprc"] = float(np.nanmean(auprcs))
    return result | {"groups": {name: _summary(aurocs[slice(*g)], "auroc", "auroc_mean") for name, g in groups.items()}}


def _summary(aurocs: np.ndarray, median: str, mean: str) -> dict[str, float]:
    """Median and mean AUROC, under these names, of the labels that have one, and how many do."""
    scored = aurocs[~np.isnan(aurocs)]
    result: dict[str, float] = {"n_labels": int(scored.size), "n_left_out": int(aurocs.size - scored.size)}
    if scored.size:
        result |= {median: float(np.median(scored)), mean: float(scored.mean())}
    return result
