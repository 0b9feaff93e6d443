from dataclasses import replace

import pytest

from convnova.evaluation.model_comparison import PairedOverTasks, PairedOverTestRows
from convnova.reporting.comparison_sentences import over_tasks, over_test_rows

ROWS = PairedOverTestRows(
    a="A", b="B", metric="MCC", test="paired bootstrap", unit="test rows", n=1500, seeds=1, higher=1,
    difference=0.0214, low=0.01, high=0.0349, p=0.004,
)  # fmt: skip
TASKS = PairedOverTasks(a="A", b="B", n=18, wins=17, losses=1, difference=0.0304, effect=0.9, p=0.0001)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, ["A scores higher than B on 1,500 test rows", "MCC difference +0.021, 95% interval +0.010 to +0.035",
              "paired bootstrap p = 0.004)."]),
        ({"difference": -0.0214}, ["A scores lower than B", "difference -0.021"]),
        ({"p": 0.051}, ["A and B do not differ at the 5% level"]),
        ({"p": 0.02, "p_holm": 0.06, "pairs": 3},
         ["do not differ", "p = 0.020, Holm-adjusted over 3 pairs p = 0.060)."]),
        ({"p": 0.02, "p_holm": 0.0002, "pairs": 2}, ["higher", "over 2 pairs p < 0.001)."]),
        ({"seeds": 3, "higher": 2}, ["+0.021, mean of 3 seeds, A higher in 2, 95%"]),
        ({"only_a": 1.5, "only_b": 20.0}, ["; right alone: A on 1.5, B on 20)."]),
    ],
)  # fmt: skip
def test_a_comparison_on_test_rows(changes, parts):
    sentence = over_test_rows(replace(ROWS, **changes))
    for part in parts:
        assert part in sentence
    assert ("alone" in sentence) == ("only_a" in changes)


def test_rows_right_alone_are_no_effect_of_an_auroc():
    assert "alone" not in over_test_rows(replace(ROWS, test="DeLong", only_a=3.0, only_b=4.0))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"p_holm": 0.0003, "pairs": 3},
         ["A scores higher than B over 18 tasks (17 won, 1 lost, mean difference +0.030, ", "correlation +0.90",
          "Wilcoxon signed-rank p < 0.001, Holm-adjusted over 3 pairs p < 0.001)."]),
        ({"n": 5, "p": 0.0625, "difference": -1}, ["do not differ", "with 5 tasks p cannot be below 0.0625)."]),
        ({"n": 1, "p": 1}, ["over 1 task (", "with 1 task p cannot be below 1)."]),
        ({"n": 6, "p": 0.04, "difference": -1}, ["A scores lower than B over 6 tasks"]),
    ],
)  # fmt: skip
def test_a_comparison_over_tasks(changes, parts):
    sentence = over_tasks(replace(TASKS, **changes))
    for part in parts:
        assert part in sentence
    assert ("cannot" in sentence) == (changes["n"] < 6 if "n" in changes else False)
