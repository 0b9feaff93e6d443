"""Scores of saved predictions with and without the test rows that overlap training rows in the genome.

A row's place is found by `convnova.evaluation.leakage.genome_search.search`. A test row leaks if one of its places
shares a base with a place of a training row; it is clean if it has a place and none that does. Rows without a place
are neither.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.data.genome import read_genome
from convnova.data.intervals import bed_tool
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap, metrics
from convnova.evaluation.leakage.genome_search import Hit, search
from convnova.evaluation.leakage.split_audit import sequences
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.log import log

UNPLACED = -1
COLUMNS = [
    "suite", "task", "model", "protocol", "seeds", "metric", "test_rows", "placed", "leaking", "half_leaking",
    "score", "clean", "clean_low", "clean_high", "leaking_score", "clean_minus_all", "sd",
]  # fmt: skip
"""half_leaking: rows that share half of their bases or more with a training row; sd: of the difference, over seeds."""


def overlap_scores(config: RunConfig, genome: Path, datasets: Mapping[tuple[str, str], Path]) -> pd.DataFrame:
    """Score the predictions of every task of classes, model and protocol with and without the rows that leak.

    Predictions that are missing, or made with other settings than the config's, are left out with a log message.

    Args:
        config: the run whose predictions are read.
        genome: folder of the tokenized genome that rows are looked for in.
        datasets: (suite, task) to its tokenized task.

    Returns:
        A line a task, model and protocol with `COLUMNS`; scores are means over seeds.

    Raises:
        ConvNovaError: no predictions are there, or they are not of the task's rows.
    """
    chromosomes, lines = read_genome(genome), []
    for (suite, task), path in datasets.items():
        dataset = read_task(path)
        if dataset.kind != "classes":
            continue
        shared, lengths = overlapping_bases(dataset, chromosomes), dataset.split("test").lengths
        of_task = {
            "suite": suite, "task": task, "metric": config.suites[suite].tasks[task].metric,
            "test_rows": len(shared), "placed": int((shared > UNPLACED).sum()),
            "leaking": int((shared > 0).sum()), "half_leaking": int((2 * shared >= lengths).sum()),
        }  # fmt: skip
        log("{suite}/{task}: {leaking:,} of {placed:,} test rows with a place overlap training rows".format(**of_task))
        for model, content in config.models.items():
            for protocol in config.protocols:
                seeds = config.seeds_on(suite, task, model, protocol)
                jobs = [Job(suite, task, model, protocol, seed) for seed in seeds]
                predictions = list(filter(None, (predictions_of(config, job) for job in jobs)))
                if predictions:
                    scores = pd.DataFrame([_scores(of_seed, shared, of_task["metric"]) for of_seed in predictions])
                    gain = scores["clean"] - scores["score"]
                    of_model = {"model": content.title, "protocol": protocol, "seeds": len(scores)}
                    of_model |= {"clean_minus_all": gain.mean(), "sd": gain.std(ddof=1)}
                    lines.append(of_task | of_model | scores.mean().to_dict())
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of tasks of classes, found none")
    return pd.DataFrame(lines, columns=COLUMNS)


def overlapping_bases(task: TaskDataset, genome: Mapping[str, np.ndarray]) -> np.ndarray:
    """The bases that each test row shares at most with one row of train or validation.

    Returns:
        int64 (n,); `UNPLACED` for a row that is not in the genome.
    """
    test = task.split("test")
    others = [sequences(task.split(name)) for name in ("train", "valid") if name in task.splits]
    known = [hit for rows in others for hit in search(rows, genome)]
    return most_shared_bases(search(sequences(test), genome), known, len(test))


def most_shared_bases(hits: list[Hit], known: list[Hit], rows: int) -> np.ndarray:
    """The bases that one place of a row shares at most with one known place, by `bedtools intersect`.

    Args:
        hits: the places of the rows.
        known: the places to compare with.
        rows: number of rows; those of `hits` are from 0 to `rows - 1`.

    Returns:
        int64 (rows,); `UNPLACED` for a row without a place.
    """
    most = np.full(rows, UNPLACED, np.int64)
    most[[hit.row for hit in hits]] = 0
    if hits and known:
        places = bed_tool((chrom, start, end, row) for row, chrom, start, end in hits)
        # `wo`: a line a pair of places that overlap, with the number of bases at its end.
        for pair in places.intersect(bed_tool(hit[1:] for hit in known), wo=True, nonamecheck=True):
            most[int(pair.name)] = max(most[int(pair.name)], int(pair.fields[-1]))
    return most


def _scores(predictions: Predictions, shared: np.ndarray, metric: str) -> dict[str, float]:
    """The metric over all test rows, over those that are clean, with its interval, and over those that leak."""
    rows, labels, scores = predictions.rows, predictions.labels, predictions.predicted
    if not np.array_equal(rows, np.arange(len(shared))):
        raise ConvNovaError(
            f"{predictions.path}: expected predictions of {len(shared)} test rows, found {len(rows)}; run it again"
        )
    result, clean = {}, shared == 0
    for name, part in (("score", np.full(len(rows), True)), ("clean", clean), ("leaking_score", shared > 0)):
        # Without two classes there is nothing to tell apart: not a number.
        scored = len(np.unique(labels[part])) > 1
        result[name] = float(metrics.classification(labels[part], scores[part])[metric]) if scored else np.nan
    low, high = bootstrap.bootstrap_interval(labels[clean], scores[clean], metric) if clean.any() else (np.nan, np.nan)
    return result | {"clean_low": low, "clean_high": high}
