"""What the first screen says, of scores and audits that are made up."""

import pandas as pd
import pytest
from made_up_scores import CONFIG, NT, changed, only, thousand_runs

from convnova.reporting.suite_tables import suite_tables
from convnova.reporting.verdict import caveats, of_audits, verdict


def said(scores: pd.DataFrame, published: pd.DataFrame, config) -> list[str]:
    results = pd.concat([table.data for table in suite_tables(scores, published, config)])
    return verdict(results, scores, ["Over test rows."], config)


def test_the_best_model_is_the_one_with_most_tasks_and_protocol_and_pair_are_named(published):
    scores, config = thousand_runs()
    means = scores[scores["protocol"] == "heldout"].pivot_table(index="task", columns="model", values="score")
    wins = means.round(3).idxmax(axis=1).value_counts()
    first, second = said(scores, published, config)
    assert wins.iloc[0] > wins.iloc[1] and first.startswith(f"Model {wins.index[0][-1]} has the highest mean on ")
    assert f" on {wins.iloc[0]} of 18 tasks, " in first and first.count(" on ") == len(wins)
    assert second.startswith("Model 0 and Model 1 do not differ at the 5% level over 18 tasks")


def test_of_real_scores_the_second_sentence_counts_the_published_ones(scores, published):
    config = changed(CONFIG, protocols=["released"])
    of_protocol = scores[scores["protocol"] == "released"]
    first, second = said(of_protocol, published, config)
    results = pd.concat([table.data for table in suite_tables(of_protocol, published, config)])
    labels = [verdict.label for verdict in results.loc[results["title"] == first.split(" has ")[0], "verdict"]]
    agree, above, below = (labels.count(label) for label in ("agrees", "above", "below"))
    start = f"Of its {agree + above + below} cells beside published ones {agree} agree, {above} above, {below} below, "
    assert agree + above + below and second.startswith(start)


def test_over_one_task_models_are_compared_by_test_rows_and_one_model_has_a_mean(scores, published):
    config = changed(only(CONFIG, "cnn", "convnova", NT), simulate={"seed": 1})
    of_task = scores[(scores["task"] == "H3") & scores["model"].isin(["cnn", "convnova"])].assign(simulated=True)
    assert said(of_task, published, config)[1:] == ["Over test rows."]
    of_one = of_task[of_task["model"] == "cnn"]
    mean = of_one[of_one["protocol"] == "heldout"]["score"].mean()
    first = said(of_one, published, only(config, "cnn"))[0]
    assert first == f"CNN scores {mean:.3f} on average over 1 task."
    assert said(of_one[:0], published, config) == ["No score is in yet."]


def test_few_tasks_and_models_that_predict_one_class_are_caveats():
    scores, config = thousand_runs()
    first = scores["task"].isin([f"task_{i}" for i in range(4)])
    few, one_class = caveats(scores[first].assign(mcc=scores["mcc"].mask(scores["task"] == "task_1", 0.0)), config)
    assert few == "No difference between models can be significant over 4 tasks: p is 0.125 or more."
    assert one_class.endswith("task_1 (Model 0), task_1 (Model 1), task_1 (Model 2), 3 more.")


def split(**changes: int) -> dict[str, int]:
    return {"other_letters": 0, "longer": 0} | changes


@pytest.mark.parametrize("overlapping, named", [(9, False), (10, True), (1000, True)])
def test_overlaps_from_a_hundredth_on_are_caveats(overlapping, named):
    audit = {"task": "H3", "overlap": {"any": overlapping, "rows": 1000}, "splits": {"test": split()}}
    assert len(list(of_audits([audit]))) == named


def test_rows_that_a_model_reads_otherwise_are_counted_over_splits_and_three_tasks_are_named():
    splits = {"train": split(other_letters=5), "test": split(other_letters=1000, longer=2)}
    audits = [{"task": f"task {i}", "overlap": {"any": 0, "rows": 9}, "splits": splits} for i in range(5)]
    audits[0]["pretraining"] = {"read": 9, "rows": 9}
    assert list(of_audits(audits)) == [
        "Test rows that lie in what pretraining reads: task 0 100%.",
        "Letters other than A, C, G, T and N, read as N: task 0 1,005, task 1 1,005, task 2 1,005, 2 more.",
        "Rows longer than max_length, read up to it: task 0 2, task 1 2, task 2 2, 2 more.",
    ]
