"""Pairs of models over the test rows of each task: what saved predictions say and the scores alone do not.

Made apart from the tables of scores, since predictions take longer to read. Tasks of many labels are left out: their
score is a median AUROC over hundreds of labels, each of which would be ranked anew for every draw of test rows.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRIC_TITLES, Task
from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.metrics import RANKING_METRICS, sequence_confusions
from convnova.evaluation.model_comparison import (
    PairedOverTestRows,
    compare_over_test_rows,
    paired_numbers,
    paired_over_sequences,
    with_holm,
)
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.evaluation.scoring import values_of_targets
from convnova.files import read_table
from convnova.log import log
from convnova.reporting.comparison_sentences import over_test_rows
from convnova.reporting.render import write
from convnova.reporting.table import Cell, Table, p_value, receptive_field, signed
from convnova.runs.outputs import TEST_ROW_TABLE, TEST_ROW_TITLE, test_row_tasks
from convnova.runs.provenance_table import provenance_frame, provenance_sentence

RESAMPLES = 5000
"""Enough that p can be below 5% after Holm's adjustment over 100 pairs."""

COLUMNS = [
    "suite", "task", "protocol", "metric", "a", "b", "unit", "n", "seeds", "seeds_expected", "higher", "difference",
    "low", "high", "test", "p", "p_holm", "pairs", "only_a", "only_b", "auroc_difference", "auroc_low", "auroc_high",
    "auroc_p", "auroc_p_holm", "receptive_fields", "sentence",
]  # fmt: skip
COUNTS = ["n", "seeds", "seeds_expected", "higher", "pairs"]
TEXTS = ["suite", "task", "protocol", "metric", "a", "b", "unit", "test", "receptive_fields", "sentence"]
CAPTION = (
    "Difference of the mean scores over the seeds that both models have, on the same test rows: paired bootstrap "
    f"({RESAMPLES:,} draws of rows, each for all seeds at once; of whole sequences where bases are labelled), and "
    "besides, for two classes, the AUROC by DeLong's test with placement values averaged over seeds. Holm: over the "
    "pairs of a task and protocol. Tested is the chance in the test rows, not that of training: for this see by how "
    "many seeds the first is higher. Tasks of many labels are left out."
)


def write_test_rows(config: RunConfig, out: Path) -> None:
    """Write `tables/test_rows.tsv`, `.md`, `.tex` and `.html` to the folder `out`; errors as of `compare_test_rows`."""
    write(compare_test_rows(config), out / "tables")


def compare_test_rows(config: RunConfig) -> Table:
    """The table of every pair of models, task and protocol.

    Predictions made with other settings than the config's are left out and named; so are those that are missing.

    Raises:
        ConvNovaError: no task with predictions of two models by a common seed, or predictions of other test rows.
    """
    tasks = test_row_tasks(config)
    lines: list[dict[str, Any]] = []
    made: dict[Job, dict[str, Any]] = {}
    for (suite, task), protocol in product(tasks, config.protocols):
        models = [_saved(config, suite, task, model, protocol) for model in config.models]
        for model in models:
            for seed, saved in model.predictions.items():
                made[Job(suite, task, model.name, protocol, seed)] = saved.metrics["provenance"]
        lines += _pairs(models, config, suite, task, protocol)
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of two models for a task, found none")
    table = pair_table(pd.DataFrame(lines, columns=COLUMNS), config)
    return table.with_provenance(provenance_sentence(config, provenance_frame(made)))


def read_test_rows(path: Path) -> pd.DataFrame:
    """Read the table's TSV; errors as of `convnova.files.read_table`."""
    return read_table(path, COLUMNS, [name for name in COLUMNS if name not in {*TEXTS, *COUNTS}], COUNTS)


def pair_table(results: pd.DataFrame, config: RunConfig) -> Table:
    """The table for reading.

    Args:
        results: the columns of `COLUMNS`, a line a task, protocol and pair of models.
        config: of the run, for the titles of models.
    """
    titles, lines = config.model_titles, []
    for row in results.itertuples(index=False):
        seeds = f"{row.seeds}" if row.seeds == row.seeds_expected else f"{row.seeds} of {row.seeds_expected}"
        lines.append({
            "task, protocol": f"{row.task}, {row.protocol}",
            "pair": f"{titles.get(row.a, row.a)} - {titles.get(row.b, row.b)}",
            "metric": METRIC_TITLES.get(row.metric, row.metric), "test rows": row.n, "seeds": Cell(seeds, row.seeds),
            "difference": row.difference, "95% interval": f"{signed(row.low)} to {signed(row.high)}",
            "higher in": Cell(f"{row.higher} of {row.seeds}", row.higher / row.seeds),
            "p": row.p, "p (Holm)": row.p_holm,
            "AUROC difference": row.auroc_difference, "p (DeLong, Holm)": row.auroc_p_holm,
            "receptive fields": row.receptive_fields,
        })  # fmt: skip
    frame = pd.DataFrame(lines).set_index(["task, protocol", "pair"])
    different = int((results["p_holm"] <= 1 - LEVEL).sum())
    pairs = f"{different} of {len(results)} pairs"
    summary = f"{pairs} differ by the task's metric at the 5% level after Holm's adjustment."
    formats = dict.fromkeys(("difference", "AUROC difference"), signed)
    formats |= dict.fromkeys(("p", "p (Holm)", "p (DeLong, Holm)"), p_value)
    notes = list(results["sentence"])
    return Table(TEST_ROW_TABLE, TEST_ROW_TITLE, frame, CAPTION, summary, notes, config.simulated, formats, results)


class SavedModel(NamedTuple):
    """What is saved of a model on a task, by one protocol."""

    name: str
    title: str
    predictions: dict[int, Predictions]
    """By seed."""

    @property
    def receptive_field(self) -> str:
        """In words."""
        return receptive_field(of.metrics["receptive_field"] or math.inf for of in self.predictions.values()).text


def _saved(config: RunConfig, suite: str, task: str, model: str, protocol: str) -> SavedModel:
    """Predictions of every seed."""
    jobs = config.jobs_of(suite, task, model, protocol)
    predictions = {job.seed: saved for job in jobs if (saved := predictions_of(config, job))}
    return SavedModel(model, config.models[model].title, predictions)


def _pairs(
    models: list[SavedModel], config: RunConfig, suite: str, task: str, protocol: str
) -> Iterator[dict[str, Any]]:
    """A line a pair of models with a seed in common."""
    spec = config.suites[suite].tasks[task]
    couples = [(a, b) for a, b in combinations(models, 2) if a.predictions.keys() & b.predictions.keys()]
    first, *others = [saved for model in models for saved in model.predictions.values()] or [None]
    for other in others:
        if not np.array_equal(other.rows, first.rows) or not np.array_equal(other.labels, first.labels):
            raise ConvNovaError(
                f"{other.path}: expected the test rows and labels of {first.path}, found others; run the older again"
            )
    if not couples:
        return
    two_classes = spec.kind == "classes" and first.predicted.shape[1:] == (2,)
    lacks_a_class = two_classes and np.bincount(first.labels, minlength=2).min() < 2
    if spec.metric in RANKING_METRICS and lacks_a_class:
        log(f"left out: {suite}/{task}, {protocol}: {spec.metric} needs two test rows or more of either class")
        return
    with_auroc = spec.metric != "auroc" and two_classes and not lacks_a_class
    results = _compare(couples, spec, spec.metric)
    aurocs = _compare(couples, spec, "auroc") if with_auroc else [None] * len(couples)
    for (a, b), result, auroc in zip(couples, results, aurocs, strict=True):
        line = vars(result) | {"suite": suite, "task": task, "protocol": protocol, "a": a.name, "b": b.name}
        line |= {"metric": spec.metric, "seeds_expected": len(config.seeds_of(suite, protocol))}
        line |= {"receptive_fields": f"{a.receptive_field}, {b.receptive_field}"}
        sentence = f"{task}, {protocol}: {over_test_rows(result)}"
        if auroc:
            line |= {f"auroc_{name}": getattr(auroc, name) for name in ("difference", "low", "high", "p", "p_holm")}
            sentence += f" {over_test_rows(auroc)}"
        yield line | {"sentence": sentence}


def _compare(couples: list[tuple[SavedModel, SavedModel]], task: Task, metric: str) -> list[PairedOverTestRows]:
    """Each couple by the seeds that both have; p values are adjusted for one another."""
    results = []
    for a, b in couples:
        seeds = [seed for seed in a.predictions if seed in b.predictions]
        first = a.predictions[seeds[0]]
        of_a, of_b = (np.stack([model.predictions[seed].predicted for seed in seeds]) for model in (a, b))
        if task.kind == "classes":
            result = compare_over_test_rows(first.labels, of_a, of_b, metric, (a.title, b.title), RESAMPLES)
        elif task.kind == "regression":
            numbers = (values_of_targets(task, part) for part in (first.labels, of_a, of_b))
            result = paired_numbers(*numbers, metric, (a.title, b.title), RESAMPLES)
        else:
            classes = 1 + int(max(first.labels.max(), of_a.max(), of_b.max()))
            counts = (
                np.stack([sequence_confusions(first.labels, of_seed, first.lengths, classes) for of_seed in of])
                for of in (of_a, of_b)
            )
            result = paired_over_sequences(*counts, metric, (a.title, b.title), RESAMPLES)
        results.append(replace(result, metric=METRIC_TITLES[metric]))
    return with_holm(results)
