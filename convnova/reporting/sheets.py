"""Plain tables, a head and lines of cells, in the four forms of the tables of suites."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from convnova.files import write_text
from convnova.reporting.pages import WARNING, breakable, escape, fill, sortable
from convnova.reporting.table import DECIMALS as SHOWN
from convnova.reporting.table import NAN, SIMULATED, signed
from convnova.reporting.table_forms import (
    Entry,
    fields_read,
    markdown_text,
    scored,
    six_decimals,
    tex_entry,
    tex_line,
    tex_text,
)

LINES_A_FLOAT = 50
"""Lines of a table of LaTeX that fit a page in small print."""

LETTERS_A_LINE = 110
"""Letters of such a table, with one between columns, that fit 5.5 inches."""

HEAD = 16
"""Letters of a head before it is broken there."""


@dataclass(frozen=True)
class Sheet:
    """What the four forms are made from; the first two columns are text, the others numbers or words."""

    name: str
    title: str
    caption: str
    summary: str
    heads: list[str]
    lines: list[list[Entry]]
    notes: list[str] = field(default_factory=list)
    simulated: bool = False
    made: str = ""
    """What it was made from: see `convnova.runs.provenance_table.sentence`."""

    @property
    def all_notes(self) -> list[str]:
        """The notes, ended by what the table was made from."""
        return [*self.notes, *filter(None, [self.made])]

    @property
    def full_caption(self) -> str:
        """The caption, begun by the warning where the genome is simulated."""
        return f"{SIMULATED} {self.caption}" if self.simulated else self.caption


def text(words: str) -> Entry:
    """A cell of words."""
    return Entry(words, NAN)


def number(value: float, bold: bool = False) -> Entry:
    """A cell with a score; empty if it is not known."""
    return Entry("" if value != value else f"{value:.{SHOWN}f}", value, bold)


def change(value: float) -> Entry:
    """A cell with a difference; empty if it is not known."""
    return Entry("" if value != value else signed(value), value)


def p_value(p: float) -> Entry:
    """A cell with a p value; empty if it is not known."""
    return Entry("" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}", p)


def receptive_field(runs: pd.DataFrame) -> Entry:
    """A cell with the receptive field of one model's runs; see `fields_read`."""
    return Entry(fields_read(runs["receptive_field"]), float(runs["receptive_field"].mean()))


def mean_and_spread(scores: Sequence[float], expected: int, spread: float) -> Entry:
    """A cell with the mean of scores, one a seed, as `scored` tells it; empty without any."""
    if not len(scores):
        return text("")
    mean = sum(scores) / len(scores)
    return Entry(scored(mean, spread, len(scores), expected), mean)


def tsv(sheet: Sheet) -> str:
    """A line a row; numbers with six decimals, words as they are, the reasons of notes with them."""
    lines = [
        [six_decimals(cell.value) or cell.text + f" ({cell.why})" * bool(cell.why) for cell in line]
        for line in sheet.lines
    ]
    return "".join("\t".join(line) + "\n" for line in [sheet.heads, *lines])


def markdown(sheet: Sheet) -> str:
    """A heading, the caption, one pipe table (GitHub's), the summary and the notes."""
    rows = [sheet.heads, ["---", "---", *["---:"] * (len(sheet.heads) - 2)]]
    rows[0] = [markdown_text(head) for head in sheet.heads]
    rows += [
        [f"**{markdown_text(c.text)}**" if c.bold else markdown_text(c.text) for c in line] for line in sheet.lines
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "\n".join(f"- {markdown_text(note)}" for note in sheet.all_notes)
    summary = f"**Summary:** {markdown_text(sheet.summary)}"
    parts = [f"## {markdown_text(sheet.title)}", markdown_text(sheet.full_caption), table, summary, notes]
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(sheet: Sheet) -> str:
    r"""`table*` floats to `\input`, needing booktabs alone: of 5.5 inches and a page at most.

    What does not fit goes on in further floats; the notes then follow as text.
    """
    starts = range(0, max(1, len(sheet.lines)), LINES_A_FLOAT)
    parts = [(start, columns) for start in starts for columns in _columns_a_float(sheet)]
    notes = [rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright {tex_text(note)}}}" for note in sheet.all_notes]
    floats = [_tex_float(sheet, *part, notes * (len(parts) == 1), first=part == parts[0]) for part in parts]
    after = "\n".join([r"\begingroup\tiny\parindent=0pt", *notes, r"\par\endgroup", ""]) * (
        len(parts) > 1 and bool(notes)
    )
    return "% Needs \\usepackage{booktabs} in the preamble.\n" + "\n".join([*floats, after])


def _columns_a_float(sheet: Sheet) -> list[list[int]]:
    """Numbers of columns side by side, as many as fit a width; the first two columns stand in each."""
    texts = [
        [*textwrap.wrap(head, HEAD), *(line[i].text for line in sheet.lines)] for i, head in enumerate(sheet.heads)
    ]
    widths = [max(map(len, of_column), default=0) + 1 for of_column in texts]
    room = LETTERS_A_LINE - sum(widths[:2])
    groups: list[list[int]] = [[]]
    for column in range(2, len(widths)):
        if groups[-1] and sum(widths[i] for i in [*groups[-1], column]) > room:
            groups.append([])
        groups[-1].append(column)
    return [[0, 1, *group] for group in groups]


def _tex_float(sheet: Sheet, start: int, columns: list[int], notes: list[str], first: bool) -> str:
    """Some columns of the lines from `start` on that fit a page, with the caption over the first ones."""
    title = tex_text(sheet.title)
    told = f"{title}. {tex_text(sheet.full_caption)} {tex_text(sheet.summary)}" if first else f"{title} (continued)."
    cells = [[line[i] for i in columns] for line in sheet.lines[start : start + LINES_A_FLOAT]]
    lines = [
        r"\begin{table*}[tbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{told}}}",
        *[rf"\label{{tab:{sheet.name.replace('_', '-')}}}"] * first,
        r"\tiny",
        r"\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{ll{'r' * (len(columns) - 2)}}}",
        r"\toprule",
        tex_line([_tex_head(sheet.heads[i], "l" if i < 2 else "r") for i in columns]),
        r"\midrule",
        *[tex_line([tex_entry(cell) for cell in line]) for line in cells],
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        r"\end{table*}",
    ]
    return "\n".join(lines)


def _tex_head(head: str, side: str) -> str:
    """A head, of several lines where it is long."""
    parts = [tex_text(part) for part in textwrap.wrap(head, HEAD)]
    return parts[0] if len(parts) == 1 else rf"\shortstack[{side}]{{" + r"\\".join(parts) + "}"


def page(sheet: Sheet) -> str:
    """One self-contained HTML page: a sortable table, its style and its script, nothing from outside."""
    parts = {
        "NAME": sheet.name,
        "TITLE": escape(sheet.title),
        "WARNING": WARNING * sheet.simulated,
        "SUMMARY": escape(sheet.summary),
        "CAPTION": escape(sheet.full_caption),
        "TABLE": sortable_table(sheet),
        "NOTES": html_notes(sheet),
    }
    return fill("old_table.html", parts)


def sortable_table(sheet: Sheet) -> str:
    """The table alone, as HTML."""
    heads = "".join(
        f"<th scope=col{' class=text' * (place < 2)}><button type=button>{escape(head)}</button></th>"
        for place, head in enumerate(sheet.heads)
    )
    return sortable(sheet.name, f"<tr>{heads}</tr>", "\n".join(_html_row(line) for line in sheet.lines))


def _html_row(line: list[Entry]) -> str:
    first, second, *others = line
    cells = []
    for cell in others:
        shown = f"<strong>{escape(cell.text)}</strong>" if cell.bold else escape(cell.text)
        value = "" if cell.value != cell.value else f' data-value="{cell.value:.6f}"'
        cells.append(f"<td{value}>{shown}</td>")
    head = f"<th scope=row>{breakable(first.text)}</th><td class=text>{escape(second.text)}</td>"
    return f"<tr>{head}{''.join(cells)}</tr>"


def html_notes(sheet: Sheet) -> str:
    """The notes below the table, a paragraph each."""
    return "\n".join(f"<p class=note>{escape(note)}</p>" for note in sheet.all_notes)


FORMS = {"tsv": tsv, "md": markdown, "tex": latex, "html": page}


def write(sheet: Sheet, out: str | Path, forms: Iterable[str] = FORMS) -> list[Path]:
    """Write a sheet as `<name>.<form>` into the folder `out`."""
    paths = {form: Path(out) / f"{sheet.name}.{form}" for form in forms}
    for form, path in paths.items():
        write_text(path, FORMS[form](sheet))
    return list(paths.values())
