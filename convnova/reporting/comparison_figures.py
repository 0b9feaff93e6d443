"""Figures of all suites together: means, ranks, paired differences and learning curves.

A panel a suite, one below the other, in a column's width. The same numbers give the same bytes.
"""

import math
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convnova.config.run import RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.evaluation.metrics_file import read_metrics
from convnova.evaluation.model_comparison import PairedOverTasks
from convnova.reporting import figures
from convnova.reporting.comparison_tables import means, pairs
from convnova.reporting.scores import check
from convnova.runs.outputs import comparison_titles

FAINT_DOT = {"s": 10, "alpha": 0.5, "linewidths": 0, "zorder": 3}
SIGNIFICANT = 0.05
CURVES = 6
"""Tasks of a suite whose epochs are drawn."""
TASK_LETTERS = 19
"""Of a task's name over a panel of half a column."""
SUITE_LETTERS = 30
"""Of a line of a suite's title over its panel."""
MODEL_LETTERS = 12
"""Of a line of a model's name below a column."""
FEW_MODELS = 4
"""That fit beside each other into a column's width."""
MOST_ACROSS = 12
"""Names of models beside each other that can be read; more stand upright."""
FAR_BEHIND = 0.2
"""Distance from a task's best score from which on a cell is as light as it gets."""


def write_comparisons(scores: pd.DataFrame, config: RunConfig, out: Path) -> list[Path]:
    """Write every figure of all suites together, as `<name>.pdf`, `.svg` and `.png`.

    Args:
        scores: see `convnova.reporting.scores.read_scores`; the metrics files that it names are read for the learning
            curves, and those that are gone are left out.
        config: the run.
        out: a folder, made if need be.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    check(scores, config)
    draw = {"overview": overview, "ranks": ranks, "differences": differences, "learning": learning}
    written: list[Path] = []
    with matplotlib.rc_context(figures.STYLE):
        for name in comparison_titles(config):
            written += figures.save(draw[name](scores, config), out / name)
    return written


def _stacked(
    config: RunConfig, name: str, heights: list[float], legend: int, width: float = figures.NARROW
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel a suite.

    Args:
        config: the run.
        name: the figure, a key of `comparison_titles`.
        heights: of the panels, in inches.
        legend: for how many entries of a legend there is room.
        width: in inches.
    """
    height = 0.5 + 0.16 * math.ceil(legend / 2) + sum(heights)
    title = f"{comparison_titles(config)[name]}, {config.main_protocol}"
    figure = figures.empty_figure(width, height, title, config.simulated)
    panels = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, title in zip(panels, config.suite_titles.values(), strict=True):
        axes.set_title(textwrap.fill(title, SUITE_LETTERS), loc="left")
    return figure, list(panels)


def overview(scores: pd.DataFrame, config: RunConfig) -> Figure:
    """Mean score of every task and model, the darker the closer to the best of the task; empty where none was run."""
    import seaborn

    upright, is_wide = (len(config.models) > count for count in (MOST_ACROSS, FEW_MODELS))
    heights = [0.75 + 0.5 * upright + 0.22 * len(suite.table_rows) for suite in config.suites.values()]
    figure, panels = _stacked(config, "overview", heights, 4, figures.WIDE if is_wide else figures.NARROW)
    shades = seaborn.light_palette(figures.COLOURS[0], as_cmap=True)
    for axes, (name, suite) in zip(panels, config.suites.items(), strict=True):
        table, rows = means(scores, config, name, config.main_protocol).astype(float), suite.table_rows
        labels = [figures.row_title(row, rows) for row in rows]
        names = [textwrap.fill(title, MODEL_LETTERS) for title in config.titles_on(name).values()]
        seaborn.heatmap(
            table.sub(table.max(axis=1), axis=0), vmin=-FAR_BEHIND, vmax=0, cmap=shades, annot=table, fmt=".3f",
            linewidths=1, cbar=False, xticklabels=names, yticklabels=labels, ax=axes,
        )  # fmt: skip
        axes.set(xlabel=figures.axis_title(rows), ylabel="")
        axes.tick_params(length=0, labelrotation=0)
        axes.tick_params(axis="x", labelsize=6, labelrotation=90 * upright)
    style = {"location": "bottom", "shrink": 0.6, "aspect": 30, "extend": "min", "ticks": MaxNLocator(2)}
    bar = figure.colorbar(panels[0].collections[0], ax=panels, **style)
    bar.set_label("mean score minus the best of the task")
    return figure


def ranks(scores: pd.DataFrame, config: RunConfig) -> Figure:
    """Mean rank of every model over tasks, 1 the best; bars join neighbours of which the tests tell no two apart.

    Over one task nothing is tested, and there is no bar.
    """
    protocol, models = config.main_protocol, {suite: list(config.titles_on(suite)) for suite in config.suites}
    figure, panels = _stacked(config, "ranks", [0.75 + 0.19 * len(names) for names in models.values()], 3)
    for axes, suite in zip(panels, config.suites, strict=True):
        table, count = means(scores, config, suite, protocol).dropna(), len(models[suite])
        by_task = table.rank(axis=1, ascending=False)
        order = list(by_task.mean().sort_values(kind="stable").index) if len(table) else models[suite]
        jitter = np.linspace(-0.22, 0.22, len(table)) if len(table) > 1 else 0.0
        for height, model in enumerate(order):
            style = figures.look(config, model) | FAINT_DOT
            axes.scatter(by_task[model], np.full(len(table), height) + jitter, **style)
            axes.scatter(by_task[model].mean(), height, s=70, color="black", marker="|", linewidths=1.2, zorder=4)
        titles = [config.model_titles[model] for model in order]
        bars = indistinct(titles, pairs(scores, config, suite, protocol)) if len(table) > 1 else []
        for place, (first, last) in enumerate(bars):
            axes.plot([count + 0.3 + 0.18 * place] * 2, [first - 0.2, last + 0.2], color=figures.GREY, linewidth=2.5)
        axes.set_yticks(range(count), titles)
        axes.set(ylim=(count - 0.5, -0.5), xlim=(0.7, count + 0.9), xticks=range(1, count + 1))
        on = "one task\n(1 is best; not tested)" if len(table) == 1 else f"each of {len(table)} tasks\n(1 is best)"
        axes.set_xlabel(f"rank on {on}")
        axes.grid(axis="x", **figures.HAIRLINE)
    dots = [figures.legend_entry("one task", alpha=0.5), figures.legend_entry("mean rank", marker="|", markersize=8)]
    label = "no two of these differ (Wilcoxon, Holm 5%); other pairs may not either: comparisons.md"
    bar = figures.legend_entry(label, marker="", linestyle="-", linewidth=2.5)
    figures.add_legend(figure, [*dots, bar])
    return figure


def indistinct(order: list[str], compared: Iterable[PairedOverTasks]) -> list[tuple[int, int]]:
    """Find the longest stretches of models, in order of rank, of which no pair differs.

    Returns:
        First and last place in `order` of each stretch of two models or more.
    """
    differ = {frozenset((pair.a, pair.b)) for pair in compared if pair.p_holm <= SIGNIFICANT}
    stretches: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        for model in order[first + 1 :]:
            if any(frozenset((model, other)) in differ for other in order[first : last + 1]):
                break
            last += 1
        # A stretch that ends where the one before it ends lies inside that one.
        if last > max([first, *(end for _, end in stretches)]):
            stretches.append((first, last))
    return stretches


def differences(scores: pd.DataFrame, config: RunConfig) -> Figure:
    """The first model minus each other one on every task, seed by seed."""
    heights = [0.75 + 0.2 * len(suite.table_rows) for suite in config.suites.values()]
    figure, panels = _stacked(config, "differences", heights, len(config.models) + 1)
    for axes, (name, suite) in zip(panels, config.suites.items(), strict=True):
        labels, (first, *others) = [row.label for row in suite.table_rows], config.titles_on(name)
        axes.axvline(0, color=figures.GREY, linewidth=0.8)
        axes.set_yticks(range(len(labels)), labels)
        axes.set(ylim=(len(labels) - 0.5, -0.5))
        axes.set_xlabel(textwrap.fill(f"{config.model_titles[first]} minus the other", SUITE_LETTERS))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", **figures.HAIRLINE)
        runs = scores[(scores["suite"] == name) & (scores["protocol"] == config.main_protocol)]
        table = runs.pivot_table(index=["row", "seed"], columns="model", values="score")
        table = table.reindex(columns=[first, *others]).astype(float)
        for number, model in enumerate(others):
            style, shift = figures.look(config, model), (number - (len(others) - 1) / 2) * 0.7 / len(others)
            for row, paired in (table[first] - table[model]).dropna().groupby(level="row"):
                height = labels.index(row) + shift
                axes.scatter(paired, [height] * len(paired), **style, **FAINT_DOT)
                axes.scatter(paired.mean(), height, s=40, color=style["color"], marker="|", linewidths=1.4, zorder=4)
    dots = [figures.legend_entry("one seed", alpha=0.5), figures.legend_entry("mean", marker="|", markersize=8)]
    figures.add_legend(figure, [*figures.model_entries(config)[1:], *dots])
    return figure


def learning(scores: pd.DataFrame, config: RunConfig) -> Figure:
    """Score of every epoch, a line a seed: on validation, which chooses the epoch, and dashed on test."""
    protocol = config.main_protocol
    runs = scores[scores["protocol"] == protocol].drop_duplicates(["suite", "task", "model", "seed"])
    shown, title = [], f"{comparison_titles(config)['learning']}, {protocol}"
    for suite, content in config.suites.items():
        trained = [(name, task) for name, task in content.tasks.items() if task.kind != "variants"]
        shown += [(suite, name, task) for name, task in trained[:CURVES]]
        if len(trained) > CURVES and "first" not in title:
            title += f", first {CURVES} tasks"
    rows = math.ceil(len(shown) / 2)
    height = 0.7 + 1.3 * rows + 0.16 * math.ceil((len(config.models) + 3) / 2)
    figure = figures.empty_figure(figures.NARROW, height, title, config.simulated)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (suite, name, task) in zip(panels, shown, strict=False):
        for run in runs[(runs["suite"] == suite) & (runs["task"] == name)].itertuples(index=False):
            if Path(run.path).is_file():
                _draw_epochs(axes, read_metrics(Path(run.path)), **figures.look(config, run.model))
        axes.set_title(name if len(name) <= TASK_LETTERS else name[: TASK_LETTERS - 1] + "…", loc="left")
        axes.grid(**figures.HAIRLINE)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        # Epochs of a task with groups are scored by the mean over all labels, unlike the rows of its table.
        axes.set(xlabel="epoch", ylabel=("mean " if task.groups else "") + METRIC_TITLES[task.metric])
    chooses = "test, which chooses" if protocol == "released" else "validation"
    lines = {chooses: {"linestyle": "-"}, "test": {"linestyle": "--"}}
    signs = [figures.legend_entry(label, marker="", **style) for label, style in lines.items()]
    chosen = figures.legend_entry("chosen epoch", markersize=3)
    figures.add_legend(figure, [*figures.model_entries(config, linestyle="-"), *signs, chosen])
    return figure


def _draw_epochs(axes: Axes, metrics: dict[str, Any], color: str, marker: str) -> None:
    """Draw the epochs of one fine-tuning."""
    epochs = pd.DataFrame(metrics["epochs"]).reindex(columns=["epoch", "score", "test"])
    axes.plot(epochs["epoch"], epochs["score"], color=color, linewidth=0.7, alpha=0.7)
    axes.plot(epochs["epoch"], epochs["test"], color=color, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.9)
    best = metrics["best_epoch"]
    axes.scatter([best], [epochs["score"][best - 1]], s=9, color=color, marker=marker, zorder=3)
