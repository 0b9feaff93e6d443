"""Figures of all suites together: means, ranks, paired differences, curves of learning.

A panel a suite, one below the other, in a column's width; the same bytes each time.
"""

import math
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from convnova.config.run import RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.files import read_json
from convnova.reporting.comparison_tables import means, pairs
from convnova.reporting.figures import (
    COLOURS,
    GREY,
    LABEL_LINE,
    NARROW,
    STYLE,
    WIDE,
    axis_title,
    empty_figure,
    look,
    row_title,
    save,
)
from convnova.reporting.scores import check
from convnova.runs.outputs import comparison_titles

FAINT = {"s": 10, "alpha": 0.5, "linewidths": 0, "zorder": 3}
HAIR = {"color": "#dddddd", "linewidth": 0.5}
CURVES = 6
"""Tasks of a suite whose epochs are drawn."""

LONGEST_NAME = 19
"""Letters of a task's name over a panel of half a column."""

TITLE_LINE = 30
"""Letters of a line of a suite's title over its panel."""

FEW_MODELS = 4
"""That fit beside each other into a column's width."""

WRAPPED_NAME = 12
"""Letters of a line of a model's name below a column of a table."""

FAR_BEHIND = 0.2
"""Distance from a task's best score from which on a cell is as light as it gets."""


def write_comparisons(scores: pd.DataFrame, config: RunConfig, out: str | Path) -> list[Path]:
    """Write every figure of all suites together, as `<name>.pdf`, `.svg` and `.png`.

    Args:
        scores: as for `convnova.reporting.suite_tables.write_tables`; the metrics files that they name are read for
            the curves, and those that are gone are left out.
        config: the run.
        out: a folder, made if need be.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    check(scores, config)
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name, title in comparison_titles(config).items():
            written += save(DRAWN[name](scores, config, title), Path(out) / name)
    return written


def main_protocol(config: RunConfig) -> str:
    """The protocol by which models are compared: one that does not look at test, if there is one."""
    return next((name for name in ("heldout", "cv") if name in config.protocols), config.protocols[0])


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, columnspacing=1)


def _dot(label: str, **style: object) -> Line2D:
    label = textwrap.fill(label, LABEL_LINE)
    return Line2D([], [], label=label, **{"color": GREY, "linestyle": "", "markersize": 4, "marker": "o", **style})


def _models(config: RunConfig, models: Iterable[str]) -> list[Line2D]:
    """Handles of models, in their colours and markers."""
    looks = {model: look(config, model) for model in models}
    return [_dot(config.model_titles[model], color=of[0], marker=of[1]) for model, of in looks.items()]


def _stacked(
    title: str, config: RunConfig, heights: list[float], handles: int, width: float = NARROW
) -> tuple[Figure, list[Axes]]:
    """A panel a suite of its height in inches with the suite's title, and room for a legend."""
    figure = empty_figure(width, 0.5 + 0.16 * math.ceil(handles / 2) + sum(heights), title, config.simulated)
    panels = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, suite in zip(panels, config.suite_titles.values(), strict=True):
        axes.set_title(textwrap.fill(suite, TITLE_LINE), loc="left")
    return figure, list(panels)


def _rows_down(axes: Axes, config: RunConfig, suite: str, label: str) -> dict[str, int]:
    """Rows of the suite from top to bottom, a line at zero; the place of each."""
    place = {row.label: index for index, row in enumerate(config.suites[suite].table_rows)}
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(place)), place)
    axes.set(ylim=(len(place) - 0.5, -0.5), xlabel=label)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", **HAIR)
    return place


def _shift(number: int, count: int) -> float:
    """How far below the middle of its row the one of that number stands."""
    return (number - (count - 1) / 2) * 0.7 / count


def overview(scores: pd.DataFrame, config: RunConfig, title: str) -> Figure:
    """Mean score of every task and model, the darker the closer to the best of the task; nothing where none was run."""
    import seaborn

    protocol, several = main_protocol(config), len(config.models) > FEW_MODELS
    heights = [0.75 + 0.22 * len(rows) for rows in (suite.table_rows for suite in config.suites.values())]
    figure, panels = _stacked(f"{title}, {protocol}", config, heights, 4, WIDE if several else NARROW)
    names = [textwrap.fill(name, WRAPPED_NAME) for name in config.model_titles.values()]
    shades = seaborn.light_palette(COLOURS[0], as_cmap=True)
    for axes, suite in zip(panels, config.suites, strict=True):
        table, rows = means(scores, config, suite, protocol).astype(float), config.suites[suite].table_rows
        seaborn.heatmap(
            table.sub(table.max(axis=1), axis=0), vmin=-FAR_BEHIND, vmax=0, cmap=shades, annot=table, fmt=".3f",
            linewidths=1, cbar=False, xticklabels=names, yticklabels=[row_title(row, rows) for row in rows], ax=axes,
        )  # fmt: skip
        axes.set(xlabel=axis_title(rows), ylabel="")
        axes.tick_params(length=0, labelrotation=0)
        axes.tick_params(axis="x", labelsize=6)
    style = {"location": "bottom", "shrink": 0.6, "aspect": 30, "extend": "min", "ticks": MaxNLocator(2)}
    bar = figure.colorbar(panels[0].collections[0], ax=panels, **style)
    bar.set_label("mean score minus the best of the task")
    return figure


def ranks(scores: pd.DataFrame, config: RunConfig, title: str) -> Figure:
    """Mean rank of every model over tasks, 1 the best; bars join models that the tests do not tell apart.

    Over one task nothing is tested, and there is no bar.
    """
    count, protocol = len(config.models), main_protocol(config)
    heights = [0.75 + 0.19 * count] * len(config.suites)
    figure, panels = _stacked(f"{title}, {protocol}", config, heights, 3)
    for axes, suite in zip(panels, config.suites, strict=True):
        table = means(scores, config, suite, protocol).dropna()
        of_task = table.rank(axis=1, ascending=False)
        order = list(of_task.mean().sort_values(kind="stable").index) if len(table) else list(config.models)
        for height, model in enumerate(order):
            colour, marker = look(config, model)
            jitter = np.linspace(-0.22, 0.22, len(table)) if len(table) > 1 else np.zeros(len(table))
            axes.scatter(of_task[model], height + jitter, c=colour, marker=marker, **FAINT)
            axes.scatter(of_task[model].mean(), height, s=70, c="black", marker="|", linewidths=1.2, zorder=4)
        untested = len(table) < 2
        for place, (first, last) in enumerate([] if untested else alike(order, scores, config, suite, protocol)):
            axes.plot([count + 0.3 + 0.18 * place] * 2, [first - 0.2, last + 0.2], color=GREY, linewidth=2.5)
        axes.set_yticks(range(count), [config.model_titles[model] for model in order])
        axes.set(ylim=(count - 0.5, -0.5), xlim=(0.7, count + 0.9), xticks=range(1, count + 1))
        on = "on one task (1 is best; not tested)" if len(table) == 1 else f"on each of {len(table)} tasks (1 is best)"
        axes.set_xlabel(f"rank {on}")
        axes.grid(axis="x", **HAIR)
    others = [_dot("one task", alpha=0.5), _dot("mean rank", marker="|", markersize=8)]
    bar = _dot("not told apart (Wilcoxon, Holm, 5%)", marker="", linestyle="-", linewidth=2.5)
    _legend(figure, [*others, bar])
    return figure


def alike(
    order: list[str], scores: pd.DataFrame, config: RunConfig, suite: str, protocol: str
) -> list[tuple[int, int]]:
    """The longest stretches of models, in order of rank, of which no pair differs: first and last place of each."""
    differ = {frozenset((pair.a, pair.b)) for pair in pairs(scores, config, suite, protocol) if pair.p_holm <= 0.05}
    titles = [config.model_titles[model] for model in order]
    found: list[tuple[int, int]] = []
    for first in range(len(titles)):
        last = first
        while last + 1 < len(titles) and not any(
            frozenset((titles[last + 1], other)) in differ for other in titles[first : last + 1]
        ):
            last += 1
        if last > first and not any(last <= end for _, end in found):
            found.append((first, last))
    return found


def differences(scores: pd.DataFrame, config: RunConfig, title: str) -> Figure:
    """The first model minus each other one on every task, seed by seed."""
    protocol, (first, *others) = main_protocol(config), config.models
    heights = [0.75 + 0.2 * len(config.suites[suite].table_rows) for suite in config.suites]
    figure, panels = _stacked(f"{title}, {protocol}", config, heights, len(others) + 2)
    for axes, suite in zip(panels, config.suites, strict=True):
        place = _rows_down(axes, config, suite, f"{config.model_titles[first]} minus the other")
        runs = scores[(scores["suite"] == suite) & (scores["protocol"] == protocol)]
        table = runs.pivot_table(index=["row", "seed"], columns="model", values="score")
        table = table.reindex(columns=list(config.models)).astype(float)
        for number, model in enumerate(others):
            colour, marker = look(config, model)
            for row, paired in (table[first] - table[model]).dropna().groupby(level="row"):
                height = place[row] + _shift(number, len(others))
                axes.scatter(paired, [height] * len(paired), c=colour, marker=marker, **FAINT)
                axes.scatter(paired.mean(), height, s=40, c=colour, marker="|", linewidths=1.4, zorder=4)
    signs = [_dot("one seed", alpha=0.5), _dot("mean", marker="|", markersize=8)]
    _legend(figure, [*_models(config, others), *signs])
    return figure


def learning(scores: pd.DataFrame, config: RunConfig, title: str) -> Figure:
    """Score of every epoch, a line a seed: on the rows that choose the epoch, and dashed on test."""
    protocol = main_protocol(config)
    runs = scores[scores["protocol"] == protocol].drop_duplicates(["suite", "task", "model", "seed"])
    shown = [(suite, task) for suite in config.suites for task in _tasks(config, suite)[:CURVES]]
    lines = math.ceil(len(shown) / 2)
    height = 0.7 + 1.3 * lines + 0.16 * math.ceil((len(config.models) + 3) / 2)
    figure = empty_figure(NARROW, height, f"{title}, {protocol}", config.simulated)
    panels = figure.subplots(lines, 2, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (suite, task) in zip(panels, shown, strict=False):
        for run in runs[(runs["suite"] == suite) & (runs["task"] == task)].itertuples(index=False):
            if Path(run.path).is_file():
                _curve(axes, read_json(Path(run.path)), *look(config, run.model))
        axes.set_title(task if len(task) <= LONGEST_NAME else task[: LONGEST_NAME - 1] + "…", loc="left")
        axes.grid(**HAIR)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set(xlabel="epoch", ylabel=_epoch_metric(config, suite, task))
    chosen = "test, which chooses" if protocol == "released" else "rows that choose"
    signs = [_dot(chosen, marker="", linestyle="-"), _dot("test", marker="", linestyle="--")]
    looks = {name: look(config, model) for model, name in config.model_titles.items()}
    models = [_dot(name, linestyle="-", color=colour, marker=marker) for name, (colour, marker) in looks.items()]
    _legend(figure, [*models, *signs, _dot("chosen epoch", markersize=3)])
    return figure


def _tasks(config: RunConfig, suite: str) -> list[str]:
    return list(dict.fromkeys(row.task for row in config.suites[suite].table_rows))


def _epoch_metric(config: RunConfig, suite: str, task: str) -> str:
    """What the epochs of a task are scored by; of many labels, unlike a row of the tables, by the mean over all."""
    row = next(row for row in config.suites[suite].table_rows if row.task == task)
    return "mean " * (row.label != row.task) + METRIC_TITLES.get(row.metric, row.metric)


def _curve(axes: Axes, metrics: dict, colour: str, marker: str) -> None:
    """The epochs of one fine-tuning."""
    epochs = metrics["epochs"]
    numbers = [epoch["epoch"] for epoch in epochs]
    axes.plot(numbers, [epoch["score"] for epoch in epochs], color=colour, linewidth=0.7, alpha=0.7)
    on_test = [epoch.get("test", math.nan) for epoch in epochs]
    axes.plot(numbers, on_test, color=colour, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.9)
    best = metrics["best_epoch"]
    axes.scatter([best], [epochs[best - 1]["score"]], s=9, color=colour, marker=marker, zorder=3)


DRAWN: dict[str, Callable[[pd.DataFrame, str], Figure]] = {
    "overview": overview,
    "ranks": ranks,
    "differences": differences,
    "learning": learning,
}
