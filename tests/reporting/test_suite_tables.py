import csv
import math
import time
from html.parser import HTMLParser

import pytest
from browser import needs_chromium, opened
from latex import compiled, needs_pdflatex
from made_up_scores import CONFIG, CP, GB, GOLDEN, NT, changed, only, thousand_runs

from convnova.config.schema import Simulate
from convnova.errors import ConvNovaError
from convnova.reporting.suite_tables import tables, write_tables
from convnova.reporting.table_forms import TSV_COLUMNS, markdown


@pytest.fixture(scope="module")
def written(scores, published, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    return {path.name: path.read_text() for path in write_tables(scores, published, CONFIG, out)}


def lines(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    found = csv.DictReader(text.splitlines(), delimiter="\t")
    return {(line["row"], line["model"], line["protocol"]): line for line in found}


@pytest.mark.parametrize("suffix", ["tsv", "md", "tex"])
@pytest.mark.parametrize("suite", CONFIG.suites)
def test_tables_equal_the_committed_ones(written, suite, suffix):
    """After a change that is meant: read the difference, then copy the new file over the golden one."""
    assert written[f"{suite}.{suffix}"] == (GOLDEN / f"{suite}.{suffix}").read_text()


def test_tables_are_the_same_each_time(written, scores, published, tmp_path):
    shuffled = scores.sample(frac=1, random_state=1)
    assert {path.name: path.read_text() for path in write_tables(shuffled, published, CONFIG, tmp_path)} == written


def test_numbers_of_a_cell_by_hand(written):
    """0.81, 0.82, 0.83: mean 0.82, standard deviation 0.01, range 0.02; published 0.815."""
    cell = lines(written[f"{NT}.tsv"])["H3", "convnova", "released"]
    known = {
        "n": "3", "n_expected": "3", "seeds": "1,2,3", "mean": "0.82", "sd": "0.01", "range": "0.02", "low": "0.8",
        "high": "0.84", "released_minus_heldout": "0.01", "published": "0.815", "published_table": "ConvNova Table 1",
        "published_confidence": "copied", "difference": "0.005", "verdict": "agrees", "best": "true", "mcc": "0.82",
        "f1_macro": "", "n_test": "1497", "parameters": "1690000", "seconds": "12", "simulated": "false",
    }  # fmt: skip
    assert {name: cell[name] for name in known} == known
    assert float(cell["tolerance"]) == pytest.approx(4.302653 * 0.01 * math.sqrt(4 / 3), abs=1e-6)


def test_receptive_fields_are_a_column_of_the_tsv_and_a_row_where_models_stand_side_by_side(written, scores, published):
    assert {len(line.split("\t")) for line in written[f"{NT}.tsv"].splitlines()} == {len(TSV_COLUMNS)}
    of_cell = {key[1:]: line["receptive_field"] for key, line in lines(written[f"{NT}.tsv"]).items() if key[0] == "H3"}
    assert of_cell["convnova", "released"] == "193" and of_cell["cnn", "released"] == "inf"
    assert of_cell["convnova_scratch", "heldout"] == ""
    told = "| receptive field | bp | 193 bp |  |  |  | 193 bp |  |  |  | whole sequence |  |  |  |"
    assert told in written[f"{NT}.md"].splitlines()
    assert r"receptive field & bp & 193 bp &  & 193 bp &  \\" in written[f"{NT}.tex"].splitlines()
    assert Page(written[f"{NT}.html"]).rows[-1][:4] == ["receptive field", "bp", "193 bp", ""]
    wider = scores["receptive_field"].where(scores["row"] != "H3", 27329)
    (table, *_) = tables(scores.assign(receptive_field=wider), published, CONFIG)
    assert "193 bp to 27329 bp" in markdown(table)


def test_verdicts_of_all_kinds(written):
    verdicts = {key: line["verdict"] for suite in CONFIG.suites for key, line in lines(written[f"{suite}.tsv"]).items()}
    assert verdicts["H3", "convnova", "released"] == "agrees"
    assert verdicts["H3", "convnova", "heldout"] == "not comparable (other protocol: published by released)"
    assert verdicts["H3", "convnova_scratch", "heldout"] == "not run"
    assert verdicts["H3", "convnova_scratch", "released"] == "below"
    assert verdicts["H3", "cnn", "released"] == "not published"
    assert verdicts["promoter_tata", "convnova", "released"] == "below"
    assert verdicts["promoter_tata", "convnova_scratch", "released"] == (
        "not comparable (other size: ours 0.99M parameters, published 1.7M)"
    )
    assert verdicts["human_enhancers_cohn", "convnova", "released"] == (
        "not comparable (unknown settings: the sources do not say whether it was pretrained)"
    )
    assert verdicts["TF", "convnova", "heldout"] == "not comparable (the paper's numbers are not known)"


def test_no_row_mixes_two_papers(written):
    for suite, table in ((NT, "ConvNova Table 1"), (GB, "ConvNova Table 2"), (CP, "")):
        assert {line["published_table"] for line in lines(written[f"{suite}.tsv"]).values()} <= {table, ""}


def test_a_missing_seed_shows(written):
    assert lines(written[f"{NT}.tsv"])["H3", "cnn", "heldout"]["seeds"] == "1,3"
    for suffix in ("md", "tex", "html"):
        assert "(n=2 of 3)" in written[f"{NT}.{suffix}"]
        assert "0.900 (n=1 of 3)" in written[f"{NT}.{suffix}"]


def test_what_was_not_run_has_an_empty_cell_that_says_so(written):
    line = lines(written[f"{NT}.tsv"])["H3", "convnova_scratch", "heldout"]
    assert (line["n"], line["mean"], line["sd"]) == ("0", "", "")
    assert "(n=0 of 3)" in written[f"{NT}.md"]
    assert {row for row, *_ in lines(written[f"{CP}.tsv"])} == {"DHS", "TF", "HM"}


def test_the_best_of_a_row_and_protocol_is_bold(written):
    row = next(line for line in written[f"{NT}.md"].splitlines() if line.startswith("| H3 |"))
    assert row.count("**") == 4
    assert "**0.810 ± 0.010**" in row
    assert "**0.820 ± 0.010**" in row
    assert r"\textbf{0.820 $\pm$ 0.010}" in written[f"{NT}.tex"]
    assert "<strong>0.820 ± 0.010</strong>" in written[f"{NT}.html"]


def test_equal_means_are_both_bold_and_a_single_model_is_not(scores, published):
    even = scores[(scores["suite"] == GB)].copy()
    even["score"] = 0.7
    table = next(table for table in tables(even, published, CONFIG) if table.suite == GB)
    assert sum(cell.best for cell in table.cells.values()) == 2
    alone = only(CONFIG, "convnova")
    (table, *_) = tables(scores[scores["model"] == "convnova"], published, alone)
    assert not any(cell.best for cell in table.cells.values())


def test_summary_line_by_hand(written):
    """H3: 0.82 against 0.815; scratch 0.78 against 0.812; promoter_tata: 0.952 against 0.9634."""
    summary = next(line for line in written[f"{NT}.md"].splitlines() if line.startswith("**Summary:**"))
    assert "27 of 36 scores are in;" in summary
    assert "best by released, in rows of 2: ConvNova 1, ConvNova (from scratch) 1" in summary
    assert "of 3 cells beside published ones 1 agree, 0 above, 2 below, mean difference -0.013" in summary


def test_the_summary_says_of_how_many_fine_tunings_scores_of_groups_are_and_that_ties_count_for_each(written):
    """Chromatin profile: three fine-tunings, of two groups each. By heldout 0.950 twice for promoter_tata."""
    told = {suite: next(x for x in written[f"{suite}.md"].splitlines() if "Summary" in x) for suite in CONFIG.suites}
    assert "6 of 54 scores are in, of 3 fine-tunings;" in told[CP] and "fine-tunings" not in told[NT]
    ties = "(ties in the 3 decimals shown count for each)"
    assert f"by heldout, in rows of 2: ConvNova 2, ConvNova (from scratch) 1 {ties};" in told[NT]
    assert told[NT].count(ties) == 1 and ties not in told[GB]


@pytest.mark.parametrize("by_plan", [True, False])
def test_a_simulated_genome_is_said_everywhere_and_compared_with_nothing(scores, published, tmp_path, by_plan):
    config = changed(CONFIG, simulate=Simulate() if by_plan else None)
    for path in write_tables(scores.assign(simulated=not by_plan), published, config, tmp_path):
        text = path.read_text()
        if path.suffix == ".tsv":
            assert {line["verdict"] for line in lines(text).values()} == {"simulated genome"}
            assert {line["published"] for line in lines(text).values()} == {""}
        else:
            assert "Simulated genome: these numbers come from a small made-up genome" in text.replace("\n", " ")
            assert ": published" not in text and ">published" not in text and "& published" not in text
            assert "cannot be compared with the paper" in text.replace("\n", " ")
            assert "0.815" not in text


def test_one_protocol_has_no_difference_and_says_why_it_is_not_compared(scores, published, tmp_path):
    config = changed(CONFIG, protocols=["heldout"])
    write_tables(scores[scores["protocol"] == "heldout"], published, config, tmp_path)
    text = (tmp_path / f"{NT}.md").read_text()
    assert "released - heldout" not in text
    assert "0.815, not comparable [1]" in text
    assert "[1] Not comparable: other protocol: published by released." in text


def test_with_one_protocol_and_a_simulated_genome_there_is_nothing_to_compare(scores, published, tmp_path):
    config = changed(CONFIG, protocols=["heldout"], simulate=Simulate())
    write_tables(scores[scores["protocol"] == "heldout"], published, config, tmp_path)
    assert (tmp_path / f"{NT}.tex").read_text().count(r"\begin{tabular}") == 2
    assert (
        "| task | metric | ConvNova: heldout | ConvNova (from scratch): heldout | CNN: heldout |"
        in (tmp_path / f"{NT}.md").read_text()
    )


class Page(HTMLParser):
    """Tags, and the texts of the table's rows; an unclosed or crossed tag is an error."""

    VOID = {"meta", "wbr", "br"}

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_is_whole_and_needs_nothing_from_outside(written):
    page = Page(written[f"{NT}.html"])
    assert page.rows[0] == ["", "ConvNova", "ConvNova (from scratch)", "CNN"]
    assert page.rows[1][:4] == ["task", "metric", "heldout", "released"]
    assert page.rows[2][:4] == ["H3", "MCC", "0.810 ± 0.010", "0.820 ± 0.010"]
    assert len(page.rows) == 5
    assert all(len(row) == 2 + 3 * 4 for row in page.rows[1:])
    assert not {"src", "href"} & {name for _, attributes in page.tags for name in attributes}
    assert ("html", {"lang": "en"}) in page.tags


def test_names_with_special_letters_are_escaped(scores, published, tmp_path):
    config = changed(CONFIG, models={**CONFIG.models, "cnn": {"title": "CNN <50% & C_1>", "architecture": "cnn"}})
    write_tables(scores, published, config, tmp_path)
    assert r"CNN $<$50\% \& C\_1$>$" in (tmp_path / f"{NT}.tex").read_text()
    assert "CNN &lt;50% &amp; C_1&gt;" in (tmp_path / f"{NT}.html").read_text()
    assert r"CNN \<50% & C_1\>" in (tmp_path / f"{NT}.md").read_text()


@needs_chromium
@pytest.mark.parametrize(("clicks", "first"), [(1, "promoter_tata"), (2, "H3")])
def test_a_click_on_a_head_sorts_the_rows(written, tmp_path, clicks, first):
    """The column `released` of ConvNova: falling first, then rising."""
    click = "<script>" + "document.querySelectorAll('thead button')[3].click();" * clicks + "</script></body>"
    (tmp_path / "page.html").write_text(written[f"{NT}.html"].replace("</body>", click))
    dom, _ = opened(tmp_path / "page.html", tmp_path)
    assert Page(dom).rows[2][0] == first


@needs_pdflatex
def test_latex_compiles_with_booktabs_alone(written, tmp_path):
    compiled([written[f"{suite}.tex"] for suite in CONFIG.suites], tmp_path)
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_latex_has_as_many_cells_in_each_line_as_columns(written):
    for suite in CONFIG.suites:
        columns = 0
        for line in written[f"{suite}.tex"].splitlines():
            if line.startswith(r"\begin{tabular}"):
                columns = line.count("l", 15) + line.count("r", 16)
            elif line.endswith(r"\\") and r"\multicolumn" not in line:
                assert line.count(" & ") == columns - 1


def test_a_score_outside_the_plan_leaves_no_file_behind(scores, published, tmp_path):
    with pytest.raises(ConvNovaError, match="found seed 3"):
        write_tables(scores, published, changed(CONFIG, seeds=[1, 2]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_thousand_runs_take_seconds(published, tmp_path):
    frame, config = thousand_runs()
    started = time.perf_counter()
    write_tables(frame, published, config, tmp_path)
    assert len(frame) == 1080
    assert time.perf_counter() - started < 20
