import pandas as pd
import pytest

from convnova.evaluation.leakage.overlap_scores import COLUMNS
from convnova.reporting.leakage_table import leakage_table
from convnova.reporting.render import render

LINE = {
    "suite": "marks", "task": "H3", "model": "CNN", "protocol": "heldout", "seeds": 2, "metric": "mcc",
    "test_rows": 1000, "leaking": 50, "leaking_classes": "48 / 2", "score": 0.7, "clean": 0.65,
    "clean_low": 0.6, "clean_high": 0.7, "leaking_score": 0.9, "clean_minus_all": -0.05, "sd": 0.01,
}  # fmt: skip


def table(*changes: dict):
    return leakage_table(pd.DataFrame([LINE | of_line for of_line in changes], columns=COLUMNS))


def test_the_columns_for_reading_and_every_number():
    leaks = table({}, {"model": "LegNet", "clean_minus_all": 0.0101})
    *_, first, second = (line for line in render(leaks, "md").splitlines() if line.startswith("|"))
    assert first == "| H3 | CNN | heldout | 1,000 | 50 | 48 / 2 | 0.700 | 0.650 | 0.900 | -0.050 |"
    assert second.endswith("| +0.010 |")
    assert render(leaks, "tsv").splitlines()[0].split("\t") == COLUMNS
    assert "move by -0.050 to +0.010." in leaks.summary


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"leaking": 0}, "no test row shares bases with a training row"),
        ({"clean_minus_all": float("nan")}, "there is no score"),
    ],
)
def test_scores_that_are_not_known_do_not_move(changes, part):
    assert part in table(changes, changes | {"model": "LegNet"}).summary
