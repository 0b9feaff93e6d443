"""The renderer, on one table that has everything; the numbers of each table are tested beside the table."""

import csv
import io
import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from browser import needs_chromium, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from latex import compiled, needs_pdflatex
from markdown_it import MarkdownIt

from convnova.reporting.render import FORMATS, layout, render, tsv, write
from convnova.reporting.table import (
    Cell,
    Table,
    mean_and_spread,
    p_value,
    receptive_field,
    receptive_fields,
    score_cell,
    signed,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def table() -> Table:
    """Two levels of heads, numbers of each kind, cells of their own, footnotes, and letters that mean something."""
    labels = pd.MultiIndex.from_tuples([("H3_a", "MCC"), ("a|b*", "50% [1]"), ("last", "")], names=["task", "metric"])
    heads = pd.MultiIndex.from_product(
        [["A <b> & _x_", "~^\\ $ # {long} `name` (from scratch)"], ["score", "n", "gain"]]
    )
    why = "Not comparable: other <size>, 5% & more"
    rows = [
        [Cell("0.150 ± 0.071", 0.15, True, anchor="mine.1"), 1234, -0.0001, score_cell([0.5], 2), 5, math.nan],
        [Cell("0.9, no", 0.9, footnote=why), np.int64(7), np.float64(0.1), Cell("y", "y (z)", footnote=why), 6, 0.25],
        [receptive_field([193, math.inf]), None, "text", Cell("z", footnote="Another"), 7, -1.0],
    ]  # fmt: skip
    frame = pd.DataFrame(rows, index=labels, columns=heads, dtype=object)
    return Table(
        "mine_x", "T <1> & _x_ 5%", frame, "Cap - of -0.1 $x$.", "One *sentence* | more.", ["note ~ 1^2 <a>"], True,
        {"gain": signed},
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_each_form_is_the_committed_one(table, form):
    """After a change that is meant: read the difference, then write the new text to the golden file."""
    text = re.sub(r"<(style|script)>.*?</\1>", "", render(table, form), flags=re.DOTALL)
    assert text == (GOLDEN / f"table.{form}").read_text()


def test_write_names_files_by_table_and_form(table, tmp_path):
    paths = write(table, tmp_path / "new", ["md", "tsv"])
    assert [path.name for path in paths] == ["mine_x.md", "mine_x.tsv"]
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted(paths)
    assert paths[0].read_text() == render(table, "md")


def test_numbers_of_the_tsv_have_six_decimals_at_most_and_words_keep_what_they_are(table):
    (first, second, third) = csv.DictReader(io.StringIO(tsv(table)), delimiter="\t")
    assert list(first.values()) == ["H3_a", "MCC", "0.15", "1234", "-0.0001", "0.5", "5", ""]
    assert second["A <b> & _x_: score"] == "0.9" and list(second.values())[-3] == "y (z)"
    assert third["A <b> & _x_: score"] == "inf" and third["A <b> & _x_: n"] == ""
    data = pd.DataFrame({"a": [1 / 3, 10.0], "b": [True, np.False_], "c": ["x", None]})
    assert tsv(replace(table, data=data)) == "a\tb\tc\n0.333333\ttrue\tx\n10\tfalse\t\n"


def test_groups_of_heads_and_footnotes_are_numbered(table):
    """What the golden forms do not show: the spans of groups, and that equal footnotes share a number."""
    read = layout(table)
    assert read.groups == [("", 2), ("A <b> & _x_", 3), ("~^\\ $ # {long} `name` (from scratch)", 3)]
    assert [row[2].text[-4:] for row in read.rows[1:]] == [" [1]", "ence"] and read.rows[2][5].text == "z [2]"
    assert [note[:4] for note in read.notes] == ["[1] ", "[2] ", "note"]


def test_texts_of_numbers():
    assert [signed(x) for x in (0.01, -0.0001, -0.5)] == ["+0.010", "+0.000", "-0.500"]
    assert [p_value(p) for p in (0.0009, 0.001, 1)] == ["< 0.001", "0.001", "1.000"]
    assert mean_and_spread(0.8123, 0.01) == "0.812 ± 0.010"
    assert mean_and_spread(0.8, math.nan, 2, 3) == "0.800 (n=2 of 3)"
    assert mean_and_spread(math.nan, math.nan, 0, 3) == "(n=0 of 3)"
    assert score_cell([], 3) is None
    assert score_cell([0.81, 0.83], 2) == Cell("0.820 ± 0.014", pytest.approx(0.82))
    assert score_cell([0.5, 0.7, 0.9], 5, spread=0.4).text == "0.700 ± 0.400 (n=3 of 5)"
    assert receptive_field([193, 193]) == Cell("193 bp", 193) and receptive_field([math.nan]) is None
    assert receptive_field([193, 27329, math.nan]) == Cell("193 bp to 27329 bp", 13761)
    assert receptive_field([math.inf]) == Cell("whole sequence", math.inf)
    runs = pd.DataFrame({"model": ["a", "b", "a"], "receptive_field": [193, math.nan, 27329]})
    assert receptive_fields(runs, {"b": "B", "a": "A", "c": "C"}) == {"A": "193 bp to 27329 bp"}


def test_the_provenance_is_the_last_note_and_a_real_run_is_not_called_simulated(table):
    assert table.with_provenance("Made.").notes == ["note ~ 1^2 <a>", "Made."]
    assert table.with_provenance("").notes == ["note ~ 1^2 <a>"]
    for form in ("md", "tex", "html"):
        assert "imulated" in render(table, form) and "imulated" not in render(replace(table, simulated=False), form)


def test_html_is_whole_and_needs_nothing_from_outside(table):
    page = re.sub(r"<(style|script)>.*?</\1>|<(meta|link|wbr|!doctype).*?>", "", render(table, "html"), flags=re.DOTALL)
    ElementTree.fromstring(page)  # every tag is closed, none crosses another
    assert re.findall(r'(?:src|href)="(.*?)"', render(table, "html")) == ["data:,"]
    described = set(re.findall(r'aria-\w+="(.*?)"', page))
    assert described and described <= set(re.findall(r'\bid="(.*?)"', page))


@needs_chromium
@pytest.mark.parametrize(
    ("column", "clicks", "first"), [(3, 1, "H3_a"), (3, 2, "a|b*"), (0, 1, "a|b*"), (0, 2, "last")]
)
def test_a_click_on_a_head_sorts_the_rows(table, tmp_path, column, clicks, first):
    """Numbers fall at the first click, and what is none is last; labels rise."""
    click = "<script>" + f"document.querySelectorAll('thead button')[{column}].click();" * clicks + "</script></body>"
    (tmp_path / "page.html").write_text(render(table, "html").replace("</body>", click))
    dom, _ = opened(tmp_path / "page.html", tmp_path)
    assert re.findall(r'<th scope="row">(.*?)</th>', dom)[0].replace("<wbr>", "") == first


def wide(rows: int, models: int) -> Table:
    """Models over three heads each."""
    heads = pd.MultiIndex.from_product([[f"Model {i}" for i in range(models)], ["one", "two", "three"]])
    labels = pd.Index([f"task {i}" for i in range(rows)], name="task")
    caption = "Scores of 3.5 kb windows. A second sentence."
    return Table("wide", "Wide", pd.DataFrame("0.12345 ± 0.1", labels, heads), caption, "Sum.", ["A note."])


def test_latex_is_one_float_whose_caption_is_short_and_whose_notes_are_comments():
    text = render(wide(60, 8), "tex")
    assert text.count(r"\begin{table*}") == text.count(r"\caption{Wide. Scores of 3.5 kb windows.}") == 1
    assert all(text.count(f"task {i} &") == 1 for i in range(60))
    assert {"% Scores of 3.5 kb windows. A second sentence.", "% Sum.", "% A note."} < set(text.splitlines())
    heads = re.findall(r"\\multicolumn\{\d\}\{c\}\{(Model \d)\}", text)
    assert heads == [f"Model {i}" for i in range(8)]
    short = replace(wide(3, 2), paper=pd.DataFrame({"only": [0.5]}, pd.Index(["x"], name="task")))
    assert re.findall(r"\\midrule\n(.*)\n", render(short, "tex")) == [r"x & 0.500 \\"]


HOSTILE = [
    "=HYPERLINK(1)", "+1 - 2", "-x", "@SUM(A1)", "\t=1", "two\nlines\r\nthree", "a\tb", "[x](javascript:alert(1))",
    "![x](http://x.y/z)", "<script>alert(1)</script>", "&lt;b&gt; &amp;", "| a | b |", "*a* _b_ `c` ~~d~~ $x$",
    "# head", "1. item", "---", "===", "\\input{/etc/passwd}", "\\end{tabular}", "* star", "[1ex]", "100% ^_{}#~",
    "αβ 日本 🧬 é",    "nul\0bell\a", "\u2028 \x85 x", '"quoted"', "'", "{{ 7 * 7 }}", "<<7>> <% set %>", "\\",
]  # fmt: skip
"""Titles that a reader of one of the forms would run, or would break on."""


def named(text: str) -> Table:
    """A table with a text everywhere that a text may stand."""
    heads = pd.MultiIndex.from_tuples([(f"group {text}", text), ("other", "n")])
    frame = pd.DataFrame([[Cell(text, bold=True), 1], [text, 2]], pd.Index([text, "last"], name=text), heads)
    return Table("x", text, frame, f"Caption {text}", text, [text, "last"])


def plain(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


class Page(HTMLParser):
    """The names of all tags, and the texts between them."""

    def __init__(self, table: Table):
        super().__init__()
        self.tags, self.texts = [], []
        self.handle_starttag = lambda tag, attributes: self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self.handle_data = self.texts.append
        self.feed(re.sub("<(style|script)>.*?</\\1>|<wbr>", "", render(table, "html"), flags=re.DOTALL))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(HOSTILE)
    | st.text(st.sampled_from("=+-@#|[]()<>!&*_~`$\\'\"{}%^. \t\n\r1aé\u2028\0"), max_size=20).filter(plain)
)
def test_no_text_runs_or_breaks_the_table_that_it_stands_in(text):
    """By a reader of CSV, by one that cuts at tabs and lines, and by parsers of Markdown and HTML."""
    table = named(text)
    lines = list(csv.reader(io.StringIO(tsv(table)), delimiter="\t", strict=True))
    assert [line[2:] for line in lines] == [["other: n"], ["1"], ["2"]] and plain(text) in (
        lines[1][1],
        lines[1][1][1:],
    )
    assert [line.count("\t") for line in tsv(table).splitlines()] == [2, 2, 2]
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line)
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(render(table, "md"))
    inline = [token.children for token in tokens if token.type == "inline"]
    parts = {child.type for children in inline for child in children}
    assert parts <= {"text", "text_special", "strong_open", "strong_close"}
    kinds = Counter(token.type.removesuffix("_open") for token in tokens if token.nesting >= 0)
    assert kinds == {"heading": 1, "paragraph": 4, "table": 1, "thead": 1, "tbody": 1, "tr": 3, "th": 3, "td": 6,
                     "bullet_list": 1, "list_item": 2, "inline": 14}  # fmt: skip
    shown = Counter("".join(child.content for child in children).strip() for children in inline)
    assert shown[plain(text)] >= 5
    assert Page(table).tags == Page(named("harmless")).tags
    assert plain("".join(Page(table).texts)).count(plain(text)) >= 9


def contrast(one: str, other: str) -> float:
    """Of two colours #rgb or #rrggbb, by WCAG 2: 1 to 21."""
    lights = []
    for colour in (one, other):
        digits = "".join(2 * digit for digit in colour[1:]) if len(colour) == 4 else colour[1:]
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)


def test_text_stands_out_from_its_ground_by_day_and_by_night(table):
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    day, night = (
        dict(re.findall(r"--(\w+): (#\w+);", style)) for style in re.findall(r":root \{.*?\}", render(table, "html"))
    )
    pairs = [("text", "page"), ("text", "shade"), ("link", "page"), ("link", "shade"), ("warn", "page")]
    for colours in (day, day | night):
        assert min(contrast(colours[a], colours[b]) for a, b in pairs) >= 4.5


@needs_pdflatex
def test_latex_compiles_and_fits_the_page_whatever_the_texts_and_however_large(table, tmp_path):
    tables = [table, wide(18, 3), wide(36, 8), wide(150, 2), *map(named, HOSTILE)]
    compiled([render(each, "tex") for each in tables], tmp_path)
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
