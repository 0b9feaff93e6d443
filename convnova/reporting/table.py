"""The one kind of table: a data frame with a title, a caption, a summary and notes.

Build a `Table`, then call `convnova.reporting.render.write(table, folder)` for TSV, Markdown, LaTeX and HTML:

>>> import pandas as pd
>>> rows = [("H3", "MCC", 0.8123, 0.0101), ("H4", "MCC", 0.79, float("nan"))]
>>> frame = pd.DataFrame(rows, columns=["task", "metric", "CNN", "gain"]).set_index(["task", "metric"])
>>> table = Table("mine", "My table", frame, caption="Scores.", formats={"gain": signed})

- The index levels of `frame` are the labels of a row: left-aligned, and sorted as text. All columns hold values.
- Columns may have two levels: a group, such as a model, over its heads.
- A value is a number, a text or a `Cell`. `formats` says by head how numbers read; else fractions have three decimals
  and counts have commas. NaN and None are empty.
- A `Cell` has a text of its own, and may be bold, have a footnote, or lead to an anchor of the report.
- The TSV holds `data` if the table has it, one tidy line a result with every number. Else it holds `frame`.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

NAN = float("nan")
DECIMALS = 3
"""Of scores in the tables for reading; the TSV has six."""

SIMULATED = (
    "Simulated genome: these numbers come from a small made-up genome and show that the pipeline works. "
    "They cannot be compared with the paper, nor with any real benchmark."
)


@dataclass(frozen=True)
class Cell:
    """A value that reads otherwise than the format of its column says."""

    text: str
    value: float | str | None = None
    """What the TSV holds and what the cell sorts by; None: the text."""
    bold: bool = False
    footnote: str = ""
    """A sentence without its full stop; equal ones share a number."""
    anchor: str = ""
    """Where on the page of the run the provenance of the value stands."""


@dataclass(frozen=True)
class Table:
    """What is written as TSV, Markdown, LaTeX and HTML; see the head of this module."""

    name: str
    """Of its files and of its anchors."""
    title: str
    frame: pd.DataFrame
    """What is read: labels in the index, values in the columns."""
    caption: str = ""
    summary: str = ""
    """What the table says, in one sentence."""
    notes: Sequence[str] = ()
    simulated: bool = False
    """Whether to say that the genome is simulated."""
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """Head of a column to what writes its numbers."""
    data: pd.DataFrame | None = None
    """What the TSV holds, if it is more than `frame`."""
    paper: pd.DataFrame | None = None
    """What the LaTeX holds, if it is less than `frame`."""

    @property
    def full_caption(self) -> str:
        """The caption, begun by a warning if the genome is simulated."""
        return f"{SIMULATED} {self.caption}".strip() if self.simulated else self.caption

    @property
    def short_caption(self) -> str:
        """The first sentence of the caption, after a short warning if the genome is simulated."""
        warning = "Simulated genome, not comparable with the paper. " if self.simulated else ""
        return warning + re.match(r"(.*?[.](?= |$))?", self.caption)[0]

    def with_provenance(self, sentence: str) -> "Table":
        """The table with a last note on what it was made from; see `convnova.runs.provenance_table`."""
        return replace(self, notes=[*self.notes, *filter(None, [sentence])])


def signed(value: float) -> str:
    """A difference with its sign and three decimals; never -0.000."""
    return f"{round(float(value), DECIMALS) + 0.0:+.{DECIMALS}f}"


def p_value(p: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def mean_and_spread(mean: float, spread: float, n: int = 0, expected: int = 0) -> str:
    """A mean with its spread.

    Args:
        mean: of the scores over seeds; NaN if there is none.
        spread: their standard deviation or range; NaN if there is none.
        n: how many seeds there are.
        expected: how many there should be.

    Returns:
        `0.812 ± 0.010`, without what is missing, and with `(n=2 of 3)` if seeds are missing.
    """
    parts = [] if math.isnan(mean) else [f"{mean:.{DECIMALS}f}"]
    parts += [] if math.isnan(spread) else [f"± {spread:.{DECIMALS}f}"]
    parts += [f"(n={n} of {expected})"] if n < expected else []
    return " ".join(parts)


def score_cell(scores: Sequence[float], expected: int, spread: float | None = None, bold: bool = False) -> Cell | None:
    """The cell of scores, one a seed.

    Args:
        scores: (n,).
        expected: how many seeds there should be.
        spread: what stands behind ±; by default the standard deviation (n - 1).
        bold: whether the cell stands out.

    Returns:
        The cell; None without scores.
    """
    if not len(scores):
        return None
    if spread is None:
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else NAN
    mean = float(np.mean(scores))
    return Cell(mean_and_spread(mean, spread, len(scores), expected), mean, bold)


def receptive_field(bases: Iterable[float]) -> Cell | None:
    """The cell of a model's receptive fields: the narrowest and the widest where tasks differ.

    Args:
        bases: one a run, in bp; infinite for a model whose every output reads the whole sequence, NaN if unknown.

    Returns:
        The cell, which sorts by the mean; None if none is known.
    """
    known = [float(value) for value in bases if not pd.isna(value)]
    if not known:
        return None
    ends = dict.fromkeys((min(known), max(known)))
    texts = [f"{end:.0f} bp" if math.isfinite(end) else "whole sequence" for end in ends]
    return Cell(" to ".join(texts), float(np.mean(known)))


def receptive_fields(runs: pd.DataFrame, titles: Mapping[str, str]) -> dict[str, str]:
    """Title to receptive fields of each model that has any, as words, so that no mean over rows takes them in.

    Args:
        runs: with the columns `model` and `receptive_field` (bp).
        titles: name of each model to its title.
    """
    fields = {model: receptive_field(bases) for model, bases in runs.groupby("model")["receptive_field"]}
    return {title: field.text for model, title in titles.items() if (field := fields.get(model))}
