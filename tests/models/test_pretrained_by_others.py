"""config/pretrained_by_others.yaml: what its models fit, need, and are refused without."""

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from convnova.config.load import load
from convnova.errors import ConvNovaError
from convnova.runs.validate import validate

transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")

CATALOGUE = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
def by_others(monkeypatch):
    """The config of the models pretrained by others, beside that of the paper, where these packages are installed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def config(commented: bool = False, **installed: str):
        versions = {"transformers": "4.55.4", "einops": "0.8.2", "mamba-ssm": "2.2.6", **installed}

        def version(name: str) -> str:
            if versions[name] == "none":
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr("convnova.models.huggingface.metadata.version", version)
        paper, others = ((CATALOGUE / f"{name}.yaml").read_text() for name in ("paper", "pretrained_by_others"))
        if commented:  # the lines of YAML among the comments
            others = re.sub(r"^  # (?=( *)\w+:)", "  ", others, flags=re.MULTILINE)
        return load(yaml.safe_load(paper) | {"models": yaml.safe_load(others)["models"]}, [], CATALOGUE)

    return config


def test_the_models_pretrained_by_others_fit_all_tasks_of_the_paper(by_others):
    validate(by_others())


def test_so_do_the_adapters_that_are_commented_out(by_others):
    pytest.importorskip("peft", reason="the optional package peft is not installed")
    config, usual = by_others(commented=True), by_others()
    validate(config)
    added = [name for name in config.models if name not in usual.models]
    assert added == ["nucleotide_transformer_v2_lora", "dnabert2_lora"]
    for job in config.jobs():
        adapted, training = job.model in added, config.training(job)
        assert (training.lora is not None) == adapted
        if adapted:
            like = job._replace(model=job.model.removesuffix("_lora"))
            whole = config.training(like)
            assert config.settings(job.model, job.suite) == config.settings(like.model, like.suite)
            changed = training.changed({"lora": None, "lr": whole.lr, "source": whole.source})
            assert changed.model_dump() == whole.model_dump()


@pytest.mark.parametrize(
    "installed, message",
    [
        ({"einops": "none"}, "dnabert2.*expected the package einops, found none; pip install 'einops'"),
        ({"mamba-ssm": "none"}, "caduceus_ph_released.*expected the package mamba-ssm, found none"),
        ({"transformers": "5.23.0"}, "nucleotide_transformer_v2.*package transformers<4.56, found 5.23.0"),
        ({"transformers": "4.46.3"}, "dnabert2.*package transformers>=4.49,<5, found 4.46.3"),
    ],
)
def test_the_models_pretrained_by_others_are_refused_without_what_their_code_needs(by_others, installed, message):
    with pytest.raises(ConvNovaError, match=message):
        validate(by_others(**installed))


def test_the_version_that_is_pinned_is_one_that_their_code_needs():
    """So is what is installed here."""
    lock = (CATALOGUE.parent / "constraints-test.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    assert pinned["transformers"] == transformers.__version__
    for name in ("nucleotide_transformer_v2", "dnabert2", "hyenadna_released", "caduceus_ph_released"):
        model = yaml.safe_load((CATALOGUE / f"models/{name}.yaml").read_text())
        for need in map(Requirement, model["settings"].get("needs", "").split()):
            assert need.name == "mamba-ssm" or need.specifier.contains(pinned[need.name]), name


def test_the_docs_fetch_the_code_of_the_pinned_revisions():
    text = (CATALOGUE.parent / "docs/models.md").read_text()
    for name in yaml.safe_load((CATALOGUE / "pretrained_by_others.yaml").read_text())["models"]:
        where = yaml.safe_load((CATALOGUE / f"models/{name}.yaml").read_text())["settings"]
        options = f"--include '*.py' --local-dir hub_code/{name}\n"
        assert f"hf download {where['path']} --revision {where['revision']} \\\n        {options}" in text
