"""Published numbers, each with its source, and the verdict when one of ours is set beside one of them."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from convnova.errors import ConvNovaError

COLUMNS = [
    "table", "suite", "task", "model", "pretrained", "params", "metric", "mean", "spread", "spread_kind", "source",
    "confidence",
]  # fmt: skip
CONFIDENCE = ("owner", "quoted", "copied", "inferred")


class Comparison(NamedTuple):
    """The one published table that a suite is compared with."""

    table: str | None
    """None: the paper has one, but its numbers are not known."""
    protocol: str
    """Ours that chooses the epoch as that table's authors did."""


COMPARISONS = {
    "nucleotide_transformer": Comparison("ConvNova Table 1", "released"),
    "genomic_benchmarks": Comparison("ConvNova Table 2", "released"),
    "chromatin_profile": Comparison(None, "released"),
    "gene_finding": Comparison(None, "released"),
}
"""Suite to table. One each: other papers' tables have other splits and protocols, and never share a row with it."""

OUR_METRIC = {"f1": "f1_macro", "median_auroc": "auroc"}
"""Published name to ours, where they differ; the released ConvNova configs take macro F1."""

PARAMETER_TOLERANCE = 0.1
HALF_A_DIGIT = 0.0005
"""Copies of tables are rounded to three decimals."""

ENOUGH_SEEDS = 3
"""With fewer, Student's t interval is so wide that everything would agree."""

AGREEMENT = (
    "Agrees: the published value is no further from our mean than the 95% prediction interval over seeds "
    f"(Student's t, {ENOUGH_SEEDS} seeds or more; with fewer, the 95% bootstrap interval over test rows), "
    "or than the published spread."
)


def read_published(path: str | Path) -> pd.DataFrame:
    """Read `published.csv`; every number in it must say where it comes from.

    Returns:
        The columns of `COLUMNS`; `mean` and `spread` (NaN if empty) as floats, the others as text.

    Raises:
        ConvNovaError: a row without table, model, metric or source, with a mean outside -1..1, or with an
            unknown confidence, or that repeats another; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected the published numbers, found nothing")
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != COLUMNS:
            found = ", ".join(reader.fieldnames or [])
            raise ConvNovaError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {found}")
        for row in reader:
            key = tuple(row[name] for name in ("table", "suite", "task", "model", "metric"))
            if mistake := _mistake(row) or ("another row with the same key" if key in rows else ""):
                raise ConvNovaError(f"{path}: line {reader.line_num}: {mistake}; mend or remove the row")
            rows[key] = row
    frame = pd.DataFrame(list(rows.values()), columns=COLUMNS)
    return frame.assign(mean=frame["mean"].astype(float), spread=pd.to_numeric(frame["spread"]).astype(float))


def _mistake(row: dict[str, str]) -> str:
    """What is wrong with a row, or nothing."""
    if None in row or None in row.values():
        return f"expected {len(COLUMNS)} columns, found another number"
    for name in ("table", "suite", "task", "model", "metric", "source"):
        if not row[name].strip():
            return f"expected a {name}, found none"
    if row["confidence"] not in CONFIDENCE:
        return f"expected a confidence of {', '.join(CONFIDENCE)}; found {row['confidence']!r}"
    for name in ("mean", "spread") if row["spread"] else ("mean",):
        try:
            value = float(row[name])
        except ValueError:
            return f"expected a number as {name}, found {row[name]!r}"
        if not -1 <= value <= 1:
            return f"expected a {name} between -1 and 1, found {row[name]}"
    return ""


class Published(NamedTuple):
    """One published number; the columns of `published.csv`."""

    table: str
    suite: str
    task: str
    model: str
    pretrained: str
    params: str
    metric: str
    mean: float
    spread: float
    spread_kind: str
    source: str
    confidence: str


def of_table(published: pd.DataFrame, table: str) -> pd.DataFrame:
    """The rows of one published table, in its order: never two papers together."""
    return published[published["table"] == table]


Compared = dict[tuple[str, str, str | None], Published]


def compared(published: pd.DataFrame) -> Compared:
    """Suite, row and published name of a model to the number, from the one table that the suite is compared with."""
    return {
        (row.suite, row.task, row.model): row
        for row in map(Published._make, published[COLUMNS].itertuples(index=False))
        if row.suite in COMPARISONS and row.table == COMPARISONS[row.suite].table
    }


def parameters(text: str) -> float:
    """A published number of parameters, such as 386K, 1.7M or 2.5B; NaN if it is not given.

    >>> parameters("386K")
    386000.0
    """
    found = re.fullmatch(r"([\d.]+)([KMB])", text)
    return float(found[1]) * {"K": 1e3, "M": 1e6, "B": 1e9}[found[2]] if found else float("nan")


def tolerance(scores: np.ndarray, half_interval: float, spread: float) -> float:
    """How far a published mean may lie from ours and still agree; NaN where there is nothing to judge by.

    Args:
        scores: ours, one a seed (n,).
        half_interval: half the bootstrap interval over test rows, NaN if there is none.
        spread: the published one, NaN if there is none.

    The 95% prediction interval for one more value, t(0.975, n - 1) sd sqrt(1 + 1/n), or what is larger.
    """
    ours = half_interval
    if len(scores) >= ENOUGH_SEEDS:
        from scipy.special import stdtrit

        quantile = stdtrit(len(scores) - 1, 0.975)
        ours = float(quantile * np.std(scores, ddof=1) * np.sqrt(1 + 1 / len(scores)))
    return float("nan") if np.isnan(ours) else float(np.nanmax([ours, spread, HALF_A_DIGIT]))


def incomparable(suite: str, found: Published | None, protocol: str, metric: str, own_parameters: float) -> str:
    """Why a number of ours may not be held against the published one; nothing if it may, or if there is none."""
    if suite not in COMPARISONS:
        return "other data than that of any published table"
    table, expected = COMPARISONS[suite]
    if table is None:
        return "the paper's numbers are not known"
    if found is None:
        return ""
    if protocol != expected:
        return f"other protocol: published by {expected}"
    if metric != OUR_METRIC.get(found.metric, found.metric):
        return f"other metric: published {found.metric}"
    if not found.pretrained:
        return "unknown settings: the sources do not say whether it was pretrained"
    size = parameters(found.params)
    if abs(own_parameters - size) > PARAMETER_TOLERANCE * size:
        return f"other size: ours {own_parameters / 1e6:.3g}M parameters, published {found.params}"
    return ""


def verdict(found: Published | None, reason: str, mean: float, margin: float) -> str:
    """How ours stands to the published number, in words.

    Args:
        found: the published number, or None.
        reason: what `incomparable` says.
        mean: ours; NaN if nothing was run.
        margin: what `tolerance` says.

    Returns:
        agrees, above, below, not published, not run, or not comparable (why).
    """
    if found is None:
        return f"not comparable ({reason})" if reason else "not published"
    if np.isnan(mean):
        return "not run"
    if reason or np.isnan(margin):
        return f"not comparable ({reason or 'one or two seeds and no interval'})"
    difference = mean - found.mean
    return "agrees" if abs(difference) <= margin else "above" if difference > 0 else "below"
