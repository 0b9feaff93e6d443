import numpy as np
import pytest
from made_up_scores import CONFIG, GB, changed, only, table_rows, thousand_runs
from scipy.stats import wilcoxon

from convnova.reporting.comparison_tables import comparison_tables, comparisons, gains, protocols
from convnova.runs.outputs import extra_table_titles


def test_what_a_run_will_write_is_known_before(scores, paper_numbers):
    for config in (CONFIG, changed(only(CONFIG, "cnn"), protocols=["cv"])):
        tables = list(comparison_tables(scores[:0], paper_numbers, config))
        assert {table.name: table.title for table in tables} == extra_table_titles(config)
    assert "comparisons" not in extra_table_titles(only(CONFIG, "cnn"))
    assert not extra_table_titles(changed(CONFIG, suites={}))


def test_what_other_conventions_would_have_reported(scores):
    """H3, ConvNova: heldout 0.80 0.81 0.82, best on test 0.01 0.02 0.03 more; released 0.82; batches 0.002 less."""
    runs = scores[(scores["row"] == "H3") & (scores["model"] == "convnova")]
    expected = {"released": 0.01, "test_best": 0.02, "per_batch": -0.002, "per_batch_sorted": 0.1 - 0.81}
    assert gains(runs) == pytest.approx(expected)
    table = protocols(scores, changed(CONFIG, protocols=["heldout", "cv", "released"]))
    assert list(table_rows(table)[0].values())[2:] == [
        "0.810 ± 0.010", "", "0.820 ± 0.010", "+0.010", "+0.020", "-0.002", "-0.710", "193 bp",
    ]  # fmt: skip
    assert table.summary == (
        "mean over tasks and models (how many): released - heldout +0.016 (4), best epoch on test +0.020 (1), mean of "
        "batches -0.002 (1), batches sorted by class -0.710 (1)."
    )
    alone = protocols(scores, changed(CONFIG, protocols=["heldout"]))
    assert "released - heldout" not in alone.frame and "best epoch on test" in alone.frame
    assert "released" in table.caption and "released" not in alone.caption
    unknown = protocols(scores[:0].assign(receptive_field=np.nan), CONFIG)
    assert unknown.summary == "nothing to compare yet."
    assert {row["receptive field"] for row in table_rows(unknown)} == {""}


def test_pairs_are_scipys_wilcoxon_over_the_means_of_tasks(scores):
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
    (pair, *_) = table_rows(comparisons(scores, only(CONFIG, GB)))
    assert (pair["pair"], pair["receptive fields"]) == ("ConvNova - CNN", "193 bp, whole sequence")
