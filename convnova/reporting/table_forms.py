"""The four forms of a table: TSV for reuse, Markdown, LaTeX and HTML for reading."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from convnova.config.schema import METRICS, TableRow
from convnova.reporting.pages import WARNING, breakable, escape, fill, sortable
from convnova.reporting.published import Verdict
from convnova.reporting.scores import ALTERNATIVE_SCORES
from convnova.reporting.suite_tables import SHOWN, Cell, Table, signed

TSV_COLUMNS = [
    "suite", "task", "row", "metric", "model", "title", "protocol", "n", "n_expected", "seeds", "mean", "sd", "range",
    "low", "high", "best", "released_minus_heldout", "published", "published_spread", "published_spread_kind",
    "published_table", "published_model", "published_source", "published_confidence", "difference", "tolerance",
    "verdict", *[f"{name}_gain" for name in ALTERNATIVE_SCORES], *METRICS, "n_test", "parameters",
    "receptive_field", "seconds", "simulated",
]  # fmt: skip

FIELD = TableRow("receptive field", "receptive field", "bp")
"""The last row of a table for reading."""

MODELS_ACROSS = 2
"""Models side by side in LaTeX: what fits 5.5 inches of small print."""


def tsv(table: Table) -> str:
    """One line a row, model and protocol, with every number; an empty cell is a number that is not known."""
    lines = [dict.fromkeys(TSV_COLUMNS, "") | _line(table, *key) for key in table.cells]
    return "".join("\t".join(line) + "\n" for line in [TSV_COLUMNS, *(line.values() for line in lines)])


def _line(table: Table, row: TableRow, model: str, protocol: str) -> dict[str, str]:
    cell = table.cells[row, model, protocol]
    found = cell.published
    numbers = {
        **{name: getattr(cell, name) for name in ("mean", "sd", "range", "low", "high", "difference", "tolerance")},
        "released_minus_heldout": table.gain(row, model),
        **cell.other,
        **({"published": found.mean, "published_spread": found.spread} if found else {}),
    }
    texts = {
        "suite": table.suite, "task": row.task, "row": row.label, "metric": row.metric,
        "model": model, "title": table.models[model], "protocol": protocol,
        "n": str(len(cell.seeds)), "n_expected": str(len(table.seeds[protocol])),
        "seeds": ",".join(map(str, cell.seeds)),
        "best": str(cell.best).lower(), "simulated": str(table.simulated).lower(), "verdict": str(cell.verdict),
    }  # fmt: skip
    if found:
        kept = ("spread_kind", "table", "model", "source", "confidence")
        texts |= {f"published_{name}": " ".join(getattr(found, name).split()) for name in kept}
    return texts | {name: six_decimals(value) for name, value in numbers.items()}


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


@dataclass
class Grid:
    """A table laid out for reading: rows down; for each model its protocols, their difference, the published value.

    A simulated genome has no published values.
    """

    heads: list[str]
    """Of the columns that each model has."""
    scores: int
    """How many of these are protocols; the others compare."""
    lines: list[tuple[TableRow, dict[str, list[Entry]]]]
    notes: list[str] = field(default_factory=list)
    """Why cells are not comparable; cells point to them by number, from 1."""


def grid(table: Table) -> Grid:
    """Lay a table out for reading."""
    both = {"heldout", "released"} <= set(table.protocols)
    heads = [*table.protocols, *(["released - heldout"] if both else []), *([] if table.simulated else ["published"])]
    laid = Grid(heads, len(table.protocols), [])
    for row in table.rows:
        entries = {}
        for model in table.models:
            cells = [table.cells[row, model, protocol] for protocol in table.protocols]
            expected = [len(table.seeds[protocol]) for protocol in table.protocols]
            entries[model] = [
                Entry(scored(cell.mean, cell.sd, len(cell.seeds), count), cell.mean, cell.best)
                for cell, count in zip(cells, expected, strict=True)
            ]
            if both:
                gain = table.gain(row, model)
                entries[model].append(Entry("" if gain != gain else signed(gain), gain))
            if not table.simulated:
                entries[model].append(_published(table.compared(row, model), laid.notes))
        laid.lines.append((row, entries))
    laid.lines.append((FIELD, {model: _field(table, model, len(heads)) for model in table.models}))
    return laid


def _field(table: Table, model: str, columns: int) -> list[Entry]:
    """A model's receptive field, in the first of its columns."""
    return [Entry(fields_read(table.receptive_fields(model)), math.nan), *[Entry("", math.nan)] * (columns - 1)]


def scored(mean: float, spread: float, n: int = 0, expected: int = 0) -> str:
    """`0.812 ± 0.010`, without what is not known (NaN), and `(n=2 of 3)` where seeds are missing."""
    text = f"{mean:.{SHOWN}f}" if mean == mean else ""
    text += f" ± {spread:.{SHOWN}f}" if spread == spread else ""
    return (text + f" (n={n} of {expected})" * (n < expected)).strip()


def _published(cell: Cell, notes: list[str]) -> Entry:
    """The published value and the verdict; the reason of a verdict goes to the notes."""
    found = cell.published
    mean, spread = (found.mean, found.spread) if found else (math.nan, math.nan)
    word = footnoted(cell.verdict, notes)
    return Entry(", ".join(filter(None, (scored(mean, spread), word))), mean)


def footnoted(verdict: Verdict, notes: list[str]) -> str:
    """The label of a verdict, with the number, from 1, of the note that holds its reason.

    Args:
        notes: reasons so far; a new one is added.
    """
    if not verdict.reason:
        return verdict.label
    if verdict.reason not in notes:
        notes.append(verdict.reason)
    return f"{verdict.label} [{notes.index(verdict.reason) + 1}]"


def reasons(notes: list[str]) -> list[str]:
    """The notes that `footnoted` gathered, as sentences."""
    return [f"[{number}] Not comparable: {reason}." for number, reason in enumerate(notes, 1)]


def bases_read(bases: float) -> str:
    """A receptive field in words; infinite is that of a model whose every output reads all there is."""
    return f"{bases:.0f} bp" if math.isfinite(bases) else "whole sequence"


def fields_read(fields: Iterable[float]) -> str:
    """Receptive fields of one model in words: the narrowest and the widest where tasks differ, nothing without any."""
    known = {bases for bases in fields if bases == bases}
    return " to ".join(map(bases_read, sorted({min(known), max(known)}))) if known else ""


def _note_lines(table: Table, laid: Grid) -> list[str]:
    """Why cells are not comparable, where the published numbers come from and how surely, what ours were made from."""
    found = [
        (title, table.compared(row, model).published) for model, title in table.models.items() for row in table.rows
    ]
    sources = [
        f"Published, {title} ({cell.confidence}): {' '.join(cell.source.split(';')[0].split())}."
        for title, cell in found
        if cell
    ]
    return [*reasons(laid.notes), *dict.fromkeys(sources), *_mean_areas(table), *filter(None, [table.made])]


def _mean_areas(table: Table) -> Iterator[str]:
    """Beside the median AUROC of a group of labels its mean, a sentence a protocol."""
    for protocol in table.protocols:
        groups = []
        for row in table.rows:
            areas = [
                (title, table.cells[row, model, protocol].other.get("auroc_mean", math.nan))
                for model, title in table.models.items()
            ]
            told = ", ".join(f"{title} {area:.{SHOWN}f}" for title, area in areas if area == area)
            groups += [f"{row.label}: {told}"] * bool(told)
        if groups:
            yield f"Mean AUROC over the labels of a group, {protocol}: {'; '.join(groups)}."


def markdown(table: Table) -> str:
    """A heading, the caption, one pipe table (GitHub's), the summary and the notes."""
    laid = grid(table)
    heads = [f"{markdown_text(title)}: {head}" for title in table.models.values() for head in laid.heads]
    body = [["task", "metric", *heads], ["---", "---", *["---:"] * len(heads)]]
    for row, entries in laid.lines:
        cells = [
            f"**{markdown_text(entry.text)}**" if entry.bold else markdown_text(entry.text) for entry in _flat(entries)
        ]
        body.append([markdown_text(row.label), row.metric_title, *cells])
    parts = [
        f"## {markdown_text(table.title)}",
        markdown_text(table.caption),
        "\n".join(f"| {' | '.join(line)} |" for line in body),
    ]
    notes = "\n".join(f"- {markdown_text(note)}" for note in _note_lines(table, laid))
    return "\n\n".join(filter(None, [*parts, f"**Summary:** {markdown_text(table.summary)}", notes])) + "\n"


def _flat(entries: dict[str, list[Entry]]) -> Iterator[Entry]:
    for of_model in entries.values():
        yield from of_model


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


def latex(table: Table) -> str:
    r"""A `table` to `\input`, needing booktabs alone: scores first, below them differences and published values.

    Up to `MODELS_ACROSS` models stand side by side; more follow in a table float of their own.
    """
    laid = grid(table)
    models = list(table.models)
    starts = range(0, len(models), MODELS_ACROSS)
    floats = [_tex_float(table, laid, models[start : start + MODELS_ACROSS], first=start == 0) for start in starts]
    return "% Needs \\usepackage{booktabs} in the preamble.\n" + "\n".join(floats)


def _tex_float(table: Table, laid: Grid, models: list[str], first: bool) -> str:
    """One float: two tabulars, one above the other."""
    scores, compared = slice(0, laid.scores), slice(laid.scores, None)
    text = f"{table.caption} {table.summary}" if first else f"{table.title} (continued)."
    notes = _note_lines(table, laid) if first else []
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            r"\setlength{\belowcaptionskip}{6pt}",
            rf"\caption{{{tex_text(text)}}}",
            *([rf"\label{{tab:{table.suite.replace('_', '-')}}}"] if first else []),
            r"\scriptsize",
            r"\setlength{\tabcolsep}{2pt}",
            _tex_tabular(table, laid, models, scores, with_metric=True),
            *(
                [r"\par\medskip", _tex_tabular(table, laid, models, compared, with_metric=False)]
                * bool(laid.heads[compared])
            ),
            *[rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright {tex_text(note)}}}" for note in notes],
            r"\end{table}",
            "",
        ]
    )


def _tex_tabular(table: Table, laid: Grid, models: list[str], part: slice, with_metric: bool) -> str:
    heads = laid.heads[part]
    first = ["task", "metric"][: 1 + with_metric]
    starts = [len(first) + 1 + i * len(heads) for i in range(len(models))]
    titles = [rf"\multicolumn{{{len(heads)}}}{{c}}{{{tex_text(table.models[model])}}}" for model in models]
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(first)}{'r' * len(heads) * len(models)}}}",
        r"\toprule",
        tex_line([*[""] * len(first), *titles]),
        " ".join(rf"\cmidrule(lr){{{start}-{start + len(heads) - 1}}}" for start in starts),
        tex_line([*first, *[tex_text(head) for head in heads * len(models)]]),
        r"\midrule",
    ]
    for row, entries in laid.lines if with_metric else laid.lines[:-1]:
        texts = [tex_text(text) for text in (row.label, row.metric_title)[: len(first)]]
        lines.append(tex_line(texts + [tex_entry(entry) for model in models for entry in entries[model][part]]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def tex_line(cells: list[str]) -> str:
    """A row of a tabular."""
    return " & ".join(cells) + r" \\"


def tex_entry(entry: Entry) -> str:
    """A cell of a tabular."""
    return rf"\textbf{{{tex_text(entry.text)}}}" if entry.bold else tex_text(entry.text)


def page(table: Table) -> str:
    """One self-contained HTML page: a sortable table, its style and its script, nothing from outside."""
    parts = {
        "NAME": table.suite,
        "TITLE": escape(table.title),
        "WARNING": WARNING * table.simulated,
        "SUMMARY": escape(table.summary),
        "CAPTION": escape(table.caption),
        "TABLE": sortable_table(table),
        "NOTES": html_notes(table),
    }
    return fill("old_table.html", parts)


def sortable_table(table: Table, anchor: Callable[[TableRow, str, str], str] | None = None) -> str:
    """The table alone, as HTML.

    Args:
        anchor: where on the page the way back from a row, model and protocol begins; default no links.
    """
    laid = grid(table)
    rows = []
    for row, entries in laid.lines:
        links = (
            {model: [anchor(row, model, name) for name in table.protocols] for model in table.models}
            if anchor and row is not FIELD
            else {}
        )
        rows.append(_html_row(row, entries, links))
    return sortable(table.suite, _html_head(table, laid), "\n".join(rows))


def html_notes(table: Table) -> str:
    """The notes below the table, a paragraph each."""
    return "\n".join(f"<p class=note>{escape(note)}</p>" for note in _note_lines(table, grid(table)))


def _html_head(table: Table, laid: Grid) -> str:
    """Two rows: the models over their columns, and a button that sorts for each column."""
    span = f"colspan={len(laid.heads)} scope=colgroup"
    titles = "".join(f"<th {span}>{escape(title)}</th>" for title in table.models.values())
    heads = ["task", "metric", *laid.heads * len(table.models)]
    classes = [" class=text"] * 2 + ([" class=first"] + [""] * (len(laid.heads) - 1)) * len(table.models)
    buttons = "".join(
        f"<th scope=col{of}><button type=button>{escape(head)}</button></th>"
        for head, of in zip(heads, classes, strict=True)
    )
    return f"<tr><td colspan=2></td>{titles}</tr>\n<tr>{buttons}</tr>"


def _html_row(row: TableRow, entries: dict[str, list[Entry]], links: dict[str, list[str]]) -> str:
    """A row; `links` has the anchors of each model's first cells."""
    cells = []
    for model, of_model in entries.items():
        for i, entry in enumerate(of_model):
            text = f"<strong>{escape(entry.text)}</strong>" if entry.bold else escape(entry.text)
            if entry.text and i < len(links.get(model, [])):
                text = f'<a href="#{links[model][i]}">{text}</a>'
            value = "" if entry.value != entry.value else f' data-value="{entry.value:.6f}"'
            cells.append(f"<td{' class=first' * (i == 0)}{value}>{text}</td>")
    head = f"<th scope=row>{breakable(row.label)}</th><td class=text>{escape(row.metric_title)}</td>"
    return f"<tr>{head}{''.join(cells)}</tr>"


FORMS = {"tsv": tsv, "md": markdown, "tex": latex, "html": page}
