"""A run in a few sentences: what it shows, and what a reader has to know beside it.

The first screen of the report prints them, and the terminal at the end of a run.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from convnova.config.run import RunConfig
from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.model_comparison import PairedOverTasks
from convnova.reporting.audit_table import NEGLIGIBLE, Audit, percent, read_audits
from convnova.reporting.comparison_sentences import over_tasks_briefly, smallest_p
from convnova.reporting.comparison_tables import pairs
from convnova.reporting.scores import read_scores
from convnova.reporting.suite_tables import compared_with_published
from convnova.runs import outputs

NAMED = 3
"""Tasks that a sentence names before it counts the others."""


def verdict(results: pd.DataFrame, scores: pd.DataFrame, sentences: Sequence[str], config: RunConfig) -> list[str]:
    """Two sentences at most: which model is best, and how it stands to published numbers or to the other models.

    Args:
        results: of all suites; see `suite_tables.suite_results`.
        scores: see `convnova.reporting.scores.read_scores`.
        sentences: of comparisons over test rows; the first is taken where there is one task alone.
        config: of the run.
    """
    of_one = results[(results["protocol"] == config.main_protocol) & results["n"].gt(0)]
    tasks = len(of_one.drop_duplicates(["suite", "row"]))
    wins = of_one.loc[of_one["best"], "title"].value_counts()
    if len(wins):
        others = "".join(f", {title} on {count}" for title, count in list(wins.items())[1:])
        first = f"{wins.index[0]} has the highest mean on {wins.iloc[0]} of {_count(tasks, 'task')}{others}."
    elif tasks:
        first = f"{of_one['title'].iloc[0]} scores {of_one['mean'].mean():.3f} on average over {_count(tasks, 'task')}."
    else:
        return ["No score is in yet."]
    of_best = of_one[of_one["title"] == wins.index[0]] if len(wins) else of_one
    if not config.simulated and (beside := compared_with_published(of_best)):
        return [first, f"Of its {beside.removeprefix('of ')}."]
    compared = _most_compared(scores, config)
    return [first, *(map(over_tasks_briefly, compared[:1]) if tasks > 1 else sentences[:1])]


def caveats(scores: pd.DataFrame, config: RunConfig) -> Iterator[str]:
    """What limits the claims of a run, a sentence each; nothing where there is nothing to say.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        config: of the run; its audits are read where they are.
    """
    compared = _most_compared(scores, config)
    if compared and compared[0].n > 1 and (least := smallest_p(compared[0].n)) > 1 - LEVEL:
        yield f"No difference between models can be significant over {compared[0].n} tasks: p is {least:.3g} or more."
    one_class = scores[scores["mcc"] == 0].groupby(["task", "model"]).size()
    if len(one_class):
        named = _named({f"{task} ({config.model_titles[model]})": "" for task, model in one_class.index})
        yield f"Trainings that predict one class, to be trained longer or at a lower rate: {named}."
    paths = [config.local_path(path) for path in outputs.audits(config)]
    yield from of_audits(read_audits([path for path in paths if path.is_file()]))


def at_the_end(config: RunConfig) -> list[str]:
    """The caveats of a run that has scores, for the terminal."""
    scores = config.results / "tables" / "scores.tsv"
    return list(caveats(read_scores(scores), config)) if scores.is_file() else []


def of_audits(audits: Sequence[Audit]) -> Iterator[str]:
    """What audits say of test rows that a model may know, and of rows that are read otherwise than they stand in files.

    Args:
        audits: see `audit_table.read_audits`.
    """
    shares = {
        "Test rows that repeat or overlap training rows": ("overlap", "any"),
        "Test rows that lie in what pretraining reads": ("pretraining", "read"),
    }
    for what, (part, key) in shares.items():
        found = {audit["task"]: audit[part][key] / audit[part]["rows"] for audit in audits if audit.get(part)}
        if named := _named({task: percent(share) for task, share in found.items() if share >= NEGLIGIBLE}):
            yield f"{what}: {named}."
    counts = {
        "Letters other than A, C, G, T and N, read as N": "other_letters",
        "Rows longer than max_length, read up to it": "longer",
    }
    for what, key in counts.items():
        found = {audit["task"]: sum(split.get(key, 0) for split in audit["splits"].values()) for audit in audits}
        if named := _named({task: f"{count:,}" for task, count in found.items() if count}):
            yield f"{what}: {named}."


def _most_compared(scores: pd.DataFrame, config: RunConfig) -> list[PairedOverTasks]:
    """The pairs of models of the suite that compares them over most tasks."""
    found = (pairs(scores, config, suite, config.main_protocol) for suite in config.suites)
    return max(found, key=lambda compared: compared[0].n if compared else 0)


def _named(values: Mapping[str, str]) -> str:
    """Names with their values, the first of them by name and the others by number."""
    texts = [f"{name} {value}".strip() for name, value in values.items()]
    more = [f"{len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return ", ".join(texts[:NAMED] + more)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
