"""The ablation table and its figure: every variant of a run beside its baseline, by validation score alone.

The score of a fine-tuning is the best of its epochs on the held-out part of train, which is the same rows for all
models of a seed. Differences to the baseline, or to the model that `compare_to` names, are paired by task and seed.
Their mean has a 95% Student t interval over the pairs. Tasks of one genome are not independent: the interval says how
firm the mean is on these tasks.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.metrics_file import results_of
from convnova.reporting.figures import COLOURS, GREY, HAIRLINE, NARROW, STYLE, empty_figure, save
from convnova.reporting.render import write
from convnova.reporting.table import NAN, Table, receptive_field, signed
from convnova.runs.outputs import ABLATION, ABLATION_TITLE

PROTOCOL = "heldout"
MEASURED = ["parameters", "receptive_field", "seconds"]
COLUMNS = ["model", "title", *MEASURED, "pairs", "score", "compared_to", "difference", "low", "high"]
"""Of `ablation.tsv`; behind them a column a task, `suite/task`: the mean score there."""


def validation_scores(config: RunConfig) -> pd.DataFrame:
    """Read the validation score of every fine-tuning by `heldout`.

    Returns:
        A row a fine-tuning: model, suite, task, seed, score, parameters, receptive_field (bp), seconds. Results that
        are missing, or have other settings than the config, are left out, and the log names them.

    Raises:
        ConvNovaError: the run does not hold out a validation part.
    """
    if PROTOCOL not in config.protocols:
        raise ConvNovaError(f"protocols: expected {PROTOCOL}, whose validation rows are no test rows")
    rows = []
    for job, metrics in results_of(config, (job for job in config.trainings() if job.protocol == PROTOCOL)):
        score = max(epoch["score"] for epoch in metrics["epochs"])
        bases = metrics["receptive_field"] or math.inf
        rows.append([*job, score, metrics["parameters"], bases, metrics["seconds"]])
    frame = pd.DataFrame(rows, columns=["suite", "task", "model", "protocol", "seed", "score", *MEASURED])
    return frame.drop(columns="protocol")


def paired_differences(
    scores: pd.DataFrame, baseline: str, titles: Mapping[str, str], compare_to: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Compare every model with another one over pairs of task and seed.

    Args:
        scores: what `validation_scores` returns.
        baseline: the model that the others are compared to.
        titles: model to its title, in the order of the rows.
        compare_to: model to the one that it is compared to, if not the baseline.

    Returns:
        A row a model that has scores, with `COLUMNS` and the mean of every task. The interval of the baseline is NaN.

    Raises:
        ConvNovaError: there are no scores of the baseline, or of another model that one is compared to.
    """
    from scipy.stats import ttest_1samp

    by_model = scores.pivot(index=["suite", "task", "seed"], columns="model", values="score")
    tasks = by_model.groupby(level=["suite", "task"], sort=False).mean()
    means = scores.groupby("model")[[*MEASURED, "score"]].mean()
    rows = []
    for model in (name for name in titles if name in by_model or name == baseline):
        other = (compare_to or {}).get(model, baseline)
        if other not in by_model:
            found = ", ".join(by_model) or "none"
            raise ConvNovaError(f"{other}: expected fine-tunings of it to compare others to; found those of {found}")
        pairs = (by_model[model] - by_model[other]).dropna().to_numpy()
        low, high = NAN, NAN
        if model != baseline and len(pairs) > 1:
            low, high = ttest_1samp(pairs, 0).confidence_interval(LEVEL)
        row = {"model": model, "title": titles[model], **means.loc[model], "pairs": len(pairs)}
        row |= {"compared_to": titles[other], "difference": pairs.mean(), "low": low, "high": high}
        rows.append(row | {"/".join(task): score for task, score in tasks[model].items()})
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *map("/".join, tasks.index)])
    return frame.astype({"parameters": int})


def differences_of(config: RunConfig) -> pd.DataFrame:
    """What `paired_differences` says of a run.

    Raises:
        ConvNovaError: the config names no baseline, or there are no results of it.
    """
    if config.ablation is None:
        raise ConvNovaError("ablation: expected the baseline that models are compared to, found none in the config")
    baseline, compare_to = config.ablation.baseline, config.ablation.compare_to
    return paired_differences(validation_scores(config), baseline, config.model_titles, compare_to)


def write_ablation(config: RunConfig, out: Path) -> None:
    """Write `tables/ablation.tsv` and `.md` to the folder `out`; errors as of `differences_of`."""
    write(ablation_table(differences_of(config), config.simulated), out / "tables", ["tsv", "md"])


def write_ablation_figure(config: RunConfig, out: Path) -> None:
    """Write `ablation.pdf`, `.svg` and `.png` to the folder `out`; errors as of `differences_of`."""
    with matplotlib.rc_context(STYLE):
        save(ablation_figure(differences_of(config), config.simulated), out / ABLATION)


def ablation_table(frame: pd.DataFrame, simulated: bool) -> Table:
    """The table for reading, of what `paired_differences` returns."""
    # The baseline is compared to nothing, so its last three cells are empty.
    compared = frame["low"].notna()
    without_zero = int(((frame["low"] > 0) | (frame["high"] < 0)).sum())
    columns = {
        "variant": frame["title"],
        "parameters": frame["parameters"],
        "receptive field": [receptive_field([bases]) for bases in frame["receptive_field"]],
        "seconds a fine-tuning": frame["seconds"],
        **{task: frame[task] for task in frame.columns[len(COLUMNS) :]},
        "all": frame["score"],
        "compared to": frame["compared_to"].where(compared),
        "difference": frame["difference"].where(compared),
        "95% interval": (frame["low"].map(signed) + " to " + frame["high"].map(signed)).where(compared),
    }
    return Table(
        name=ABLATION,
        title=ABLATION_TITLE,
        frame=pd.DataFrame(columns).set_index("variant"),
        caption="Validation scores; test scores have no part in it. Scores of each task and of all are means over "
        "seeds. What a variant does not name is as in the first row. A difference is to the row that is named before "
        "it, over pairs of task and seed: its mean and 95% interval.",
        summary=f"the intervals of {without_zero} of {compared.sum()} variants leave out zero.",
        simulated=simulated,
        formats={"seconds a fine-tuning": "{:.0f}".format, "difference": signed},
        data=frame,
    )


def ablation_figure(frame: pd.DataFrame, simulated: bool) -> Figure:
    """The difference of each variant with its interval, of what `paired_differences` returns."""
    shown = frame[frame["low"].notna()]
    figure = empty_figure(NARROW, 0.9 + 0.17 * len(shown), ABLATION_TITLE, simulated)
    axes, places = figure.subplots(), np.arange(len(shown))
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.hlines(places, shown["low"], shown["high"], color=COLOURS[0], linewidth=1.2)
    axes.scatter(shown["difference"], places, color=COLOURS[0], s=14, zorder=3)
    axes.set_yticks(places, shown["title"])
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="validation score minus the other's, 95% interval")
    axes.grid(axis="x", **HAIRLINE)
    return figure
