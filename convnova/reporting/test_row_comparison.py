"""Pairs of models over the test rows of each task: what saved predictions say and the scores alone do not.

Made apart from the tables of scores, since predictions take longer to read. Tasks of many labels are left out: their
score is a median AUROC over hundreds of labels, each of which would be ranked anew for every draw of test rows.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap
from convnova.evaluation.metrics import RANKING_METRICS
from convnova.evaluation.model_comparison import (
    PairedOverTestRows,
    compare_over_test_rows,
    paired_over_sequences,
    with_holm,
)
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.files import read_json
from convnova.log import log
from convnova.reporting.comparison_sentences import over_test_rows
from convnova.reporting.table import Cell, Table, p_value, receptive_field, signed
from convnova.runs.outputs import ITEMS, ITEMS_TITLE, test_row_tasks
from convnova.runs.provenance_table import provenance_frame, provenance_sentence

RESAMPLES = 5000
"""Enough that p can be below 5% after Holm's adjustment over 100 pairs."""

COLUMNS = [
    "suite", "task", "protocol", "metric", "a", "b", "items", "n", "seeds", "seeds_expected", "higher", "difference",
    "low", "high", "test", "p", "p_holm", "pairs", "only_a", "only_b", "auroc_difference", "auroc_low", "auroc_high",
    "auroc_p", "auroc_p_holm", "receptive_fields", "sentence",
]  # fmt: skip
CAPTION = (
    "Difference of the mean scores over the seeds that both models have, on the same test rows: paired bootstrap "
    f"({RESAMPLES:,} draws of rows, each for all seeds at once; of whole sequences where bases are labelled), and "
    "besides, for two classes, the AUROC by DeLong's test with placement values averaged over seeds. Holm: over the "
    "pairs of a task and protocol. Tested is the chance in the test rows, not that of training: for this see by how "
    "many seeds the first is higher. Tasks of many labels are left out."
)

BySeed = dict[int, Predictions]


def compare_test_rows(config: RunConfig) -> Table:
    """The table of every pair of models, task and protocol.

    Predictions made with other settings than the config's are left out and named; so are those that are missing.

    Raises:
        ConvNovaError: no task with predictions of two models by a common seed, or predictions of other test rows.
    """
    tasks = test_row_tasks(config)
    lines = [
        line for suite, task in tasks for protocol in config.protocols for line in _pairs(config, suite, task, protocol)
    ]
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of two models for a task, found none")
    paths = {job: config.folder(job) / "metrics.json" for job in config.jobs() if job[:2] in tasks}
    made = {job: read_json(path)["provenance"] for job, path in paths.items() if path.is_file()}
    table = pair_table(pd.DataFrame(lines, columns=COLUMNS), config)
    return table.with_provenance(provenance_sentence(config, provenance_frame(made)))


def read_test_rows(path: Path) -> pd.DataFrame:
    """Read the table's TSV.

    Raises:
        ConvNovaError: it lacks a column.
    """
    results = pd.read_csv(path, sep="\t")
    if missing := [column for column in COLUMNS if column not in results]:
        raise ConvNovaError(f"{path}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing")
    return results


def pair_table(results: pd.DataFrame, config: RunConfig) -> Table:
    """The table for reading.

    Args:
        results: the columns of `COLUMNS`, a line a task, protocol and pair of models.
        config: of the run, for the titles of models.
    """
    titles = {name: model.title for name, model in config.models.items()}
    lines = []
    for row in results.itertuples(index=False):
        seeds = f"{row.seeds}" if row.seeds == row.seeds_expected else f"{row.seeds} of {row.seeds_expected}"
        lines.append(
            {
                "task, protocol": f"{row.task}, {row.protocol}",
                "pair": f"{titles[row.a]} - {titles[row.b]}",
                "metric": METRIC_TITLES[row.metric],
                "test rows": row.n,
                "seeds": Cell(seeds, row.seeds),
                "difference": row.difference,
                "95% interval": f"{signed(row.low)} to {signed(row.high)}",
                "higher in": Cell(f"{row.higher} of {row.seeds}", row.higher / row.seeds),
                "p": row.p,
                "p (Holm)": row.p_holm,
                "AUROC difference": row.auroc_difference,
                "p (DeLong, Holm)": row.auroc_p_holm,
                "receptive fields": row.receptive_fields,
            }
        )
    different = int((results["p_holm"] <= 1 - bootstrap.LEVEL).sum())
    return Table(
        ITEMS,
        ITEMS_TITLE,
        pd.DataFrame(lines).set_index(["task, protocol", "pair"]),
        CAPTION,
        f"{different} of {len(results)} pairs differ by the task's metric at the 5% level after Holm's adjustment.",
        list(results["sentence"]),
        config.simulated,
        {"difference": signed, "AUROC difference": signed}
        | dict.fromkeys(("p", "p (Holm)", "p (DeLong, Holm)"), p_value),
        results,
    )


def _pairs(config: RunConfig, suite: str, task: str, protocol: str) -> Iterator[dict[str, Any]]:
    """A line a pair of models with a seed in common."""
    spec, jobs = config.suites[suite].tasks[task], {}
    for model in config.models:
        jobs[model] = [Job(suite, task, model, protocol, seed) for seed in config.seeds_of(suite, protocol)]
    predictions = {
        model: {job.seed: saved for job in of_model if (saved := predictions_of(config, job))}
        for model, of_model in jobs.items()
    }
    _check_same_rows([saved for of_model in predictions.values() for saved in of_model.values()])
    couples = [(a, b) for a, b in combinations(predictions, 2) if predictions[a].keys() & predictions[b].keys()]
    if not couples:
        return
    first = next(iter(predictions[couples[0][0]].values()))
    two_classes = first.predicted.shape[1:] == (2,)
    lacks_a_class = two_classes and np.bincount(first.labels, minlength=2).min() < 2
    if spec.metric in RANKING_METRICS and lacks_a_class:
        log(f"left out: {suite}/{task}, {protocol}: {spec.metric} needs two test rows or more of either class")
        return

    def compare(metric: str) -> list[PairedOverTestRows]:
        """Every couple by one metric, adjusted for one another."""
        return with_holm(
            [
                _compared(
                    spec.kind, metric, predictions[a], predictions[b], (config.models[a].title, config.models[b].title)
                )
                for a, b in couples
            ]
        )

    results = compare(spec.metric)
    aurocs = compare("auroc") if spec.metric != "auroc" and two_classes and not lacks_a_class else []
    fields = {model: _receptive_field(config, of_model) for model, of_model in jobs.items()}
    for place, ((a, b), result) in enumerate(zip(couples, results, strict=True)):
        line = vars(result) | {"suite": suite, "task": task, "protocol": protocol, "a": a, "b": b}
        line |= {"seeds_expected": len(jobs[a]), "metric": spec.metric, "receptive_fields": f"{fields[a]}, {fields[b]}"}
        both = [result, *aurocs[place : place + 1]]
        for auroc in both[1:]:
            line |= {f"auroc_{name}": getattr(auroc, name) for name in ("difference", "low", "high", "p", "p_holm")}
        yield line | {"sentence": f"{task}, {protocol}: {' '.join(map(over_test_rows, both))}"}


def _receptive_field(config: RunConfig, jobs: list[Job]) -> str:
    """A model's receptive field on a task, by the metrics beside its predictions; `unknown` without them."""
    paths = [path for job in jobs if (path := config.folder(job) / "metrics.json").is_file()]
    cell = receptive_field(read_json(path)["receptive_field"] or math.inf for path in paths)
    return cell.text if cell else "unknown"


def _check_same_rows(predictions: list[Predictions]) -> None:
    for other in predictions[1:]:
        first = predictions[0]
        if not np.array_equal(other.rows, first.rows) or not np.array_equal(other.labels, first.labels):
            raise ConvNovaError(
                f"{other.path}: expected the test rows and labels of {first.path}, found others; run the older again"
            )


def _compared(kind: str, metric: str, a: BySeed, b: BySeed, titles: tuple[str, str]) -> PairedOverTestRows:
    """Two models by the seeds that both have."""
    seeds = [seed for seed in a if seed in b]
    of_a, of_b = ([model[seed] for seed in seeds] for model in (a, b))
    if kind == "classes":
        scores = (np.stack([saved.predicted for saved in of_model]) for of_model in (of_a, of_b))
        result = compare_over_test_rows(of_a[0].labels, *scores, metric, titles, RESAMPLES)
    else:
        classes = 1 + max(int(max(saved.labels.max(), saved.predicted.max())) for saved in (*of_a, *of_b))
        counts = (np.stack([confusions(saved, classes) for saved in of_model]) for of_model in (of_a, of_b))
        result = paired_over_sequences(*counts, metric, titles, RESAMPLES)
    return replace(result, metric=METRIC_TITLES[metric])


def confusions(predictions: Predictions, classes: int) -> np.ndarray:
    """How many bases of each sequence have which class and which predicted one, int64 (n, classes, classes)."""
    sequence = np.repeat(np.arange(len(predictions.lengths)), predictions.lengths)
    cells = (sequence * classes + predictions.labels) * classes + predictions.predicted
    return np.bincount(cells, minlength=len(predictions.lengths) * classes**2).reshape(-1, classes, classes)
