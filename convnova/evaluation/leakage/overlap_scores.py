"""Scores of saved predictions with and without the test rows that share bases with training rows.

A test row leaks if `unseen_rows.SHARED` bases in a row, or all that it has, are also those of a training or validation
row, on either strand.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap, metrics
from convnova.evaluation.leakage.unseen_rows import shares_bases
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.log import log

COLUMNS = [
    "suite", "task", "model", "protocol", "seeds", "metric", "test_rows", "leaking", "leaking_classes", "score",
    "clean", "clean_low", "clean_high", "leaking_score", "clean_minus_all", "sd",
]  # fmt: skip
"""leaking_classes: rows of each class among those that leak, as `2 / 95`; sd: of the difference, over seeds."""


def overlap_scores(config: RunConfig, datasets: Mapping[tuple[str, str], Path]) -> pd.DataFrame:
    """Score the predictions of every task of classes, model and protocol with and without the rows that leak.

    Predictions that are missing, or made with other settings than the config's, are left out with a log message.

    Args:
        config: the run whose predictions are read.
        datasets: (suite, task) to its tokenized task.

    Returns:
        A line a task, model and protocol with `COLUMNS`; scores are means over seeds.

    Raises:
        ConvNovaError: no predictions are there, or they are not of the task's rows.
    """
    lines = []
    for (suite, task), path in datasets.items():
        data = read_task(path)
        leaks = leaking_rows(data)
        counts = np.bincount(data.split("test").labels[leaks], minlength=data.outputs)
        of_task = {"suite": suite, "task": task, "metric": config.suites[suite].tasks[task].metric}
        of_task |= {"test_rows": len(leaks), "leaking": int(leaks.sum())}
        of_task["leaking_classes"] = " / ".join(map(str, counts))
        log("{suite}/{task}: {leaking:,} of {test_rows:,} test rows share bases with training rows".format(**of_task))
        for model, content in config.models.items():
            for protocol in config.protocols:
                jobs = config.jobs_of(suite, task, model, protocol)
                predictions = list(filter(None, (predictions_of(config, job) for job in jobs)))
                if predictions:
                    scores = pd.DataFrame([_scores(of_seed, leaks, of_task["metric"]) for of_seed in predictions])
                    gain = scores["clean"] - scores["score"]
                    of_model = {"model": content.title, "protocol": protocol, "seeds": len(scores)}
                    of_model |= {"clean_minus_all": gain.mean(), "sd": gain.std(ddof=1)}
                    lines.append(of_task | of_model | scores.mean().to_dict())
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of tasks of classes, found none")
    return pd.DataFrame(lines, columns=COLUMNS)


def leaking_rows(task: TaskDataset) -> np.ndarray:
    """Which test rows share bases with a row of train or validation: bool (n,)."""
    others = [task.split(name) for name in ("train", "valid") if name in task.splits]
    return np.any([shares_bases(task.split("test"), rows) for rows in others], axis=0)


def _scores(predictions: Predictions, leaks: np.ndarray, metric: str) -> dict[str, float]:
    """The metric over all test rows, over those that are clean, with its interval, and over those that leak."""
    rows, labels, scores = predictions.rows, predictions.labels, predictions.predicted
    if not np.array_equal(rows, np.arange(len(leaks))):
        raise ConvNovaError(
            f"{predictions.path}: expected predictions of {len(leaks)} test rows, found {len(rows)}; run it again"
        )
    result, clean = {}, ~leaks
    for name, part in (("score", np.full(len(rows), True)), ("clean", clean), ("leaking_score", leaks)):
        # Without two classes there is nothing to tell apart: not a number.
        scored = len(np.unique(labels[part])) > 1
        result[name] = float(metrics.classification(labels[part], scores[part])[metric]) if scored else np.nan
    low, high = bootstrap.bootstrap_interval(labels[clean], scores[clean], metric) if clean.any() else (np.nan, np.nan)
    return result | {"clean_low": low, "clean_high": high}
