"""What would fail in a job is refused before any job starts: by the models, and by the files that are missing."""

import pytest
import yaml
from own_config import CATALOGUE, own_config

from convnova.config.load import load, load_config
from convnova.errors import ConvNovaError
from convnova.files import read_yaml
from convnova.runs.validate import check_files, validate

GENES = {"gene_finding": {"training": {"reverse_complement": True}}}
DOWN = {"down": {"like": "convnova_scratch", "title": "down", "architecture": "unet"}}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"models": {"cnn": {"settings": {"embeding": 8}}}}, "models.cnn.settings.embeding = 8.* 'embedding'"),
        ({"models": {"cnn": {"settings": {"embedding": "8"}}}}, "models.cnn.settings.embedding = '8': expected int"),
        ({"models": {"convnova_scratch": {"settings": {"kernel": 4}}}}, "models.convnova_scratch.settings.kernel = 4.* odd"),
        ({"models": {"cnn": {"suites": {"mine": {"settings": {"x": 8}}}}}}, "models.cnn.suites.mine.settings.x = 8"),
        ({"genome": "hg38", "suites": GENES}, "models.convnova_scratch.training.*reverse_complement = true.* gene_finding"),
        ({"models": {"cnn": {"suites": {"mine": {"training": {"checkpointing": True}}}}}}, "models.cnn.suites.mine.training on mine/H3.* checkpointing = true.* cnn"),
        ({"models": DOWN, "finetune": {"checkpointing": True}}, "models.down.training on mine/H3.* checkpointing = true.* unet"),
        ({"genome": "hg38", "models": ["transformer"], "pretrain": {"checkpointing": True}}, "models.transformer.pretraining.* checkpointing = true"),
        ({"genome": "hg38", "models": {"convnova": {"pretrain": {"settings": {"dropuot": 0.1}}}}}, "models.convnova.settings.dropuot.* 'dropout'"),
        ({"genome": "hg38", "models": {"convnova": {"pretrain": {"padding": "pooled"}}}}, "models.convnova.pretraining.* padding = pooled"),
        ({"genome": "hg38", "models": {"hyenadna": {"pretrain": {"length": 4096}}}}, "models.hyenadna.settings.length = 1024.* 4096"),
        ({"models": ["legnet_released"], "suites__mine__tasks__H3__kind": "regression"}, "models.legnet_released.settings.softmax = true: mine/H3 asks for numbers"),
        ({"suites": {"a b": {"format": "csv", "tasks": {"t": {"train": "a", "test": "b"}}}}}, "suites.a b = 'a b': expected letters.* digits"),
        ({"models": {"$(x)": {"like": "cnn", "title": "x"}}}, r"models.\$\(x\) = .*: expected letters.* digits"),
        ({"suites": {"nucleotide_transformer": ["enhancers_types"]}, "simulate": {}}, "suites.nucleotide_transformer.tasks.enhancers_types.* promoter_tata"),
        ({"suites": {"genomic_benchmarks": ["human_ocr_ensembl"]}, "simulate": {}}, "suites.genomic_benchmarks.tasks.human_ocr_ensembl.* demo_coding.*nontata"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_refused(tmp_path, changes, words):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(own_config(**changes)))
    with pytest.raises(ConvNovaError, match=f"^{path}: {words}"):
        validate(load_config(path, CATALOGUE), [str(path)])


def test_a_length_that_a_model_cannot_be_measured_at_is_refused(monkeypatch):
    """HyenaDNA is built for each length, so it can; a model of other people's says what it can read."""
    monkeypatch.setattr("convnova.models.huggingface.find_spec", lambda name: True)
    theirs = {"like": "hyenadna_released", "title": "theirs", "settings": {"path": "no/such", "needs": ""}}
    content = {"models": {"hyenadna_scratch": {}, "theirs": theirs}}
    with pytest.raises(ConvNovaError, match=r"^models.theirs.settings.longest = 1024: .*`cost`.* 65536"):
        validate(load(content | {"cost": {"lengths": [4096, 65536]}}, [], CATALOGUE))
    validate(load(content | {"cost": {"lengths": [512, 1024]}}, [], CATALOGUE))


@pytest.mark.parametrize(
    "name", ["config.yaml", "dilation_grid.yaml", "cost.yaml", "search.yaml", "embedded_models.yaml"]
)
def test_the_configs_of_the_project_are_valid(name):
    validate(load(read_yaml(CATALOGUE / name), [], CATALOGUE), [])


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path):
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    content = own_config(suites__mine__tasks__H3=paths)
    for name in paths:
        with pytest.raises(ConvNovaError, match=f"^suites.mine.tasks.H3.{name} = '{paths[name]}'.* found nothing"):
            check_files(load(content, [], CATALOGUE), [])
        (tmp_path / f"{name}.csv").touch()
    check_files(load(content, [], CATALOGUE), [])
    with pytest.raises(ConvNovaError, match=r"^genome.g.fasta = 'x/g.fa'.* found nothing"):
        check_files(load(content | {"genome": "x/g.fa"}, [], CATALOGUE), [])
    check_files(load_config(CATALOGUE / "config.yaml"), [])  # files that are fetched need not be there
