"""Tables of a run beside the published numbers: scores to one structure, which `table_forms` writes in four forms."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from convnova.config.run import RunConfig
from convnova.config.schema import METRICS, TableRow
from convnova.files import write_text
from convnova.reporting.published import (
    AGREEMENT,
    COMPARISONS,
    Published,
    Verdict,
    judge,
    reference_values,
    tolerance,
    why_not_comparable,
)
from convnova.reporting.scores import ALTERNATIVE_SCORES, check

SIMULATED = (
    "Simulated genome: these numbers come from a small made-up genome and show that the pipeline works. "
    "They cannot be compared with the paper, nor with any real benchmark."
)
SHOWN = 3
"""Decimals in the tables for reading; the TSV has six."""

NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """What is known of one row, model and protocol; numbers that are not known are NaN."""

    seeds: tuple[int, ...] = ()
    mean: float = NAN
    sd: float = NAN
    """Standard deviation over seeds (n - 1)."""
    range: float = NAN
    """Largest minus smallest over seeds."""
    low: float = NAN
    """Of the 95% bootstrap intervals over test rows, the mean over seeds of the lower ends."""
    high: float = NAN
    other: dict[str, float] = field(default_factory=dict)
    """Means over seeds of every metric, of `<name>_gain` for each of `ALTERNATIVE_SCORES`, and of `n_test`,
    `parameters`, `receptive_field` and `seconds`."""
    published: Published | None = None
    tolerance: float = NAN
    verdict: Verdict = Verdict("not run")
    best: bool = False
    """Whether no model is better in this row and protocol, as printed; False with one model."""

    @property
    def difference(self) -> float:
        """Ours minus the published value."""
        return self.mean - self.published.mean if self.published else NAN


@dataclass(frozen=True)
class Table:
    """A suite's table: what all four forms are made from."""

    suite: str
    title: str
    simulated: bool
    rows: list[TableRow]
    models: dict[str, str]
    protocols: list[str]
    seeds: dict[str, list[int]]
    """Of each protocol."""
    cells: dict[tuple[TableRow, str, str], Cell]
    caption: str = ""
    summary: str = ""
    made: str = ""
    """What it was made from: see `convnova.runs.provenance_table.sentence`."""

    def gain(self, row: TableRow, model: str) -> float:
        """The mean by `released` minus the mean by `heldout`: what choosing the epoch on test is worth."""
        released, heldout = (self.cells.get((row, model, name), Cell()) for name in ("released", "heldout"))
        return released.mean - heldout.mean

    def receptive_fields(self, model: str) -> list[float]:
        """Bases that an output of a model reads, of every cell that was run; infinite is the whole sequence."""
        cells = [cell for (_, name, _), cell in self.cells.items() if name == model]
        return [cell.other["receptive_field"] for cell in cells if cell.other]

    def compared(self, row: TableRow, model: str) -> Cell:
        """The cell by the protocol that the published numbers follow; if that was not run, the first."""
        comparison = COMPARISONS.get(self.suite)
        protocol = comparison.protocol if comparison else ""
        return self.cells[row, model, protocol if protocol in self.protocols else self.protocols[0]]


def write_tables(
    scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig, out: str | Path, made: str = ""
) -> list[Path]:
    """Write one table a suite of the config, as `<suite>.tsv`, `.md`, `.tex` and `.html`; the same bytes each time.

    Args:
        scores: see `convnova.reporting.scores.read_scores`.
        published: see `convnova.reporting.published.read_published`.
        config: the run; what is missing of it is an empty cell.
        out: a folder, made if need be.
        made: what the results were made from, a note of each table: see `convnova.runs.provenance_table.sentence`.

    Returns:
        The files written.

    Raises:
        ConvNovaError: a score outside the config, missing, or there twice.
    """
    from convnova.reporting.table_forms import FORMS

    written = []
    for table in tables(scores, published, config):
        for suffix, form in FORMS.items():
            written.append(Path(out) / f"{table.suite}.{suffix}")
            write_text(written[-1], form(replace(table, made=made)))
    return written


def tables(scores: pd.DataFrame, published: pd.DataFrame, config: RunConfig) -> Iterator[Table]:
    """The tables of all suites; arguments and errors as for `write_tables`."""
    check(scores, config)
    known = reference_values(published)
    groups = dict(list(scores.groupby(["suite", "task", "row", "model", "protocol"], sort=True)))
    for suite, content in config.suites.items():
        rows = content.table_rows
        simulated = config.simulated or bool(scores.loc[scores["suite"] == suite, "simulated"].any())
        cells = {}
        for row in rows:
            for model in config.models:
                found = None if simulated else known.get((suite, row.label, config.models[model].published))
                for protocol in config.protocols:
                    runs = groups.get((suite, row.task, row.label, model, protocol))
                    cell = Cell() if runs is None else _measured(runs, found.spread if found else NAN)
                    cells[row, model, protocol] = _judged(cell, found, suite, row, protocol, simulated)
        seeds = {protocol: config.seeds_of(suite, protocol) for protocol in config.protocols}
        table = Table(
            suite, config.suite_titles[suite], simulated, rows, config.model_titles, config.protocols, seeds, cells
        )
        table = replace(table, cells=_with_best(table))
        yield replace(table, caption=caption(table), summary=summary(table))


def _measured(runs: pd.DataFrame, spread: float) -> Cell:
    """The cell of the runs of one row, model and protocol, one a seed; `spread` is the published one."""
    runs = runs.sort_values("seed")
    scores = runs["score"].to_numpy(float)
    others = runs[[*METRICS, "n_test", "parameters", "receptive_field", "seconds"]].mean()
    for name in ALTERNATIVE_SCORES:
        others[f"{name}_gain"] = (runs[name] - runs["score"]).mean()
    return Cell(
        seeds=tuple(map(int, runs["seed"])),
        mean=float(scores.mean()),
        sd=float(scores.std(ddof=1)) if len(scores) > 1 else NAN,
        range=float(np.ptp(scores)) if len(scores) > 1 else NAN,
        low=float(runs["low"].mean()),
        high=float(runs["high"].mean()),
        other=others.to_dict(),
        tolerance=tolerance(scores, float((runs["high"] - runs["low"]).mean() / 2), spread),
    )


def _judged(cell: Cell, found: Published | None, suite: str, row: TableRow, protocol: str, simulated: bool) -> Cell:
    """The cell with the published number and the verdict."""
    if simulated:
        return replace(cell, verdict=Verdict("simulated genome"))
    reason = why_not_comparable(suite, found, protocol, row.metric, cell.other.get("parameters", NAN))
    return replace(cell, published=found, verdict=judge(found, reason, cell.mean, cell.tolerance))


def _with_best(table: Table) -> dict[tuple[TableRow, str, str], Cell]:
    """The cells, those marked that no other model beats in the same row and protocol, as printed."""
    cells = dict(table.cells)
    for row in table.rows:
        for protocol in table.protocols:
            means = {model: round(table.cells[row, model, protocol].mean, SHOWN) for model in table.models}
            known = [mean for mean in means.values() if mean == mean]
            for model, mean in means.items():
                best = len(known) > 1 and mean == max(known)
                cells[row, model, protocol] = replace(cells[row, model, protocol], best=best)
    return cells


def caption(table: Table) -> str:
    """What the table shows, in full sentences."""
    own = [seeds for protocol, seeds in table.seeds.items() if protocol != "cv"]
    seeds = ", ".join(map(str, own[0] if own else table.seeds["cv"]))
    several = f"mean ± standard deviation over the seeds {seeds}; where one is missing, n says how many there are."
    sentences = [
        f"{table.title}: " + (several if "," in seeds else f"one run, with seed {seeds}."),
        "heldout: validation rows (the task's own, else a tenth of train) choose the epoch; test is scored once."
        * ("heldout" in table.protocols),
        f"cv: {len(table.seeds.get('cv', []))} of ten folds of train in turn choose the epoch; each scores test once."
        * ("cv" in table.protocols),
        "released: the epoch is chosen on test, as in the authors' released code." * ("released" in table.protocols),
        "Bold: the best model of each row and protocol." * (len(table.models) > 1),
    ]
    comparison = COMPARISONS.get(table.suite)
    if table.simulated:
        sentences.insert(0, SIMULATED)
    elif comparison and comparison.table:
        sentences += [f"Published: {comparison.table}, held against {comparison.protocol}.", AGREEMENT]
    return " ".join(filter(None, sentences))


def signed(value: float) -> str:
    """A difference as it is printed, with its sign; never -0.000."""
    return f"{round(float(value), SHOWN) + 0.0:+.{SHOWN}f}"


def summary(table: Table) -> str:
    """The table in a line: what is run, who is best, what choosing on test is worth, how it stands to the paper."""
    run = sum(len(cell.seeds) for cell in table.cells.values())
    expected = sum(len(table.seeds[protocol]) for *_, protocol in table.cells)
    fits = len({(row.task, *of, seed) for (row, *of), cell in table.cells.items() for seed in cell.seeds})
    parts = [f"{run} of {expected} scores are in" + f", of {fits} fine-tunings" * (fits != run)]
    if len(table.models) > 1:
        for protocol in table.protocols:
            wins = {
                title: sum(table.cells[row, model, protocol].best for row in table.rows)
                for model, title in table.models.items()
            }
            best = ", ".join(f"{title} {count}" for title, count in wins.items() if count)
            if best:
                ties = sum(wins.values()) > sum(_has_best(table, row, protocol) for row in table.rows)
                ties_count = f" (ties in the {SHOWN} decimals shown count for each)" * ties
                parts.append(f"best by {protocol}, in rows of {len(table.rows)}: {best}{ties_count}")
    gains = [table.gain(row, model) for row in table.rows for model in table.models]
    gains = [gain for gain in gains if gain == gain]
    if gains:
        parts.append(f"released - heldout: {signed(np.mean(gains))} on average over {len(gains)} pairs")
    return "; ".join([*parts, *_standing(table)]) + "."


def _has_best(table: Table, row: TableRow, protocol: str) -> bool:
    return any(table.cells[row, model, protocol].best for model in table.models)


def _standing(table: Table) -> list[str]:
    """How many cells agree with the published ones, and the mean difference of those that may be compared."""
    if table.simulated:
        return ["no comparison with the paper: the genome is simulated"]
    words = {"agrees": "agree", "above": "above", "below": "below"}
    judged = [cell for cell in table.cells.values() if cell.verdict.label in words]
    if not judged:
        return ["nothing to compare with published numbers"]
    counts = ", ".join(f"{sum(cell.verdict.label == label for cell in judged)} {word}" for label, word in words.items())
    mean = signed(np.mean([cell.difference for cell in judged]))
    return [f"of {len(judged)} cells beside published ones {counts}, mean difference {mean}"]
