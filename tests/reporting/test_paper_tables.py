import pandas as pd
import pytest
from made_up_scores import CONFIG, FILES, changed, only, table_rows

from convnova.config.schema import Simulate
from convnova.reporting.comparison_tables import comparison_tables
from convnova.reporting.paper_tables import paper_table
from convnova.reporting.render import layout, render
from convnova.reporting.table import Table
from convnova.runs.outputs import PAPER_TABLES

WHOLE = changed(CONFIG, protocols=["heldout", "cv", "released"])


@pytest.fixture(scope="module")
def tables(scores, paper_numbers) -> dict[str, Table]:
    return {table.name: table for table in comparison_tables(scores, paper_numbers, WHOLE)}


def test_every_table_of_tasks_ends_with_the_receptive_fields(tables):
    for name in PAPER_TABLES.keys() & tables.keys():
        (last,) = [row for row in table_rows(tables[name]) if row["task"].startswith("receptive field")]
        assert last["ours: ConvNova"] == "193 bp" and last["metric"] == "bp"


def test_ours_stands_beside_the_published_column_of_the_same_model(tables):
    table = tables["convnova_table_1"]
    h3, *others = table_rows(table)
    expected = {
        "task": "H3", "metric": "MCC", "ConvNova": "0.815", "Caduceus-Ph": "0.805", "ours: ConvNova": "0.820 ± 0.010",
        "difference: ConvNova": "+0.005", "verdict: ConvNova": "agrees",
        "difference: ConvNova (from scratch)": "-0.032", "verdict: ConvNova (from scratch)": "below",
    }  # fmt: skip
    assert {head: h3[head] for head in expected} == expected and "verdict: CNN" not in h3
    assert len(others) == 17 + 1  # the receptive fields
    unrun = next(row for row in others if row["task"] == "H4ac")
    assert (unrun["ours: ConvNova"], unrun["ConvNova"], unrun["verdict: ConvNova"]) == ("", "0.661", "not run")
    assert table.summary == "6 of 54 cells of ours are run; 1 of 3 agree, mean difference -0.013."


def test_the_claim_of_the_docs_by_the_papers_own_numbers(paper_numbers):
    """5.745 points over the ten histone marks, as the abstract rounds it."""
    wide = paper_numbers[paper_numbers["table"] == "ConvNova Table 1"].pivot(
        index="task", columns="model", values="mean"
    )
    ours, others = wide["ConvNova"], wide.drop(columns=["ConvNova", "ConvNova*"])
    assert ((ours >= others.max(axis=1)).sum(), *others.shape) == (13, 18, 4)
    marks = wide.index.str.match(r"H\d")
    assert ours[marks].mean() - others[marks].mean().max() == pytest.approx(0.05745) and marks.sum() == 10


def test_the_best_published_column_is_bold(tables):
    for row in layout(tables["convnova_table_1"]).rows[:-1]:
        best = max(cell.value for cell in row[2:8])
        assert [cell.bold for cell in row[2:8]] == [cell.value == best for cell in row[2:8]]


def test_a_number_that_cannot_be_compared_has_no_difference_and_a_footnote(tables):
    table = tables["convnova_table_2"]
    row = next(row for row in table_rows(table) if row["task"] == "human_enhancers_cohn")
    assert (row["difference: ConvNova"], row["verdict: ConvNova"]) == ("", "not comparable [1]")
    assert layout(table).notes[0].startswith("[1] Not comparable: unknown settings")
    assert "none may be compared" in table.summary
    assert "\tnot comparable (unknown settings: " in render(table, "tsv")


def test_papers_by_cross_validation_stand_beside_ours_by_folds_and_their_own_metric(scores, paper_numbers):
    folds = scores[(scores["row"] == "promoter_tata") & (scores["protocol"] == "heldout")]
    folds = folds[folds["model"] == "convnova"].assign(protocol="cv", f1_binary=[0.91, 0.93, 0.95], score=0.5)
    table = paper_table("caduceus_table_2", folds, paper_numbers, WHOLE)
    row = next(row for row in table_rows(table) if row["task"] == "promoter_tata")
    assert row["metric"] == "F1 (class 1)"
    assert row["ours: ConvNova"] == "0.930 ± 0.040 (n=3 of 10)"  # largest minus smallest, as the papers print it
    assert "by cv: " in table.caption and "by released: " not in table.caption
    assert set(row) >= {"Caduceus-Ph", "Caduceus-PS", "HyenaDNA"} and "ConvNova" not in row
    assert table.summary == "1 of 54 cells of ours are run; none may be compared with a published one."


def test_no_table_mixes_two_papers(scores, paper_numbers):
    for name, paper in PAPER_TABLES.items():
        if paper.suite not in WHOLE.suites:
            continue
        table = paper_table(name, scores[:0], paper_numbers, WHOLE)
        theirs = paper_numbers[paper_numbers["table"] == paper.published]
        shown = {cell.text for row in layout(table).rows for cell in row[2:] if cell.text[:1].isdigit()}
        assert shown == {f"{value:.3f}" for value in theirs["mean"]}
        for model in set(theirs["model"]):
            assert any(model in note and note.startswith("Published, ") for note in table.notes)


def test_a_table_of_rivals_has_our_tasks_and_says_whom_ours_are_above(scores, paper_numbers):
    """DNABERT-2 has 0.568 on mouse_0 and 0.793 on mouse_2 in its own table, whose best are 0.642 and 0.813."""
    suite = {"gue": {"title": "GUE", "format": "csv", "tasks": dict.fromkeys(("mouse_0", "mouse_2"), FILES)}}
    runs = scores[(scores["row"] == "H3") & (scores["protocol"] == "heldout") & (scores["model"] == "convnova")]
    ours = pd.concat([
        runs.assign(suite="gue", task=task, row=task, low=mean - 0.03, high=mean + 0.03, parameters=1.7e6,
                    **{"score": [mean - 0.01, mean, mean + 0.01], "mcc": [mean - 0.01, mean, mean + 0.01]})
        for task, mean in (("mouse_0", 0.7), ("mouse_2", 0.8))
    ])  # fmt: skip
    table = paper_table("dnabert2_gue_table", ours, paper_numbers, only(changed(CONFIG, suites=suite), "convnova"))
    mouse_0, mouse_2, _ = table_rows(table)
    assert (mouse_0["DNABERT-2"], mouse_0["ours: ConvNova"]) == ("0.568", "0.700 ± 0.010")
    found = [(row["difference: ConvNova"], row["verdict: ConvNova"]) for row in (mouse_0, mouse_2)]
    assert found == [("+0.132", "above"), ("+0.007", "agrees")]
    assert "of 2 tasks: above DNABERT-2 on 2, above every published model on 1." in table.summary
    assert "to DNABERT-2" in table.caption and "by heldout: " in table.caption


def test_a_simulated_genome_is_compared_with_nothing(scores, paper_numbers):
    for table in comparison_tables(scores, paper_numbers, changed(WHOLE, simulate=Simulate())):
        heads = {head.text for head in layout(table).heads}
        assert table.simulated and not {"ConvNova*", "Caduceus-Ph", "verdict: ConvNova"} & heads
        assert not table.notes or table.name == "comparisons"
