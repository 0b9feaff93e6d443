"""What moves the score: every model of a run beside its base, by validation score alone; test has no say.

A model's score on a task and seed is the best of its epochs on the held-out part of train, which is the same rows
for all models of a seed. So differences to the baseline, or to the model named in `compare_to`, are paired by task and
seed, and their mean has a Student t interval over these pairs (95%). Tasks of one genome are not independent: it tells
how firm the mean is on these tasks.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import LEVEL
from convnova.files import write_tsv
from convnova.reporting.figures import COLOURS, GREY, NARROW, STYLE, empty_figure, save
from convnova.reporting.scores import read_metrics
from convnova.reporting.sheets import Sheet, change, number, text, write
from convnova.reporting.suite_tables import NAN
from convnova.reporting.table_forms import Entry, bases_read

PROTOCOL = "heldout"
ABOUT = ["parameters", "receptive_field", "seconds"]
COLUMNS = ["model", "title", *ABOUT, "pairs", "score", "against", "difference", "low", "high"]
"""Behind them one a task, `suite/task`: the mean score there."""


def validation_scores(config: RunConfig) -> pd.DataFrame:
    """A line a fine-tuning that is there: model, suite, task, seed, score, parameters, receptive field (bp), seconds.

    Results that are missing, or made with other settings than the config's, are left out and named.

    Raises:
        ConvNovaError: the run does not hold out a validation part.
    """
    if PROTOCOL not in config.protocols:
        raise ConvNovaError(f"protocols: expected {PROTOCOL}, whose validation rows are no test rows")
    return pd.DataFrame(_read(config), columns=["model", "suite", "task", "seed", "score", *ABOUT])


def _read(config: RunConfig) -> Iterator[tuple[Any, ...]]:
    for job in config.jobs():
        if job.protocol == PROTOCOL and (found := read_metrics(config, job)):
            best = max(epoch["score"] for epoch in found["epochs"])
            about = found["parameters"], found["receptive_field"] or math.inf, found["seconds"]
            yield job.model, job.suite, job.task, job.seed, best, *about


def differences(
    scores: pd.DataFrame, base: str, titles: dict[str, str], against: dict[str, str] | None = None
) -> pd.DataFrame:
    """A line a model, in the order of `titles`: its mean score, and its difference to another over pairs.

    Args:
        against: model to the one that it is held against, if not the base.

    Raises:
        ConvNovaError: no scores of the base, or of another that a model is held against.
    """
    from scipy.stats import t

    wide = scores.pivot(index=["suite", "task", "seed"], columns="model", values="score")
    tasks = wide.groupby(level=["suite", "task"], sort=False).mean()
    lines = []
    for model, title in titles.items():
        if model not in wide and model != base:
            continue
        other = (against or {}).get(model, base)
        if other not in wide:
            raise ConvNovaError(
                f"{other}: expected fine-tunings of it, to hold others against; found those of "
                f"{', '.join(wide) or 'none'}"
            )
        pairs = (wide[model] - wide[other]).dropna().to_numpy()
        reach = np.nan
        if model != base and len(pairs) > 1:
            reach = t.ppf((1 + LEVEL) / 2, len(pairs) - 1) * pairs.std(ddof=1) / np.sqrt(len(pairs))
        means = scores[scores["model"] == model][[*ABOUT, "score"]].mean()
        mean = pairs.mean()
        about = (int(means["parameters"]), means["receptive_field"], means["seconds"], len(pairs), means["score"])
        lines.append((model, title, *about, titles[other], mean, mean - reach, mean + reach, *tasks[model]))
    return pd.DataFrame(lines, columns=[*COLUMNS, *map("/".join, tasks.index)])


def write_study(config: RunConfig, tables: Path, figures: Path) -> None:
    """Write `study.tsv` and `study.md` to `tables`, and `study.pdf`, `.svg` and `.png` to `figures`.

    Raises:
        ConvNovaError: the config names no base, or nothing of it is there.
    """
    if config.ablation is None:
        raise ConvNovaError("ablation: expected the baseline that models are compared to, found none in the config")
    scores = validation_scores(config)
    titles = {name: model.title for name, model in config.models.items()}
    table = differences(scores, config.ablation.baseline, titles, config.ablation.compare_to)
    write_tsv(tables / "study.tsv", table)
    write(sheet(table), tables, ["md"])
    with matplotlib.rc_context(STYLE):
        save(_plot(table, config.ablation.baseline), figures / "study")


def sheet(table: pd.DataFrame) -> Sheet:
    """The table for reading."""
    told, tasks = table["low"].notna(), table.columns[len(COLUMNS) :]
    apart = int(((table["low"] > 0) | (table["high"] < 0)).sum())
    lines = [
        [
            text(row.title),
            text(f"{row.parameters:,}"),
            Entry(bases_read(row.receptive_field), row.receptive_field),
            Entry(f"{row.seconds:.0f}", row.seconds),
            *(number(score) for score in row[len(COLUMNS) + 1 :]),
            number(row.score),
            text(row.against if row.low == row.low else ""),
            change(row.difference if row.low == row.low else NAN),
            text(f"{row.low:+.3f} to {row.high:+.3f}" if row.low == row.low else ""),
        ]
        for row in table.itertuples()
    ]
    return Sheet(
        "study",
        "What moves the score",
        "Validation scores, test scores have no part in it: of each task and of all, means over seeds. What a row does "
        "not name is as in the first. Difference to the row named before it, of each pair of task and seed: its mean "
        "and 95% interval.",
        f"the intervals of {apart} of {told.sum()} variants leave out zero.",
        [
            *("variant", "parameters", "receptive field", "seconds a job", *tasks, "all"),
            *("held against", "difference", "95% interval"),
        ],
        lines,
    )


def _plot(table: pd.DataFrame, base: str) -> matplotlib.figure.Figure:
    """Differences as dots with their intervals, one line a variant."""
    rows = table[table["model"] != base].reset_index(drop=True)
    title = "Difference of validation scores"
    figure = empty_figure(NARROW * 1.4, 0.9 + 0.26 * len(rows), title, simulated=False)
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.hlines(rows.index, rows["low"], rows["high"], color=COLOURS[0], linewidth=1)
    axes.plot(rows["difference"], rows.index, "o", color=COLOURS[0], markersize=3.5)
    (about,) = table.loc[table["model"] == base, "title"]
    others = [row.title if row.against == about else f"{row.title}\nto “{row.against}”" for row in rows.itertuples()]
    axes.set_yticks(rows.index, others)
    axes.invert_yaxis()
    axes.set_xlabel(f"difference to “{about}”,\nunless said otherwise; 95% interval")
    return figure
