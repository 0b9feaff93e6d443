"""A task of variants: scores of a plain loop, one window, one position and one strand at a time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from own_config import own_config
from saved_models import save_language_model, save_predictor

import convnova
from convnova.config.load import load
from convnova.config.schema import Task
from convnova.data.dna import encode
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.errors import ConvNovaError
from convnova.inference import variant_task
from convnova.inference.model import Model
from convnova.models import variant_baseline

RNG = np.random.default_rng(3)
GENOME = {"chr1": "".join(RNG.choice(list("ACGT"), 900)), "chr2": "".join(RNG.choice(list("ACGT"), 700))}
WINDOW = 64
OPPOSITE = str.maketrans("ACGT", "TGCA")
TASK = {"kind": "variants", "score": "minus_llr", "window": WINDOW, "test": "v.tsv"}


def drawn_variant(number: int) -> tuple[str, int, str, str, int]:
    """Substitutions anywhere, also at the ends, a deletion and an insertion; half of them of label 1."""
    chrom = ("chr1", "chr2")[number % 2]
    pos = (1, len(GENOME[chrom]))[number] if number < 2 else int(RNG.integers(1, len(GENOME[chrom]) - 3))
    ref = GENOME[chrom][pos - 1 : pos - 1 + (2 if number == 5 else 1)]
    alt = "ACGT"[("ACGT".index(ref[0]) + 1 + number % 3) % 4] + "TT" * (number == 6)
    return chrom, pos, ref, alt, int(number % 4 < 2)


VARIANTS = [drawn_variant(number) for number in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tokenized genome and a tokenized task of variants."""
    folder = tmp_path_factory.mktemp("variants")
    (folder / "g.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in GENOME.items()))
    tokenize_genome(folder / "g.fa", folder / "genome")
    lines = ["\t".join(map(str, row)) for row in VARIANTS]
    (folder / "v.tsv").write_text("chrom\tpos\tref\talt\tlabel\n" + "\n".join(lines) + "\n")
    task = Task(**TASK)
    tokenize_task(task, "variants", {"test": folder / "v.tsv"}, folder / "task.safetensors", folder / "genome")
    return folder


def windows(chrom: str, pos: int, ref: str, alt: str, reverse: bool) -> list[tuple[torch.Tensor, list[int]]]:
    """Of either allele the window and where the allele is in it."""
    text, start = GENOME[chrom], pos - 1
    first = max(0, min(start - WINDOW // 2, len(text) - WINDOW))
    found = []
    for allele in (ref, alt):
        left = text[first:start]
        whole = left + allele + text[start + len(ref) :]
        surplus = max(0, len(left) + len(allele) - WINDOW)
        letters = whole[surplus:][:WINDOW]
        at = [len(left) - surplus + place for place in range(len(allele))]
        if reverse:
            letters, at = letters[::-1].translate(OPPOSITE), [len(letters) - 1 - place for place in at]
        found.append((torch.from_numpy(encode(letters)[0]).long(), at))
    return found


def plainly(model: Model, score: str) -> list[float]:
    results = []
    for chrom, pos, ref, alt, _ in VARIANTS:
        values = []
        for reverse in (False, True):
            with torch.inference_mode():
                values.append(ONE_STRAND[score](model.network.module, windows(chrom, pos, ref, alt, reverse)))
        value = np.mean(values, axis=0)
        results.append(value if score not in FINISH else FINISH[score](value))
    return results


def ratio(module, both):
    sums = []
    for tokens, at in both:
        masked = tokens.clone()
        masked[at] = 4
        logits = module(masked[None])[0]
        sums.append(sum(float(logits[place, :4].log_softmax(-1)[tokens[place]]) for place in at))
    return sums[1] - sums[0]


def distance(module, both):
    features = [module.backbone(tokens[None])[0].numpy() for tokens, _ in both]
    length = min(map(len, features))
    return float(np.sqrt(((features[1][:length] - features[0][:length]) ** 2).sum()))


def change(module, both):
    logits = [module(tokens[None])[0].numpy() for tokens, _ in both]
    return logits[1] - logits[0]


ONE_STRAND = {"minus_llr": ratio, "abs_llr": ratio, "distance": distance, "effect": change}
FINISH = {"minus_llr": lambda x: -x, "abs_llr": abs, "effect": lambda x: np.sqrt(((x - x.mean()) ** 2).sum())}


@pytest.mark.parametrize("score", ["minus_llr", "abs_llr", "distance", "effect"])
def test_scores_are_those_of_a_plain_loop(folder, tmp_path, score):
    if score == "effect":
        save_predictor(tmp_path, length=WINDOW)
    else:
        save_language_model(tmp_path)
    model, rows = convnova.load(tmp_path), variant_task.read_variants(folder / "task.safetensors")
    scores = variant_task.by_model(model, rows, folder / "genome", score, WINDOW, "both")
    expected = plainly(model, score)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.std(expected) > 1e-4
    if score == "minus_llr":
        with pytest.raises(ConvNovaError, match="for effect, found masked"):
            variant_task.by_model(model, rows, folder / "genome", "effect", WINDOW, "both")


def test_the_effect_on_numbers_is_the_change_of_all_of_them_in_the_users_units(folder, tmp_path):
    numbers = {"mean": [1.0, -2.0], "scale": [3.0, 0.5], "loss": "mse"}
    save_predictor(tmp_path, kind="regression", classes=("a", "b"), numbers=numbers, length=WINDOW)
    model, rows = convnova.load(tmp_path), variant_task.read_variants(folder / "task.safetensors")
    scores = variant_task.by_model(model, rows, folder / "genome", "effect", WINDOW, "forward")
    for score, variant in zip(scores, VARIANTS, strict=True):
        with torch.inference_mode():
            moved = change(model.network.module, windows(*variant[:4], reverse=False)) * numbers["scale"]
        assert score == pytest.approx(np.sqrt((moved**2).sum()), abs=1e-5)


def test_a_job_writes_scores_and_predictions(folder, tmp_path):
    suite = {
        "format": "variants",
        "genome": str(folder / "g.fa"),
        "tasks": {"one": TASK | {"test": str(folder / "v.tsv")}},
    }
    models = {"convnova": {"settings": {"width": 8}}, "convnova_scratch": None, "variant_baseline": None}
    config = load(own_config(suites={"mine": suite}, models=models, genome=str(folder / "g.fa"), seeds=[4, 5]))
    jobs = list(config.jobs())
    assert [(job.model, job.seed) for job in jobs] == [("convnova", 4), ("variant_baseline", 4)]
    save_language_model(tmp_path)
    for job, weights in zip(jobs, (tmp_path / "weights.safetensors", None), strict=True):
        out, dataset = tmp_path / job.model, folder / "task.safetensors"
        variant_task.score_task(config, job, dataset, folder / "genome", out, weights)
        written = json.loads((out / "metrics.json").read_text())
        assert written["rows"] == {"test": 24} and written["chromosomes"] == 2 and 0 < written["auroc"] < 1
        assert (out / "predictions.parquet").is_file()
    with pytest.raises(ConvNovaError, match="expected the weights"):
        variant_task.score_task(config, jobs[0], folder / "task.safetensors", folder / "genome", tmp_path / "x")


def test_the_baseline_learns_from_other_chromosomes_alone():
    rng = np.random.default_rng(0)
    chromosomes = np.repeat([0, 1, 2], 200)
    labels = rng.integers(0, 2, 600)
    values = np.column_stack([np.where(rng.random(600) < 0.9, labels, 1 - labels), np.zeros(600), rng.normal(size=600)])
    scores = variant_baseline.scores(values, labels, chromosomes, 1.0)
    for chromosome in range(3):
        rows = chromosomes == chromosome
        assert scores[rows][labels[rows] == 1].mean() > scores[rows][labels[rows] == 0].mean() + 2
        changed = labels.copy()
        changed[rows] = 1 - changed[rows]
        again = variant_baseline.scores(values, changed, chromosomes, 1.0)
        np.testing.assert_array_equal(again[rows], scores[rows])  # its own labels do not count


def test_the_baseline_is_scikit_learns_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    values, chromosomes = rng.normal(size=(300, 3)), np.repeat([0, 1], 150)
    labels = (rng.random(300) < 1 / (1 + np.exp(-values[:, 0]))).astype(int)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    expected = np.empty(300)
    for held in (0, 1):
        rows = chromosomes == held
        known = linear_model.LogisticRegression(C=1.0, tol=1e-8).fit(scaled[~rows], labels[~rows])
        expected[rows] = known.decision_function(scaled[rows])
    np.testing.assert_allclose(variant_baseline.scores(values, labels, chromosomes, 1.0), expected, atol=1e-4)


def test_what_the_baseline_reads():
    """A>G is a transition, C of CG and G of CG are in a CpG, and what is far from a gene has a larger number."""
    pairs = [(encode(ref)[0], encode(alt)[0]) for ref, alt in (("A", "G"), ("C", "A"), ("G", "C"), ("A", "AT"))]
    around = np.stack([encode(letters)[0] for letters in ("TAC", "ACG", "CGT", "GAC")])
    values = variant_baseline.features(pairs, around, np.array([0, 10, 1000, -1]))
    assert values[:, 0].tolist() == [1, 0, 0, 0] and values[:, 1].tolist() == [0, 1, 1, 0]
    assert values[:, 2].tolist() == [0, np.log(11), np.log(1001), 0]
