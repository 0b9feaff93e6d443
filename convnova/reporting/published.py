"""Published numbers, each with its source, and the verdict when one of ours is set beside one of them."""

import math
import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, StringConstraints

from convnova.config.strict import ConfigMistake, Strict
from convnova.errors import ConvNovaError
from convnova.files import read_table

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Score = Annotated[float, Field(ge=-1, le=1)]


class Published(Strict):
    """One published number: a row of `published.csv`."""

    table: Text = Field(description="the paper and the table in it")
    suite: Text
    task: Text
    model: Text
    pretrained: str = Field(description="yes, no, or empty where the sources do not say")
    params: str = Field(description="the number of parameters as printed, such as 386K")
    metric: Text
    mean: Score
    spread: Score = math.nan
    spread_kind: str
    source: Text
    confidence: Literal["owner", "quoted", "copied", "inferred"]


COLUMNS = list(Published.model_fields)


ENOUGH_SEEDS = 3
"""With fewer, Student's t interval is so wide that everything would agree."""

AGREEMENT = (
    "Agrees: the published value is no further from our mean than the 95% prediction interval over seeds "
    f"(Student's t, {ENOUGH_SEEDS} seeds or more; with fewer, the 95% bootstrap interval over test rows), "
    "or than the published spread."
)


class Comparison(NamedTuple):
    """The one published table that a suite is compared with."""

    table: str | None
    """None: the paper has one, but its numbers are not known."""
    protocol: str
    """Ours that chooses the epoch as that table's authors did."""
    rival: str | None = None
    """The published model that ours stand beside where the table has none of them."""

    @property
    def caption(self) -> str:
        """With what a table compares, and when its numbers agree."""
        rival = (
            f" Published is {self.rival}: the 95% intervals of our mean over seeds and over test rows count instead."
        )
        return f"Published: {self.table}, compared with {self.protocol}. {AGREEMENT}{rival if self.rival else ''}"


COMPARISONS = {
    "nucleotide_transformer": Comparison("ConvNova Table 1", "released"),
    "genomic_benchmarks": Comparison("ConvNova Table 2", "released"),
    "chromatin_profile": Comparison(None, "released"),
    "gene_finding": Comparison(None, "released"),
    "gue": Comparison("DNABERT-2 GUE table", "heldout", rival="DNABERT-2"),
    "traitgym": Comparison("TraitGym zero-shot", "heldout", rival="Caduceus"),
}
"""Suite to table. Other papers' tables have other splits and protocols, and never share a row with it."""

OUR_METRIC = {"f1": "f1_macro", "median_auroc": "auroc"}
"""Published name to ours, where they differ; the released ConvNova configs take macro F1."""

PARAMETER_TOLERANCE = 0.1
HALF_A_DIGIT = 0.0005
"""Copies of tables are rounded to three decimals."""


def read_published(path: str | Path) -> pd.DataFrame:
    """Read `published.csv`; every number in it must say where it comes from.

    Returns:
        The fields of `Published`, a row a number.

    Raises:
        ConvNovaError: the file is missing, has other columns, or a row is wrong or repeats another; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected the published numbers, found nothing")
    rows: dict[tuple[str, ...], Published] = {}
    for line, content in enumerate(read_table(path, COLUMNS, separator=",").to_dict("records"), start=2):
        try:
            row = Published.read({key: text for key, text in content.items() if text or key != "spread"})
        except ConfigMistake as error:
            raise ConvNovaError(f"{path}: line {line}: {error}; fix or remove the row") from error
        key = (row.table, row.suite, row.task, row.model, row.metric)
        if key in rows:
            raise ConvNovaError(f"{path}: line {line}: {'/'.join(key)}: there twice; remove a row")
        rows[key] = row
    return pd.DataFrame([row.model_dump() for row in rows.values()], columns=COLUMNS)


References = dict[tuple[str, str, str | None], Published]


def reference_values(published: pd.DataFrame) -> References:
    """Suite, row and published name of a model to the number, from the one table that the suite is compared with."""
    rows = [Published.model_construct(**row) for row in published.to_dict("records")]
    return {
        (row.suite, row.task, row.model): row
        for row in rows
        if row.suite in COMPARISONS and row.table == COMPARISONS[row.suite].table
    }


def reference_of(values: References, suite: str, row: str, model: str | None) -> Published | None:
    """The published number that a model of ours is compared with: its own, else the one of the suite's rival.

    Args:
        values: what `reference_values` returns.
        suite: the suite of both.
        row: a task or a group of its labels.
        model: the published name of our model.
    """
    rival = COMPARISONS[suite].rival if suite in COMPARISONS else None
    return values.get((suite, row, model)) or (values.get((suite, row, rival)) if rival else None)


def parse_size(text: str) -> float:
    """A published number of parameters, such as 386K, 1.7M or 2.5B; NaN if it is not given.

    >>> parse_size("386K")
    386000.0
    """
    match = re.fullmatch(r"([\d.]+)([KMB])", text)
    return float(match[1]) * {"K": 1e3, "M": 1e6, "B": 1e9}[match[2]] if match else math.nan


def tolerance(scores: np.ndarray, half_interval: float, spread: float, is_rival: bool = False) -> float:
    """How far a published mean may lie from ours and still agree; NaN if our uncertainty is unknown.

    Args:
        scores: ours, one a seed (n,).
        half_interval: half the bootstrap interval over test rows, NaN if there is none.
        spread: the published one, NaN if there is none.
        is_rival: the published value is another model's. Then that it was scored once on few test rows counts too.

    Returns:
        The largest of half a printed digit, the published spread, and our own uncertainty. That is the 95% prediction
        interval for one more value, t(0.975, n - 1) sd sqrt(1 + 1/n); of fewer than three seeds `half_interval`;
        beside a rival the interval of our mean, t sd / sqrt(n), and `half_interval`, added as squares.
    """
    ours = half_interval
    if len(scores) >= ENOUGH_SEEDS:
        from scipy.special import stdtrit

        quantile = stdtrit(len(scores) - 1, 0.975)
        ours = float(quantile * np.std(scores, ddof=1) * np.sqrt((0 if is_rival else 1) + 1 / len(scores)))
        ours = math.hypot(ours, half_interval) if is_rival else ours
    return math.nan if np.isnan(ours) else float(np.nanmax([ours, spread, HALF_A_DIGIT]))


def why_not_comparable(suite: str, number: Published | None, protocol: str, metric: str, size: float) -> str:
    """Why a number of ours may not be compared with the published one.

    Args:
        suite: the suite of both.
        number: the published one, or None.
        protocol: ours.
        metric: ours.
        size: number of parameters of our model.

    Returns:
        The reason; nothing if they may be compared, or if there is no published number.
    """
    if suite not in COMPARISONS:
        return "other data than that of any published table"
    table, expected, rival = COMPARISONS[suite]
    if table is None:
        return "the paper's numbers are not known"
    if number is None:
        return ""
    if protocol == "cv":
        return "other folds: theirs are drawn anew for each seed, ours are disjoint"
    if protocol != expected:
        return f"other protocol: published by {expected}"
    if metric != OUR_METRIC.get(number.metric, number.metric):
        return f"other metric: published {number.metric}"
    if number.model == rival:
        return ""
    if not number.pretrained:
        return "unknown settings: the sources do not say whether it was pretrained"
    published_size = parse_size(number.params)
    if abs(size - published_size) > PARAMETER_TOLERANCE * published_size:
        return f"other size: ours {size / 1e6:.3g}M parameters, published {number.params}"
    return ""


class Verdict(NamedTuple):
    """How a number of ours compares with the published one."""

    label: str
    """agrees, above, below, not published, not run, not comparable, or simulated genome."""
    reason: str = ""
    """Why it is not comparable."""

    @property
    def footnote(self) -> str:
        """The reason as a sentence without its full stop; nothing if there is none."""
        return f"Not comparable: {self.reason}" if self.reason else ""

    def __str__(self) -> str:
        return f"{self.label} ({self.reason})" if self.reason else self.label


def judge(number: Published | None, reason: str, mean: float, margin: float) -> Verdict:
    """Compare a number of ours with the published one.

    Args:
        number: the published one, or None.
        reason: what `why_not_comparable` returns.
        mean: ours; NaN if nothing was run.
        margin: what `tolerance` returns.

    Returns:
        The verdict: agrees, above, below, not published, not run, or not comparable with the reason.
    """
    if number is None:
        return Verdict("not comparable", reason) if reason else Verdict("not published")
    if np.isnan(mean):
        return Verdict("not run")
    if reason or np.isnan(margin):
        return Verdict("not comparable", reason or "one or two seeds and no interval")
    difference = mean - number.mean
    return Verdict("agrees" if abs(difference) <= margin else "above" if difference > 0 else "below")


def judge_runs(
    number: Published | None, suite: str, protocol: str, metric: str, runs: pd.DataFrame, scores: pd.Series
) -> tuple[Verdict, float]:
    """Compare our runs of a row, model and protocol with the published number.

    Args:
        number: the published one, or None.
        suite: the suite of both.
        protocol: ours.
        metric: ours.
        runs: their rows of the scores, one a seed.
        scores: by the metric, one a seed.

    Returns:
        The verdict, and how far the published mean may lie from ours and still agree.
    """
    half = float((runs["high"] - runs["low"]).mean() / 2)
    is_rival = number is not None and suite in COMPARISONS and number.model == COMPARISONS[suite].rival
    margin = tolerance(scores.dropna().to_numpy(float), half, number.spread if number else math.nan, is_rival)
    reason = why_not_comparable(suite, number, protocol, metric, float(runs["parameters"].mean()))
    return judge(number, reason, float(scores.mean()), margin), margin
