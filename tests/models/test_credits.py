"""What is credited to a source is what that source sets, as read in its own files."""

from pathlib import Path

import pytest
import yaml

from convnova.config.load import load
from convnova.reporting.hyperparameter_table import hyperparameters

CATALOGUE = Path(__file__).resolve().parents[2] / "config"

ADDRESS = ("settings.path", "settings.revision", "settings.remote_code", "settings.needs")
SUITES = ("nucleotide_transformer", "genomic_benchmarks")
SCHEDULE = {"final_lr": 0.1, "warmup": 0.01, "beta1": 0.9, "beta2": 0.999, "clip": 1.0}
NT, GB = {**SCHEDULE, "epochs": 20, "batch_size": 256}, {**SCHEDULE, "epochs": 10}
HYENADNA = {"settings.layers": 2, "settings.dropout": 0.1, "settings.embedding_dropout": 0.2}
CONVNOVA = {
    "settings.blocks": 5, "settings.dilation_base": 4, "settings.stacks": 1, "settings.final_conv": False,
    "settings.ffn": False, "settings.second_branch": "complement", "settings.gate": "product", "settings.dropout": 0.0,
}  # fmt: skip
CONVNOVA_NT = {**CONVNOVA, "settings.width": 128, "settings.kernel": 9, "settings.tail_expansion": 2}
CONVNOVA_GB = {**CONVNOVA, "settings.width": 64, "settings.kernel": 5, "settings.tail_expansion": 4}
BASENJI2 = {
    "settings.channels": [288, 339, 399, 470], "settings.inner": 384, "settings.dilated_blocks": 7,
    "settings.rate": 1.5, "settings.width": 512, "settings.dropout": 0.3, "settings.end_dropout": 0.05,
    "settings.zero_scales": False,
}  # fmt: skip
RELEASED = {
    # aim-uofa/ConvNova @ c606027, convnova/configs/experiment; batches are those of a GPU times the GPUs
    ("convnova", "nucleotide_transformer"): {**NT, **CONVNOVA_NT, "lr": 1e-3, "weight_decay": 0.1},
    ("convnova", "genomic_benchmarks"): {**GB, **CONVNOVA_GB, "lr": 1e-3, "weight_decay": 0.1, "batch_size": 128},
    ("convnova", "pretraining"): {
        "length": 1024, "coverage": "first", "batch_size": 768, "lr": 1e-3, "weight_decay": 0.0, "masked": 0.15,
        "masking": "released", "schedule": "released", "epochs": 2000,
        "warmup": 0.283,  # 25,440 of 90,000 steps
        "final_lr": 1.0,  # (1 + cos(pi 90,000 / 2.54 million)) / 2 = 0.997
    },
    ("legnet", "nucleotide_transformer"): {**NT, "lr": 6e-4, "weight_decay": 1e-5, "settings.softmax": True},
    ("legnet", "genomic_benchmarks"): {
        **GB, "lr": 6e-4, "weight_decay": 0.1, "batch_size": 256, "settings.softmax": True
    },
    ("basenji2", "genomic_benchmarks"): {**GB, **BASENJI2, "lr": 6e-4, "weight_decay": 0.1, "batch_size": 256},
    ("basenji2", "nucleotide_transformer"): BASENJI2,  # no training is released for it, so none may be credited
    ("hyenadna", "nucleotide_transformer"): {**NT, **HYENADNA, "lr": 6e-4, "weight_decay": 0.1},
    ("hyenadna", "genomic_benchmarks"): {**GB, **HYENADNA, "lr": 6e-4, "weight_decay": 0.1, "batch_size": 64},
    ("hyenadna", "pretraining"): {
        "batch_size": 256, "lr": 6e-4, "weight_decay": 0.1, "settings": {"dropout": 0.0, "embedding_dropout": 0.1}
    },
    ("hyenadna_released", "nucleotide_transformer"): {**NT, "lr": 6e-4, "weight_decay": 0.1},
    ("hyenadna_released", "genomic_benchmarks"): {**GB, "lr": 6e-4, "weight_decay": 0.1, "batch_size": 64},
}  # fmt: skip
CADUCEUS = {"settings.expansion": 2, "settings.states": 16, "settings.taps": 4, "settings.layers": 4}
LARGE = {
    "caduceus_ph": "H3K4me1 H3K4me3 enhancers enhancers_types promoter_all promoter_no_tata splice_sites_all",
    "caduceus_ps": "H3K4me2 H3K4me3 enhancers enhancers_types promoter_tata splice_sites_all",
}
"""Tasks with a batch of 512: arXiv 2403.03234, Table 6."""
SLOW = {
    "caduceus_ph": ["human_enhancers_cohn", "human_enhancers_ensembl"],
    "caduceus_ps": ["demo_coding_vs_intergenomic_seqs", "demo_human_or_worm", "human_enhancers_ensembl",
                    "human_ensembl_regulatory"],
}  # fmt: skip
"""Tasks with a rate of 1e-3: arXiv 2403.03234, Table 5."""


def published_caduceus(model: str, suite: str, task: str) -> dict:
    """The rates and batches of Caduceus (arXiv 2403.03234, appendix D, and its authors' configs)."""
    form = model.removesuffix("_released")
    sizes = {**CADUCEUS, "strands": "both", "settings.both_strands": form == "caduceus_ps"}
    if suite == "nucleotide_transformer":
        fast = form == "caduceus_ps" and task == "enhancers_types"
        large = task in LARGE[form].split()
        return {**sizes, "settings.width": 256, "batch_size": 512 if large else 128, "lr": 2e-3 if fast else 1e-3}
    if suite == "pretraining":
        return {
            "epochs": 10, "windows": 1_024_000, "batch_size": 1024, "coverage": "whole", "lr": 8e-3, "warmup": 0.1,
            "final_lr": 0.0125, "weight_decay": 0.1, "beta2": 0.95, "reverse_complement": form == "caduceus_ph",
        }  # fmt: skip
    slow = task in SLOW[form]
    return {**sizes, "settings.width": 118, "batch_size": 256, "lr": 1e-3 if slow else 2e-3}


def credited(model: str, suite: str, task: str, source: str) -> dict | None:
    """What a source sets for a model; None where the source is not checked here."""
    suite = {"genomic_benchmarks_intervals": "genomic_benchmarks"}.get(suite, suite)
    family = "hyenadna_released" if model == "hyenadna_released" else model.split("_")[0]
    if source.startswith("released code of ConvNova"):
        return RELEASED.get(("convnova", "nucleotide_transformer" if suite == "gue" else suite), {})
    if source == "released code":
        return RELEASED.get((family, suite), {})
    if source == "Schiff et al. 2024":
        return {"batch_size": 64, "lr": 1e-3} if model == "cnn" else published_caduceus(model, suite, task)
    return None


def rows() -> list[tuple[str, str, str, str, str, str]]:
    """Suite, task, model, key, value and source of everything that the catalogue sets, in the runs of the paper."""
    names = [path.stem for path in (CATALOGUE / "models").glob("*.yaml")]
    suites = [path.stem for path in (CATALOGUE / "suites").glob("*.yaml")]
    found = []
    for file in ("paper.yaml", "as_released.yaml"):
        content = yaml.safe_load((CATALOGUE / file).read_text())
        models = content["models"] if isinstance(content["models"], dict) else {}
        config = load({**content, "models": dict.fromkeys(names) | models, "suites": suites}, [], CATALOGUE)
        for head, sourced in hyperparameters(config).items():
            place, model = head.split(" ")
            found += [(*place.split("/"), model, key, str(value), source) for key, (value, source) in sourced.items()]
    return found


def test_what_is_credited_to_a_source_is_what_the_source_sets():
    """Of a network the settings on the two suites that the sources run, where every training is checked too."""
    checked, wrong = 0, []
    for suite, task, model, key, value, source in rows():
        part, _, name = key.rpartition(".")
        place, name = ("pretraining", name) if part == "pretrain" else (suite, key)
        expected = credited(model, place, task, source)
        elsewhere = part == "settings" and suite not in SUITES
        if expected is not None and not elsewhere and name not in ADDRESS:
            checked += 1
            if str(expected.get(name, "not set")) != value:
                wrong.append((model, place, task, key, value, source))
    assert not wrong, wrong
    assert checked > 1000


def test_the_rivals_train_by_the_settings_of_their_sources():
    """The other way round: what a source sets for a rival is what the rival has."""
    values = {(suite, task, model, key): value for suite, task, model, key, value, _ in rows()}
    tasks = {(suite, task) for suite, task, _, _ in values if suite in SUITES}
    assert len(tasks) == 26
    for suite, task in tasks:
        for model in ("legnet", "basenji2", "hyenadna", "hyenadna_scratch", "hyenadna_released", "caduceus_ph",
                      "caduceus_ps", "caduceus_ph_released"):  # fmt: skip
            expected = credited(model, suite, task, "Schiff et al. 2024" if "caduceus" in model else "released code")
            for key in ("lr", "batch_size", "epochs", "weight_decay", "settings.dropout"):
                if key in expected:
                    assert values[suite, task, model, key] == str(expected[key]), (suite, task, model, key)


@pytest.mark.parametrize("model, parameters", [("convnova", 386_240), ("convnova_released", 377_920)])
def test_convnova_on_genomic_benchmarks_as_the_paper_counts_and_as_released(model, parameters):
    from convnova.models import build_backbone

    config = load({"models": [model], "genome": "hg38", "suites": ["genomic_benchmarks"]}, [], CATALOGUE)
    settings = {**config.settings(model, "genomic_benchmarks"), "ffn": False}
    assert sum(p.numel() for p in build_backbone("convnova", settings).parameters()) == parameters
