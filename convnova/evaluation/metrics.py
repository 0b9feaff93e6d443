"""Scores of predictions, computed once over all of them.

Imports numpy alone: thousands of short jobs import this module, and scikit-learn would cost each of them
1.4 s. The tests hold every function equal to scikit-learn's to 1e-12. A score that is not defined, such as
AUROC where test has one class, is left out of the result, never guessed.
"""

from collections.abc import Callable

import numpy as np

from convnova.errors import ConvNovaError

COLUMNS_AT_ONCE = 64
"""Labels that `multilabel` copies at a time: enough to use each cache line whole, 230 MB for 450,000 rows."""

SUM_TOLERANCE = 0.02
"""How far from 1 the sum of a row of probabilities may be: what bfloat16 loses."""


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the items of each true class (rows) and predicted class (columns).

    Args:
        labels, predicted: integers below `classes`, of one shape.

    Returns:
        int64 (classes, classes).

    Raises:
        ConvNovaError: the shapes differ, there are no items, or an id is outside the classes.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.size == 0:
        raise ConvNovaError(
            f"expected as many predictions as labels, at least one; found {predicted.shape} and {labels.shape}"
        )
    for name, ids in (("label", labels), ("predicted class", predicted)):
        if ids.min() < 0 or ids.max() >= classes:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise ConvNovaError(f"expected every {name} in 0..{classes - 1}, found {wrong}; check the task's classes")
    cells = labels.astype(np.int64).ravel() * classes + predicted.ravel()
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def mcc_from_confusion(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient, for any number of classes; 0 where it is 0/0.

    Args:
        confusion: counts (..., classes, classes).

    Returns:
        float64 (...).

    Formula: R_K of Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    true, predicted = counts.sum(-1), counts.sum(-2)
    n = true.sum(-1)
    covariance = n * np.trace(counts, axis1=-2, axis2=-1) - (true * predicted).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (predicted**2).sum(-1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(covariance), where=spread > 0)


def accuracy_from_confusion(confusion: np.ndarray) -> np.ndarray:
    """Share of items on the diagonal; counts (..., classes, classes) to float64 (...)."""
    counts = np.asarray(confusion, dtype=np.float64)
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def f1_of_classes(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class; NaN for a class that is neither among the labels nor predicted.

    Counts (..., classes, classes) to float64 (..., classes).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    seen = counts.sum(-1) + counts.sum(-2)
    return np.divide(2 * hits, seen, out=np.full(seen.shape, np.nan), where=seen > 0)


def f1_macro_from_confusion(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur; counts (..., classes, classes) to float64 (...)."""
    return np.nanmean(f1_of_classes(confusion), axis=-1)


def f1_binary_from_confusion(confusion: np.ndarray) -> np.ndarray:
    """F1 of class 1, 0 if it does not occur; counts (..., 2, 2) to float64 (...)."""
    return np.nan_to_num(f1_of_classes(confusion)[..., 1], nan=0.0)


FROM_CONFUSION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mcc": mcc_from_confusion,
    "f1_macro": f1_macro_from_confusion,
    "f1_binary": f1_binary_from_confusion,
    "accuracy": accuracy_from_confusion,
}


def ranking(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of scores (n,) from high to low, and where in it each run of equal scores ends.

    Returns:
        order: indices (n,).
        ends: indices into `order` (thresholds,), the last one n - 1.
    """
    order = np.argsort(scores)[::-1]
    falling = scores[order]
    return order, np.append(np.flatnonzero(falling[1:] != falling[:-1]), scores.size - 1)


def auroc_from_counts(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Area under the ROC curve; NaN where there is one class only.

    Args:
        positives, negatives: how many score at or above each threshold, thresholds falling (..., thresholds).
    """
    positives, negatives = positives.astype(np.float64), negatives.astype(np.float64)
    steps = np.diff(negatives, axis=-1, prepend=0)
    heights = positives - np.diff(positives, axis=-1, prepend=0) / 2
    return _divide((steps * heights).sum(-1), positives[..., -1] * negatives[..., -1])


def auprc_from_counts(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Average precision: precision at each threshold, weighted by the recall gained; NaN with one class only.

    Args:
        positives, negatives: how many score at or above each threshold, thresholds falling (..., thresholds).
    """
    positives, negatives = positives.astype(np.float64), negatives.astype(np.float64)
    precision = positives / np.maximum(positives + negatives, 1)
    gained = np.diff(positives, axis=-1, prepend=0)
    both = np.where(negatives[..., -1] > 0, positives[..., -1], 0)
    return _divide((gained * precision).sum(-1), both)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


FROM_RANKING: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "auroc": auroc_from_counts,
    "auprc": auprc_from_counts,
}


def _areas(positive: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUROC and AUPRC of one column; `positive` (n,) is 0 or 1, scores (n,)."""
    order, ends = ranking(scores)
    hits = np.cumsum(positive[order], dtype=np.int64)[ends]
    misses = ends + 1 - hits
    return float(auroc_from_counts(hits, misses)), float(auprc_from_counts(hits, misses))


def check_scores(scores: np.ndarray) -> None:
    """Refuse scores (n, columns) with NaN or infinity.

    Raises:
        ConvNovaError: names the first such row and column.
    """
    finite = np.isfinite(scores)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ConvNovaError(
            f"expected finite scores, found {scores[row, column]} in row {row}, column {column}; "
            "the training diverged: lower its learning rate"
        )


def check_probabilities(labels: np.ndarray, scores: np.ndarray) -> None:
    """Refuse what is not one row of class probabilities for each label.

    Raises:
        ConvNovaError: shapes that do not fit, scores that are not finite, or rows that do not sum to 1:
            logits would give another AUROC without a word.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.shape != scores.shape[:1] or not labels.size:
        raise ConvNovaError(
            f"expected labels (n,) and scores (n, 2 or more classes), found {labels.shape} and {scores.shape}"
        )
    check_scores(scores)
    sums = scores.sum(1, dtype=np.float64)
    wrong = np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) | (scores.min(1) < 0))
    if wrong.size:
        raise ConvNovaError(
            f"expected probabilities that sum to 1, found {sums[wrong[0]]:.3f} in row {wrong[0]}; apply softmax first"
        )


def classification(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """All scores of a task with one class a sequence; the predicted class is the most probable one.

    Args:
        labels: class ids (n,).
        scores: probabilities (n, classes).

    Returns:
        mcc, f1_macro, accuracy; f1_binary (of class 1) where there are two classes; auroc and auprc, of
        class 1 where there are two, else the mean over classes of one against the rest, classes without a
        positive or without a negative left out.

    Raises:
        ConvNovaError: see `check_probabilities` and `confusion`.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    check_probabilities(labels, scores)
    classes = scores.shape[1]
    result = _from_confusion(confusion(labels, scores.argmax(1), classes))
    columns = [1] if classes == 2 else range(classes)
    areas = np.array([_areas(labels == column, scores[:, column]) for column in columns])
    defined = areas[~np.isnan(areas[:, 0])]
    if len(defined):
        result["auroc"], result["auprc"] = map(float, defined.mean(0))
    return result


def _from_confusion(counts: np.ndarray) -> dict[str, float]:
    names = [name for name in FROM_CONFUSION if name != "f1_binary" or len(counts) == 2]
    return {name: float(FROM_CONFUSION[name](counts)) for name in names}


def per_base(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """MCC, macro F1 and accuracy over all bases pooled; bases with a negative label are padding and left out.

    Args:
        labels: class ids, any shape.
        predicted: class ids of the same shape, or scores with one axis more.

    Raises:
        ConvNovaError: scores that are not finite, shapes that differ, or no base at all.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if predicted.ndim == labels.ndim + 1:
        check_scores(predicted.reshape(-1, predicted.shape[-1]))
        predicted = predicted.argmax(-1)
    if labels.shape != predicted.shape:
        raise ConvNovaError(f"expected a prediction for each base, found {predicted.shape} for {labels.shape}")
    real = labels >= 0
    labels, predicted = labels[real], predicted[real]
    counts = confusion(labels, predicted, int(max(labels.max(initial=0), predicted.max(initial=0))) + 1)
    return {name: float(FROM_CONFUSION[name](counts)) for name in ("mcc", "f1_macro", "accuracy")}


def multilabel(labels: np.ndarray, scores: np.ndarray, groups: dict[str, tuple[int, int]]) -> dict[str, object]:
    """AUROC and AUPRC of each label, summed up over all labels and over groups of them.

    Args:
        labels: 0 or 1 (n, m).
        scores: probabilities or logits (n, m); memory maps are read 64 columns at a time.
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
    areas = np.concatenate(
        [_areas_of_columns(labels, scores, start) for start in range(0, labels.shape[1], COLUMNS_AT_ONCE)]
    )
    result: dict[str, object] = {**_summary(areas[:, 0], "auroc_median", "auroc"), "groups": {}}
    if result["n_labels"]:
        result["auprc"] = float(np.nanmean(areas[:, 1]))
    result["groups"] = {
        name: _summary(areas[first:past, 0], "auroc", "auroc_mean") for name, (first, past) in groups.items()
    }
    return result


def _areas_of_columns(labels: np.ndarray, scores: np.ndarray, start: int) -> np.ndarray:
    """AUROC and AUPRC (columns, 2) of up to COLUMNS_AT_ONCE labels from `start` on."""
    columns = slice(start, start + COLUMNS_AT_ONCE)
    positives, values = np.ascontiguousarray(labels[:, columns].T), np.ascontiguousarray(scores[:, columns].T)
    check_scores(values.T)
    if positives.min() < 0 or positives.max() > 1:
        raise ConvNovaError(f"expected labels 0 and 1, found {positives.max()} in columns {start} and after")
    return np.array([_areas(*pair) for pair in zip(positives, values, strict=True)])


def _summary(aurocs: np.ndarray, median: str, mean: str) -> dict[str, float]:
    """Median and mean AUROC, under these names, of the labels that have one, and how many do."""
    scored = aurocs[~np.isnan(aurocs)]
    result: dict[str, float] = {"n_labels": int(scored.size), "n_left_out": int(aurocs.size - scored.size)}
    if scored.size:
        result |= {median: float(np.median(scored)), mean: float(scored.mean())}
    return result
