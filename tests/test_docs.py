"""The guides do what they say."""

import re
import shutil
from pathlib import Path

import torch
import yaml

import convnova.models
from convnova.catalogue import load
from convnova.dna import OUTSIDE
from convnova.models import build_backbone, build_predictor, check_models

ROOT = Path(__file__).resolve().parents[1]


def test_the_guide_to_adding_a_model_adds_one(tmp_path, monkeypatch):
    """Both files as they stand in the guide are all that a model takes."""
    text = (ROOT / "docs/adding_a_model.md").read_text()
    files = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)```", text, re.MULTILINE | re.DOTALL))
    code, catalogue = files["convnova/models/pyramid.py"], tmp_path / "config"
    shutil.copytree(ROOT / "config", catalogue)
    (catalogue / "models/pyramid.yaml").write_text(files["config/models/pyramid.yaml"])
    (tmp_path / "pyramid.py").write_text(code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    monkeypatch.setattr(convnova.models, "__path__", [*convnova.models.__path__, str(tmp_path)])
    suites = {"nucleotide_transformer": ["H3"], "gene_finding": None}
    config = load({"models": ["pyramid"], "genome": "hg38", "suites": suites}, [], catalogue)
    check_models(config)
    architecture, settings = config.models["pyramid"].architecture, yaml.safe_load("{width: 32}")
    tokens = torch.randint(0, 4, (2, 60))
    tokens[1, 41:] = OUTSIDE
    model = build_predictor(architecture, settings, "classes", 3, 60)
    torch.testing.assert_close(model(tokens)[1], model(tokens[1:, :41])[0])
    assert build_backbone(architecture, settings)(tokens, torch.tensor([3, 61])).shape == (2, 32)
