import math
from pathlib import Path

import numpy as np
import pytest

from convnova.errors import ConvNovaError
from convnova.reporting import published as module
from convnova.reporting.published import (
    Verdict,
    judge,
    read_published,
    reference_of,
    reference_values,
    tolerance,
    why_not_comparable,
)

CONFIG = Path(__file__).resolve().parents[2] / "config" / "published.csv"
HEADER = "table,suite,task,model,pretrained,params,metric,mean,spread,spread_kind,source,confidence"
ROW = "ConvNova Table 1,nucleotide_transformer,H3,ConvNova,yes,1.7M,mcc,0.815,,,MergeDNA Table 2,copied"


@pytest.fixture(scope="module")
def published():
    return read_published(CONFIG)


def test_every_published_number_has_a_source(published):
    assert len(published) == len(CONFIG.read_text().splitlines()) - 1
    assert (published["source"] != "").all()
    assert published["mean"].between(-0.01, 1).all()  # one MCC is below 0


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("MergeDNA Table 2", "", "source"), ("0.815", "", "mean = ''"), ("0.815", "81.5", "mean = '81.5'"),
        ("0.815", "nan", "mean = 'nan'"), ("0.815", "-1.1", "mean = '-1.1'"), (",copied", "", ".*12 cells.* 11"),
        ("copied", "", "confidence = ''"),
        ("copied", "sure", "confidence = 'sure'.*owner, quoted"), ("copied", "copied,more", ".*12 cells.* 13"),
        ("0.815,", "0.815,2", "spread = '2'"), ("0.815,", "0.815,wide", "spread = 'wide'"),
        ("H3,", "H4,", ".*H4.*twice"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_trusted_is_refused_by_its_line(tmp_path, before, after, named):
    path = tmp_path / "published.csv"
    path.write_text("\n".join([HEADER, ROW.replace("H3", "H4"), ROW.replace(before, after)]) + "\n")
    with pytest.raises(ConvNovaError, match=f"line 3: {named}"):
        read_published(path)


def test_other_columns_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "few.csv").write_text("table,mean\n")
    for name, named in (("none.csv", "none.csv: .*nothing"), ("few.csv", "few.csv: .*suite, task, .* missing")):
        with pytest.raises(ConvNovaError, match=named):
            read_published(tmp_path / name)


def test_a_suite_is_compared_with_one_table_alone(published):
    found = reference_values(published)
    caduceus = found["nucleotide_transformer", "H3K14ac", "Caduceus-Ph"]
    assert (caduceus.mean, caduceus.table) == (0.6084, "ConvNova Table 1")  # 0.631 in Caduceus's own table
    assert found["nucleotide_transformer", "H3", "ConvNova"].mean == 0.815
    assert found["genomic_benchmarks", "human_enhancers_cohn", "ConvNova"].mean == 0.743
    assert found.keys().isdisjoint([
        ("genomic_benchmarks", "human_enhancers_cohn", "CNN (supervised)"), ("chromatin_profile", "TF", "DeepSEA (1k)"),
        ("mine", "H3", "ConvNova"), ("nucleotide_transformer", "H3", None),
    ])  # fmt: skip
    known = set(published["table"])
    assert all(table in known for table, *_ in module.COMPARISONS.values() if table)


def test_a_model_that_a_table_of_rivals_has_not_stands_beside_the_rival(published):
    """Numbers read off the authors' image by hand; other tables of GUE have others for the same model and task."""
    found = reference_values(published)
    for name in ("ConvNova*", None):
        rival = reference_of(found, "gue", "mouse_0", name)
        assert (rival.model, rival.mean, rival.table) == ("DNABERT-2", 0.5676, "DNABERT-2 GUE table")
        assert why_not_comparable("gue", rival, "heldout", "mcc", 1.7e6) == ""
        assert "other protocol" in why_not_comparable("gue", rival, "released", "mcc", 1.7e6)
    assert reference_of(found, "gue", "tf_2", "NT-2500M-multi").model == "NT-2500M-multi"
    assert reference_of(found, "nucleotide_transformer", "H3", None) is None
    assert reference_of(found, "mine", "mouse_0", None) is None


def test_beside_a_rival_the_noise_of_the_test_rows_counts_too():
    assert tolerance(np.full(3, 0.8), 0.06, math.nan, is_rival=True) == 0.06
    seeds = 4.302653 * 0.01 / math.sqrt(3)  # t(0.975, 2) of any table
    assert tolerance(np.array([0.80, 0.81, 0.82]), 0.06, math.nan, True) == pytest.approx((seeds**2 + 0.06**2) ** 0.5)


def test_tolerance_is_students_prediction_interval_or_the_wider_published_spread():
    ours = np.array([0.80, 0.81, 0.82])
    known = 4.302653 * 0.01 * math.sqrt(4 / 3)  # t(0.975, 2) of any table
    assert tolerance(ours, 0.5, math.nan) == pytest.approx(known, rel=1e-6)
    assert tolerance(ours, 0.5, 0.06) == 0.06
    assert tolerance(np.full(3, 0.8), 0.5, math.nan) == 0.0005
    assert tolerance(ours[:2], 0.02, math.nan) == 0.02
    assert math.isnan(tolerance(ours[:1], math.nan, 0.06))


def test_published_sizes():
    assert [module.parse_size(text) for text in ("386K", "1.7M", "2.5B")] == [386e3, 1.7e6, 2.5e9]
    assert math.isnan(module.parse_size(""))


@pytest.mark.parametrize(
    ("reason", "mean", "margin", "expected"),
    [
        ("", 0.825, 0.0101, "agrees"), ("", 0.805, 0.0101, "agrees"), ("", 0.826, 0.0101, "above"),
        ("", 0.804, 0.0101, "below"), ("", math.nan, math.nan, "not run"),
        ("other split", 0.82, 0.01, "not comparable (other split)"),
        ("", 0.80, math.nan, "not comparable (one or two seeds and no interval)"),
    ],
)  # fmt: skip
def test_verdicts(published, reason, mean, margin, expected):
    found = reference_values(published)["nucleotide_transformer", "H3", "ConvNova"]
    assert str(judge(found, reason, mean, margin)) == expected


def test_a_verdict_without_a_published_number():
    assert judge(None, "", 0.82, 0.01) == Verdict("not published")
    assert judge(None, "other data", 0.82, 0.01) == Verdict("not comparable", "other data")


@pytest.mark.parametrize(
    ("suite", "task", "protocol", "metric", "size", "expected"),
    [
        ("nucleotide_transformer", "H3", "released", "mcc", 1.69e6, ""),
        ("nucleotide_transformer", "H3", "heldout", "mcc", 1.69e6, "other protocol"),
        ("nucleotide_transformer", "H3", "released", "accuracy", 1.69e6, "other metric"),
        ("nucleotide_transformer", "H3", "released", "mcc", 1.54e6, ""),
        ("nucleotide_transformer", "H3", "released", "mcc", 1.52e6, "1.52M"),
        ("nucleotide_transformer", "promoter_tata", "released", "f1_macro", 1.69e6, ""),
        ("nucleotide_transformer", "promoter_tata", "released", "f1_binary", 1.69e6, "other metric"),
        ("genomic_benchmarks", "human_enhancers_cohn", "released", "accuracy", 386240, "pretrained"),
        ("gene_finding", None, "released", "mcc", 1e6, "not known"),
        ("mine", None, "released", "mcc", 1e6, "other data"),
    ],
)
def test_reasons_against_a_comparison(published, suite, task, protocol, metric, size, expected):
    found = reference_values(published).get((suite, task, "ConvNova"))
    reason = why_not_comparable(suite, found, protocol, metric, size)
    assert expected in reason and bool(reason) == bool(expected)
