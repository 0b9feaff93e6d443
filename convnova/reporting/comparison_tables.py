"""Tables besides those of suites: each habit of scoring, whether models differ, and the papers' own."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.evaluation.model_comparison import PairedOverTasks, compare_over_tasks
from convnova.reporting.comparison_sentences import over_tasks
from convnova.reporting.paper_tables import paper_table
from convnova.reporting.scores import ALTERNATIVE_SCORES
from convnova.reporting.sheets import Sheet, change, mean_and_spread, p_value, receptive_field, text, write
from convnova.reporting.suite_tables import NAN, signed
from convnova.reporting.table_forms import Entry
from convnova.runs.outputs import extra_table_titles

GAINS = {
    "released - heldout": "released",
    "best epoch on test": "test_best",
    "mean of batches": "per_batch",
    "batches sorted by class": "per_batch_sorted",
}
"""Columns of the table of protocols: each is what would have been reported, minus the heldout score."""


def sheets(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Iterator[Sheet]:
    """Every table of a run besides those of its suites, in the order in which they are shown."""
    own = {"protocols": protocols, "comparisons": comparisons}
    for name in extra_table_titles(config):
        yield own[name](scores, config) if name in own else paper_table(name, scores, published, config)


def write_sheets(
    scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig, out: str | Path, made: str = ""
) -> list[Path]:
    """Write every sheet as `<name>.tsv`, `.md`, `.tex` and `.html`; arguments as for `tables.write_tables`."""
    return [path for sheet in sheets(scores, published, config) for path in write(replace(sheet, made=made), out)]


def gains(runs: pd.DataFrame) -> dict[str, float]:
    """What other habits would have reported of one task and model, each minus the heldout mean; NaN if not known.

    Args:
        runs: all of the task and model, of all protocols and seeds.
    """
    heldout = runs[runs["protocol"] == "heldout"]
    released = runs.loc[runs["protocol"] == "released", "score"].mean()
    found = {"released": released - heldout["score"].mean()}
    return found | {name: float((heldout[name] - heldout["score"]).mean()) for name in ALTERNATIVE_SCORES}


def protocols(scores: pd.DataFrame, config: RunConfig) -> Sheet:
    """Protocol against protocol, and what choosing the epoch on test and means over batches would have gained."""
    grouped = dict(list(scores.groupby(["suite", "row", "model"])))
    lines, found = [], []
    for suite, model in product(config.suites, config.models):
        for row in config.suites[suite].table_rows:
            runs = grouped.get((suite, row.label, model), scores[:0])
            line = [text(row.label), text(f"{config.model_titles[model]}, {row.metric_title}")]
            for protocol in config.protocols:
                values = runs.loc[runs["protocol"] == protocol, "score"].to_numpy(float)
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else NAN
                line.append(mean_and_spread(values, len(config.seeds_of(suite, protocol)), spread))
            found.append(gains(runs))
            lines.append([*line, *[change(found[-1][name]) for name in GAINS.values()], receptive_field(runs)])
    means = pd.DataFrame(found, columns=list(GAINS.values())).agg(["mean", "count"])
    told = [
        f"{title} {signed(means[n]['mean'])} ({means[n]['count']:.0f})"
        for title, n in GAINS.items()
        if means[n]["count"]
    ]
    return Sheet(
        "protocols",
        extra_table_titles(config)["protocols"],
        "Mean ± standard deviation over seeds, by each protocol; then what would have been reported minus the heldout "
        "score: by released; of the same heldout training by its epoch that is best on test; and as the mean of the "
        "metric over batches of test, of the size of training, in the file's order and sorted by class.",
        ("mean over tasks and models (how many): " + ", ".join(told) if told else "nothing to compare yet") + ".",
        ["task", "model, metric", *config.protocols, *GAINS, "receptive field"],
        lines,
        simulated=config.simulated,
    )


def comparisons(scores: pd.DataFrame, config: RunConfig) -> Sheet:
    """Every pair of models over the tasks of a suite, by each protocol."""
    lines, notes, different, count = [], [], 0, 0
    for suite, protocol in product(config.suites, config.protocols):
        runs = scores[scores["suite"] == suite]
        fields = {title: receptive_field(runs[runs["model"] == model]) for model, title in config.model_titles.items()}
        for pair in pairs(scores, config, suite, protocol):
            title = f"{config.suite_titles[suite]}, {protocol}"
            line = [text(title), text(f"{pair.a} - {pair.b}"), *_numbers(pair)]
            lines.append([*line, text(f"{fields[pair.a].text}, {fields[pair.b].text}")])
            notes.append(f"{title}: {over_tasks(pair)}")
            different, count = different + (pair.p_holm <= 0.05), count + 1
    return Sheet(
        "comparisons",
        extra_table_titles(config)["comparisons"],
        "Wilcoxon signed-rank over the means of tasks, two-sided, adjusted by Holm over the pairs of a "
        "suite and protocol; "
        "effect: matched-pairs rank-biserial correlation.",
        f"{different} of {count} pairs differ at the 5% level after Holm's adjustment.",
        [
            *("suite, protocol", "pair", "tasks", "won", "lost", "mean difference", "effect", "p", "p (Holm)"),
            "receptive fields",
        ],
        lines,
        notes,
        config.simulated,
    )


def pairs(scores: pd.DataFrame, config: RunConfig, suite: str, protocol: str) -> list[PairedOverTasks]:
    """Every pair of models over the rows of a suite, by one protocol."""
    return compare_over_tasks(
        {
            config.model_titles[model]: column.to_numpy()
            for model, column in means(scores, config, suite, protocol).items()
        }
    )


def means(scores: pd.DataFrame, config: RunConfig, suite: str, protocol: str) -> pd.DataFrame:
    """Mean over seeds, rows of the suite by models; NaN where nothing was run."""
    runs = scores[(scores["suite"] == suite) & (scores["protocol"] == protocol)]
    table = runs.pivot_table(index="row", columns="model", values="score") if len(runs) else pd.DataFrame()
    return table.reindex(index=[row.label for row in config.suites[suite].table_rows], columns=list(config.models))


def _numbers(pair: PairedOverTasks) -> list[Entry]:
    counts = [Entry(str(count), count) for count in (pair.n, pair.wins, pair.losses)]
    return [*counts, change(pair.difference), change(pair.effect), p_value(pair.p), p_value(pair.p_holm)]
