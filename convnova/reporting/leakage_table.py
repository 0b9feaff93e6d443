"""The table of scores with and without the test rows that overlap training rows in the genome."""

from pathlib import Path

import pandas as pd

from convnova.config.run import RunConfig
from convnova.evaluation.leakage.overlap_scores import overlap_scores
from convnova.reporting.render import write
from convnova.reporting.table import Table, signed
from convnova.runs import outputs

HEADS = {
    "test_rows": "test rows", "placed": "placed", "leaking": "overlap a training row", "score": "all",
    "clean": "without them", "leaking_score": "only them", "clean_minus_all": "difference",
}  # fmt: skip
CAPTION = (
    "A row's place is found by search (32-mers). A test row leaks if one of its places shares a base with a "
    "place of a training row; it is clean if it has a place and none that does. Rows without a place are neither."
)


def write_leakage_table(config: RunConfig, out: Path) -> None:
    """Write `tables/leaks.tsv` and `.md` to the folder `out`; errors as of `overlap_scores`."""
    tasks = outputs.tasks_of_kinds(config, "classes")
    datasets = {task: config.local_path(outputs.tokenized_task(config, *task)) for task in tasks}
    scores = overlap_scores(config, config.local_path(outputs.tokenized_genome(config)).parent, datasets)
    write(leakage_table(scores), out / "tables", ("tsv", "md"))


def leakage_table(scores: pd.DataFrame) -> Table:
    """The table of `convnova.evaluation.leakage.overlap_scores.overlap_scores`."""
    frame = scores.set_index(["task", "model", "protocol"])[list(HEADS)].rename(columns=HEADS)
    formats = {"difference": signed}
    return Table("leaks", "Leaks", frame, CAPTION, _summary(scores), formats=formats, data=scores)


def _summary(scores: pd.DataFrame) -> str:
    """By how much scores move, or why that is not known."""
    rows = scores.drop_duplicates(["suite", "task"])[["leaking", "placed", "test_rows"]].sum()
    if not rows["leaking"]:
        placed = f"{rows['placed']:,} of {rows['test_rows']:,}"
        return f"no test row overlaps a training row; {placed} test rows have a place in the genome."
    gaps = scores["clean_minus_all"]
    if gaps.isna().all():
        return "without the rows that overlap there is no score: the others are none, or of one class."
    return f"without the rows that overlap the scores move by {signed(gaps.min())} to {signed(gaps.max())}."
