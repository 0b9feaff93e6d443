"""Predictions written as `finetune` writes them, and what the table says of pairs of models."""

import time
from pathlib import Path

import numpy as np
import pytest
from made_up_scores import MADE, write_result
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from convnova.cli.main import main
from convnova.config.load import load, save
from convnova.errors import ConvNovaError
from convnova.evaluation.model_comparison import compare_over_test_rows, holm
from convnova.reporting.paired_test_rows import compare_test_rows, pair_table, read_test_rows
from convnova.reporting.render import layout

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
FILES = {"train": "train.csv", "test": "test.csv"}
SKILL = {"convnova_scratch": 2.0, "cnn": 1.0, "legnet": 1.0}
RUN = {"run": "x", "seeds": [1, 2], "protocols": ["heldout"], "models": list(SKILL)}
LABELS = (np.arange(200) * 7) % 10 // 5


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bases = {"annotation": "genes.gff", "metric": "mcc", "kind": "per_base"}
    suites = {
        "mine": {"format": "csv", "tasks": {"one": FILES | {"metric": "mcc"}}},
        "genes": {"format": "gff", "genome": "hg38", "tasks": {"bases": bases}},
        "chromatin_profile": None,
    }
    config = load(RUN | {"suites": suites}, [], CATALOGUE)
    save(config, "config.yaml")
    return config


def of_classes(config, task: str = "one", labels: np.ndarray = LABELS) -> dict:
    """Predictions for every job of a task: (model, seed) to probabilities of class 1."""
    probabilities = {}
    for job in (job for job in config.jobs() if job.task == task):
        rng = np.random.default_rng([job.seed, len(job.model)])
        ones = 1 / (1 + np.exp(SKILL[job.model] * (0.5 - labels) - rng.normal(size=len(labels))))
        field = {"convnova_scratch": 193, "cnn": None, "legnet": 7}[job.model]
        write_result(
            config, job, {"label": labels, "score": np.stack([1 - ones, ones], 1).tolist()}, receptive_field=field
        )
        probabilities[job.model, job.seed] = ones
    return probabilities


def of_bases(config) -> dict:
    """As `of_classes`, for twenty sequences of different lengths with three classes; the class of each base."""
    rng, found = np.random.default_rng(1), {}
    ends = np.cumsum(rng.integers(5, 30, 20))
    labels = rng.integers(3, size=ends[-1])
    for job in (job for job in config.jobs() if job.task == "bases"):
        is_right, other = rng.random(len(labels)) < 0.3 + SKILL[job.model] / 4, rng.integers(3, size=len(labels))
        predicted = found[job.model, job.seed] = np.where(is_right, labels, other)
        lists = ([part.tolist() for part in np.split(ids, ends[:-1])] for ids in (labels, predicted))
        write_result(config, job, dict(zip(("label", "predicted"), lists, strict=True)))
    return {"labels": labels, **found}


def test_pairs_of_models_by_the_mean_of_their_seeds(config):
    ones = of_classes(config)
    table = compare_test_rows(config).data
    assert table[["a", "b"]].to_numpy().tolist() == [
        ["convnova_scratch", "cnn"], ["convnova_scratch", "legnet"], ["cnn", "legnet"],
    ]  # fmt: skip
    mccs = {key: matthews_corrcoef(LABELS, of_job > 0.5) for key, of_job in ones.items()}
    aurocs = {key: roc_auc_score(LABELS, of_job) for key, of_job in ones.items()}
    for row in table.itertuples():
        gaps = [mccs[row.a, seed] - mccs[row.b, seed] for seed in (1, 2)]
        auroc_gaps = [aurocs[row.a, seed] - aurocs[row.b, seed] for seed in (1, 2)]
        assert row.difference == pytest.approx(np.mean(gaps), abs=1e-6)
        assert row.auroc_difference == pytest.approx(np.mean(auroc_gaps), abs=1e-6)
        assert row.higher == sum(gap > 0 for gap in gaps) and row.low < row.difference < row.high
        assert (row.n, row.seeds, row.seeds_expected, row.pairs) == (200, 2, 2, 3)
    assert table["p_holm"].to_numpy() == pytest.approx(holm(table["p"].to_numpy()), abs=2e-6)
    assert table["auroc_p_holm"].to_numpy() == pytest.approx(holm(table["auroc_p"].to_numpy()), abs=2e-6)
    assert table["p_holm"][0] < 0.05 < table["p_holm"][2]
    sentence, higher = table["sentence"][0], "ConvNova (from scratch) scores higher than CNN on 200 test rows"
    assert sentence.startswith(f"one, heldout: {higher} (MCC diff") and f". {higher} (AUROC difference" in sentence
    assert "mean of 2 seeds" in sentence and "Holm-adjusted over 3 pairs" in sentence


def test_pairs_have_the_receptive_fields_and_the_provenance_of_their_results(config):
    of_classes(config)
    table = compare_test_rows(config)
    fields = ["193 bp, whole sequence", "193 bp, 7 bp", "whole sequence, 7 bp"]
    assert table.data["receptive_fields"].tolist() == table.frame["receptive fields"].tolist() == fields
    assert "Made from 6 results by convnova 0.1" in table.notes[-1]


def test_the_table_for_reading_is_that_of_the_numbers(config):
    of_classes(config)
    assert main(["tables", "test_rows", "--run", "config.yaml", "--out", "."]) == 0
    forms = {path.name for path in Path("tables").iterdir()}
    assert forms == {f"test_rows.{form}" for form in ("tsv", "md", "tex", "html")}
    results = read_test_rows(Path("tables/test_rows.tsv"))
    table = pair_table(results, config)
    first, row = layout(table).rows[0], results.iloc[0]
    assert [cell.text for cell in first[:8]] == [
        "one, heldout", "ConvNova (from scratch) - CNN", "MCC", "200", "2", f"+{row['difference']:.3f}",
        f"{row['low']:+.3f} to {row['high']:+.3f}", "2 of 2",
    ]  # fmt: skip
    assert first[9].text in (f"{row['p_holm']:.3f}", "< 0.001")
    assert first[10].text == f"{row['auroc_difference']:+.3f}"
    assert list(table.notes) == results["sentence"].tolist()
    different = (results["p_holm"] <= 0.05).sum()
    assert table.summary.startswith(f"{different} of 3 pairs differ")
    Path("tables/test_rows.tsv").write_text("suite\ttask\n")
    with pytest.raises(ConvNovaError, match="test_rows.tsv: expected the columns .*protocol"):
        read_test_rows(Path("tables/test_rows.tsv"))


def test_bases_are_pooled_and_sequences_drawn(config):
    predicted = of_bases(config)
    table = compare_test_rows(config).data
    assert set(table["task"]) == {"bases"} and set(table["unit"]) == {"test sequences"} and set(table["n"]) == {20}
    mccs = {key: matthews_corrcoef(predicted["labels"], ids) for key, ids in predicted.items() if key != "labels"}
    gaps = [mccs["convnova_scratch", seed] - mccs["cnn", seed] for seed in (1, 2)]
    assert table["difference"][0] == pytest.approx(np.mean(gaps), abs=1e-6)
    assert table["auroc_difference"].isna().all()


def test_only_seeds_of_both_models_and_of_this_config_count(config, capsys):
    ones = of_classes(config)
    jobs = {(job.model, job.seed): job for job in config.jobs() if job.task == "one"}
    gone = Path(jobs["cnn", 2].folder("x")) / "predictions.parquet"
    gone.unlink()
    other = write_result(config, jobs["legnet", 1], provenance=MADE | {"settings": "0123456789abcdef"})
    compared = compare_test_rows(config)
    messages = capsys.readouterr().err
    assert f"left out: {gone}: missing" in messages
    assert f"left out: {other}/metrics.json: made with other settings (hash 0123456789abcdef" in messages
    table = compared.data
    assert table[["a", "b", "seeds", "pairs"]].to_numpy().tolist() == [
        ["convnova_scratch", "cnn", 1, 2], ["convnova_scratch", "legnet", 1, 2],
    ]  # fmt: skip
    mcc = [matthews_corrcoef(LABELS, ones[model, 1] > 0.5) for model in ("convnova_scratch", "cnn")]
    assert table["difference"][0] == pytest.approx(mcc[0] - mcc[1], abs=1e-6)
    assert compared.frame["seeds"].iloc[0].text == "1 of 2"


def test_predictions_of_other_rows_are_refused(config):
    of_classes(config)
    job = next(job for job in config.jobs() if job.task == "one" and job.model == "cnn")
    write_result(config, job, {"label": 1 - LABELS, "score": [[0.5, 0.5]] * 200})
    with pytest.raises(ConvNovaError, match="cnn/heldout/seed=1/predictions.parquet: expected the test rows"):
        compare_test_rows(config)


def test_without_two_models_there_is_nothing_to_compare(config, capsys):
    assert main(["tables", "test_rows", "--run", "config.yaml", "--out", "."]) == 1
    assert "expected predictions of two models for a task, found none" in capsys.readouterr().err


def test_a_test_set_of_one_class_has_no_auroc(config):
    of_classes(config, labels=np.zeros(30, int))
    assert compare_test_rows(config).data["auroc_p"].isna().all()


@pytest.mark.slow
def test_the_largest_test_sets_take_seconds_a_pair():
    """Five seeds of 58,000 rows of three classes, as human_ensembl_regulatory has."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=58_000)
    shared = rng.normal(size=(58_000, 3)) + 2 * np.eye(3)[labels]
    logits = [shared + rng.normal(size=(5, 58_000, 3)) for _ in range(2)]
    scores = [np.exp(of) / np.exp(of).sum(-1, keepdims=True) for of in logits]
    started = time.process_time()
    compare_over_test_rows(labels, *scores, "accuracy", resamples=5000)
    assert time.process_time() - started < 60


@pytest.mark.parametrize("metric", ["auroc", "auprc"])
def test_a_task_whose_test_rows_are_of_one_class_is_named_and_left_out(tmp_path, monkeypatch, capsys, metric):
    monkeypatch.chdir(tmp_path)
    tasks = {"one": FILES | {"metric": "mcc"}, "lone": FILES | {"metric": metric}}
    config = load(RUN | {"suites": {"mine": {"format": "csv", "tasks": tasks}}}, [], CATALOGUE)
    of_classes(config)
    of_classes(config, "lone", np.zeros(47, np.int64))
    assert set(compare_test_rows(config).data["task"]) == {"one"}
    assert f"left out: mine/lone, heldout: {metric} needs two test rows" in capsys.readouterr().err
