"""Figures of a run: the scores of each suite as dots, and the curves of pretraining; as PDF, SVG and PNG.

The same numbers give the same bytes: no dates, fixed identifiers. Colours are those of Okabe and Ito 2008, safe for
colour-blind readers; every model has a marker too. What other figures use as well comes first.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convnova.config.run import RunConfig
from convnova.config.schema import TableRow
from convnova.errors import ConvNovaError
from convnova.files import atomic, read_table
from convnova.reporting.published import COMPARISONS, References, reference_of, reference_values
from convnova.reporting.scores import check

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "v", "P", "X")
WIDE, NARROW = 7.2, 3.5
"""Inches: a page's width and a column's."""
TITLE_LINE = 0.17
"""Inches from one line of the title to the next."""
TASK_LETTERS = 24
"""Of a task's name, before it is broken."""
LEGEND_LETTERS = 26
"""Of a line of a legend of two columns."""
MAX_POINTS = 2000
"""Of a training curve; more would make files of many megabytes."""

PROTOCOLS = {
    "heldout": "heldout\nepoch chosen on validation rows",
    "cv": "cv\nepoch chosen on a fold of train",
    "released": "released\nepoch chosen on test",
}
RIVAL = "0.35"
"""The grey of a published value that no model of ours has as its own."""
SIMULATED = "Simulated genome: not comparable with published numbers"
GREY, SHADE, WARNING = "#5a5a5a", "#f1f3f5", "#9c2f00"
HAIRLINE = {"color": "#dddddd", "linewidth": 0.5}
STYLE = {
    "font.size": 7, "axes.titlesize": 7.5, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "pdf.fonttype": 42, "svg.fonttype": "none",
    "svg.hashsalt": "convnova", "text.parse_math": False,
}  # fmt: skip
METADATA: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `<stem>.pdf`, `.svg` and `.png`, and return these paths."""
    paths = {form: stem.parent / f"{stem.name}.{form}" for form in METADATA}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is computed once, not once a format
    for form, path in paths.items():
        with atomic(path) as temporary:
            figure.savefig(temporary, format=form, dpi=200, metadata=METADATA[form])
    return list(paths.values())


def empty_figure(width: float, height: float, title: str, simulated: bool) -> Figure:
    """Make a figure that is no part of pyplot's global state.

    Args:
        width: in inches.
        height: in inches.
        title: stands on top.
        simulated: whether a warning stands below the title.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    lines = [(title, {"fontsize": 9, "fontweight": "bold"})]
    if simulated:
        lines.append((SIMULATED, {"fontsize": 7, "color": WARNING}))
    for index, (text, style) in enumerate(lines):
        figure.text(0.5, 1 - (0.06 + TITLE_LINE * index) / height, text, ha="center", va="top", **style)
    free = 1 - (0.08 + TITLE_LINE * len(lines)) / height
    figure.set_layout_engine("constrained", rect=(0, 0, 1, free))
    return figure


def legend_entry(label: str, **style: Any) -> Line2D:
    """An entry of a legend: a grey dot, but for what `style` changes."""
    return Line2D([], [], label=label, **{"color": GREY, "linestyle": "", "marker": "o", "markersize": 4, **style})


def add_legend(figure: Figure, entries: Sequence[Artist], columns: int = 2) -> None:
    """Add a legend below the panels.

    Args:
        figure: of any width.
        entries: with a label each.
        columns: of the legend; labels of two columns are broken where they are long.
    """
    for entry in entries if columns == 2 else ():
        entry.set_label(textwrap.fill(str(entry.get_label()), LEGEND_LETTERS))
    figure.legend(handles=entries, loc="outside lower center", ncols=columns, frameon=False, columnspacing=1)


def nth_look(index: int) -> dict[str, Any]:
    """Colour and marker of what stands at that place of a legend."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def look(config: RunConfig, model: str) -> dict[str, Any]:
    """Colour and marker of a model."""
    return nth_look(list(config.models).index(model))


def model_entries(config: RunConfig, suite: str | None = None, **style: Any) -> list[Line2D]:
    """An entry of a legend for each model, or for each that has jobs on a suite."""
    titles = config.titles_on(suite) if suite else config.model_titles
    return [legend_entry(title, **look(config, model), **style) for model, title in titles.items()]


def row_title(row: TableRow, rows: Sequence[TableRow]) -> str:
    """The row's label, broken at an underscore where it is long, with its metric where rows differ in it."""
    broken = textwrap.fill(row.label.replace("_", "_ "), TASK_LETTERS).replace("_ ", "_")
    several = len({other.metric_title for other in rows}) > 1
    return f"{broken} · {row.metric_title}" if several else broken


def axis_title(rows: Sequence[TableRow]) -> str:
    """The metric of the rows, where they have one in common."""
    metrics = {row.metric_title for row in rows}
    return metrics.pop() if len(metrics) == 1 else "score, by the metric beside each task"


def write_figures(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig, out: Path) -> list[Path]:
    """Write a figure of every suite of the run, as `<suite>.pdf`, `.svg` and `.png`.

    A panel a protocol; tasks from top to bottom; each seed a dot, their mean a tick; the published value an open
    diamond, never for a simulated genome.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: the run.
        out: a folder, made if need be.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    check(scores, config)
    references = reference_values(published)
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for suite in config.suites:
            of_suite = scores[scores["suite"] == suite]
            simulated = config.simulated or bool(of_suite["simulated"].any())
            figure = _suite_figure(of_suite, config, suite, None if simulated else references)
            written += save(figure, out / suite)
    return written


def _suite_figure(scores: pd.DataFrame, config: RunConfig, suite: str, references: References | None) -> Figure:
    """The figure of one suite; without `references` its genome is simulated."""
    rows, protocols = config.suites[suite].table_rows, config.protocols_on(suite)
    count = len(protocols)
    entries, models = model_entries(config, suite), config.titles_on(suite)
    entries += [legend_entry("one seed", markersize=3, alpha=0.55)]
    entries += [legend_entry("mean of seeds", marker="|", markersize=7)]
    comparison = COMPARISONS.get(suite)
    has_published = any(config.models[model].published for model in models)
    if references is not None and comparison and comparison.table and (has_published or comparison.rival):
        source = f"{comparison.rival}, {comparison.table}" if comparison.rival else comparison.table
        entries.append(legend_entry(f"published ({source})", marker="D", fillstyle="none"))
    columns = 3 if count > 1 else 2
    row_height = max(0.28, 0.065 * len(models) + 0.05)
    height = 1.35 + 0.16 * math.ceil(len(entries) / columns) + row_height * len(rows)
    figure = empty_figure(WIDE if count > 1 else NARROW, height, config.suite_titles[suite], references is None)
    panels = figure.subplots(1, count, sharey=True, sharex=True, squeeze=False)[0]
    for axes, protocol in zip(panels, protocols, strict=True):
        _draw_panel(axes, scores[scores["protocol"] == protocol], config, suite, references or {})
        axes.set_title(PROTOCOLS.get(protocol, protocol) if config.suites[suite].format != "variants" else "")
        axes.set_xlabel(axis_title(rows))
    panels[0].set_yticks(range(len(rows)), [row_title(row, rows) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    add_legend(figure, entries, columns)
    return figure


def _draw_panel(axes: Axes, scores: pd.DataFrame, config: RunConfig, suite: str, references: References) -> None:
    """Draw the scores of one protocol: the models of a row stand a little below each other."""
    rows = config.suites[suite].table_rows
    axes.grid(axis="x", **HAIRLINE)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for index in range(0, len(rows), 2):
        axes.axhspan(index - 0.5, index + 0.5, color=SHADE, linewidth=0, zorder=0)
    models = config.titles_on(suite)
    for number, model in enumerate(models):
        shift = (number - (len(models) - 1) / 2) * 0.8 / len(models)
        heights = {(row.task, row.label): index + shift for index, row in enumerate(rows)}
        runs = scores[scores["model"] == model]
        where = [heights[key] for key in zip(runs["task"], runs["row"], strict=True)]
        style = look(config, model)
        axes.scatter(runs["score"], where, s=9, **style, alpha=0.55, linewidths=0, zorder=3)
        means = runs["score"].groupby(where).mean()
        axes.scatter(means, means.index, s=45, color=style["color"], marker="|", linewidths=1.4, zorder=4)
        for index, row in enumerate(rows):
            if value := reference_of(references, suite, row.label, config.models[model].published):
                is_own = value.model == config.models[model].published  # else another model's, the same for all of ours
                place, colour = (heights[row.task, row.label], style["color"]) if is_own else (index, RIVAL)
                edge = {"facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
                axes.scatter(value.mean, place, s=22, marker="D", **edge)


def write_pretraining(logs: Mapping[str, Path], simulated: bool, out: Path) -> list[Path]:
    """Write the curves of all pretrainings, as `pretraining.pdf`, `.svg` and `.png`.

    Args:
        logs: pretraining to its log, a CSV with the columns step, epoch, split, loss, lr, bases, seconds;
            split is train or valid, loss in nats a masked base, bases seen since the start.
        simulated: whether the figure must say that the genome is.
        out: a folder, made if need be.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a log is missing, lacks a column, or has no training step.
    """
    read = {name: _read_log(Path(path)) for name, path in logs.items()}
    most = max(log["bases"].max() for log in read.values())
    unit, size = next((pair for pair in (("Gb", 1e9), ("Mb", 1e6), ("kb", 1e3)) if most >= pair[1]), ("b", 1))
    with matplotlib.rc_context(STYLE):
        figure = empty_figure(NARROW, 2.9 + 0.15 * len(logs), "Pretraining", simulated)
        axes = figure.subplots()
        entries = []
        for index, (name, log) in enumerate(read.items()):
            style = nth_look(index) | {"linestyle": "", "markersize": 4, "markeredgewidth": 0.5}
            style |= {"markeredgecolor": "white"}
            _draw_curve(axes, log.assign(bases=log["bases"] / size), style)
            entries.append(legend_entry(name, **style | {"linestyle": "-"}))
        entries.append(legend_entry("training, running mean", linestyle="-", linewidth=1, marker=""))
        entries.append(legend_entry("validation"))
        line = {"color": GREY, "linewidth": 1, "linestyle": (0, (4, 2))}
        entries.append(axes.axhline(math.log(4), label="ln 4: every base alike", **line))
        axes.set(xlabel=f"bases seen ({unit})", ylabel="loss a masked base (nats)", xlim=(0, None))
        axes.grid(**HAIRLINE)
        add_legend(figure, entries)
        return save(figure, out / "pretraining")


def _read_log(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ConvNovaError(f"{path}: expected the log of a pretraining, found nothing; run the pretraining first")
    log = read_table(path, ["split", "loss", "bases"], ["loss", "bases"], separator=",")
    if not (log["split"] == "train").any():
        raise ConvNovaError(f"{path}: expected the log of a pretraining, found one without training steps")
    return log


def _draw_curve(axes: Axes, log: pd.DataFrame, style: dict[str, Any]) -> None:
    """Draw training loss, each step faint and a running mean over a fiftieth of them, and validation as points."""
    train, valid = log[log["split"] == "train"], log[log["split"] == "valid"]
    mean = train["loss"].rolling(max(1, len(train) // 50), center=True, min_periods=1).mean()
    every = slice(None, None, math.ceil(len(train) / MAX_POINTS))
    axes.plot(train["bases"][every], train["loss"][every], color=style["color"], linewidth=0.4, alpha=0.25)
    axes.plot(train["bases"][every], mean[every], color=style["color"], linewidth=1.1)
    axes.plot(valid["bases"], valid["loss"], zorder=3, **style)
