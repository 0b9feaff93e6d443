"""The table of each suite: scores of a run beside the published numbers.

`suite_results` makes one tidy line a row, model and protocol: what the TSV holds. `suite_table` pivots it for reading:
tasks down; across, for each model its protocols, their difference and the published value.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.config.schema import METRICS
from convnova.reporting.published import COMPARISONS, References, Verdict, judge_runs, reference_of, reference_values
from convnova.reporting.scores import ALTERNATIVE_SCORES, check
from convnova.reporting.table import DECIMALS, NAN, Cell, Table, mean_and_spread, receptive_fields, signed

MEANS = [*METRICS, "n_test", "parameters", "receptive_field", "seconds"]
"""Columns of the scores whose mean over seeds is a column of the results."""

COLUMNS = [
    "suite", "task", "row", "metric", "model", "title", "protocol", "n", "n_expected", "seeds", "mean", "sd", "range",
    "low", "high", "best", "released_minus_heldout", "published", "published_spread", "published_spread_kind",
    "published_table", "published_model", "published_source", "published_confidence", "difference", "tolerance",
    "verdict", "mcc_zero", *[f"{name}_gain" for name in ALTERNATIVE_SCORES], *MEANS, "simulated",
]  # fmt: skip


VARIANT_SCORES = {
    "minus_llr": "minus_llr: log P(reference) - log P(alternative) at the masked place",
    "abs_llr": "abs_llr: the log-likelihood ratio without its sign",
    "distance": "distance: of the embeddings with either allele",
    "effect": "effect: how far the outputs of a fine-tuned model move",
}


def suite_tables(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Iterator[Table]:
    """The tables of all suites, in the order of the config.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: of the run; what is missing of it is an empty cell.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    check(scores, config)
    known = reference_values(published)
    for suite in config.suites:
        yield suite_table(suite_results(suite, scores[scores["suite"] == suite], known, config), config)


def suite_results(suite: str, scores: pd.DataFrame, known: References, config: RunConfig) -> pd.DataFrame:
    """A line for each row, model and protocol of a suite, whether it was run or not.

    Args:
        suite: its name.
        scores: those of the suite.
        known: the published numbers that the suite is compared with.
        config: of the run.

    Returns:
        The columns of `COLUMNS`, numbered from 1: `sd` and `range` over seeds; `low` and `high`, the mean ends of the
        95% intervals over test rows; `best` where no other model is better in the row and protocol, as printed;
        `mcc_zero`, the seeds whose MCC is exactly 0, as it is where one class alone is predicted.
    """
    simulated = config.simulated or bool(scores["simulated"].any())
    runs_of = dict(list(scores.sort_values("seed").groupby(["task", "row", "model", "protocol"])))
    lines = []
    rows, models = config.suites[suite].table_rows, config.titles_on(suite).items()
    expected = Counter(job[1:4] for job in config.jobs() if job.suite == suite)
    for row, (model, title), protocol in product(rows, models, config.protocols_on(suite)):
        runs = runs_of.get((row.task, row.label, model, protocol), scores[:0])
        of_seeds = runs["score"]
        number = None if simulated else reference_of(known, suite, row.label, config.models[model].published)
        verdict, margin = judge_runs(number, suite, protocol, row.metric, runs, of_seeds)
        line = {
            "suite": suite, "task": row.task, "row": row.label, "metric": row.metric, "model": model, "title": title,
            "protocol": protocol, "n": len(runs), "n_expected": expected[row.task, model, protocol],
            "seeds": ",".join(map(str, runs["seed"])), "mcc_zero": ",".join(map(str, runs["seed"][runs["mcc"] == 0])),
            "mean": of_seeds.mean(), "sd": of_seeds.std(),
            "range": float(np.ptp(of_seeds)) if len(runs) > 1 else NAN, **runs[["low", "high", *MEANS]].mean(),
            **{f"{name}_gain": (runs[name] - of_seeds).mean() for name in ALTERNATIVE_SCORES},
            "verdict": Verdict("simulated genome") if simulated else verdict, "tolerance": margin,
            "simulated": simulated,
        }  # fmt: skip
        if number:
            line |= {"published": number.mean, "published_spread": number.spread}
            for name in ("spread_kind", "table", "model", "source", "confidence"):
                line[f"published_{name}"] = " ".join(getattr(number, name).split())
        lines.append(line)
    results = pd.DataFrame(lines, index=range(1, len(lines) + 1), columns=COLUMNS)
    means, of_model = results["mean"], [results["task"], results["row"], results["model"]]
    by_protocol = {name: means.where(results["protocol"] == name) for name in ("released", "heldout")}
    released, heldout = (of_one.groupby(of_model).transform("max") for of_one in by_protocol.values())
    printed = means.map(lambda mean: round(mean, DECIMALS))
    of_row = printed.groupby([results["task"], results["row"], results["protocol"]])
    return results.assign(
        difference=means - results["published"].astype(float),
        best=(printed == of_row.transform("max")) & (of_row.transform("count") > 1),
        released_minus_heldout=released - heldout,
    )


def suite_table(results: pd.DataFrame, config: RunConfig) -> Table:
    """The table of a suite.

    Args:
        results: of `suite_results`.
        config: of the run.
    """
    suite, simulated = results["suite"].iloc[0], bool(results["simulated"].iloc[0])
    rows, lines_of = config.suites[suite].table_rows, dict(list(results.groupby(["task", "row", "model"])))
    # A column has two heads: the model, and what stands in it.
    lines: list[dict[tuple[str, str], Any]] = []
    published = not simulated and bool(results["published"].notna().any())
    for row in rows:
        of_row = {title: lines_of[row.task, row.label, model] for model, title in config.titles_on(suite).items()}
        cells = {title: _cells(known, published) for title, known in of_row.items()}
        lines.append({(title, head): cell for title, of_model in cells.items() for head, cell in of_model})
    fields = receptive_fields(results, config.titles_on(suite))
    lines.append({(title, config.protocols_on(suite)[0]): field for title, field in fields.items()})
    labels = [*((row.label, row.metric_title) for row in rows), ("receptive field", "bp")]
    frame = pd.DataFrame(lines, pd.MultiIndex.from_tuples(labels, names=["task", "metric"]), dtype=object)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    caption, summary, notes = _caption(suite, simulated, config), _summary(results, len(rows)), list(_notes(results))
    formats = {"released - heldout": signed}
    paper = _paper(results, config)
    return Table(suite, config.suite_titles[suite], frame, caption, summary, notes, simulated, formats, results, paper)


def _score(line: Any) -> str:
    """The text of a line of the results: mean and spread over its seeds."""
    return mean_and_spread(line.mean, line.sd, line.n, line.n_expected)


def _paper(results: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Means and spreads alone: models across; down, the rows of each protocol and then the published values."""
    suite = results["suite"].iloc[0]
    blocks = {protocol: results[results["protocol"] == protocol] for protocol in config.protocols_on(suite)}
    first = next(iter(blocks.values()))
    is_own = first["published_model"] == first["model"].map(lambda model: config.models[model].published)
    if (own := first["published"].where(is_own)).notna().any():  # those of rivals are no model's column
        values = {"mean": own, "sd": first["published_spread"], "n": 1, "n_expected": 1, "best": False}
        blocks["published"] = first.assign(**values)
    lines, labels = [], []
    for block, known in blocks.items():
        for place, row in enumerate(config.suites[suite].table_rows):
            labels.append(("" if place else block, row.label, row.metric_title))
            of_row = known[(known["task"] == row.task) & (known["row"] == row.label)]
            lines.append({line.title: Cell(_score(line), line.mean, line.best) for line in of_row.itertuples()})
    return pd.DataFrame(lines, pd.MultiIndex.from_tuples(labels, names=["", "task", "metric"]), dtype=object)


def _cells(results: pd.DataFrame, published: bool) -> Iterator[tuple[str, Cell | float]]:
    """The cells of a row and model by their heads: each protocol, their difference, if wanted the published value."""
    lines = {line.protocol: line for line in results.itertuples()}
    for protocol, line in lines.items():
        note = f"MCC 0 with seed {line.mcc_zero}: predicts one class; train longer or lower the learning rate"
        anchor = f"{line.suite}.{line.Index}" if line.n else ""
        yield protocol, Cell(_score(line), line.mean, line.best, anchor=anchor, footnote=note if line.mcc_zero else "")
    first = next(iter(lines.values()))
    if {"heldout", "released"} <= lines.keys():
        yield "released - heldout", first.released_minus_heldout
    if published:
        line = lines.get(COMPARISONS[first.suite].protocol, first) if first.suite in COMPARISONS else first
        value = "" if pd.isna(line.published) else mean_and_spread(line.published, line.published_spread)
        text = ", ".join(filter(None, [value, line.verdict.label]))
        yield "published", Cell(text, line.published, footnote=line.verdict.footnote)


def _notes(results: pd.DataFrame) -> Iterator[str]:
    """Where published numbers come from and how surely; means beside medians, and standard errors."""
    yield from dict.fromkeys(
        f"Published, {line.published_model} ({line.published_confidence}): {line.published_source.split(';')[0]}."
        for line in results.dropna(subset="published").itertuples()
    )
    for protocol, known in results.dropna(subset="auroc_mean").groupby("protocol", sort=False):
        areas = "; ".join(f"{line.row}, {line.title} {line.auroc_mean:.{DECIMALS}f}" for line in known.itertuples())
        yield f"Mean AUROC over the labels of a group, {protocol}: {areas}."
    errors = [
        f"{line.row}, {line.title} {line.auprc_se:.{DECIMALS}f}"
        for line in results.dropna(subset="auprc_se").itertuples()
    ]
    if errors:
        yield f"Standard error of AUPRC by chromosome, over chromosomes: {'; '.join(errors)}."


def _caption(suite: str, simulated: bool, config: RunConfig) -> str:
    """What the table shows, in full sentences."""
    protocols, tasks = config.protocols_on(suite), config.suites[suite].tasks.values()
    shown = next((protocol for protocol in protocols if protocol != "cv"), "cv")
    seeds = sorted({job.seed for job in config.jobs() if job.suite == suite and job.protocol == shown})
    listed, comparison = ", ".join(map(str, seeds)), COMPARISONS.get(suite)
    several = f"Mean ± standard deviation over the seeds {listed}; where one is missing, n says how many there are."
    sentences = [several if len(seeds) > 1 else f"One run, with seed {listed}."]
    folds = len(config.seeds_of(suite, "cv"))
    meanings = {
        "heldout": "validation rows (the task's own, else a tenth of train) choose the epoch; test is scored once.",
        "cv": f"each of {folds} of ten folds of train chooses the epoch; each scores test once.",
        "released": "the epoch is chosen on test, as in the authors' released code.",
    }
    if any(task.kind != "variants" for task in tasks):
        sentences += [f"{protocol}: {text}" for protocol, text in meanings.items() if protocol in protocols]
    read = dict.fromkeys(VARIANT_SCORES[task.score] for task in tasks if task.score)
    sentences += [f"What is read off a model of a variant, {'; '.join(read)}."] if read else []
    if len(config.titles_on(suite)) > 1:
        sentences.append("Bold: the best model of each row and protocol.")
    if not simulated and comparison and comparison.table:
        sentences.append(comparison.caption)
    return " ".join(sentences)


def _summary(results: pd.DataFrame, rows: int) -> str:
    """The table in a sentence: what is run, who is best, what choosing on test gains, how it compares to the paper."""
    run = results["n"].sum()
    runs = results.assign(seed=results["seeds"].str.split(",")).explode("seed").query("n > 0")
    trainings = len(runs.drop_duplicates(["task", "model", "protocol", "seed"]))
    of_trainings = f", of {trainings} fine-tunings" if trainings != run else ""
    parts = [f"{run} of {results['n_expected'].sum()} scores are in{of_trainings}"]
    for protocol, best in results[results["best"]].groupby("protocol", sort=False):
        counts = best["title"].value_counts(sort=False).reindex(results["title"].unique()).dropna()
        wins = ", ".join(f"{title} {count:.0f}" for title, count in counts.items())
        tied = len(best) > len(best.drop_duplicates(["task", "row"]))
        ties = f" (ties in the {DECIMALS} decimals shown count for each)" if tied else ""
        parts.append(f"best by {protocol}, in rows of {rows}: {wins}{ties}")
    gains = results.drop_duplicates(["task", "row", "model"])["released_minus_heldout"].dropna()
    if len(gains):
        parts.append(f"released - heldout: {signed(gains.mean())} on average over {len(gains)} pairs")
    return "; ".join([*parts, _comparison(results)]) + "."


def _comparison(results: pd.DataFrame) -> str:
    """How a suite's cells stand to the published ones."""
    if results["simulated"].any():
        return "no comparison with the paper: the genome is simulated"
    return compared_with_published(results) or "nothing to compare with published numbers"


def compared_with_published(results: pd.DataFrame) -> str:
    """How many cells agree with the published ones, and the mean difference of those that may be compared.

    Args:
        results: see `suite_results`.

    Returns:
        A sentence without its full stop; nothing if no cell may be compared.
    """
    labels = results["verdict"].map(lambda verdict: verdict.label)
    agree, above, below = ((labels == label).sum() for label in ("agrees", "above", "below"))
    judged = results.loc[labels.isin(["agrees", "above", "below"]), "difference"]
    if not len(judged):
        return ""
    return (
        f"of {len(judged)} cells beside published ones {agree} agree, {above} above, {below} below, "
        f"mean difference {signed(judged.mean())}"
    )
