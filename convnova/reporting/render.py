"""The one renderer: a `convnova.reporting.table.Table` as TSV, Markdown, LaTeX and HTML.

Templates are in `templates/`. Whatever a template prints is escaped for its format; text that is markup already is
marked with `markupsafe.Markup`. A page of its own extends `page.html`, and prints tables by the macros of
`table_macros.html`:

    {% extends "page.html" %}
    {% import "table_macros.html" as tables %}
    {% block body %}{{ tables.table(table) }}{% endblock %}
"""

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from convnova.files import write_text
from convnova.reporting.table import DECIMALS, Cell, Table

FORMATS = ("tsv", "md", "tex", "html")
FORMULA = ("=", "+", "-", "@")
"""With these a formula begins, in a spreadsheet."""
HEAD_LETTERS = 16
"""Letters of a head in LaTeX, before it is broken."""


def write(table: Table, folder: str | Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write a table as `<folder>/<table.name>.<format>`; the same table gives the same bytes.

    Args:
        table: what to write.
        folder: made if need be.
        formats: of tsv, md, tex and html.

    Returns:
        The files.
    """
    paths = [Path(folder) / f"{table.name}.{name}" for name in formats]
    for path in paths:
        write_text(path, render(table, path.suffix[1:]))
    return paths


def render(table: Table, form: str) -> str:
    """The text of a table in one format: tsv, md, tex or html."""
    if form == "tsv":
        return tsv(table)
    return ENVIRONMENTS[form].get_template(f"table.{form}").render(table=table)


def tsv(table: Table) -> str:
    """A line a row: numbers with up to six decimals, words on one line each, nothing for what is not known."""
    data = table.frame.reset_index() if table.data is None else table.data
    text = data.map(_exact)
    heads = [": ".join(filter(None, head)) if isinstance(head, tuple) else head for head in data.columns]
    text.columns = [_exact(head) for head in heads]
    return text.to_csv(sep="\t", index=False, lineterminator="\n")


def _exact(value: Any) -> str:
    """A value of a TSV."""
    if isinstance(value, Cell):
        value = value.text if value.value is None else value.value
    if pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float | np.floating):
        return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(float(value))
    text = one_line(value).strip()
    # A spreadsheet would compute a text that begins like a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    group: str = ""
    """The head over it and over its neighbours of the same group."""
    is_label: bool = False
    """Whether the column names rows."""


@dataclass(frozen=True)
class Layout:
    """A table as the templates print it: every cell is a text."""

    heads: list[Head]
    rows: list[list[Cell]]
    notes: list[str]
    """The footnotes by number, then the table's notes."""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Heads over heads, and how many columns each spans; nothing if there are none."""
        groups = [(group, len(list(heads))) for group, heads in groupby(head.group for head in self.heads)]
        return groups if any(group for group, _ in groups) else []


def layout(table: Table) -> Layout:
    """Format the values of a table and number its footnotes."""
    frame, labels = table.frame.reset_index(), table.frame.index.nlevels
    names = [head if isinstance(head, tuple) else ("", head) for head in frame.columns]
    heads = [
        # `reset_index` puts the name of a label first, where columns have two levels.
        Head(group or head, is_label=True) if place < labels else Head(head, group)
        for place, (group, head) in enumerate(names)
    ]
    footnotes: dict[str, int] = {}
    rows = []
    for values in frame.itertuples(index=False, name=None):
        cells = [_cell(value, table, head.text) for value, head in zip(values, heads, strict=True)]
        for place, cell in enumerate(cells):
            if cell.footnote:
                number = footnotes.setdefault(cell.footnote, len(footnotes) + 1)
                cells[place] = Cell(f"{cell.text} [{number}]", cell.value, cell.bold, "", cell.anchor)
        rows.append(cells)
    return Layout(heads, rows, [*(f"[{number}] {text}." for text, number in footnotes.items()), *table.notes])


def paper_layout(table: Table) -> Layout:
    """The same for LaTeX: of a table that has a short form, that."""
    return layout(table if table.paper is None else replace(table, frame=table.paper))


def _cell(value: Any, table: Table, head: str) -> Cell:
    """A value as a cell with the text that the format of its column gives it."""
    if isinstance(value, Cell):
        return value
    if pd.isna(value):
        return Cell("")
    if isinstance(value, str):
        return Cell(value)
    usual = f"{{:.{DECIMALS}f}}" if isinstance(value, float | np.floating) else "{:,}"
    return Cell(table.formats.get(head, usual.format)(value), float(value))


def sort_key(cell: Cell) -> str:
    """The number that a cell sorts by, as JavaScript reads it; nothing for words."""
    if not isinstance(cell.value, int | float | np.number) or pd.isna(cell.value):
        return ""
    return f"{cell.value:.6f}".replace("inf", "Infinity")


def one_line(value: Any) -> str:
    """Text on one line: tabs, line breaks and control characters are spaces, and several are one."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", str(value))


def markdown_text(value: Any) -> str:
    """Text with the characters escaped that mean something in GitHub's Markdown."""
    if isinstance(value, Markup):
        return value
    escaped = re.sub(r"([\\|*<>`\[~&$]|\b_|_\b)", r"\\\1", one_line(value))
    # At the start of a line a list, a heading or a rule.
    return re.sub(r"^(\s*\d*)(([#+=.)-])(?=[\s#+=-]|$))", r"\1\\\2", escaped)


TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "<": "$<$", ">": "$>$", "|": r"\textbar{}", "[": "{[}", "*": "{*}", "`": "{`}",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}  # fmt: skip
"""`[` and `*` after the end of a row would be its options."""
NOT_IN_TEX = re.compile("[^ -~¡-ª¬-º¼-ÏÑ-Ýß-ïñ-ýÿ-ăĆ-ďĒ-ėĚ-ĥĨ-ĭİ-ķĹ-ľŁ-ňŌ-ťŨ-űŴ-ž\u2010-\u2016‘’“”†-•…]")
"""Letters that pdflatex stops at with no package loaded: all but those of European languages, and signs of print."""


def tex_text(value: Any) -> str:
    """Text with LaTeX's special characters escaped; a minus is a minus, a letter that it lacks is its code point."""
    if isinstance(value, Markup):
        return value
    text = unicodedata.normalize("NFC", one_line(value))
    text = NOT_IN_TEX.sub(lambda letter: f"U+{ord(letter[0]):04X}", text)
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<!\w)-(?=[\d ]|$)", "$-$", escaped)


def tex_head(text: str, side: str, columns: int = 1) -> Markup:
    """A head of LaTeX, of several lines if it is long.

    Args:
        text: the head.
        side: l, c or r.
        columns: how many it spans.
    """
    lines = [tex_text(line) for line in textwrap.wrap(text, HEAD_LETTERS * columns)] or [""]
    return Markup(lines[0] if len(lines) == 1 else rf"\shortstack[{side}]{{" + r"\\".join(lines) + "}")


def _environment(*delimiters: str, **options: Any) -> jinja2.Environment:
    """The templates of this package; a name that a template uses and does not get is an error."""
    options |= dict.fromkeys(("trim_blocks", "lstrip_blocks", "keep_trailing_newline"), True)
    loader = jinja2.PackageLoader("convnova.reporting")
    environment = jinja2.Environment(*delimiters, loader=loader, undefined=jinja2.StrictUndefined, **options)
    environment.filters |= {
        "layout": layout, "paper_layout": paper_layout, "sort_key": sort_key, "tex_head": tex_head,
        "one_line": one_line, "breakable": lambda text: Markup(str(Markup.escape(text)).replace("_", "_<wbr>")),
    }  # fmt: skip
    return environment


HTML = _environment(autoescape=True)
MARKDOWN = _environment(finalize=markdown_text)
LATEX = _environment("<%", "%>", "<<", ">>", "<#", "#>", finalize=tex_text)  # of blocks, values and comments
ENVIRONMENTS = {"html": HTML, "md": MARKDOWN, "tex": LATEX}
