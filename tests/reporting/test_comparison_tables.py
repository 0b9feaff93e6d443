import time
from pathlib import Path

import numpy as np
import pytest
from latex import compiled, needs_pdflatex
from made_up_scores import CONFIG, changed, only, thousand_runs
from scipy.stats import wilcoxon

from convnova.config.schema import Simulate
from convnova.reporting.comparison_tables import comparison_tables, comparisons, gains, protocols
from convnova.reporting.paper_tables import paper_table
from convnova.reporting.published import read_published
from convnova.reporting.render import layout, render
from convnova.reporting.table import Table
from convnova.runs.outputs import PAPER_TABLES, extra_table_titles

SETTINGS = {"convnova": {"width": 128, "blocks": 5}, "cnn": {"embedding": 100}}
WHOLE = changed(
    CONFIG,
    protocols=["heldout", "cv", "released"],
    models={
        name: model.model_copy(update={"settings": SETTINGS.get(name, {})}) for name, model in CONFIG.models.items()
    },
)


@pytest.fixture(scope="module")
def published():
    return read_published(Path(__file__).parents[2] / "config" / "published.csv")


@pytest.fixture(scope="module")
def tables(scores, published) -> dict[str, Table]:
    return {table.name: table for table in comparison_tables(scores, published, WHOLE)}


def rows(table: Table) -> list[dict[str, str]]:
    """The texts of a table by their heads, which are unique."""
    read = layout(table)
    return [{head.text: cell.text for head, cell in zip(read.heads, row, strict=True)} for row in read.rows]


def test_what_a_run_will_write_is_known_before(scores, published):
    for config in (WHOLE, CONFIG, changed(only(CONFIG, "cnn"), protocols=["cv"])):
        tables = list(comparison_tables(scores[:0], published, config))
        assert {table.name: table.title for table in tables} == extra_table_titles(config)
    assert "comparisons" not in extra_table_titles(only(CONFIG, "cnn"))
    assert not extra_table_titles(changed(CONFIG, suites={}))


def test_every_table_has_the_receptive_fields(tables, scores):
    """A column where rows are models or pairs of them, a row in the arrangement of a paper; nothing if unknown."""
    columns = {"protocols": "receptive field", "comparisons": "receptive fields"}
    columns["convnova_ablations"] = "Nucleotide Transformer tasks: receptive field"
    for name, table in tables.items():
        assert table.frame.index.nlevels == 2
        if name in columns:
            assert rows(table)[0][columns[name]] in ("193 bp", "193 bp, 193 bp")
        else:
            (last,) = [row for row in rows(table) if row["task"].startswith("receptive field")]
            assert "193 bp" in (last.get("ours: ConvNova"), last.get("ConvNova")) and last["metric"] == "bp"
    (pair,) = [row for row in rows(tables["comparisons"]) if row["suite, protocol"].startswith("Genomic")]
    assert (pair["pair"], pair["receptive fields"]) == ("ConvNova - CNN", "193 bp, whole sequence")
    unknown = protocols(scores.assign(receptive_field=np.nan), WHOLE)
    assert {row["receptive field"] for row in rows(unknown)} == {""}


def test_ours_stands_beside_the_published_column_of_the_same_model(tables):
    table = tables["convnova_table_1"]
    h3, *others = rows(table)
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


def test_the_claim_of_the_docs_by_the_papers_own_numbers(published):
    """5.745 points over the ten histone marks, as the abstract rounds it."""
    wide = published[published["table"] == "ConvNova Table 1"].pivot(index="task", columns="model", values="mean")
    ours, others = wide["ConvNova"], wide.drop(columns=["ConvNova", "ConvNova*"])
    assert ((ours >= others.max(axis=1)).sum(), *others.shape) == (13, 18, 4)
    marks = wide.index.str.match(r"H\d")
    assert ours[marks].mean() - others[marks].mean().max() == pytest.approx(0.05745) and marks.sum() == 10


def test_the_best_published_column_is_bold(tables):
    for row in layout(tables["convnova_table_1"]).rows[:-1]:
        theirs = row[2:8]
        best = max(cell.value for cell in theirs)
        assert [cell.bold for cell in theirs] == [cell.value == best for cell in theirs]


def test_a_number_that_cannot_be_compared_has_no_difference_and_a_footnote(tables):
    table = tables["convnova_table_2"]
    row = next(row for row in rows(table) if row["task"] == "human_enhancers_cohn")
    assert (row["difference: ConvNova"], row["verdict: ConvNova"]) == ("", "not comparable [1]")
    assert layout(table).notes[0].startswith("[1] Not comparable: unknown settings")
    assert "none may be compared" in table.summary
    assert "\tnot comparable (unknown settings: " in render(table, "tsv")


def test_papers_by_cross_validation_stand_beside_ours_by_folds_and_their_own_metric(scores, published):
    folds = scores[(scores["row"] == "promoter_tata") & (scores["protocol"] == "heldout")]
    folds = folds[folds["model"] == "convnova"].assign(protocol="cv", f1_binary=[0.91, 0.93, 0.95], score=0.5)
    table = paper_table("caduceus_table_2", folds, published, WHOLE)
    row = next(row for row in rows(table) if row["task"] == "promoter_tata")
    assert row["metric"] == "F1 (class 1)"
    assert row["ours: ConvNova"] == "0.930 ± 0.040 (n=3 of 10)"  # largest minus smallest, as the papers print it
    assert set(row) >= {"Caduceus-Ph", "Caduceus-PS", "HyenaDNA"} and "ConvNova" not in row
    assert table.summary == "1 of 54 cells of ours are run; none may be compared with a published one."


def test_no_table_mixes_two_papers(scores, published):
    for name, paper in PAPER_TABLES.items():
        table = paper_table(name, scores[:0], published, WHOLE)
        theirs = published[(published["table"] == paper.published)]
        shown = {cell.text for row in layout(table).rows for cell in row[2:] if cell.text[:1].isdigit()}
        assert shown == {f"{value:.3f}" for value in theirs["mean"]}
        for model in set(theirs["model"]):
            assert any(note.startswith(f"Published, {model} (") for note in table.notes)


def test_a_simulated_genome_is_compared_with_nothing(scores, published):
    for table in comparison_tables(scores, published, changed(WHOLE, simulate=Simulate())):
        heads = {head.text for head in layout(table).heads}
        assert table.simulated and not {"ConvNova*", "Caduceus-Ph", "verdict: ConvNova"} & heads
        assert not table.notes or table.name == "comparisons"


def test_the_paper_s_long_range_tasks_are_ours_alone(tables):
    first, *_, last = rows(tables["convnova_tables_3_10"])
    assert list(first.values()) == ["DHS", "median AUROC", "heldout", "0.912 ± 0.002", "", ""]
    assert last["task"] == "receptive field, Chromatin profile (DeepSEA)"
    assert tables["convnova_tables_3_10"].summary.startswith("2 of 27 cells are run")


def test_blocks_of_the_models_that_have_them(tables):
    assert [list(row.values()) for row in rows(tables["convnova_table_9"])] == [
        ["H3", "MCC", "5"], ["promoter_tata", "F1 (macro)", "5"], ["receptive field", "bp", "193 bp"],
    ]  # fmt: skip


def test_all_models_with_what_differs_and_their_means(tables):
    """ConvNova by heldout: H3 0.81, promoter_tata 0.95."""
    first, second, third = rows(tables["convnova_ablations"])
    assert (first["settings"], second["settings"], third["settings"]) == ("width 128, blocks 5", "", "embedding 100")
    suite = "Nucleotide Transformer tasks"
    assert (first[f"{suite}: parameters"], first[f"{suite}: heldout"], first[f"{suite}: cv"]) == ("1.69M", "0.880", "")
    assert third[f"{suite}: receptive field"] == "whole sequence"


def test_what_other_conventions_would_have_reported(scores):
    """H3, ConvNova: heldout 0.80 0.81 0.82, best on test 0.01 0.02 0.03 more; released 0.82; batches 0.002 less."""
    runs = scores[(scores["row"] == "H3") & (scores["model"] == "convnova")]
    expected = {"released": 0.01, "test_best": 0.02, "per_batch": -0.002, "per_batch_sorted": 0.1 - 0.81}
    assert gains(runs) == pytest.approx(expected)
    table = protocols(scores, WHOLE)
    assert list(rows(table)[0].values())[2:] == [
        "0.810 ± 0.010", "", "0.820 ± 0.010", "+0.010", "+0.020", "-0.002", "-0.710", "193 bp",
    ]  # fmt: skip
    assert table.summary == (
        "mean over tasks and models (how many): released - heldout +0.016 (4), best epoch on test +0.020 (1), mean of "
        "batches -0.002 (1), batches sorted by class -0.710 (1)."
    )
    assert protocols(scores[:0], WHOLE).summary == "nothing to compare yet."


def test_pairs_are_scipys_wilcoxon_over_the_means_of_tasks():
    frame, config = thousand_runs()
    table = comparisons(frame, config)
    means = frame[frame["protocol"] == "heldout"].groupby(["model", "row"])["score"].mean().unstack("model")
    first = table.frame.iloc[0]
    assert first.name == ("Many, heldout", "Model 0 - Model 1") and len(table.frame) == 2 * 15
    assert first["p"] == pytest.approx(wilcoxon(means["model_0"], means["model_1"]).pvalue)
    assert first["mean difference"] == pytest.approx(np.mean(means["model_0"] - means["model_1"]))
    wins = (means["model_0"] > means["model_1"]).sum()
    assert (first["tasks"], first["won"], first["lost"]) == (18, wins, 18 - wins)
    different = (table.frame["p (Holm)"] <= 0.05).sum()
    assert table.summary.startswith(f"{different} of 30 pairs differ")
    assert table.notes[0].startswith("Many, heldout: Model 0 ") and len(table.notes) == 30


@needs_pdflatex
def test_latex_compiles_with_booktabs_alone(tables, tmp_path):
    compiled([render(table, "tex") for table in tables.values()], tmp_path)


def test_a_thousand_runs_take_seconds(published):
    frame, config = thousand_runs()
    started = time.process_time()
    assert all(render(table, "html") for table in comparison_tables(frame, published, config))
    assert time.process_time() - started < 10
