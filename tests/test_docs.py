"""The guides do what they say."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import convnova.models
from convnova.cli.main import parser
from convnova.config.load import load
from convnova.data.dna import PAD
from convnova.models import build_backbone, build_predictor, configure
from convnova.models.heads import MaskedLanguageModel
from convnova.runs.validate import validate

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
    validate(config)
    architecture, settings = config.models["pyramid"].architecture, yaml.safe_load("{width: 32}")
    tokens = torch.randint(0, 4, (2, 60))
    tokens[1, 41:] = PAD
    model = build_predictor(architecture, settings, "classes", 3, 60)
    torch.testing.assert_close(model(tokens)[1], model(tokens[1:, :41])[0])
    backbone = build_backbone(architecture, settings)
    assert backbone(tokens, torch.tensor([3, 61])).shape == (2, 32)
    assert widest_reach(backbone) == configure(architecture, settings).receptive_field
    learns(build_predictor(architecture, settings, "per_base", 4, 60))
    learns(MaskedLanguageModel(build_backbone(architecture, settings)))


def widest_reach(backbone: torch.nn.Module, length: int = 60) -> int:
    """Bases from the first to the last that an output depends on: every base is changed in turn."""
    tokens = torch.arange(length).remainder(3)[None]
    changed = tokens.repeat(length, 1)
    changed[torch.arange(length), torch.arange(length)] = 3
    with torch.inference_mode():
        moved = (backbone.double()(changed) - backbone(tokens)).abs().amax(-1) > 1e-12
    seen = [column.nonzero().flatten() for column in moved.T]
    return max(int(bases[-1] - bases[0]) + 1 for bases in seen)


def learns(model: torch.nn.Module) -> None:
    """A few steps on the letter two bases further, which is in view, take the loss below any guess without a look."""
    tokens = torch.randint(0, 4, (8, 60), generator=torch.Generator().manual_seed(0))
    optimizer, targets = torch.optim.AdamW(model.parameters(), 1e-2), tokens.roll(-2, 1)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(tokens)[:, :-2].flatten(0, 1), targets[:, :-2].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in model.parameters()) and loss < 1.0


def test_the_architecture_page_names_what_there_is():
    """Every file on the page is there, and every function named beside a file is defined in it."""
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = "|".join(path.name for path in (ROOT / "convnova").iterdir() if path.is_dir())
    files = re.findall(rf"`((?:{rooms})/[\w/]+\.py)`((?:: (?:`\w+`(?:, )?)+)?)", text)
    assert len(files) > 30
    for file, names in files:
        code = (ROOT / "convnova" / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:def|class) {name}\b|^{name}\b.* =", code, re.MULTILINE), f"{file}: {name}"
    for path in re.findall(r"`((?:config|workflow|tests|slurm|profiles)/[\w./]*)`", text):
        assert (ROOT / path).exists() or (ROOT / "convnova" / path).exists(), path


GUIDES = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "commands.md"]  # which the build writes
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *GUIDES]
COMMANDS = [
    (path.name, line.split(" #")[0].strip().removeprefix("$ "))
    for path in PAGES
    for line in path.read_text().replace("\\\n", " ").splitlines()
    if re.match(r"\s*(?:\$ )?(?:convnova|snakemake|make) [a-z-]", line) and not line.lstrip().startswith("make and")
]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_of_the_documentation_can_be_typed(page, command):
    """A command of ours has the options that it is shown with; Snakemake's configs and make's targets are there."""
    words = shlex.split(command)
    if words[0] == "convnova" and "..." not in words:
        try:
            parser().parse_args(words[1:])
        except SystemExit as done:  # --help ends with 0
            assert done.code == 0
    if words[0] == "snakemake" and "--configfile" in words:
        first = words.index("--configfile") + 1
        own = ("my.yaml", "mine.yaml")  # a reader's
        files = [word for word in words[first : first + 2] if word.endswith(".yaml") and word not in own]
        assert all((ROOT / file).is_file() for file in files), files
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets


def sentences(text: str) -> list[str]:
    """The sentences of a page's prose: without code, tables, figures and headings; `code` counts as one word."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?:    |\||#|!\[|:::).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "CODE", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    paragraphs = re.split(r"\n\s*(?=\n)|\n\s*(?:[*:-]|\d+\.) ", text)
    lines = [" ".join(paragraph.replace("*", "").split()) for paragraph in paragraphs]
    found = [sentence for line in lines for sentence in re.split(r"(?<=[.!?:])\s+(?=[^a-z\s])", line)]
    return [sentence for sentence in found if len(sentence.split()) > 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short(page):
    words = {sentence: len(sentence.split()) for sentence in sentences(page.read_text())}
    assert max(words.values()) <= 40, max(words, key=words.__getitem__)
    assert sum(words.values()) / len(words) < 20


def test_a_sentence_is_counted_without_code_tables_and_headings():
    text = "# The head\n\nA **bold** word. See [a page](b.md) of\n`two words`\n\n| a | b c d |\n\n* One two three.\n"
    assert sentences(text + "\n    code of mine\n") == ["A bold word.", "See a page of CODE", "One two three."]


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "resources", "_build"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "html"]
    built = subprocess.run(command, cwd=tmp_path / "copy", capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "convnova finetune" in (tmp_path / "copy/html/commands.html").read_text()
