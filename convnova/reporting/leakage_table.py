"""The table of scores with and without the test rows that share bases with training rows."""

from pathlib import Path

import pandas as pd

from convnova.config.run import RunConfig
from convnova.evaluation.leakage.overlap_scores import overlap_scores
from convnova.evaluation.leakage.unseen_rows import SHARED
from convnova.reporting.render import write
from convnova.reporting.table import Table, signed
from convnova.runs import outputs

HEADS = {
    "test_rows": "test rows", "leaking": "share bases with a training row", "leaking_classes": "of each class",
    "score": "all", "clean": "without them", "leaking_score": "only them", "clean_minus_all": "difference",
}  # fmt: skip
CAPTION = (
    f"A test row leaks if {SHARED} bases in a row, or all that it has, are also those of a training or validation row, "
    "on either strand."
)


def write_leakage_table(config: RunConfig, out: Path) -> None:
    """Write `tables/leaks.tsv` and `.md` to the folder `out`; errors as of `overlap_scores`."""
    tasks = outputs.tasks_of_kinds(config, "classes")
    datasets = {task: config.local_path(outputs.tokenized_task(config, *task)) for task in tasks}
    write(leakage_table(overlap_scores(config, datasets)), out / "tables", ("tsv", "md"))


def leakage_table(scores: pd.DataFrame) -> Table:
    """The table of `convnova.evaluation.leakage.overlap_scores.overlap_scores`."""
    frame = scores.set_index(["task", "model", "protocol"])[list(HEADS)].rename(columns=HEADS)
    formats = {"difference": signed}
    return Table("leaks", "Leaks", frame, CAPTION, _summary(scores), formats=formats, data=scores)


def _summary(scores: pd.DataFrame) -> str:
    """By how much scores move, or why that is not known."""
    if not scores["leaking"].any():
        return "no test row shares bases with a training row."
    gaps = scores["clean_minus_all"]
    if gaps.isna().all():
        return "without the rows that share bases there is no score: the others are none, or of one class."
    return f"without the rows that share bases the scores move by {signed(gaps.min())} to {signed(gaps.max())}."
