"""The audits of a run side by side: every number as TSV; a table and a sentence a task as Markdown and HTML.

The sentences follow from the numbers alone, by the rules of `meaning`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from convnova.errors import ConvNovaError
from convnova.evaluation.leakage.split_audit import KMER, MIN_CONTAINMENT, SHARED_RUN
from convnova.files import write_text
from convnova.reporting.pages import WARNING, breakable, escape, fill, sortable

Audit = dict[str, Any]
"""What `convnova.evaluation.leakage.split_audit.write_audit` wrote, with `suite` and `task`."""

FEW, MANY = 0.01, 0.1
"""Shares of test rows that overlap train rows: below the first they hardly matter, from the second on they rule."""

UNEVEN = 0.6
"""Share of the largest class from which a constant answer is worth a word."""

RULES = (
    f"Exact duplicates have the same bases, or are each other's reverse complement. A near duplicate has "
    f"{MIN_CONTAINMENT:.0%} "
    f"or more of its distinct {KMER}-mers, either strand, in one train row; an overlap is {SHARED_RUN} bases in a row, "
    "either strand, in common with a train row. Any: one of these. In pretraining: half of the row's bases or more, in "
    "intervals that pretraining reads; the row was looked for in the genome unless its file says where it lies. "
    "Percentages are of the test rows that were compared."
)


class Column(NamedTuple):
    """A column for reading: the heading over it and its neighbours, its own, the number and the text of a cell."""

    group: str
    head: str
    value: float
    text: str


def read_audits(paths: list[Path]) -> list[Audit]:
    """Read audits, in the order given.

    Raises:
        ConvNovaError: a file is missing or no audit.
    """
    audits = []
    for path in paths:
        try:
            audits.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConvNovaError(f"{path}: expected an audit ({error}); make it with `convnova audit`") from error
        if not isinstance(audits[-1], dict) or not {"suite", "task", "splits", "overlap"} <= set(audits[-1]):
            raise ConvNovaError(f"{path}: expected an audit, found other JSON; make it with `convnova audit`")
    return audits


def write_pages(audits: list[Audit], out: Path, simulated: bool) -> None:
    """Write `audit.tsv`, `audit.md` and `audit.html` into the folder `out`.

    Args:
        simulated: say that the genome is.
    """
    write_text(out / "audit.tsv", tsv(audits))
    write_text(out / "audit.md", markdown(audits, simulated))
    write_text(out / "audit.html", page(audits, simulated))


def meaning(audit: Audit) -> list[str]:
    """What the numbers of a task mean for its scores, in sentences; the first is about train and test."""
    test, near = audit["splits"]["test"], audit["overlap"]
    sentences = [_overlap(near, test["rows"])]
    if count := audit["across"]["test in train"]["equal_other_label"]:
        sentences.append(f"{_rows(count)} in train as well, with another label.")
    if test["equal_other_label"]:
        sentences.append(f"{_rows(test['equal_other_label'])} twice in test with different labels.")
    if test["all_N"]:
        sentences.append(f"{_rows(test['all_N'], 'consist')} of N alone: a model can know no more of them.")
    name, share = _largest_class(test)
    if share >= UNEVEN:
        sentences.append(f"{share:.0%} of the test labels are {name}: always answering that is as often right.")
    if constant := test.get("labels", {}).get("constant"):
        sentences.append(
            f"{constant} of {test['labels']['count']} labels are the same in all test rows and give no AUROC."
        )
    if found := audit.get("pretraining"):
        sentences.append(_seen(found))
    return sentences


def _rows(count: int, verb: str = "stand") -> str:
    return f"1 test row {verb}s" if count == 1 else f"{count:,} test rows {verb}"


def _overlap(near: dict[str, int], of: int) -> str:
    count, rows = near["any"], near["rows"]
    share = count / rows
    drawn = f" (drawn at random of {of:,})" if rows < of else ""
    if not count:
        return f"None of {rows:,} test rows{drawn} repeats or overlaps a train row: scores are about unseen sequences."
    found = f"{count:,} of {rows:,} test rows{drawn} repeat or overlap train rows ({percent(share)})"
    if share < FEW:
        return f"{found}: too few to matter, they can change accuracy by {share:.4f} at most."
    much = "somewhat " if share < MANY else ""
    return f"{found}, so scores on this split {much}overstate how well a model does on unseen sequences."


def _seen(found: dict[str, Any]) -> str:
    if not found["placed"]:
        return f"None of the test rows was found in the pretraining genome ({found['genome']})."
    return (
        f"{found['read']:,} of {found['rows']:,} test rows ({percent(found['read'] / found['rows'])}) lie in what "
        "pretraining reads: a pretrained model has seen their bases, though no label."
    )


def _largest_class(split: dict[str, Any]) -> tuple[str, float]:
    """The class that most rows or bases have, and its share; no name and 0 for many labels."""
    classes = split.get("classes", {"": 0})
    name = max(classes, key=lambda name: classes[name])
    return name, classes[name] / max(1, sum(classes.values()))


def percent(share: float) -> str:
    """A share for reading: `0%`, `<0.1%`, `2.9%`, `31%`, `99.7%`; `0%` and `100%` are exact."""
    if share in (0, 1):
        return f"{share:.0%}"
    if not 0.001 <= share <= 0.999:
        return "<0.1%" if share < 0.5 else ">99.9%"
    return f"{share:.1%}" if share < 0.1 or share > 0.99 else f"{share:.0%}"


def columns(audit: Audit) -> Iterator[Column]:
    """The row of a task in the table for reading: leaks first, then what is in the splits."""
    splits, near = audit["splits"], audit["overlap"]
    test, across, found = splits["test"], audit["across"]["test in train"], audit.get("pretraining")
    for head, key in (("any", "any"), ("near duplicates", "near_duplicates"), (f"{SHARED_RUN} bases", "shared_run")):
        yield Column("test rows that overlap train", head, *_part(near[key], near["rows"]))
    other = across["equal_other_label"] + (across["reverse_other_label"] or 0)
    duplicates = {"same strand": across["equal"], "other strand": across["reverse"], "other label": other}
    for head, count in duplicates.items():
        yield Column("exact duplicates in train", head, *_part(count, test["rows"]))
    for head, key in (("in the genome", "placed"), ("read", "read")):
        part = _part(found[key], found["rows"]) if found else (float("nan"), "")
        yield Column("test rows in pretraining", head, *part)
    for name in ("train", "valid", "test"):
        rows = splits.get(name, {}).get("rows")
        yield Column("rows", name, rows or 0, f"{rows:,}" if rows else "")
    for name in ("train", "test"):
        equal = splits[name]["equal"] + splits[name]["reverse"]
        yield Column("exact duplicates within a split", name, *_part(equal, splits[name]["rows"]))
    lengths = sorted({test["shortest"], test["longest"]})
    yield Column("test rows", "bases", test["median"], " to ".join(f"{length:,}" for length in lengths))
    name, share = _largest_class(test)
    yield Column("test rows", "largest class", share, f"{name}: {percent(share)}" if share else "many labels")
    for head, key in (("with N", "rows_with_N"), ("all N", "all_N")):
        yield Column("test rows", head, *_part(test[key], test["rows"]))


def _part(count: int, rows: int) -> tuple[float, str]:
    return count / rows, f"{count:,} ({percent(count / rows)})" if count else "0"


def tsv(audits: list[Audit]) -> str:
    """One line a task with every number; an empty cell is a number that the task does not have."""
    lines = [dict(_flat(audit)) | {"meaning": " ".join(meaning(audit))} for audit in audits]
    heads = list(dict.fromkeys(head for line in sorted(lines, key=len, reverse=True) for head in line))
    cells = [heads, *([line.get(head, "") for head in heads] for line in lines)]
    return "".join("\t".join(row) + "\n" for row in cells)


def _flat(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name and text of every number: `splits.train.rows`; numbers of classes stay together."""
    for key, value in content.items():
        name = ".".join((*path, key))
        if isinstance(value, list):
            yield name, "; ".join(map(_text, value))
        elif not isinstance(value, dict):
            yield name, _text(value)
        elif key == "classes":
            yield name, "; ".join(f"{label}={count}" for label, count in value.items())
        else:
            yield from _flat(value, (*path, key))


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def markdown(audits: list[Audit], simulated: bool) -> str:
    """A heading, one pipe table (GitHub's), a sentence or more a task, and the rules."""
    rows = [list(columns(audit)) for audit in audits]
    table = [["task", *(f"{column.group}: {column.head}" for column in rows[0])], ["---"] + ["---:"] * len(rows[0])]
    table += [[_name(audit), *(column.text for column in row)] for audit, row in zip(audits, rows, strict=True)]
    parts = [
        "# Audit of the tasks",
        "**Simulated genome.**" if simulated else "",
        _md(summary(audits)),
        "\n".join(f"| {' | '.join(map(_md, line))} |" for line in table),
        "\n".join(f"- **{_md(_name(audit))}**: {_md(' '.join(meaning(audit)))}" for audit in audits),
        RULES,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\|*<>_])", r"\\\1", text)


def _name(audit: Audit) -> str:
    return f"{audit['suite']}/{audit['task']}"


def summary(audits: list[Audit]) -> str:
    """How many tasks have test rows that overlap train, and which the most."""
    shares = {_name(audit): audit["overlap"]["any"] / audit["overlap"]["rows"] for audit in audits}
    count = sum(share > 0 for share in shares.values())
    worst = max(shares, key=lambda name: shares[name])
    most = f"; most in {worst}, {percent(shares[worst])} of them" if count else ""
    return f"In {count} of {len(audits)} tasks test rows repeat or overlap train rows{most}."


def page(audits: list[Audit], simulated: bool) -> str:
    """One self-contained HTML page, in the form of the tables of scores: sortable, nothing from outside."""
    parts = {
        "NAME": "audit",
        "TITLE": "Audit of the tasks",
        "WARNING": WARNING * simulated,
        "SUMMARY": escape(summary(audits)),
        "CAPTION": escape(RULES),
        "TABLE": sortable_table(audits),
        "NOTES": html_notes(audits),
    }
    return fill("table.html", parts)


def sortable_table(audits: list[Audit]) -> str:
    """The table alone, as HTML."""
    return sortable("audit", _head(list(columns(audits[0]))), "\n".join(_line(audit) for audit in audits))


def html_notes(audits: list[Audit]) -> str:
    """What the numbers mean, a paragraph a task."""
    notes = [f"<strong>{escape(_name(audit))}</strong>: {escape(' '.join(meaning(audit)))}" for audit in audits]
    return "\n".join(f"<p>{note}</p>" for note in notes)


def _head(heads: list[Column]) -> str:
    """Two rows: the groups over their columns, and a button that sorts for each column."""
    groups = {head.group: sum(other.group == head.group for other in heads) for head in heads}
    titles = "".join(f"<th colspan={count} scope=colgroup>{escape(group)}</th>" for group, count in groups.items())
    buttons = "".join(
        f"<th scope=col{of}><button type=button>{escape(text)}</button></th>"
        for text, of in [("task", " class=text"), ("suite", " class=text"), *((h.head, f) for h, f in _firsts(heads))]
    )
    return f"<tr><td colspan=2></td>{titles}</tr>\n<tr>{buttons}</tr>"


def _firsts(row: list[Column]) -> Iterator[tuple[Column, str]]:
    """The columns, each with the attribute of the first of its group."""
    last = ""
    for column in row:
        yield column, " class=first" * (column.group != last)
        last = column.group


def _line(audit: Audit) -> str:
    cells = "".join(
        f"<td{first}{_number(column.value)}>{escape(column.text)}</td>"
        for column, first in _firsts(list(columns(audit)))
    )
    task, suite = (breakable(audit[key]) for key in ("task", "suite"))
    return f"<tr><th scope=row>{task}</th><td class=text>{suite}</td>{cells}</tr>"


def _number(value: float) -> str:
    """What the cell sorts by."""
    return "" if value != value else f' data-value="{value:.6f}"'
