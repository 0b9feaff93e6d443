"""The table of scores, one row a fine-tuning run and table row: what tables, figures and tests of models read."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    from convnova.config.run import RunConfig

KEYS = ["suite", "task", "row", "model", "protocol", "seed"]
METRICS = ["mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auroc_mean", "auprc"]
AUDIT = ["test_best", "per_batch", "per_batch_sorted"]
"""What other habits would have reported of the same training: the best epoch on test, means over batches of test in the
file's order and sorted by class."""
NUMBERS = ["score", "low", "high", *METRICS, *AUDIT, "n_test", "best_epoch", "parameters", "receptive_field", "seconds"]
COLUMNS = [*KEYS, "metric", *NUMBERS, "simulated", "path"]

METRIC_TITLES = {
    "mcc": "MCC",
    "f1_macro": "F1 (macro)",
    "f1_binary": "F1 (class 1)",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


class Row(NamedTuple):
    """A row of a suite's table: a task, or one group of a task's labels."""

    task: str
    label: str
    metric: str

    @property
    def metric_title(self) -> str:
        """The metric as a reader knows it; a group of labels is scored by the median over its labels."""
        return ("median " if self.label != self.task else "") + METRIC_TITLES.get(self.metric, self.metric)


@dataclass(frozen=True)
class Plan:
    """What a run is to give: every suite, row, model, protocol and seed, in the order of the tables."""

    suites: dict[str, str]
    """Name to title."""
    rows: dict[str, list[Row]]
    """Suite to its rows."""
    models: dict[str, str]
    """Name to title."""
    published: dict[str, str]
    """Model to its name in the published tables, where it has one."""
    protocols: list[str]
    seeds: list[int]
    simulated: bool
    folds: dict[str, int] = field(default_factory=dict)
    """Suite to how many folds `cv` runs; by `cv` these are the seeds."""
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Suite to model to the settings of its architecture."""
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Suite/task/model to the settings that are otherwise on this task."""

    def seeds_of(self, suite: str, protocol: str) -> list[int]:
        """The seeds that a suite's cells by a protocol are to have."""
        return list(range(1, self.folds[suite] + 1)) if protocol == "cv" else self.seeds


def plan_of(config: "RunConfig") -> Plan:
    """What the run of this config is to give."""
    return Plan(
        suites={name: suite.title or name for name, suite in config.suites.items()},
        rows={
            name: [Row(task, row, spec.metric) for task, spec in suite.tasks.items() for row in spec.groups or [task]]
            for name, suite in config.suites.items()
        },
        models={name: model.title for name, model in config.models.items()},
        published={name: model.published for name, model in config.models.items() if model.published},
        protocols=list(config.protocols),
        seeds=list(config.seeds),
        simulated=config.simulate is not None,
        folds={name: suite.folds for name, suite in config.suites.items()},
        settings={suite: {name: config.settings(name, suite) for name in config.models} for suite in config.suites},
        recipes={place: recipe.settings for place, recipe in config.recipes.items()},
    )


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read `scores.tsv`: text columns as text, numbers as floats with NaN for an empty cell, `simulated` as bool.

    Raises:
        ConvNovaError: the file is missing or lacks a column, or a cell that should be a number is none.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a table of scores, found nothing; make it with `convnova aggregate`")
    scores = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if missing := [column for column in COLUMNS if column not in scores]:
        raise ConvNovaError(f"{path}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing")
    for column in [*NUMBERS, "seed"]:
        numbers = pd.to_numeric(scores[column], errors="coerce")
        wrong = scores.index[numbers.isna() & ((scores[column] != "") | (column == "seed"))]
        if len(wrong):
            found = scores[column][wrong[0]]
            raise ConvNovaError(f"{path}: line {wrong[0] + 2}: expected a number as {column}, found {found!r}")
        scores[column] = numbers.astype(int if column == "seed" else float)
    scores["simulated"] = scores["simulated"] == "true"
    return scores[COLUMNS]


def check(scores: pd.DataFrame, plan: Plan) -> None:
    """Refuse what must not be averaged in: rows outside the plan, one run twice, a run without a score.

    Raises:
        ConvNovaError: names the first such row.
    """
    labels = {(suite, *row) for suite, rows in plan.rows.items() for row in rows}
    for path, *keys, metric, score in scores[["path", *KEYS, "metric", "score"]].itertuples(index=False):
        suite, task, row, model, protocol, seed = keys
        seeds = plan.seeds_of(suite, protocol) if suite in plan.suites else plan.seeds
        expected = {"model": (model, plan.models), "protocol": (protocol, plan.protocols), "seed": (seed, seeds)}
        wrong = [f"{name} {value}" for name, (value, known) in expected.items() if value not in known]
        if (suite, task, row, metric) not in labels:
            wrong.insert(0, f"row {suite}/{row} by {metric}")
        if wrong:
            raise ConvNovaError(f"{path}: expected a result of this run's config, found {', '.join(wrong)}; remove it")
        if score != score:
            raise ConvNovaError(f"{path}: expected a score, found none; run it again")
    twice = [keys for keys, count in Counter(scores[KEYS].itertuples(index=False, name=None)).items() if count > 1]
    if twice:
        raise ConvNovaError(f"scores: expected one row a run, found {'/'.join(map(str, twice[0]))} twice")
