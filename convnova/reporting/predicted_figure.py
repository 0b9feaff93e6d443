"""The figure of tasks of numbers: predicted against measured, a row a target, a column a model."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from convnova.config.run import RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.evaluation.correlation import by_target
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.evaluation.scoring import values_of_targets
from convnova.reporting import figures
from convnova.runs.outputs import PREDICTED, figure_titles, tasks_of_kinds

MOST_MODELS = 5
"""In a row; of more the best by validation are shown."""
WIDTH, HEIGHT = 1.5, 1.75
"""Inches of a panel with what stands around it."""
DENSE = 2000
"""Values from which on a panel shows how many lie where, in place of each."""
TITLE_LETTERS = 20
"""Of a line over a panel or beside a row."""
SHOWN = ("pearson", "r2")
"""Scores in a panel."""

Panels = dict[str, tuple[np.ndarray, np.ndarray]]
"""Model to what was measured and what it predicts, (values,) each: of test rows, or of all their bins."""


def write_predicted(config: RunConfig, out: Path) -> list[Path]:
    """Write `predicted.pdf`, `.svg` and `.png`, if the run has predictions of numbers.

    Of each model the first seed is shown that has some.

    Args:
        config: the run.
        out: a folder, made if need be.

    Returns:
        The files written.
    """
    rows = [row for suite, task in tasks_of_kinds(config, "regression") for row in _rows(config, suite, task)]
    if not rows:
        return []
    columns, title = max(len(panels) for _, panels in rows), figure_titles(config)[PREDICTED]
    size = max(figures.NARROW, 0.4 + WIDTH * columns), 0.4 + HEIGHT * len(rows)
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.empty_figure(*size, f"{title}, one seed", config.simulated)
        places = figure.subplots(len(rows), columns, squeeze=False, sharex="row", sharey="row")
        for line, (name, panels) in zip(places, rows, strict=True):
            values = np.concatenate([numbers for pair in panels.values() for numbers in pair])
            margin = 0.04 * (np.ptp(values) or 1.0)
            for axes in line[len(panels) :]:
                axes.set_axis_off()
            for axes, (model, pair) in zip(line, panels.items(), strict=False):
                _draw(axes, *pair, (values.min() - margin, values.max() + margin), figures.look(config, model)["color"])
                axes.set_title(textwrap.fill(config.model_titles[model], TITLE_LETTERS))
            line[0].set_ylabel(f"{textwrap.fill(name, TITLE_LETTERS)}\npredicted")
        return figures.save(figure, out / PREDICTED)


def _rows(config: RunConfig, suite: str, task: str) -> Iterator[tuple[str, Panels]]:
    """Name and panels of each target of a task, of which there are predictions."""
    spec, protocols = config.suites[suite].tasks[task], config.protocols_on(suite)
    protocol = config.main_protocol if config.main_protocol in protocols else protocols[0]
    known: dict[str, Predictions] = {}
    for model in config.models:
        jobs = config.jobs_of(suite, task, model, protocol)
        if saved := next(filter(None, (predictions_of(config, job) for job in jobs)), None):
            known[model] = saved
    validation = {model: max(epoch["score"] for epoch in saved.metrics["epochs"]) for model, saved in known.items()}
    best = sorted(known, key=validation.__getitem__)[-MOST_MODELS:]
    numbers = {
        model: [values_of_targets(spec, part) for part in (saved.labels, saved.predicted)]
        for model, saved in known.items()
        if model in best
    }
    count = next(iter(numbers.values()))[0].shape[1] if numbers else 0
    names = spec.classes or (spec.columns[1:] if len(spec.columns) > 2 else range(1, count + 1))
    for target in range(count):
        panels = {model: tuple(part[:, target].ravel() for part in pair) for model, pair in numbers.items()}
        yield f"{task} {names[target]}" if count > 1 else task, panels


def _draw(axes: Axes, measured: np.ndarray, predicted: np.ndarray, limits: tuple[float, float], colour: str) -> None:
    """Draw the values of one target, the line where both are the same, and the scores of these values."""
    axes.plot(limits, limits, color=figures.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=4)
    if len(measured) > DENSE:
        style = {"bins": "log", "mincnt": 1, "cmap": LinearSegmentedColormap.from_list("", ["#e4e4e4", colour])}
        axes.hexbin(measured, predicted, gridsize=30, extent=(*limits, *limits), linewidths=0, **style)
    else:
        axes.scatter(measured, predicted, s=5, color=colour, alpha=0.5, linewidths=0, zorder=3)
    scores = {name: by_target(name, measured[:, None, None], predicted[:, None, None])[0] for name in SHOWN}
    text = "\n".join(f"{METRIC_TITLES[name]} {score:.2f}" for name, score in scores.items())
    axes.text(0.04, 0.97, text, transform=axes.transAxes, va="top", fontsize=6, zorder=5)
    axes.set(xlim=limits, ylim=limits, xlabel="measured", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
    axes.grid(**figures.HAIRLINE)
