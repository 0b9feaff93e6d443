"""The costs of a run's models side by side: one table, and a figure of score against cost."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.reporting.figures import COLOURS, MARKERS, STYLE, WIDE, empty_figure, save
from convnova.reporting.sheets import Sheet, number, text, write
from convnova.reporting.table_forms import Entry

COLUMNS = {
    "title": "model",
    "receptive_field": "receptive field (bp)",
    "parameters": "parameters",
    "length": "length (bp)",
    "sequences": "sequences",
    "flops_per_base": "FLOPs a base",
    "inference_bases_per_second": "inference, bases/s",
    "training_bases_per_second": "training, bases/s",
    "inference_memory_mb": "inference, MB",
    "training_memory_mb": "training, MB",
    "score": "mean score",
}
UNBOUNDED = "whole sequence"


def read_costs(paths: list[Path]) -> list[dict[str, Any]]:
    """Read what `cost` wrote.

    Raises:
        ConvNovaError: not such a file.
    """
    found = []
    for path in paths:
        try:
            content = json.loads(Path(path).read_text())
            found.append(content | {"receptive_field": str(content["receptive_field"] or UNBOUNDED)})
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConvNovaError(f"{path}: expected what `convnova cost` writes: {error}; measure again") from error
    return found


def mean_scores(scores: pd.DataFrame) -> dict[str, float]:
    """Mean score of each model over all rows that every model has, of the protocol that comes first."""
    chosen = scores[scores["protocol"] == scores["protocol"].iloc[0]]
    rows = chosen.pivot_table(index=["suite", "row"], columns="model", values="score").dropna()
    return {str(model): float(value) for model, value in rows.mean().items()}


def write_costs(
    costs: list[dict[str, Any]], scores: dict[str, float], simulated: bool, tables: Path, figures: Path
) -> None:
    """Write `cost.tsv`, `.md` and `.html` into `tables`, and `cost.pdf`, `.svg` and `.png` into `figures`.

    Args:
        scores: a model's mean score, where it has one.
    """
    lines = [cost | ({"score": scores[cost["model"]]} if cost["model"] in scores else {}) for cost in costs]
    raw = [["model", *COLUMNS, "device", "precision", "threads", "out_of_memory"]]
    raw += [[_exact(line.get(name, "")) for name in raw[0]] for line in lines]
    write_text(tables / "cost.tsv", "".join("\t".join(row) + "\n" for row in raw))
    write(_sheet(lines, simulated), tables, ("md", "html"))
    draw(lines, simulated, figures)


def _exact(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _sheet(lines: list[dict[str, Any]], simulated: bool) -> Sheet:
    """The costs for reading."""
    machines = sorted({_machine(line) for line in lines})
    caption = (
        "Medians of repeats after a warm-up; memory is the peak, on a CPU of the whole process. FLOPs: matrix "
        "products, convolutions and attention alone."
    )
    summary = f"measured on {'; '.join(machines)}."
    cells = [[_short(line, name) for name in COLUMNS] for line in lines]
    return Sheet("cost", "Cost", caption, summary, list(COLUMNS.values()), cells, simulated=simulated)


def _machine(line: dict[str, Any]) -> str:
    if line["device"] != "cpu":
        return f"{line['device']} in {line['precision']}"
    return f"{line['threads']} thread{'s' * (line['threads'] != 1)} of a CPU"


def _short(line: dict[str, Any], name: str) -> Entry:
    """A cell for reading: three figures of what was measured."""
    value = line.get(name)
    if value is None:
        return text("out of memory" if line.get("out_of_memory") and name.endswith(("second", "mb")) else "")
    if isinstance(value, str):
        return text(value)
    if name == "score":
        return number(value)
    return Entry(f"{value if isinstance(value, int) else float(f'{value:.3g}'):,.0f}", value)


def draw(lines: list[dict[str, Any]], simulated: bool, out: Path) -> list[Path]:
    """Score against operations where there are scores, and throughput and memory against length."""
    models = list(dict.fromkeys(line["model"] for line in lines))
    lengths = sorted({line["length"] for line in lines})
    panels = ["score"] * any("score" in line for line in lines) + ["inference_bases_per_second", "training_memory_mb"]
    with matplotlib.rc_context(STYLE):
        figure = empty_figure(WIDE, 2.9 + 0.1 * len(models), "Cost", simulated)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for index, model in enumerate(models):
                points = _points([line for line in lines if line["model"] == model], panel, lengths[0])
                title = next(line["title"] for line in lines if line["model"] == model)
                look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
                axes.plot(*points, label=title, linewidth=1, markersize=4, clip_on=False, **look)
            (_finish_score if panel == "score" else _finish)(axes, panel, lengths)
            axes.grid(color="#dddddd", linewidth=0.5)
        handles, labels = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return save(figure, Path(out) / "cost")


def _points(lines: list[dict[str, Any]], panel: str, shortest: int) -> tuple[list[float], list[float]]:
    """What a panel shows of one model, across and up: its score at one length, or what was measured at every length."""
    if panel != "score":
        found = [(line["length"], line[panel]) for line in lines if panel in line]
    else:
        known = [line for line in lines if line["length"] == shortest and {"score", "flops_per_base"} <= set(line)]
        found = [(line["flops_per_base"], line["score"]) for line in known]
    return [across for across, _ in found], [up for _, up in found]


def _finish_score(axes: Axes, panel: str, lengths: list[int]) -> None:
    axes.set(xlabel=f"FLOPs a base, at {lengths[0]:,} bp", ylabel=COLUMNS[panel], xscale=_scale(axes, 0))
    if axes.get_xscale() == "linear":
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter("{x:,.0f}")


def _finish(axes: Axes, panel: str, lengths: list[int]) -> None:
    axes.set(xlabel="length (bp)", ylabel=COLUMNS[panel], xscale="log", yscale=_scale(axes, 1))
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)


def _scale(axes: Axes, side: int) -> str:
    """Of what is drawn, across (0) or up (1): logarithmic where values differ tenfold, and none is 0."""
    values = [value for line in axes.lines for value in line.get_data()[side]]
    return "log" if values and min(values) > 0 and max(values) > 10 * min(values) else "linear"
