import math
import time

import numpy as np
import pandas as pd
import pytest
from latex import compiled, needs_pdflatex
from made_up_scores import CONFIG, CP, GB, NT, changed, only, table_texts, thousand_runs
from sklearn.metrics import matthews_corrcoef

from convnova.config.schema import Simulate
from convnova.errors import ConvNovaError
from convnova.reporting.comparison_figures import write_comparisons
from convnova.reporting.comparison_tables import comparison_tables
from convnova.reporting.figures import write_figures
from convnova.reporting.render import layout, render
from convnova.reporting.suite_tables import COLUMNS, suite_tables
from convnova.reporting.table import Table


@pytest.fixture(scope="module")
def tables(scores, published) -> dict[str, Table]:
    return {table.name: table for table in suite_tables(scores, published, CONFIG)}


def lines(table: Table) -> dict[tuple[str, str, str], dict]:
    """The results by row, model and protocol."""
    return {(line["row"], line["model"], line["protocol"]): line for line in table.data.to_dict("records")}


def test_tables_are_the_same_each_time(tables, scores, published):
    for table in suite_tables(scores.sample(frac=1, random_state=1), published, CONFIG):
        assert all(render(table, form) == render(tables[table.name], form) for form in ("tsv", "md"))


def test_numbers_of_a_cell_by_hand(tables):
    """0.81, 0.82, 0.83: mean 0.82, standard deviation 0.01, range 0.02; published 0.815."""
    cell, heldout = (lines(tables[NT])["H3", "convnova", protocol] for protocol in ("released", "heldout"))
    numbers = {
        "n": 3, "n_expected": 3, "mean": 0.82, "sd": 0.01, "range": 0.02, "low": 0.8, "high": 0.84,
        "released_minus_heldout": 0.01, "published": 0.815, "difference": 0.005, "mcc": 0.82, "n_test": 1497,
        "parameters": 1690000, "receptive_field": 193, "seconds": 12, "tolerance": 4.302653 * 0.01 * math.sqrt(4 / 3),
    }  # fmt: skip
    assert {name: cell[name] for name in numbers} == pytest.approx(numbers, abs=1e-6) and math.isnan(cell["f1_macro"])
    words = {"seeds": "1,2,3", "published_table": "ConvNova Table 1", "published_confidence": "copied",
             "title": "ConvNova", "metric": "mcc", "task": "H3", "best": True, "simulated": False}  # fmt: skip
    assert {name: cell[name] for name in words} == words
    gains = [heldout[f"{name}_gain"] for name in ("test_best", "per_batch", "per_batch_sorted")]
    assert gains == pytest.approx([0.02, -0.002, -0.71])


def test_the_tsv_has_a_line_a_row_model_and_protocol(tables):
    rows = [line.split("\t") for line in render(tables[NT], "tsv").splitlines()]
    assert rows[0] == COLUMNS and {len(row) for row in rows} == {len(COLUMNS)} and len(rows) == 1 + 2 * 3 * 2
    line = dict(zip(COLUMNS, rows[2], strict=True))
    assert (line["best"], line["simulated"], line["seeds"], line["difference"]) == ("true", "false", "1,2,3", "0.005")
    assert line["published_source"].startswith("MergeDNA (arXiv 2511.14806)")
    assert set(tables[CP].data["row"]) == {"DHS", "TF", "HM"}


def test_models_stand_side_by_side_with_their_protocols_and_the_published_value(tables):
    read = layout(tables[NT])
    assert read.groups == [("", 2), ("ConvNova", 4), ("ConvNova (from scratch)", 4), ("CNN", 4)]
    heads = ["task", "metric", "heldout", "released", "released - heldout", "published"]
    assert [head.text for head in read.heads[:6]] == heads
    h3, promoter, last = table_texts(tables[NT])
    assert h3 == [
        "H3", "MCC", "0.810 ± 0.010", "0.820 ± 0.010", "+0.010", "0.815, agrees",
        "(n=0 of 3)", "0.780 ± 0.000", "", "0.812 ± 0.017, below",
        "0.710 ± 0.014 (n=2 of 3)", "0.730 ± 0.026", "+0.020", "not published",
    ]  # fmt: skip
    assert promoter[9] == "0.969 ± 0.003, not comparable [1]" and promoter[11] == "0.900 (n=1 of 3)"
    assert last == ["receptive field", "bp", "193 bp", *3 * [""], "193 bp", *3 * [""], "whole sequence", *3 * [""]]
    assert [note[:35] for note in read.notes] == [
        "[1] Not comparable: other size: our", "Published, ConvNova (copied): Merge",
        "Published, ConvNova* (inferred): Ja",
    ]  # fmt: skip
    bold = [[cell.text for cell in row if cell.bold] for row in read.rows]
    assert bold == [["0.810 ± 0.010", "0.820 ± 0.010"], ["0.950 ± 0.010", "0.950 ± 0.000", "0.981 ± 0.001"], []]
    anchors = [cell.anchor for row in read.rows for cell in row if cell.anchor]
    assert anchors == [f"{NT}.{line.Index}" for line in tables[NT].data.itertuples() if line.n]
    assert anchors[0] == f"{NT}.1" and len(anchors) == 10


def test_the_mean_areas_of_groups_are_a_note(tables):
    assert table_texts(tables[CP])[0][:3] == ["DHS", "median AUROC", "0.912 ± 0.002"]
    (note,) = [note for note in tables[CP].notes if note.startswith("Mean AUROC")]
    assert note.endswith(", heldout: DHS, ConvNova 0.900; TF, ConvNova 0.940.")


def test_verdicts_of_all_kinds_and_each_of_one_paper(tables):
    verdicts = {key: str(line["verdict"]) for table in tables.values() for key, line in lines(table).items()}
    for key, known in {
        ("H3", "convnova", "released"): "agrees",
        ("H3", "convnova", "heldout"): "not comparable (other protocol: published by released)",
        ("H3", "convnova_scratch", "heldout"): "not run",
        ("H3", "convnova_scratch", "released"): "below",
        ("H3", "cnn", "released"): "not published",
        ("TF", "convnova", "heldout"): "not comparable (the paper's numbers are not known)",
    }.items():
        assert verdicts[key] == known
    assert "other size" in verdicts["promoter_tata", "convnova_scratch", "released"]
    assert "unknown settings" in verdicts["human_enhancers_cohn", "convnova", "released"]
    for suite, table in ((NT, "ConvNova Table 1"), (GB, "ConvNova Table 2"), (CP, "")):
        assert {*tables[suite].data["published_table"].dropna()} == {table} - {""}


def test_a_model_that_predicts_one_class_is_flagged_with_its_seeds_and_what_to_do(tables, scores, published):
    """scikit-learn's MCC of a constant prediction is 0 as well."""
    assert matthews_corrcoef([0, 1, 1, 0, 1], [1, 1, 1, 1, 1]) == 0
    of_h3 = (scores["row"] == "H3") & (scores["model"] == "convnova") & (scores["protocol"] == "heldout")
    collapsed = scores.assign(mcc=scores["mcc"].where(~(of_h3 & scores["seed"].isin([1, 3])), 0.0))
    table = next(table for table in suite_tables(collapsed, published, CONFIG) if table.name == NT)
    (flagged,) = [note for note in layout(table).notes if "one class" in note]
    assert "seed 1,3" in flagged and "lower the learning rate" in flagged
    assert flagged[:3] in table_texts(table)[0][2]
    assert not any("one class" in note for note in layout(tables[NT]).notes)


def test_equal_means_are_both_best_and_a_single_model_is_not(scores, published):
    even = scores[scores["suite"] == GB]
    even = even.assign(score=np.where(even["model"] == "cnn", 0.7, 0.7004))  # the same in three decimals
    table = next(table for table in suite_tables(even, published, CONFIG) if table.name == GB)
    assert table.data["best"].sum() == 2
    (table, *_) = suite_tables(scores[scores["model"] == "convnova"], published, only(CONFIG, "convnova"))
    assert not table.data["best"].any() and "Bold" not in table.caption and "best" not in table.summary


def test_summary_by_hand(tables):
    """H3: 0.82 against 0.815; scratch 0.78 against 0.812; promoter_tata: 0.952 against 0.9634."""
    first, heldout, released, gain, comparison = tables[NT].summary.split("; ")
    assert first == "27 of 36 scores are in" and ": ConvNova 2, ConvNova (from scratch) 1 (ties" in heldout
    assert "rows of 2: ConvNova 1, ConvNova (from scratch) 1" in released
    assert "+0.016 " in gain and " 4 pairs" in gain
    assert comparison.startswith("of 3 ") and comparison.endswith("1 agree, 0 above, 2 below, mean difference -0.013.")
    assert "ties" not in tables[GB].summary
    assert tables[CP].summary.startswith("6 of 54 scores are in, of 3 fine-tunings;")


def test_captions_say_what_was_run(tables, scores, published):
    assert "over the seeds 1, 2, 3;" in tables[NT].caption and "ConvNova Table 1" in tables[NT].caption
    assert "Published" not in tables[CP].caption
    (table,) = suite_tables(scores[:0], published, changed(only(CONFIG, GB), protocols=["cv"]))
    assert "over the seeds 1, 2, 3, 4, 5;" in table.caption and "5 of ten folds" in table.caption
    assert "heldout" not in table.caption.split("compared")[0]
    (table,) = suite_tables(scores[:0], published, changed(only(CONFIG, GB), seeds=[7]))
    assert table.caption.startswith("One run, with seed 7.")


@pytest.mark.parametrize("by_config", [True, False])
def test_a_simulated_genome_is_compared_with_nothing(scores, published, by_config):
    config = changed(CONFIG, simulate=Simulate() if by_config else None)
    for table in suite_tables(scores.assign(simulated=not by_config), published, config):
        assert table.simulated and table.data["simulated"].all() and table.data["published"].isna().all()
        assert {str(verdict) for verdict in table.data["verdict"]} == {"simulated genome"}
        assert "published" not in [head.text for head in layout(table).heads] and "Published" not in table.caption
        assert "no comparison with the paper" in table.summary


def test_one_protocol_has_no_difference_and_says_why_it_is_not_compared(scores, published):
    config = changed(CONFIG, protocols=["heldout"])
    (table, *_) = suite_tables(scores[scores["protocol"] == "heldout"], published, config)
    assert [head.text for head in layout(table).heads[2:4]] == ["heldout", "published"]
    assert table_texts(table)[0][3] == "0.815, not comparable [1]" and "nothing to compare" in table.summary
    assert layout(table).notes[0] == "[1] Not comparable: other protocol: published by released."


def test_a_score_outside_the_config_is_in_no_table_or_figure(scores, published, tmp_path):
    config = changed(CONFIG, seeds=[1, 2])
    for make in (
        lambda: next(suite_tables(scores, published, config)),
        lambda: write_figures(scores, published, config, tmp_path / "out"),
        lambda: write_comparisons(scores, config, tmp_path / "out"),
    ):
        with pytest.raises(ConvNovaError, match="found seed 3"):
            make()
    assert not (tmp_path / "out").exists()


def test_a_thousand_runs_take_seconds(published, paper_numbers, tmp_path):
    frame, config = thousand_runs()
    started = time.process_time()
    tables = [*suite_tables(frame, published, config), *comparison_tables(frame, paper_numbers, config)]
    assert len(frame) == 1080 and all(render(table, "html") for table in tables)
    write_figures(frame, published, config, tmp_path)
    assert time.process_time() - started < 30


@needs_pdflatex
def test_all_tables_of_a_run_are_one_float_each_within_the_margins(scores, published, tmp_path):
    """Of three models by two protocols, beside published values, and of eight models."""
    many, config = thousand_runs()
    two_more = [many[many["model"] == "model_0"].assign(model=f"model_{i}") for i in (6, 7)]
    models = {f"model_{i}": {"title": f"Model {i} (from scratch)", "architecture": "cnn"} for i in range(8)}
    of_eight = (pd.concat([many, *two_more]), published, changed(config, models=models))
    texts = [render(table, "tex") for given in ((scores, published, CONFIG), of_eight)
             for table in (*suite_tables(*given), *comparison_tables(*given))]  # fmt: skip
    assert len(texts) > 10 and {text.count(r"\begin{table*}") for text in texts} == {1}
    compiled(texts, tmp_path)
