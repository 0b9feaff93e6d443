"""Figures of a run: scores as dots, one figure a suite, and the curve of pretraining; as PDF, SVG and PNG.

The same bytes each time: no dates, fixed identifiers. Colours: Okabe and Ito 2008, safe for colour-blind readers;
every model has a marker of its own too.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convnova.config.run import RunConfig
from convnova.config.schema import TableRow
from convnova.errors import ConvNovaError
from convnova.files import atomic
from convnova.reporting.published import COMPARISONS, References, reference_values
from convnova.reporting.scores import check

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "v", "P", "X")
WIDE, NARROW = 7.2, 3.5
"""Inches: a page's width and a column's."""

TITLE_LINE = 0.17
"""Inches from one line of the title to the next."""

LONGEST_LINE = 22
"""Letters of a task's name before it is broken."""

LABEL_LINE = 26
"""Letters of a line of a legend of two columns, or of a name beside a panel."""

POINTS = 2000
"""Of a training curve; more would make files of many megabytes."""

PROTOCOLS = {
    "heldout": "heldout\nepoch chosen on validation rows",
    "cv": "cv\nepoch chosen on a fold of train",
    "released": "released\nepoch chosen on test",
}
SIMULATED = "Simulated genome: not comparable with published numbers"
GREY, SHADE, WARNING = "#5a5a5a", "#f1f3f5", "#9c2f00"

STYLE = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "convnova",
}
METADATA: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig, out: str | Path) -> list[Path]:
    """Write a dot figure of every suite of the config, as `<suite>.pdf`, `.svg` and `.png`.

    A panel a protocol; tasks down; each seed a dot, their mean a tick; the published value an open diamond,
    never for a simulated genome. Arguments as for `convnova.reporting.suite_tables.write_tables`.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    check(scores, config)
    known = reference_values(published)
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for suite in config.suites:
            written += save(_suite_figure(scores[scores["suite"] == suite], known, config, suite), Path(out) / suite)
    return written


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `<stem>.pdf`, `.svg` and `.png`."""
    paths = [stem.parent / f"{stem.name}.{form}" for form in METADATA]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not once a form
    for path, (form, metadata) in zip(paths, METADATA.items(), strict=True):
        with atomic(path) as temporary:
            figure.savefig(temporary, format=form, dpi=200, metadata=metadata)
    return paths


def empty_figure(width: float, height: float, title: str, simulated: bool) -> Figure:
    """An empty figure, which no global state knows of, with its title and, if need be, the warning on top."""
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


def _suite_figure(scores: pd.DataFrame, known: References, config: RunConfig, suite: str) -> Figure:
    rows, count = config.suites[suite].table_rows, len(config.protocols)
    simulated = config.simulated or bool(scores["simulated"].any())
    handles = _legend(config, None if simulated else suite)
    columns = 3 if count > 1 else 2
    step = max(0.28, 0.065 * len(config.models) + 0.05)
    height = 1.35 + 0.16 * math.ceil(len(handles) / columns) + step * len(rows)
    figure = empty_figure(WIDE if count > 1 else NARROW, height, config.suite_titles[suite], simulated)
    panels = figure.subplots(1, count, sharey=True, sharex=True, squeeze=False)[0]
    for axes, protocol in zip(panels, config.protocols, strict=True):
        _panel(axes, scores[scores["protocol"] == protocol], rows, config)
        axes.set_title(PROTOCOLS.get(protocol, protocol))
        axes.set_xlabel(axis_title(rows))
        if not simulated:
            _diamonds(axes, known, rows, config, suite)
    panels[0].set_yticks(range(len(rows)), [row_title(row, rows) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, columnspacing=1.5)
    return figure


def row_title(row: TableRow, rows: Iterable[TableRow]) -> str:
    """The row's name, broken at an underscore where it is long, with its metric where rows differ in it."""
    lines = [""]
    for word in row.label.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1]) + len(word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    mixed = len({other.metric_title for other in rows}) > 1
    return "\n".join(lines) + (f" · {row.metric_title}" if mixed else "")


def axis_title(rows: list[TableRow]) -> str:
    titles = dict.fromkeys(row.metric_title for row in rows)
    return next(iter(titles)) if len(titles) == 1 else "score, by the metric beside each task"


def look(config: RunConfig, model: str) -> tuple[str, str]:
    """Colour and marker of a model."""
    index = list(config.models).index(model)
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _height(config: RunConfig, model: str) -> float:
    """How far below the middle of its row a model stands, in rows."""
    count = len(config.models)
    return (list(config.models).index(model) - (count - 1) / 2) * 0.8 / count


def _panel(axes: Axes, scores: pd.DataFrame, rows: list[TableRow], config: RunConfig) -> None:
    """Seeds as dots and their mean as a tick, for every row and model; scores of one protocol."""
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for index in range(0, len(rows), 2):
        axes.axhspan(index - 0.5, index + 0.5, color=SHADE, linewidth=0, zorder=0)
    place = {(row.task, row.label): index for index, row in enumerate(rows)}
    for model in config.models:
        runs = scores[scores["model"] == model]
        where = [place[key] + _height(config, model) for key in zip(runs["task"], runs["row"], strict=True)]
        colour, marker = look(config, model)
        axes.scatter(runs["score"], where, s=9, c=colour, marker=marker, alpha=0.55, linewidths=0, zorder=3)
        means = runs["score"].groupby(where).mean()
        axes.scatter(means, means.index, s=45, c=colour, marker="|", linewidths=1.4, zorder=4)


def _diamonds(axes: Axes, known: References, rows: list[TableRow], config: RunConfig, suite: str) -> None:
    """The published values, as open diamonds at the height of their model."""
    for model in config.models:
        cells = [known.get((suite, row.label, config.models[model].published)) for row in rows]
        shown = [(cell.mean, index + _height(config, model)) for index, cell in enumerate(cells) if cell]
        if shown:
            style = {"facecolors": "none", "edgecolors": look(config, model)[0], "linewidths": 0.9}
            axes.scatter(*zip(*shown, strict=True), s=22, marker="D", **style)


def _legend(config: RunConfig, suite: str | None) -> list[Line2D]:
    """Models, then what dots, ticks and, with a suite, diamonds mean."""
    handles = []
    for model, title in config.model_titles.items():
        colour, marker = look(config, model)
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=title))
    grey = {"color": GREY, "linestyle": ""}
    handles.append(Line2D([], [], marker="o", markersize=3, alpha=0.55, label="one seed", **grey))
    handles.append(Line2D([], [], marker="|", markersize=7, label="mean of seeds", **grey))
    if suite in COMPARISONS and COMPARISONS[suite].table and any(model.published for model in config.models.values()):
        label = f"published ({COMPARISONS[suite].table})"
        handles.append(Line2D([], [], marker="D", markersize=4, fillstyle="none", label=label, **grey))
    return handles


def write_pretraining(
    logs: Mapping[str, Path], titles: Mapping[str, str], simulated: bool, out: str | Path
) -> list[Path]:
    """Write the curves of all pretrainings, as `pretraining.pdf`, `.svg` and `.png`.

    Args:
        logs: pretraining to its log, a CSV with the columns step, epoch, split, loss, lr, bases, seconds;
            split is train or valid, loss in nats a masked base, bases seen since the start.
        titles: pretraining to what the legend calls it.
        simulated: whether the figure must say that the genome is.
        out: a folder, made if need be.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a log is missing, lacks a column, or has no training step.
    """
    read = {name: _read_log(path) for name, path in logs.items()}
    unit, size = _unit(max(log["bases"].max() for log in read.values()))
    grey = {"color": GREY, "linewidth": 1}
    with matplotlib.rc_context(STYLE):
        figure = empty_figure(NARROW, 2.9 + 0.15 * len(logs), "Pretraining", simulated)
        axes = figure.subplots()
        handles = [
            _curve(axes, log, titles[name], COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], size)
            for index, (name, log) in enumerate(read.items())
        ]
        handles.append(Line2D([], [], label="training, running mean", **grey))
        handles.append(Line2D([], [], marker="o", markersize=4, label="validation", **grey | {"linestyle": ""}))
        handles.append(axes.axhline(math.log(4), linestyle=(0, (4, 2)), label="ln 4: every base alike", **grey))
        axes.set(xlabel=f"bases seen ({unit})", ylabel="loss a masked base (nats)", xlim=(0, None))
        axes.grid(color="#dddddd", linewidth=0.5)
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, columnspacing=1.5)
        return save(figure, Path(out) / "pretraining")


def _read_log(path: Path) -> pd.DataFrame:
    if not Path(path).is_file():
        raise ConvNovaError(f"{path}: expected the log of a pretraining, found nothing; run the pretraining first")
    log = pd.read_csv(path)
    missing = {"split", "loss", "bases"} - set(log.columns)
    if missing or not (log["split"] == "train").any():
        lacking = f"the columns {', '.join(sorted(missing))}" if missing else "training steps"
        raise ConvNovaError(f"{path}: expected the log of a pretraining, found one without {lacking}")
    return log


def _unit(most: float) -> tuple[str, float]:
    """A unit that keeps the numbers of an axis short, and what it stands for."""
    units = (("Gb", 1e9), ("Mb", 1e6), ("kb", 1e3))
    return next(((name, size) for name, size in units if most >= size), ("b", 1))


def _curve(axes: Axes, log: pd.DataFrame, title: str, colour: str, marker: str, unit: float) -> Line2D:
    """Training loss, each step faint and a running mean over a fiftieth of them; validation as points."""
    train, valid = log[log["split"] == "train"], log[log["split"] == "valid"]
    smooth = train["loss"].rolling(max(1, len(train) // 50), center=True, min_periods=1).mean()
    shown = slice(None, None, math.ceil(len(train) / POINTS))
    bases = train["bases"][shown] / unit
    axes.plot(bases, train["loss"][shown], color=colour, linewidth=0.4, alpha=0.25)
    axes.plot(bases, smooth[shown], color=colour, linewidth=1.1)
    style = {"color": colour, "marker": marker, "markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot(valid["bases"] / unit, valid["loss"], linestyle="", zorder=3, **style)
    return Line2D([], [], label=textwrap.fill(title, LABEL_LINE), **style)
