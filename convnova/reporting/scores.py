"""The table of scores, `scores.tsv`: a row a fine-tuning and table row. Tables, figures and tests of models read it."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRICS
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import results_of
from convnova.files import read_table, write_text
from convnova.log import log
from convnova.runs.provenance_table import NAME, provenance_frame

KEYS = ["suite", "task", "row", "model", "protocol", "seed"]
ALTERNATIVE_SCORES = ["test_best", "per_batch", "per_batch_sorted"]
"""What other scoring conventions would have reported of the same training: the best epoch on test, and means over
batches of test in the file's order and sorted by class."""
SCORES = [*METRICS, *ALTERNATIVE_SCORES]
NUMBERS = ["score", "low", "high", *SCORES, "n_test", "best_epoch", "parameters", "receptive_field", "seconds"]
COLUMNS = [*KEYS, "metric", *NUMBERS, "simulated", "path"]


def write_scores(config: RunConfig, out: Path) -> None:
    """Write `tables/scores.tsv`, and beside it `provenance.tsv`, a line a fine-tuning with what it was made from.

    Rows are in the order of the config. A result that is missing, has other settings than the config, or has no finite
    score, is left out, and the log names it.

    Args:
        config: the run.
        out: the folder that `tables` lies in.

    Raises:
        ConvNovaError: none of the run's results is there, or some are damaged; these were moved aside.
    """
    rows, provenance = [], {}
    for job, metrics in results_of(config, config.jobs()):
        score = metrics.get(metrics["metric"])
        if isinstance(score, int | float) and math.isfinite(score):
            rows += _rows(config, job, metrics)
            provenance[job] = metrics["provenance"]
        else:
            log(f"left out: {config.folder(job)}/metrics.json: {metrics['metric']} is {score}")
    if not rows:
        count = sum(1 for _ in config.jobs())
        raise ConvNovaError(f"{config.results}/runs: expected results of {count} fine-tunings, found none")
    # As objects: whole numbers stay whole in a column that has empty cells, and fractions keep every digit.
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    write_text(out / "tables" / "scores.tsv", table.to_csv(sep="\t", index=False, lineterminator="\n"))
    made_from = provenance_frame(provenance).to_csv(sep="\t", index=False, lineterminator="\n")
    write_text(out / "tables" / NAME, made_from)


def _rows(config: RunConfig, job: Job, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one fine-tuning: itself, or one for each of its groups of labels that has a score."""
    path = config.folder(job) / "metrics.json"
    metric, batches = metrics["metric"], metrics["per_batch"] or {}
    common = job._asdict() | {key: metrics[key] for key in ("metric", "best_epoch", "parameters", "seconds")}
    common |= {"n_test": metrics["rows"]["test"], "receptive_field": metrics["receptive_field"] or math.inf}
    common |= {"simulated": str(metrics["simulated"]).lower(), "path": config.relative_path(path)}
    if not (groups := config.task(job).groups):
        low, high = metrics["interval"] or (None, None)
        best = max((epoch["test"] for epoch in metrics["epochs"] if "test" in epoch), default=None)
        scores = {name: metrics[name] for name in METRICS if name in metrics} | {"test_best": best}
        scores |= {"per_batch": batches.get("file"), "per_batch_sorted": batches.get("sorted")}
        return [common | scores | {"row": job.task, "score": metrics[metric], "low": low, "high": high}]
    rows = []
    for name in groups:
        scores = {key: value for key, value in metrics["groups"][name].items() if key in SCORES}
        if metric in scores:
            rows.append(common | scores | {"row": name, "score": scores[metric]})
        else:
            log(f"left out: {path}: {name}: no label with both classes among the test rows")
    return rows


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read `scores.tsv`: text columns as text, numbers as floats with NaN for an empty cell, `simulated` as bool.

    Raises:
        ConvNovaError: the file is missing or lacks a column, or a cell that should be a number is none.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected a table of scores, found nothing; make it with `convnova tables scores`")
    needed = [name for name in COLUMNS if name not in METRICS]  # of an earlier version some metrics are missing
    scores = read_table(path, needed, NUMBERS, ["seed"]).reindex(columns=COLUMNS)
    is_below = (scores["score"] < -1) & (scores["metric"] != "r2")  # of predictions worse than the mean R2 has no least
    is_wrong = (scores["score"] > 1) | is_below | ~scores["simulated"].isin(["true", "false"])
    if is_wrong.any():
        line, found = is_wrong.idxmax() + 2, scores.loc[is_wrong.idxmax(), ["score", "simulated"]].tolist()
        raise ConvNovaError(f"{path}: line {line}: expected a score from -1 to 1, and true or false, found {found}")
    return scores.assign(simulated=scores["simulated"] == "true")[COLUMNS]


def check(scores: pd.DataFrame, config: RunConfig) -> None:
    """Refuse what must not be averaged in: rows outside the config, one run twice, a run without a score.

    Raises:
        ConvNovaError: names the first such row.
    """
    rows = {(name, *row) for name, suite in config.suites.items() for row in suite.table_rows}
    for path, *keys, metric, score in scores[["path", *KEYS, "metric", "score"]].itertuples(index=False):
        suite, task, row, model, protocol, seed = keys
        seeds = config.seeds_of(suite, protocol) if suite in config.suites else config.seeds
        expected = {"model": (model, config.models), "protocol": (protocol, config.protocols), "seed": (seed, seeds)}
        wrong = [f"{name} {value}" for name, (value, known) in expected.items() if value not in known]
        if (suite, task, row, metric) not in rows:
            wrong.insert(0, f"row {suite}/{row} by {metric}")
        if wrong:
            raise ConvNovaError(f"{path}: expected a result of this run's config, found {', '.join(wrong)}; remove it")
        if math.isnan(score):
            raise ConvNovaError(f"{path}: expected a score, found none; run it again")
    counts = Counter(scores[KEYS].itertuples(index=False, name=None))
    if twice := [keys for keys, count in counts.items() if count > 1]:
        raise ConvNovaError(f"scores: expected one row a run, found {'/'.join(map(str, twice[0]))} twice")
