"""The four forms of a table: TSV for reuse, Markdown, LaTeX and HTML for reading."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from convnova.reporting.table import DECIMALS as SHOWN


def six_decimals(value: float) -> str:
    """A number of a TSV; nothing if it is not known."""
    return "" if value != value else f"{value:.6f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Entry:
    """A cell for reading: its text, the number that it sorts by, and whether it stands out."""

    text: str
    value: float
    bold: bool = False
    why: str = ""
    """The reason that a note tells; in the TSV it stands in the cell."""


def scored(mean: float, spread: float, n: int = 0, expected: int = 0) -> str:
    """`0.812 ± 0.010`, without what is not known (NaN), and `(n=2 of 3)` where seeds are missing."""
    text = f"{mean:.{SHOWN}f}" if mean == mean else ""
    text += f" ± {spread:.{SHOWN}f}" if spread == spread else ""
    return (text + f" (n={n} of {expected})" * (n < expected)).strip()


def bases_read(bases: float) -> str:
    """A receptive field in words; infinite is that of a model whose every output reads all there is."""
    return f"{bases:.0f} bp" if math.isfinite(bases) else "whole sequence"


def fields_read(fields: Iterable[float]) -> str:
    """Receptive fields of one model in words: the narrowest and the widest where tasks differ, nothing without any."""
    known = {bases for bases in fields if bases == bases}
    return " to ".join(map(bases_read, sorted({min(known), max(known)}))) if known else ""


def markdown_text(text: str) -> str:
    """Text with the characters escaped that mean something in a Markdown table."""
    return re.sub(r"([\\|*<>])", r"\\\1", text)


TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "<": "$<$", ">": "$>$",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}  # fmt: skip


def tex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped; a minus before a number is set as a minus."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", escaped).replace("released - heldout", "released $-$ heldout")


def tex_line(cells: list[str]) -> str:
    """A row of a tabular."""
    return " & ".join(cells) + r" \\"


def tex_entry(entry: Entry) -> str:
    """A cell of a tabular."""
    return rf"\textbf{{{tex_text(entry.text)}}}" if entry.bold else tex_text(entry.text)
