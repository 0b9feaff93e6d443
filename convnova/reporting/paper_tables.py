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
from convnova.reporting.published import OUR_METRIC, Verdict, judge, tolerance, why_not_comparable
from convnova.reporting.table import NAN, Cell, Table, receptive_field, score_cell, signed
from convnova.runs.outputs import LONG_RANGE, PAPER_TABLES, PaperTable, extra_table_titles

UNKNOWN = "Neither the paper's numbers nor its arrangement are known, so only ours are here."
BY_CV = (
    "cv: each of ten folds of train in turn chooses the epoch and test is scored once a fold; ± is the largest "
    "minus the smallest. Those papers hold out a tenth of train drawn by the seed, not disjoint folds."
)
BY_TEST = "released: the epoch is chosen on test, as in the authors' released code; ± is the standard deviation."


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
    return ours[name](scores, config)


def _beside_published(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Table:
    """One published table, ours to the right of it."""
    table = PAPER_TABLES[name]
    scores = scores[(scores["suite"] == table.suite)].sort_values("seed")
    runs_of = dict(list(scores[scores["protocol"] == table.protocol].groupby(["row", "model"])))
    expected = len(config.seeds_of(table.suite, table.protocol))
    theirs = [] if config.simulated else list(dict.fromkeys(published["model"]))
    lines, judged = [], []
    for task, of_task in published.groupby("task", sort=False):
        metric = of_task["metric"].iloc[0]
        metric = table.f1 if metric == "f1" else OUR_METRIC.get(metric, metric)
        known = {number.model: number for number in of_task.itertuples(index=False)}
        best = max(number.mean for number in known.values())
        line: dict[str, Any] = {"task": task, "metric": METRIC_TITLES[metric]}
        line |= {model: Cell(f"{x.mean:.3f}", x.mean, x.mean == best) for model, x in known.items() if model in theirs}
        for model, title in config.model_titles.items():
            runs = runs_of.get((task, model), scores[:0])
            values = runs[metric].dropna().to_numpy(float)
            spread = float(np.ptp(values)) if table.protocol == "cv" and len(values) > 1 else None
            line[f"ours: {title}"] = score_cell(values, expected, spread)
            if config.models[model].published in theirs:
                verdict, difference = _judged(table, known.get(config.models[model].published), runs, metric)
                judged += [] if np.isnan(difference) else [(verdict.label, difference)]
                line[f"difference: {title}"] = difference
                line[f"verdict: {title}"] = Cell(verdict.label, str(verdict), footnote=verdict.footnote)
        lines.append(line)
    lines.append(_receptive_fields(scores, config.model_titles, "ours: "))
    frame = _frame(lines, list(dict.fromkeys(["task", "metric", *theirs, *lines[0]])))
    ours = frame.filter(regex="^ours: ").iloc[:-1]
    protocol = BY_CV if table.protocol == "cv" else BY_TEST
    theirs_and_ours = f"Left, as published in {table.published}; bold: its best column. Right, ours"
    return Table(
        name,
        extra_table_titles(config)[name],
        frame,
        f"{'Ours' if config.simulated else theirs_and_ours} by {protocol}",
        _summary(config, judged, int(ours.notna().to_numpy().sum()), ours.size),
        [] if config.simulated else list(dict.fromkeys(_sources(published))),
        config.simulated,
        {head: signed for head in frame if head.startswith("difference: ")},
    )


def _frame(lines: list[dict[str, Any]], heads: list[str]) -> pd.DataFrame:
    """Lines as a frame for reading, whose first two heads are labels."""
    return pd.DataFrame(lines, columns=heads, dtype=object).set_index(heads[:2])


def _receptive_fields(scores: pd.DataFrame, models: dict[str, str], prefix: str = "") -> dict[str, str]:
    """The last line of a table of one suite: each model's receptive field, as words, so that no mean takes it in."""
    line = {"task": "receptive field", "metric": "bp"}
    for model, title in models.items():
        if cell := receptive_field(scores.loc[scores["model"] == model, "receptive_field"]):
            line[prefix + title] = cell.text
    return line


def _judged(table: PaperTable, number: Any, runs: pd.DataFrame, metric: str) -> tuple[Verdict, float]:
    """The verdict on ours beside a published number, and ours minus that; NaN if they cannot be compared.

    Args:
        table: the published table.
        number: a row of the published numbers; None if there is none.
        runs: ours of the task and model, one a seed.
        metric: of ours.
    """
    values = runs[metric].dropna().to_numpy(float)
    if number is None or not len(values):
        return Verdict("not published" if number is None else "not run"), NAN
    reason = why_not_comparable(table.suite, number, table.protocol, metric, float(runs["parameters"].mean()))
    half = float((runs["high"] - runs["low"]).mean() / 2)
    verdict = judge(number, reason, float(values.mean()), tolerance(values, half, number.spread))
    return verdict, NAN if verdict.label.startswith("not") else float(values.mean() - number.mean)


def _summary(config: RunConfig, judged: list[tuple[str, float]], run: int, cells: int) -> str:
    """How many of ours are run, how many agree with the published ones, and by how much they differ."""
    parts = [f"{run} of {cells} cells of ours are run"]
    if config.simulated:
        parts.append("no comparison with the paper: the genome is simulated")
    elif judged:
        agree = sum(word == "agrees" for word, _ in judged)
        difference = signed(np.mean([difference for _, difference in judged]))
        parts.append(f"{agree} of {len(judged)} agree, mean difference {difference}")
    else:
        parts.append("none may be compared with a published one")
    return "; ".join(parts) + "."


def _sources(published: pd.DataFrame) -> Iterator[str]:
    """Where each column comes from and how surely."""
    for number in published.itertuples(index=False):
        source = " ".join(number.source.split(";")[0].split())
        yield f"Published, {number.model} ({number.confidence}): {source}."


def _long_range(scores: pd.DataFrame, config: RunConfig) -> Table:
    """The tasks of the paper's long-range tables."""
    suites = [suite for suite in LONG_RANGE if suite in config.suites]
    runs_of = dict(list(scores.sort_values("seed").groupby(["suite", "row", "model", "protocol"])))
    lines, last = [], []
    for suite in suites:
        for row, protocol in product(config.suites[suite].table_rows, config.protocols):
            line = {"task": row.label, "metric": row.metric_title, "protocol": protocol}
            for model, title in config.model_titles.items():
                runs = runs_of.get((suite, row.label, model, protocol), scores[:0])
                line[title] = score_cell(runs["score"].to_numpy(float), len(config.seeds_of(suite, protocol)))
            lines.append(line)
        fields = _receptive_fields(scores[scores["suite"] == suite], config.model_titles)
        last.append(fields | {"task": f"receptive field, {config.suite_titles[suite]}"})
    name, models = "convnova_tables_3_10", list(config.model_titles.values())
    return Table(
        name,
        extra_table_titles(config)[name],
        _frame([*lines, *last], ["task", "metric", "protocol", *models]),
        f"{UNKNOWN} Mean ± standard deviation over seeds.",
        _filled(pd.DataFrame(lines)[models]),
        simulated=config.simulated,
    )


def _filled(cells: pd.DataFrame) -> str:
    return f"{cells.notna().to_numpy().sum()} of {cells.size} cells are run; nothing published to compare with."


def _blocks(scores: pd.DataFrame, config: RunConfig) -> Table:
    """How many blocks each model has on each task."""
    name, suite = "convnova_table_9", "nucleotide_transformer"
    models = {model: title for model, title in config.model_titles.items() if "blocks" in config.settings(model, suite)}
    lines = []
    for row in config.suites[suite].table_rows:
        line = {"task": row.label, "metric": row.metric_title}
        for model, title in models.items():
            job = Job(suite, row.task, model, config.protocols[0], config.seeds[0])
            line[title] = config.job_settings(job)["blocks"]
        lines.append(line)
    lines.append(_receptive_fields(scores[scores["suite"] == suite], models))
    return Table(
        name,
        extra_table_titles(config)[name],
        _frame(lines, ["task", "metric", *models.values()]),
        "The paper sets the number of blocks by task (5 to 10, as it is quoted); its numbers are not known, so only "
        "ours are here.",
        f"{len(lines) - 1} task{'s' if len(lines) != 2 else ''}; nothing published to compare with.",
        simulated=config.simulated,
    )


def _ablations(scores: pd.DataFrame, config: RunConfig) -> Table:
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
            for protocol in config.protocols:
                of_rows = runs[runs["protocol"] == protocol].groupby("row")["score"].mean()
                line[f"{suite_title}: {protocol}"] = of_rows.mean() if len(of_rows) else None
        lines.append(line)
    name = "convnova_ablations"
    frame = _frame(lines, list(lines[0]))
    return Table(
        name,
        extra_table_titles(config)[name],
        frame,
        f"{UNKNOWN} Every model of the run: what differs, and the mean of its tasks' means, each by its own metric.",
        _filled(frame),
        simulated=config.simulated,
    )
