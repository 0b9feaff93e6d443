"""Tables besides those of suites: protocols side by side, whether models differ, and the papers' own tables."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pandas as pd

from convnova.config.run import RunConfig
from convnova.evaluation.model_comparison import PairedOverTasks, compare_over_tasks
from convnova.reporting.comparison_sentences import over_tasks
from convnova.reporting.paper_tables import paper_table
from convnova.reporting.published import read_published
from convnova.reporting.render import write
from convnova.reporting.scores import ALTERNATIVE_SCORES, read_scores
from convnova.reporting.suite_tables import suite_tables
from convnova.reporting.table import Table, p_value, receptive_field, receptive_fields, score_cell, signed
from convnova.runs.outputs import extra_table_titles
from convnova.runs.provenance_table import provenance_sentence, read_provenance

GAINS = {
    "released - heldout": "released",
    "best epoch on test": "test_best",
    "mean of batches": "per_batch",
    "batches sorted by class": "per_batch_sorted",
}
"""Columns of the table of protocols: each is what would have been reported, minus the heldout score."""


def write_tables(config: RunConfig, out: Path, published: Path) -> None:
    """Write the tables of suites and all others that are made from scores, to `tables` in a folder.

    Args:
        config: the run, which has `tables/scores.tsv`.
        out: the folder that `tables` lies in.
        published: the table of published numbers.
    """
    scores = config.results / "tables" / "scores.tsv"
    given = (read_scores(scores), read_published(published), config)
    provenance = provenance_sentence(config, read_provenance(scores))
    for table in (*suite_tables(*given), *comparison_tables(*given)):
        write(table.with_provenance(provenance), out / "tables")


def comparison_tables(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Iterator[Table]:
    """Every table of a run besides those of its suites, in the order in which they are shown.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: of the run.
    """
    for name in extra_table_titles(config):
        if name == "protocols":
            yield protocols(scores, config)
        elif name == "comparisons":
            yield comparisons(scores, config)
        else:
            yield paper_table(name, scores, published, config)


def gains(runs: pd.DataFrame) -> dict[str, float]:
    """What other scoring conventions would have reported of a task and model, minus the heldout mean; NaN if unknown.

    Args:
        runs: all of the task and model, of all protocols and seeds.
    """
    heldout = runs[runs["protocol"] == "heldout"]
    released = runs.loc[runs["protocol"] == "released", "score"].mean() - heldout["score"].mean()
    others = {name: float((heldout[name] - heldout["score"]).mean()) for name in ALTERNATIVE_SCORES}
    return {"released": released} | others


def protocols(scores: pd.DataFrame, config: RunConfig) -> Table:
    """Protocol against protocol, and what choosing the epoch on test and means over batches would have gained."""
    grouped, lines = dict(list(scores.groupby(["suite", "row", "model"]))), []
    heads = {head: name for head, name in GAINS.items() if name in ALTERNATIVE_SCORES or name in config.protocols}
    trained = {job[:3]: None for job in config.trainings()}
    for suite, (model, title) in product(config.suites, config.model_titles.items()):
        for row in (row for row in config.suites[suite].table_rows if (suite, row.task, model) in trained):
            runs = grouped.get((suite, row.label, model), scores[:0])
            line = {"task": row.label, "model, metric": f"{title}, {row.metric_title}"}
            for protocol in config.protocols:
                values = runs.loc[runs["protocol"] == protocol, "score"].to_numpy(float)
                line[protocol] = score_cell(values, len(config.seeds_of(suite, protocol)))
            gained = gains(runs)
            line |= {head: gained[name] for head, name in heads.items()}
            lines.append(line | {"receptive field": receptive_field(runs["receptive_field"])})
    frame = pd.DataFrame(lines).set_index(["task", "model, metric"])
    parts = [f"{head} {signed(known.mean())} ({len(known)})" for head in heads if len(known := frame[head].dropna())]
    return Table(
        "protocols",
        extra_table_titles(config)["protocols"],
        frame,
        "Mean ± standard deviation over seeds, by each protocol; then what would have been reported minus the heldout "
        f"score: {'by released; ' * ('released' in config.protocols)}of the same heldout training by its epoch that is "
        "best on test; and as the mean of the metric over batches of test, of the size of training, in the file's "
        "order and sorted by class.",
        ("mean over tasks and models (how many): " + ", ".join(parts) if parts else "nothing to compare yet") + ".",
        simulated=config.simulated,
        formats=dict.fromkeys(heads, signed),
    )


def comparisons(scores: pd.DataFrame, config: RunConfig) -> Table:
    """Every pair of models over the tasks of a suite, by each protocol."""
    lines, notes = [], []
    for suite, protocol in dict.fromkeys((job.suite, job.protocol) for job in config.jobs()):
        fields = receptive_fields(scores[scores["suite"] == suite], config.model_titles)
        for pair in pairs(scores, config, suite, protocol):
            place = f"{config.suite_titles[suite]}, {protocol}"
            numbers = (pair.n, pair.wins, pair.losses, pair.difference, pair.effect, pair.p, pair.p_holm)
            both = f"{fields.get(pair.a, '')}, {fields.get(pair.b, '')}"
            lines.append((place, f"{pair.a} - {pair.b}", *numbers, both))
            notes.append(f"{place}: {over_tasks(pair)}")
    heads = ["suite, protocol", "pair", "tasks", "won", "lost", "mean difference", "effect", "p", "p (Holm)"]
    frame = pd.DataFrame(lines, columns=[*heads, "receptive fields"]).set_index(heads[:2])
    return Table(
        "comparisons",
        extra_table_titles(config)["comparisons"],
        frame,
        "Wilcoxon signed-rank over the means of tasks, two-sided, adjusted by Holm over the pairs of a suite and "
        "protocol; effect: matched-pairs rank-biserial correlation.",
        f"{(frame['p (Holm)'] <= 0.05).sum()} of {len(frame)} pairs differ at the 5% level after Holm's adjustment.",
        notes,
        config.simulated,
        {"mean difference": signed, "effect": signed, "p": p_value, "p (Holm)": p_value},
    )


def pairs(scores: pd.DataFrame, config: RunConfig, suite: str, protocol: str) -> list[PairedOverTasks]:
    """Compare every pair of models over the rows of a suite.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        config: of the run.
        suite: its name.
        protocol: heldout, released or cv.
    """
    columns = means(scores, config, suite, protocol).items()
    return compare_over_tasks({config.model_titles[model]: column.to_numpy() for model, column in columns})


def means(scores: pd.DataFrame, config: RunConfig, suite: str, protocol: str) -> pd.DataFrame:
    """Means over seeds.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        config: of the run.
        suite: its name.
        protocol: heldout, released or cv.

    Returns:
        Rows of the suite by models; NaN where nothing was run.
    """
    runs = scores[(scores["suite"] == suite) & (scores["protocol"] == protocol)]
    table = runs.pivot_table(index="row", columns="model", values="score") if len(runs) else pd.DataFrame()
    return table.reindex(
        index=[row.label for row in config.suites[suite].table_rows], columns=list(config.titles_on(suite))
    )
