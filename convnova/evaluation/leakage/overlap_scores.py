"""What test rows that overlap training rows in the genome are worth: scores of saved predictions with and without them.

A row's place is found by search (`convnova.evaluation.leakage.genome_search.find`). A test row leaks if one of its
places shares a base with a
place of a training row; it is clean if it has a place and none that does. Rows without a place are neither.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.data.genome import read_genome
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError
from convnova.evaluation import bootstrap, metrics
from convnova.evaluation.leakage import genome_search
from convnova.evaluation.leakage.genome_search import Hit
from convnova.evaluation.leakage.split_audit import sequences
from convnova.evaluation.prediction_file import Predictions, predictions_of
from convnova.files import write_tsv
from convnova.log import log
from convnova.reporting.sheets import Sheet, change, number, text, write
from convnova.reporting.suite_tables import signed
from convnova.reporting.table_forms import Entry

UNPLACED = -1
COLUMNS = [
    "suite", "task", "model", "protocol", "seeds", "metric", "test_rows", "placed", "leaking", "half_leaking",
    "score", "clean", "clean_low", "clean_high", "leaking_score", "clean_minus_all", "sd",
]  # fmt: skip
"""half_leaking: rows that share half of their bases or more with a training row; sd: of the difference, over seeds."""
SHOWN = {
    "task": "task", "model": "model", "protocol": "protocol", "test_rows": "test rows", "placed": "placed",
    "leaking": "overlap a training row", "score": "all", "clean": "without them", "leaking_score": "only them",
    "clean_minus_all": "difference",
}  # fmt: skip

CAPTION = (
    "A row's place is found by search (32-mers). A test row leaks if one of its places shares a base with a "
    "place of a training row; it is clean if it has a place and none that does. Rows without a place are neither."
)


def write_leaks(config: RunConfig, genome: Path, shards: Mapping[tuple[str, str], Path], out: Path) -> None:
    """Write `leaks.tsv` and `leaks.md` to the folder `out`: a line a task of classes, model and protocol.

    Predictions that are missing, or made with other settings than the config's, are left out and named.

    Args:
        genome: folder of the tokenized genome that rows are looked for in.
        shards: (suite, task) to its shard.

    Raises:
        ConvNovaError: no predictions are there, or they are not of the shard's rows.
    """
    chromosomes, lines = read_genome(genome), []
    for (suite, task), path in shards.items():
        shard = read_task(path)
        if shard.kind == "classes":
            overlaps = overlapping_bases(shard, chromosomes)
            lines += list(_lines(config, suite, task, shard, overlaps))
    if not lines:
        raise ConvNovaError(f"{config.results}/runs: expected predictions of tasks of classes, found none")
    table = pd.DataFrame(lines, columns=COLUMNS)
    write_tsv(out / "leaks.tsv", table)
    write(_sheet(table), out, ["md"])


def overlapping_bases(task: TaskDataset, genome: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each test row the bases that it shares at most with one row of train or validation, int64 (n,).

    `UNPLACED` for a row that is not in the genome.
    """
    test = task.split("test")
    others = [sequences(task.split(name)) for name in ("train", "valid") if name in task.splits]
    known = [place for rows in others for place in genome_search.search(rows, genome)]
    return shared_with(genome_search.search(sequences(test), genome), known, len(test))


def shared_with(asked: list[Hit], known: list[Hit], rows: int) -> np.ndarray:
    """Of each row the bases that one of its places shares at most with a known place; arguments as they say."""
    most = np.full(rows, UNPLACED, np.int64)
    starts = {chrom: _sorted(known, chrom) for chrom in {place.chrom for place in known}}
    for place in asked:
        most[place.row] = max(most[place.row], 0)
        if place.chrom in starts:
            begin, end = starts[place.chrom]
            first = np.searchsorted(begin, place.start - (end - begin).max(), side="left")
            last = np.searchsorted(begin, place.end, side="left")
            shared = np.minimum(end[first:last], place.end) - np.maximum(begin[first:last], place.start)
            most[place.row] = max(most[place.row], shared.max(initial=0))
    return most


def _sorted(known: list[Hit], chrom: str) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array(sorted((place.start, place.end) for place in known if place.chrom == chrom))
    return ends[:, 0], ends[:, 1]


def _lines(
    config: RunConfig, suite: str, task: str, shard: TaskDataset, overlaps: np.ndarray
) -> Iterator[dict[str, Any]]:
    metric, lengths = config.suites[suite].tasks[task].metric, shard.split("test").lengths
    about = {
        "suite": suite,
        "task": task,
        "metric": metric,
        "test_rows": len(overlaps),
        "placed": int((overlaps > UNPLACED).sum()),
        "leaking": int((overlaps > 0).sum()),
        "half_leaking": int((2 * overlaps >= lengths).sum()),
    }
    log("{suite}/{task}: {leaking:,} of {placed:,} test rows with a place overlap training rows".format(**about))
    for model, content in config.models.items():
        for protocol in config.protocols:
            seeds = [
                _scores(found, overlaps, metric)
                for seed in config.seeds_of(suite, protocol)
                if (found := predictions_of(config, Job(suite, task, model, protocol, seed)))
            ]
            if seeds:
                scores = pd.DataFrame(seeds)
                gap = scores["clean"] - scores["score"]
                yield (
                    about
                    | scores.mean().to_dict()
                    | {
                        "model": content.title,
                        "protocol": protocol,
                        "seeds": len(seeds),
                        "clean_minus_all": gap.mean(),
                        "sd": gap.std(ddof=1),
                    }
                )


def _scores(found: Predictions, overlaps: np.ndarray, metric: str) -> dict[str, float]:
    """The metric over all test rows, over those that are clean, with its interval, and over those that leak."""
    rows, labels, scores = found.rows, found.labels, found.predicted
    if not np.array_equal(rows, np.arange(len(overlaps))):
        raise ConvNovaError(
            f"{found.path}: expected predictions of {len(overlaps)} test rows, found {len(rows)}; run it again"
        )
    parts = {"score": np.full(len(rows), True), "clean": overlaps == 0, "leaking_score": overlaps > 0}
    told = {name: _score(labels[part], scores[part], metric) for name, part in parts.items()}
    clean = overlaps == 0
    low, high = bootstrap.bootstrap_interval(labels[clean], scores[clean], metric) if clean.any() else (np.nan, np.nan)
    return told | {"clean_low": low, "clean_high": high}


def _score(labels: np.ndarray, scores: np.ndarray, metric: str) -> float:
    """The metric, or not a number where the rows are of one class or none."""
    return float(metrics.classification(labels, scores)[metric]) if len(np.unique(labels)) > 1 else np.nan


def _sheet(table: pd.DataFrame) -> Sheet:
    """The columns for reading."""
    lines = [[_cell(name, row[name]) for name in SHOWN] for row in table.to_dict("records")]
    return Sheet("leaks", "Leaks", CAPTION, _summary(table), list(SHOWN.values()), lines)


def _summary(table: pd.DataFrame) -> str:
    """By how much scores move, or why that is not known."""
    rows = table.drop_duplicates(["suite", "task"])[["leaking", "placed", "test_rows"]].sum()
    if not rows["leaking"]:
        placed = f"{rows['placed']:,} of {rows['test_rows']:,}"
        return f"no test row overlaps a training row; {placed} test rows have a place in the genome."
    gaps = table["clean_minus_all"]
    if gaps.isna().all():
        return "without the rows that overlap there is no score: the others are none, or of one class."
    return f"without the rows that overlap the scores move by {signed(gaps.min())} to {signed(gaps.max())}."


def _cell(name: str, value: Any) -> Entry:
    if not isinstance(value, float):
        return text(str(value))
    return change(value) if name == "clean_minus_all" else number(value)
