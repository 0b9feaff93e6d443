"""The costs of a run's models side by side: one table, and a figure of score against cost."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.files import read_json
from convnova.reporting.figures import COLOURS, HAIRLINE, STYLE, WIDE, add_legend, empty_figure, nth_look, save
from convnova.reporting.render import write
from convnova.reporting.scores import read_scores
from convnova.reporting.table import Table, receptive_field
from convnova.runs import outputs

HEADS = {
    "title": "model", "receptive_field": "receptive field", "parameters": "parameters", "length": "length (bp)",
    "sequences": "sequences", "flops_per_base": "FLOPs a base", "inference_bases_per_second": "inference, bases/s",
    "training_bases_per_second": "training, bases/s", "inference_memory_mb": "inference, MB",
    "training_memory_mb": "training, MB", "score": "mean score",
}  # fmt: skip
"""Column of `cost.tsv` to its head in the table for reading."""
TEXTS = ("model", "title", "device", "precision")
NEEDS_MEMORY = [name for name in HEADS if name.endswith(("_per_second", "_mb"))]
TSV_COLUMNS = ["model", *HEADS, "device", "precision", "threads", "out_of_memory"]

Costs = list[dict[str, Any]]
"""What `convnova.training.compute_cost.write_cost` wrote of each model and length, with `score` where it is known."""


def read_costs(paths: list[Path]) -> Costs:
    """Read what `convnova cost` wrote.

    Raises:
        ConvNovaError: a file is missing or holds no costs.
    """
    costs = []
    for path in paths:
        try:
            cost = read_json(path)
            costs.append(cost | {"receptive_field": cost["receptive_field"] or math.inf})
            known = dict.fromkeys(HEADS) | cost
            for name in (*TEXTS, "threads", *HEADS):
                wanted = str if name in TEXTS else float | int | None
                if not isinstance(known[name], wanted):
                    raise TypeError(f"{name}: {known[name]!r}")
        except (KeyError, TypeError) as error:
            raise ConvNovaError(f"{path}: expected what `convnova cost` writes: {error}; measure again") from error
    return costs


def mean_scores(scores: pd.DataFrame) -> dict[str, float]:
    """Mean score of each model over all rows that every model has, of the protocol that comes first."""
    of_protocol = scores[scores["protocol"] == scores["protocol"].iloc[0]]
    rows = of_protocol.pivot_table(index=["suite", "row"], columns="model", values="score").dropna()
    return {str(model): float(value) for model, value in rows.mean().items()}


def write_costs(config: RunConfig, out: Path) -> None:
    """Write the table and the figure of costs, with the scores of the models where the run has suites.

    Args:
        config: the run.
        out: the folder for `tables/cost.tsv`, `.md`, `.html` and `figures/cost.pdf`, `.svg`, `.png`.

    Raises:
        ConvNovaError: a file is missing or holds no costs.
    """
    scores = mean_scores(read_scores(config.results / "tables" / "scores.tsv")) if config.suites else {}
    costs = read_costs([config.local_path(path) for path in outputs.costs(config)])
    costs = [cost | {"score": scores.get(cost["model"])} for cost in costs]
    write(cost_table(costs, config.simulated), out / "tables", ("tsv", "md", "html"))
    with matplotlib.rc_context(STYLE):
        save(cost_figure(costs, config.simulated), out / "figures" / "cost")


def cost_table(costs: Costs, simulated: bool) -> Table:
    """The table of costs; what was measured has three digits."""
    # As objects: whole numbers stay whole in a column that has empty cells.
    data = pd.DataFrame(costs, columns=TSV_COLUMNS, dtype=object)
    frame = data[list(HEADS)].copy()
    frame["receptive_field"] = [receptive_field([bases]) for bases in data["receptive_field"]]
    without_memory = data["out_of_memory"].eq(True)
    for name in NEEDS_MEMORY:
        frame[name] = frame[name].where(~(without_memory & frame[name].isna()), "out of memory")
    machines = set()
    for cost in costs:
        cpu = "1 thread of a CPU" if cost["threads"] == 1 else f"{cost['threads']} threads of a CPU"
        machines.add(cpu if cost["device"] == "cpu" else f"{cost['device']} in {cost['precision']}")
    return Table(
        name="cost",
        title="Cost",
        frame=frame.rename(columns=HEADS).set_index("model"),
        caption="Medians of repeats after a warm-up; memory is the peak, on a CPU of the whole process. FLOPs: matrix "
        "products, convolutions and attention alone.",
        summary=f"measured on {'; '.join(sorted(machines))}.",
        simulated=simulated,
        # Three digits and no decimals, such as 1,230 of 1234.5.
        formats={HEADS[name]: lambda x: f"{float(f'{x:.3g}'):,.0f}" for name in ("flops_per_base", *NEEDS_MEMORY)},
        data=data,
    )


def cost_figure(costs: Costs, simulated: bool) -> Figure:
    """Draw score against operations where there are scores, and throughput and memory against length."""
    data = pd.DataFrame(costs, columns=TSV_COLUMNS)
    titles, lengths = dict(zip(data["model"], data["title"], strict=True)), sorted(data["length"].unique())
    panels = ["inference_bases_per_second", "training_memory_mb"]
    if data["score"].notna().any():
        panels.insert(0, "score")
    figure = empty_figure(WIDE, 2.9 + 0.1 * len(titles), "Cost", simulated)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        # A model has one score, so it is one point there: at the shortest length.
        shown, across = (data[data["length"] == lengths[0]], "flops_per_base") if panel == "score" else (data, "length")
        shown = shown.dropna(subset=[across, panel])
        for index, (model, title) in enumerate(titles.items()):
            points = shown[shown["model"] == model]
            style = nth_look(index) | {"linewidth": 1, "markersize": 4, "clip_on": False}
            style["linestyle"] = "--" if index >= len(COLOURS) else "-"  # where colours begin again
            axes.plot(points[across], points[panel], label=title, **style)
        axes.set_ylabel(HEADS[panel])
        if panel == "score":
            axes.set(xlabel=f"FLOPs a base, at {lengths[0]:,} bp", xscale=_scale(shown[across]))
            if axes.get_xscale() == "linear":
                axes.set_xlim(left=0)
                axes.xaxis.set_major_locator(MaxNLocator(3))
                axes.xaxis.set_major_formatter("{x:,.0f}")
        else:
            axes.set(xlabel="length (bp)", xscale="log", yscale=_scale(shown[panel]))
            axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
            axes.xaxis.set_minor_locator(NullLocator())
            if axes.get_yscale() == "linear":
                axes.set_ylim(bottom=0)
        axes.grid(**HAIRLINE)
    add_legend(figure, figure.axes[-1].get_lines(), columns=4)
    return figure


def _scale(values: pd.Series) -> str:
    """Logarithmic where values differ tenfold and none is 0."""
    return "log" if len(values) and values.min() > 0 and values.max() > 10 * values.min() else "linear"
