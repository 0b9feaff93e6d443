"""The papers' tables in their own arrangement, tasks down and models across, and ours to the right.

Each is one published table, with ours scored by its metric and protocol. What was not run and what is not known is an
empty cell.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.reporting.published import COMPARISONS, OUR_METRIC, judge_runs
from convnova.reporting.table import NAN, Cell, Table, receptive_field, receptive_fields, score_cell, signed
from convnova.runs.outputs import LONG_RANGE, PAPER_TABLES, PaperTable, extra_table_titles

UNKNOWN = "Neither the paper's numbers nor its arrangement are known, so only ours are here."
LAST = {"task": "receptive field", "metric": "bp"}
"""Labels of the last line of a table of one suite."""
MEANINGS = {
    "cv": "cv: each of ten folds of train in turn chooses the epoch and test is scored once a fold; ± is the largest "
    "minus the smallest. Those papers hold out a tenth of train drawn by the seed, not disjoint folds.",
    "released": "released: the epoch is chosen on test, as in the authors' released code; ± is the standard deviation.",
    "heldout": "heldout: the task's validation rows choose the epoch; ± is the standard deviation.",
}


def paper_table(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Table:
    """The table of a paper.

    Args:
        name: of `convnova.runs.outputs`.
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: of the run.
    """
    if name in PAPER_TABLES:
        return _beside_published(name, scores, published[published["table"] == PAPER_TABLES[name].published], config)
    ours = {"convnova_tables_3_10": _long_range, "convnova_table_9": _blocks, "convnova_ablations": _ablations}
    lines, caption, summary = ours[name](scores, config)
    frame = pd.DataFrame(lines, dtype=object).set_index(list(lines[0])[:2])
    return Table(name, extra_table_titles(config)[name], frame, caption, summary, simulated=config.simulated)


def _beside_published(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Table:
    """One published table, ours to the right of it."""
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


Parts = tuple[list[dict[str, Any]], str, str]
"""Lines, caption and summary of a table; the first two columns are labels."""


def _long_range(scores: pd.DataFrame, config: RunConfig) -> Parts:
    """The tasks of the paper's long-range tables."""
    runs_of = dict(list(scores.sort_values("seed").groupby(["suite", "row", "model", "protocol"])))
    lines, last = [], []
    for suite in (suite for suite in LONG_RANGE if suite in config.suites):
        for row, protocol in product(config.suites[suite].table_rows, config.protocols_on(suite)):
            line = {"task": row.label, "metric": row.metric_title, "protocol": protocol}
            for model, title in config.model_titles.items():
                runs = runs_of.get((suite, row.label, model, protocol), scores[:0])
                line[title] = score_cell(runs["score"].to_numpy(float), len(config.seeds_of(suite, protocol)))
            lines.append(line)
        fields = receptive_fields(scores[scores["suite"] == suite], config.model_titles)
        last.append(LAST | fields | {"task": f"receptive field, {config.suite_titles[suite]}"})
    run = [pd.notna(line[title]) for line in lines for title in config.model_titles.values()]
    summary = f"{sum(run)} of {len(run)} cells are run; nothing published to compare with."
    return [*lines, *last], f"{UNKNOWN} Mean ± standard deviation over seeds.", summary


def _blocks(scores: pd.DataFrame, config: RunConfig) -> Parts:
    """How many blocks each model has on each task."""
    suite = "nucleotide_transformer"
    models = {model: title for model, title in config.model_titles.items() if "blocks" in config.settings(model, suite)}
    lines = []
    for row in config.suites[suite].table_rows:
        line = {"task": row.label, "metric": row.metric_title}
        for model, title in models.items():
            job = Job(suite, row.task, model, config.protocols[0], config.seeds[0])
            line[title] = config.settings(job.model, job.suite, job.task)["blocks"]
        lines.append(line)
    summary = f"{len(lines)} task{'s' * (len(lines) != 1)}; nothing published to compare with."
    caption = (
        "The paper sets the number of blocks by task (5 to 10, as it is quoted); its numbers are not known, so only "
        "ours are here."
    )
    return [*lines, LAST | receptive_fields(scores[scores["suite"] == suite], models)], caption, summary


def _ablations(scores: pd.DataFrame, config: RunConfig) -> Parts:
    """Models down, what differs between them and their mean score in each suite across."""
    settings = {model: config.settings(model, next(iter(config.suites))) for model in config.models}
    keys = dict.fromkeys(key for of_model in settings.values() for key in of_model)
    differing = [key for key in keys if len({str(of_model.get(key)) for of_model in settings.values()}) > 1]
    lines = []
    for model, title in config.model_titles.items():
        words = ", ".join(f"{key} {settings[model][key]}" for key in differing if key in settings[model])
        line: dict[str, Any] = {"model": title, "settings": words}
        for suite, suite_title in config.suite_titles.items():
            runs = scores[(scores["model"] == model) & (scores["suite"] == suite)]
            size = runs["parameters"].mean()
            line[f"{suite_title}: parameters"] = Cell(f"{size / 1e6:.3g}M", size) if len(runs) else None
            line[f"{suite_title}: receptive field"] = receptive_field(runs["receptive_field"])
            for protocol in config.protocols_on(suite):
                of_rows = runs[runs["protocol"] == protocol].groupby("row")["score"].mean()
                line[f"{suite_title}: {protocol}"] = of_rows.mean() if len(of_rows) else None
        lines.append(line)
    run = [pd.notna(cell) for line in lines for cell in list(line.values())[2:]]
    summary = f"{sum(run)} of {len(run)} cells are run; nothing published to compare with."
    means = "Every model of the run: what differs, and the mean of its tasks' means, each by its own metric."
    return lines, f"{UNKNOWN} {means}", summary
