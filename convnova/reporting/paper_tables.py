"""The paper's tables in its own arrangement, tasks down and models across, and those of papers by cross-validation.

Each is one published table beside which ours is set, scored by the metric and the protocol of that table. What was not
run and what is not known is an empty cell.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.config.schema import METRIC_TITLES
from convnova.reporting.published import OUR_METRIC, Verdict, judge, tolerance, why_not_comparable
from convnova.reporting.sheets import Sheet, change, mean_and_spread, number, receptive_field, text
from convnova.reporting.suite_tables import NAN, signed
from convnova.reporting.table_forms import Entry, footnoted, reasons
from convnova.runs.outputs import LONG_RANGE, PAPER_TABLES, PaperTable, extra_table_titles

HISTONE_MARKS = (
    "H3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K9ac", "H3K14ac", "H3K36me3", "H3K79me3", "H4", "H4ac",
)  # fmt: skip
SCRATCH = "ConvNova*"
UNKNOWN = "Neither the paper's numbers nor its arrangement are known, so only ours are here."


def paper_table(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Sheet:
    """The table of that name in `convnova.runs.outputs`; arguments as for
    `convnova.reporting.suite_tables.write_tables`."""
    if name in PAPER_TABLES:
        return _beside(name, scores, published[published["table"] == PAPER_TABLES[name].published], config)
    return {"convnova_tables_3_10": _long_range, "convnova_table_9": _stages, "convnova_ablations": _ablations}[name](
        scores, config
    )


Runs = dict[tuple[str, ...], pd.DataFrame]


def grouped(scores: pd.DataFrame) -> Runs:
    """The runs of every suite, row, model and protocol, by seed."""
    return dict(list(scores.sort_values("seed").groupby(["suite", "row", "model", "protocol"])))


def _beside(name: str, scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Sheet:
    """One published table, ours to the right of it."""
    table, of_cell, nothing = PAPER_TABLES[name], grouped(scores), scores[:0]
    simulated = config.simulated
    tasks = list(dict.fromkeys(published["task"]))
    theirs = [] if simulated else list(dict.fromkeys(published["model"]))
    cells = {(cell.task, cell.model): cell for cell in published.itertuples(index=False)}
    lines, verdicts, differences, notes, ours = [], [], [], [], {}
    for task in tasks:
        metric = next(cell.metric for cell in cells.values() if cell.task == task)
        metric = table.f1 if metric == "f1" else OUR_METRIC.get(metric, metric)
        known = {model: cells[task, model].mean for model in theirs if (task, model) in cells}
        line = [text(task), text(METRIC_TITLES[metric])]
        line += [number(known.get(model, NAN), known.get(model) == max(known.values())) for model in theirs]
        for model in config.models:
            runs = of_cell.get((table.suite, task, model, table.protocol), nothing)
            values = runs[metric].dropna().to_numpy(float)
            ours[task, model] = values.mean() if len(values) else NAN
            line.append(
                mean_and_spread(values, len(config.seeds_of(table.suite, table.protocol)), _spread(table, values))
            )
            if config.models[model].published in theirs:
                found = cells.get((task, config.models[model].published))
                verdict, difference = _judged(table, found, runs, metric, values)
                if not np.isnan(difference):
                    verdicts.append(verdict.label)
                    differences.append(difference)
                line += [change(difference), Entry(footnoted(verdict, notes), NAN, why=verdict.reason)]
        lines.append(line)
    last = [text("receptive field"), text("bp"), *[text("")] * len(theirs)]
    heads = ["task", "metric", *theirs]
    for model, title in config.model_titles.items():
        last += [_field(scores, table.suite, model), *[text("")] * (2 * (config.models[model].published in theirs))]
        heads += [f"ours: {title}", *(["difference", "verdict"] if config.models[model].published in theirs else [])]
    return Sheet(
        name,
        extra_table_titles(config)[name],
        _caption(table, simulated),
        _summary(table, config, verdicts, differences, {key: cell.mean for key, cell in cells.items()}, ours),
        heads,
        [*lines, last],
        [] if simulated else [*reasons(notes), *_sources(published)],
        simulated,
    )


def _spread(table: PaperTable, values: np.ndarray) -> float:
    """Standard deviation; by cross-validation the largest minus the smallest, as those papers print it."""
    if len(values) < 2:
        return NAN
    return float(np.ptp(values) if table.protocol == "cv" else np.std(values, ddof=1))


def _judged(
    table: PaperTable, found: object, runs: pd.DataFrame, metric: str, values: np.ndarray
) -> tuple[Verdict, float]:
    """The verdict, and ours minus the published value."""
    if found is None or not len(values):
        return Verdict("not published" if found is None else "not run"), NAN
    reason = why_not_comparable(table.suite, found, table.protocol, metric, float(runs["parameters"].mean()))
    half = float((runs["high"] - runs["low"]).mean() / 2)
    verdict = judge(found, reason, float(values.mean()), tolerance(values, half, found.spread))
    return verdict, NAN if verdict.label.startswith("not") else float(values.mean() - found.mean)


def _caption(table: PaperTable, simulated: bool) -> str:
    by_cv = (
        "cv: each of ten folds of train in turn chooses the epoch and test is scored once a fold; ± is the largest "
        "minus the smallest. Those papers hold out a tenth of train drawn by the seed, not disjoint folds."
    )
    by_test = "released: the epoch is chosen on test, as in the authors' released code; ± is the standard deviation."
    left = "Ours" if simulated else f"Left, as published in {table.published}; bold: its best column. Right, ours"
    return f"{left} by {by_cv if table.protocol == 'cv' else by_test}"


def _summary(
    table: PaperTable,
    config: RunConfig,
    verdicts: list[str],
    differences: list[float],
    theirs: dict[tuple[str, str], float],
    ours: dict[tuple[str, str], float],
) -> str:
    """How many of ours agree, by how much they differ, and the paper's own claim, theirs and ours."""
    run = sum(value == value for value in ours.values())
    parts = [f"{run} of {len(ours)} cells of ours are run"]
    if config.simulated:
        return parts[0] + "; no comparison with the paper: the genome is simulated."
    if differences:
        agree = sum(word == "agrees" for word in verdicts)
        parts.append(f"{agree} of {len(verdicts)} agree, mean difference {signed(np.mean(differences))}")
    else:
        parts.append("none may be held against a published one")
    if table.published == "ConvNova Table 1":
        parts += _claims(theirs, config, ours)
    return "; ".join(parts) + "."


def _claims(
    theirs: dict[tuple[str, str], float], config: RunConfig, ours: dict[tuple[str, str], float]
) -> Iterator[str]:
    """The paper's claim, by its own numbers and by ours in place of its: histone marks, and wins of 18."""
    others = sorted({model for _, model in theirs} - {"ConvNova", SCRATCH})
    yield "the paper's claim: " + _claim(
        {task: v for (task, m), v in theirs.items() if m == "ConvNova"}, theirs, others
    )
    for model, spec in config.models.items():
        mine = {task: value for (task, m), value in ours.items() if m == model and value == value}
        if spec.published == "ConvNova" and mine:
            yield "with ours in its place: " + _claim(mine, theirs, others)


def _claim(column: dict[str, float], theirs: dict[tuple[str, str], float], others: list[str]) -> str:
    marks = [task for task in HISTONE_MARKS if task in column]
    wins = sum(value >= max(theirs[task, other] for other in others) for task, value in column.items())
    told = f"best of {len(others) + 1} columns in {wins} of {len(column)} tasks"
    if not marks:
        return told
    best = max(np.mean([theirs[task, other] for task in marks]) for other in others)
    gain = np.mean([column[task] for task in marks]) - best
    return f"{told}, {signed(gain)} over {len(marks)} histone marks against the best other column"


def _sources(published: pd.DataFrame) -> list[str]:
    """Where each column comes from and how surely."""
    told = [
        f"Published, {cell.model} ({cell.confidence}): {' '.join(cell.source.split(';')[0].split())}."
        for cell in published.itertuples(index=False)
    ]
    return list(dict.fromkeys(told))


def _field(scores: pd.DataFrame, suite: str, model: str) -> Entry:
    """A cell of the last row: the receptive field of a model in a suite; in words, so that no mean takes it in."""
    return text(receptive_field(scores[(scores["suite"] == suite) & (scores["model"] == model)]).text)


def _ours(of_cell: Runs, config: RunConfig, suite: str, row: str, protocol: str) -> list[Entry]:
    """A cell a model, of one row and protocol."""
    expected = len(config.seeds_of(suite, protocol))
    runs = [of_cell.get((suite, row, model, protocol)) for model in config.models]
    found = [np.empty(0) if cell is None else cell["score"].to_numpy(float) for cell in runs]
    return [
        mean_and_spread(values, expected, float(np.std(values, ddof=1)) if len(values) > 1 else NAN) for values in found
    ]


def _long_range(scores: pd.DataFrame, config: RunConfig) -> Sheet:
    """The tasks of the paper's long-range tables."""
    of_cell, suites = grouped(scores), [suite for suite in LONG_RANGE if suite in config.suites]
    lines = [
        [text(row.label), text(row.metric_title), text(protocol), *_ours(of_cell, config, suite, row.label, protocol)]
        for suite in suites
        for row in config.suites[suite].table_rows
        for protocol in config.protocols
    ]
    fields = [
        [text(f"receptive field, {config.suite_titles[suite]}"), text("bp"), text("")]
        + [_field(scores, suite, model) for model in config.models]
        for suite in suites
    ]
    return Sheet(
        "convnova_tables_3_10",
        extra_table_titles(config)["convnova_tables_3_10"],
        f"{UNKNOWN} Mean ± standard deviation over seeds.",
        _filled(lines, 3),
        ["task", "metric", "protocol", *config.model_titles.values()],
        [*lines, *fields],
        simulated=config.simulated,
    )


def _filled(lines: list[list[Entry]], first: int) -> str:
    cells = [cell for line in lines for cell in line[first:]]
    return f"{sum(bool(cell.text) for cell in cells)} of {len(cells)} cells are run; nothing published to compare with."


def _stages(scores: pd.DataFrame, config: RunConfig) -> Sheet:
    """How many blocks each model has on each task."""
    rows = config.suites["nucleotide_transformer"].table_rows
    models = [model for model in config.models if "blocks" in config.settings(model, "nucleotide_transformer")]
    lines = [
        [text(row.label), text(row.metric_title)]
        + [Entry(str(blocks), blocks) for blocks in (_blocks(config, row.task, model) for model in models)]
        for row in rows
    ]
    fields = [_field(scores, "nucleotide_transformer", model) for model in models]
    return Sheet(
        "convnova_table_9",
        extra_table_titles(config)["convnova_table_9"],
        "The paper sets the number of blocks by task (5 to 10, as it is quoted); its numbers are not known, so only "
        "ours are here.",
        f"{len(rows)} task{'s' * (len(rows) != 1)}; nothing published to compare with.",
        ["task", "metric", *[config.model_titles[model] for model in models]],
        [*lines, [text("receptive field"), text("bp"), *fields]],
        simulated=config.simulated,
    )


def _blocks(config: RunConfig, task: str, model: str) -> int:
    job = Job("nucleotide_transformer", task, model, config.protocols[0], config.seeds[0])
    return config.job_settings(job)["blocks"]


def _ablations(scores: pd.DataFrame, config: RunConfig) -> Sheet:
    """Models down, what differs between them and their mean score in each suite across."""
    suites = list(config.suites)
    settings = {model: config.settings(model, suites[0]) for model in config.models}
    keys = dict.fromkeys(key for of_model in settings.values() for key in of_model)
    differing = [key for key in keys if len({str(of_model.get(key)) for of_model in settings.values()}) > 1]
    lines = []
    for model, title in config.model_titles.items():
        runs = scores[scores["model"] == model]
        words = ", ".join(f"{key} {settings[model][key]}" for key in differing if key in settings[model])
        sizes = runs.groupby("suite")["parameters"].mean().reindex(suites)
        line = [text(title), text(words)]
        for suite in suites:
            size = sizes[suite]
            line.append(Entry("" if size != size else f"{size / 1e6:.3g}M", size))
            line.append(receptive_field(runs[runs["suite"] == suite]))
            for protocol in config.protocols:
                cell = runs[(runs["suite"] == suite) & (runs["protocol"] == protocol)]
                line.append(number(float(cell.groupby("row")["score"].mean().mean()) if len(cell) else NAN))
        lines.append(line)
    columns = ("parameters", "receptive field", *config.protocols)
    heads = [f"{config.suite_titles[suite]}: {what}" for suite in suites for what in columns]
    return Sheet(
        "convnova_ablations",
        extra_table_titles(config)["convnova_ablations"],
        f"{UNKNOWN} Every model of the run: what differs, and the mean of its tasks' means, each by its own metric.",
        _filled(lines, 2),
        ["model", "settings", *heads],
        lines,
        simulated=config.simulated,
    )
