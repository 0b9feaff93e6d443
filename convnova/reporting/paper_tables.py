"""The papers' tables in their own arrangement, tasks down and models across, and ours to the right.

Each is one published table, with ours scored by its metric and protocol. What was not run and what is not known is an
empty cell.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.reporting.published import COMPARISONS, OUR_METRIC, judge_runs
from convnova.reporting.table import NAN, Cell, Table, receptive_fields, score_cell, signed
from convnova.runs.outputs import PAPER_TABLES, PaperTable, extra_table_titles

LAST = {"task": "receptive field", "metric": "bp"}
"""Labels of the last line of a table of one suite."""
MEANINGS = {
    "cv": "cv: each of the disjoint folds of train in turn chooses the epoch and test is scored once a fold; ± is the "
    "largest minus the smallest. Those papers hold out a tenth of train drawn by the seed, not disjoint folds.",
    "released": "released: the epoch is chosen on test, as in the authors' released code; ± is the standard deviation.",
    "heldout": "heldout: the task's validation rows choose the epoch; ± is the standard deviation.",
}


def paper_table(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Table:
    """One published table, ours to the right of it.

    Args:
        name: of `convnova.runs.outputs.PAPER_TABLES`.
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: of the run.
    """
    published = published[published["table"] == PAPER_TABLES[name].published]
    table, rival = PAPER_TABLES[name], COMPARISONS[PAPER_TABLES[name].suite].rival
    scores = scores[scores["suite"] == table.suite].sort_values("seed")
    is_ours = published["task"].isin([row.label for row in config.suites[table.suite].table_rows])
    if rival and is_ours.any():  # a table of rivals is of our tasks; one that we reproduce is shown whole
        published = published[is_ours]
    ours = pd.DataFrame(_ours(table, scores, published, config)).set_index("task")
    theirs = published[:0] if config.simulated else published
    best = theirs.groupby("task")["mean"].max()
    is_best = theirs["mean"] == theirs["task"].map(best)
    texts = [Cell(f"{mean:.3f}", mean, bold) for mean, bold in zip(theirs["mean"], is_best, strict=True)]
    by_model = theirs.assign(text=texts).set_index("task").groupby("model", sort=False)["text"]
    columns = dict(list(by_model))
    for title, of_model in ours.groupby("title", sort=False):
        columns[f"ours: {title}"] = of_model["score"]
        if of_model["published"].iloc[0] in columns:
            columns[f"difference: {title}"] = of_model["difference"]
            columns[f"verdict: {title}"] = of_model["verdict"].map(
                lambda it: Cell(it.label, str(it), footnote=it.footnote)
            )
    metrics = ours.groupby("task", sort=False)["metric"].first().map(METRIC_TITLES)
    frame = pd.DataFrame(columns, metrics.index, dtype=object)
    fields = receptive_fields(scores, {model: f"ours: {title}" for model, title in config.model_titles.items()})
    frame.loc[LAST["task"]] = pd.Series(fields, dtype=object)
    frame = frame.set_index(pd.Index([*metrics, LAST["metric"]], name="metric"), append=True)
    left = f"Left, as published in {table.published}; bold: its best column. Right, ours" if len(theirs) else "Ours"
    models_of = theirs.groupby(["source", "confidence"], sort=False)["model"].unique()
    notes = [
        f"Published, {', '.join(models)} ({confidence}): {' '.join(source.split(';')[0].split())}."
        for (source, confidence), models in models_of.items()
    ]
    beside, summary = "", _summary(ours, config.simulated)
    if rival and len(theirs):
        beside = f" Difference and verdict: to {rival}, where the table has none of ours."
        summary += f" {_against_rivals(ours, rival, best)}"
    return Table(
        name, extra_table_titles(config)[name], frame,
        caption=f"{left} by {MEANINGS[table.protocol]}{beside}",
        summary=summary, notes=notes, simulated=config.simulated,
        formats={head: signed for head in columns if head.startswith("difference: ")},
    )  # fmt: skip


def _ours(table: PaperTable, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Iterator[dict]:
    """A line a task of a published table and model of ours: task, metric, title, score, verdict and so on."""
    runs_of = dict(list(scores[scores["protocol"] == table.protocol].groupby(["row", "model"])))
    numbers = {(number.task, number.model): number for number in published.itertuples(index=False)}
    metrics = published.drop_duplicates("task").set_index("task")["metric"]
    for (task, metric), (model, title) in product(metrics.items(), config.model_titles.items()):
        metric = table.f1 if metric == "f1" else OUR_METRIC.get(metric, metric)
        runs, name = runs_of.get((task, model), scores[:0]), config.models[model].published
        name = name if (task, name) in numbers else COMPARISONS[table.suite].rival
        values, number = runs[metric].dropna(), numbers.get((task, name))
        spread = float(np.ptp(values)) if table.protocol == "cv" and len(values) > 1 else None
        score = score_cell(values.to_numpy(float), len(config.seeds_of(table.suite, table.protocol)), spread)
        verdict, _ = judge_runs(number, table.suite, table.protocol, metric, runs, values)
        comparable = not verdict.label.startswith("not")
        yield {
            "task": task, "metric": metric, "title": title, "published": name, "score": score, "verdict": verdict,
            "difference": values.mean() - number.mean if number and comparable else NAN, "mean": values.mean(),
        }  # fmt: skip


def _summary(ours: pd.DataFrame, simulated: bool) -> str:
    """How many of ours are run, how many agree with the published ones, and by how much they differ."""
    run, judged = ours["score"].notna().sum(), ours.dropna(subset="difference")
    if simulated:
        comparison = "no comparison with the paper: the genome is simulated"
    elif len(judged):
        agree = sum(verdict.label == "agrees" for verdict in judged["verdict"])
        comparison = f"{agree} of {len(judged)} agree, mean difference {signed(judged['difference'].mean())}"
    else:
        comparison = "none may be compared with a published one"
    return f"{run} of {len(ours)} cells of ours are run; {comparison}."


def _against_rivals(ours: pd.DataFrame, rival: str, best: pd.Series) -> str:
    """On how many tasks each of ours is above one published model, and above the best of all.

    Args:
        ours: what `_ours` yields.
        rival: the published model of the differences.
        best: task to its best published score.
    """
    counts = [
        f"{title}, of {len(lines)} tasks: above {rival} on {(lines['difference'] > 0).sum()}, above every published "
        f"model on {(lines['mean'] > best[lines.index]).sum()}"
        for title, lines in ours[ours["mean"].notna()].groupby("title", sort=False)
    ]
    return "; ".join(counts) + "."
