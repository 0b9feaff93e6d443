"""Pairs of models over the test rows of each task: what saved predictions say and the scores alone do not.

Made apart from the tables of scores, since predictions take longer to read. Tasks of many labels are left out: their
score is a median AUROC over hundreds of labels, each of which would be ranked anew for every draw of items.
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
from convnova.config.schema import METRIC_TITLES, Task
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
from convnova.files import read_json, write_tsv
from convnova.log import log
from convnova.reporting.comparison_sentences import over_test_rows
from convnova.reporting.sheets import Sheet, change, p_value, text, write
from convnova.reporting.suite_tables import signed
from convnova.reporting.table_forms import Entry, fields_read
from convnova.runs import provenance_table
from convnova.runs.outputs import ITEMS, ITEMS_TITLE, test_row_tasks
from convnova.runs.provenance_table import provenance_row, provenance_sentence

RESAMPLES = 5000
"""Enough that p can be below 5% after Holm's adjustment over 100 pairs."""

COLUMNS = [
    "suite", "task", "protocol", "metric", "a", "b", "items", "n", "seeds", "seeds_expected", "higher", "difference",
    "low", "high", "test", "p", "p_holm", "pairs", "only_a", "only_b", "auroc_difference", "auroc_low", "auroc_high",
    "auroc_p", "auroc_p_holm", "receptive_fields", "sentence",
]  # fmt: skip
HEADS = [
    "task, protocol", "pair", "metric", "test rows", "seeds", "difference", "95% interval", "higher in", "p",
    "p (Holm)", "AUROC difference", "p (DeLong, Holm)", "receptive fields",
]  # fmt: skip
CAPTION = (
    "Difference of the mean scores over the seeds that both models have, on the same test rows: paired bootstrap "
    f"({RESAMPLES:,} draws of rows, each for all seeds at once; of whole sequences where bases are labelled), and "
    "besides, for two classes, the AUROC by DeLong's test with placement values averaged over seeds. Holm: over the "
    "pairs of a task and protocol. Tested is the chance in the test rows, not that of training: for this see by how "
    "many seeds the first is higher. Tasks of many labels are left out."
)

Scores = dict[int, Predictions]
"""Seed to its predictions."""


def write_items(config: RunConfig, out: Path) -> None:
    """Write `items.tsv` with every number, and `items.md`, `.tex` and `.html` for reading, into the folder `out`.

    Predictions made with other settings than the config's are left out and named; so are those that are missing.

    Raises:
        ConvNovaError: no task with predictions of two models by a common seed, or predictions of other test rows.
    """
    lines = [
        pair
        for suite, task in test_row_tasks(config)
        for protocol in config.protocols
        for pair in _lines(config, suite, task, protocol, config.suites[suite].tasks[task])
    ]
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of two models for a task, found none")
    table = pd.DataFrame(lines, columns=COLUMNS)
    write_tsv(out / f"{ITEMS}.tsv", table)
    write(replace(sheet(table, config), made=_made(config)), out, ["md", "tex", "html"])


def _made(config: RunConfig) -> str:
    """What the predictions were made from, by the metrics beside them."""
    tasks = test_row_tasks(config)
    paths = {job: config.folder(job) / "metrics.json" for job in config.jobs() if job[:2] in tasks}
    lines = [provenance_row(job, read_json(path)["provenance"]) for job, path in paths.items() if path.is_file()]
    return provenance_sentence(config, provenance_table.provenance_frame(lines))


def read_items(path: Path) -> pd.DataFrame:
    """Read `items.tsv`.

    Raises:
        ConvNovaError: it lacks a column.
    """
    table = pd.read_csv(path, sep="\t")
    if missing := [column for column in COLUMNS if column not in table]:
        raise ConvNovaError(f"{path}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing")
    return table


def _lines(config: RunConfig, suite: str, task: str, protocol: str, spec: Task) -> Iterator[dict[str, Any]]:
    """A line a pair of models with a seed in common."""
    found = {model: _of_model(config, suite, task, model, protocol) for model in config.models}
    _check_same_rows([one for of_model in found.values() for one in of_model.values()])
    couples = [(a, b) for a, b in combinations(found, 2) if set(found[a]) & set(found[b])]
    if couples and spec.metric in RANKING_METRICS and _lacks_a_class(found[couples[0][0]]):
        log(f"left out: {suite}/{task}, {protocol}: {spec.metric} needs two test rows or more of either class")
        return
    titles = {name: model.title for name, model in config.models.items()}
    fields = {model: _field(config, suite, task, model, protocol) for model in found}
    results = with_holm([_compared(spec, spec.metric, found, titles, *couple) for couple in couples])
    aurocs = []
    if couples and spec.metric != "auroc" and _has_auroc(found[couples[0][0]]):
        aurocs = with_holm([_compared(spec, "auroc", found, titles, *couple) for couple in couples])
    for place, ((a, b), result) in enumerate(zip(couples, results, strict=True)):
        pair = vars(result) | {"suite": suite, "task": task, "protocol": protocol, "a": a, "b": b}
        pair |= {"seeds_expected": len(config.seeds_of(suite, protocol)), "metric": spec.metric}
        pair |= {"receptive_fields": f"{fields[a]}, {fields[b]}"}
        if aurocs:
            names = ("difference", "low", "high", "p", "p_holm")
            pair |= {f"auroc_{name}": getattr(aurocs[place], name) for name in names}
        told = [result, *aurocs[place : place + 1]]
        yield pair | {"sentence": f"{task}, {protocol}: {' '.join(map(over_test_rows, told))}"}


def _of_model(config: RunConfig, suite: str, task: str, model: str, protocol: str) -> Scores:
    jobs = [Job(suite, task, model, protocol, seed) for seed in config.seeds_of(suite, protocol)]
    return {job.seed: found for job in jobs if (found := predictions_of(config, job))}


def _field(config: RunConfig, suite: str, task: str, model: str, protocol: str) -> str:
    """A model's receptive field on a task, by the metrics beside its predictions; `unknown` without them."""
    jobs = [Job(suite, task, model, protocol, seed) for seed in config.seeds_of(suite, protocol)]
    paths = [path for job in jobs if (path := config.folder(job) / "metrics.json").is_file()]
    return fields_read(read_json(path)["receptive_field"] or math.inf for path in paths) or "unknown"


def _check_same_rows(found: list[Predictions]) -> None:
    for other in found[1:]:
        if not np.array_equal(other.rows, found[0].rows) or not np.array_equal(other.labels, found[0].labels):
            raise ConvNovaError(
                f"{other.path}: expected the test rows and labels of {found[0].path}, found others; run the older again"
            )


def _has_auroc(scores: Scores) -> bool:
    """Whether there are two classes, with two test rows or more of each: what DeLong's test needs."""
    return next(iter(scores.values())).predicted.shape[1:] == (2,) and not _lacks_a_class(scores)


def _lacks_a_class(scores: Scores) -> bool:
    """Whether of two classes one has fewer than two test rows."""
    one = next(iter(scores.values()))
    return one.predicted.shape[1:] == (2,) and bool(np.bincount(one.labels, minlength=2).min() < 2)


def _compared(
    spec: Task, metric: str, found: dict[str, Scores], titles: dict[str, str], a: str, b: str
) -> PairedOverTestRows:
    """Two models by the seeds that both have."""
    seeds = [seed for seed in found[a] if seed in found[b]]
    of_a, of_b = ([found[model][seed] for seed in seeds] for model in (a, b))
    names = titles[a], titles[b]
    if spec.kind == "classes":
        scores = (np.stack([one.predicted for one in of]) for of in (of_a, of_b))
        result = compare_over_test_rows(of_a[0].labels, *scores, metric, names, RESAMPLES)
    else:
        classes = 1 + max(int(max(one.labels.max(), one.predicted.max())) for one in (*of_a, *of_b))
        counts = (np.stack([confusions(one, classes) for one in of]) for of in (of_a, of_b))
        result = paired_over_sequences(*counts, metric, names, RESAMPLES)
    return replace(result, metric=METRIC_TITLES[metric])


def confusions(found: Predictions, classes: int) -> np.ndarray:
    """How many bases of each sequence have which class and which predicted one, int64 (n, classes, classes)."""
    sequence = np.repeat(np.arange(len(found.lengths)), found.lengths)
    cells = (sequence * classes + found.labels) * classes + found.predicted
    return np.bincount(cells, minlength=len(found.lengths) * classes**2).reshape(-1, classes, classes)


def sheet(table: pd.DataFrame, config: RunConfig) -> Sheet:
    """The table for reading."""
    titles = {name: model.title for name, model in config.models.items()}
    lines = [
        [
            text(f"{row.task}, {row.protocol}"),
            text(f"{titles[row.a]} - {titles[row.b]}"),
            text(METRIC_TITLES[row.metric]),
            Entry(f"{row.n:,}", row.n),
            Entry(f"{row.seeds}" + f" of {row.seeds_expected}" * (row.seeds < row.seeds_expected), row.seeds),
            change(row.difference),
            text(f"{signed(row.low)} to {signed(row.high)}"),
            Entry(f"{row.higher} of {row.seeds}", row.higher / row.seeds),
            p_value(row.p),
            p_value(row.p_holm),
            change(row.auroc_difference),
            p_value(row.auroc_p_holm),
            text(row.receptive_fields),
        ]
        for row in table.itertuples(index=False)
    ]
    apart = int((table["p_holm"] <= 1 - bootstrap.LEVEL).sum())
    summary = f"{apart} of {len(table)} pairs differ by the task's metric at the 5% level after Holm's adjustment."
    notes = list(table["sentence"])
    return Sheet(ITEMS, ITEMS_TITLE, CAPTION, summary, HEADS, lines, notes, config.simulate is not None)
