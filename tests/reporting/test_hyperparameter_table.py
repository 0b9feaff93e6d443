"""Recipes: every hyperparameter has a source, and a wrong recipe is refused."""

import json
from pathlib import Path

import pytest
import yaml

from convnova.cli.main import main
from convnova.config.load import load
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.reporting.hyperparameter_table import as_text, hyperparameters
from convnova.runs.validate import validate

CATALOGUE = Path(__file__).resolve().parents[2] / "config"


def lines_of(found: dict[str, dict]) -> dict[str, list[str]]:
    """Hyperparameter to its value, as text, and source, of one task and model."""
    ((_, sourced),) = found.items()
    return {key: [str(value), source] for key, (value, source) in sourced.items()}


def test_every_value_of_the_papers_run_has_a_source(capsys):
    arguments = ["recipes", "--run", str(CATALOGUE / "paper.yaml"), "--task", "nucleotide_transformer/H3"]
    assert main([*arguments, "--model", "legnet", "--json"]) == 0
    assert lines_of(json.loads(capsys.readouterr().out)).items() >= {
        "lr": ["0.0006", "released code"], "weight_decay": ["1e-05", "released code"],
        "batch_size": ["256", "released code"], "settings.kernel": ["7", "Penzar et al. 2023"],
        "epochs": ["20", "released code of ConvNova"], "patience": ["None", "our default"],
    }.items()  # fmt: skip
    assert main(["recipes", "--run", str(CATALOGUE / "paper.yaml"), "--model", "legnat"]) == 1
    assert "did you mean 'legnet'" in capsys.readouterr().err
    content = yaml.safe_load((CATALOGUE / "paper.yaml").read_text())
    content["models"] |= yaml.safe_load((CATALOGUE / "pretrained_by_others.yaml").read_text())["models"]
    content["models"] |= dict.fromkeys(path.stem for path in (CATALOGUE / "models").glob("*.yaml"))
    config = load(content, [], CATALOGUE)
    found = hyperparameters(config)
    networks = set(config.models) - {"variant_baseline"}  # which has none to train
    assert len(found) == sum(len(suite.tasks) for suite in config.suites.values()) * len(networks)
    assert all("weight_decay" in sourced for sourced in found.values())
    for source in {source for sourced in found.values() for _, source in sourced.values()}:
        assert source != "default" and not source.startswith(("models.", "suites.", "finetune", "convnova/", "recipe"))


def test_the_text_is_a_table_with_a_head_a_task_and_model():
    text = as_text({"s/t a": {"lr": (0.1, "paper"), "clip": (None, "our default")}, "s/t b": {"lr": (1, "x y")}})
    assert text.splitlines() == [
        "s/t a", "hyperparameter    value    source", "lr                0.1      paper",
        "clip              None     our default",
        "", "s/t b", "hyperparameter    value    source", "lr                1        x y",
    ]  # fmt: skip


def test_pretraining_the_use_of_a_model_and_what_its_file_leaves_out_have_sources_too():
    content = {
        "genome": "hg38",
        "pretrain": {"epochs": 400, "masked": 0.1, "lr": 2.0e-3, "source": {"epochs": "paper", "masked": "paper"}},
        "models": {
            "convnova_frozen": {"pretrain": {"seed": 7}},
            "caduceus_ph": None,
            "mine": {"like": "convnova_scratch", "title": "mine", "strands": "both", "source": {"strands": "my test"}},
            "cnn": {"strands": "both", "source": {"embedding": "paper"}},
        },
        "suites": {"nucleotide_transformer": ["H3"]},
    }
    config = load(content, [], CATALOGUE)
    sourced = {model: lines_of(hyperparameters(config, model=model)) for model in content["models"]}
    bend = "Marin et al. 2024 (BEND)"
    for key, line in {
        "pretrain.epochs": ["400", "paper"], "pretrain.lr": ["0.002", "pretrain"], "frozen": ["True", bend],
        "pretrain.seed": ["7", "models.convnova_frozen.pretrain"], "pretrain.coverage": ["whole", "our default"],
        "pretrain.length": ["1024", "our default"], "head": ["cnn", bend], "pooling": ["mean", "our default"],
        "strands": ["forward", "our default"], "settings.gate": ["product", "released code"],
    }.items():  # fmt: skip
        assert sourced["convnova_frozen"][key] == line
    assert sourced["caduceus_ph"]["strands"] == ["both", "Schiff et al. 2024"]
    assert sourced["caduceus_ph"]["settings.states"] == ["16", "Schiff et al. 2024"]
    assert sourced["mine"]["strands"] == ["both", "my test"] and "pretrain.lr" not in sourced["mine"]
    assert sourced["cnn"]["strands"] == ["both", "run config"] and "head" not in sourced["cnn"]


def test_a_recipe_a_task_and_model_is_written_and_makes_the_same_run(tmp_path, capsys):
    written = {"models": ["legnet", "cnn"], "suites": {"nucleotide_transformer": ["H3"], "gue": ["H4"]}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(written))
    arguments = ["recipes", "--run", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "recipes")]
    assert main([*arguments, "--task", "gue/H4", "--model", "cnn"]) == 0
    (alone,) = (tmp_path / "recipes").rglob("*.yaml")
    assert str(alone.relative_to(tmp_path / "recipes")) == "gue/H4/cnn.yaml"
    assert main([*arguments, "--task", "gue/H5"]) == 1 and "did you mean 'gue/H4'" in capsys.readouterr().err
    assert main(arguments) == 0 and len(list((tmp_path / "recipes").glob("*/*/*.yaml"))) == 4
    text = (tmp_path / "recipes/nucleotide_transformer/H3/legnet.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert recipe["training"]["lr"] == 6e-4 and None not in recipe["training"].values()
    assert recipe["source"]["lr"] == "released code"
    assert recipe["source"].keys() == {**recipe["training"], **recipe["settings"]}.keys()
    assert {"# strands = forward: our default", "# pooling = mean: our default"} <= {*text.splitlines()}
    one, other = (load(written | more, [], CATALOGUE) for more in ({}, {"recipes": str(tmp_path / "recipes")}))
    for job in one.jobs():
        place = job.model, job.suite, job.task
        assert one.training(job).changed({"source": None}) == other.training(job).changed({"source": None})
        assert one.settings(*place) == other.settings(*place)


def test_what_the_run_says_itself_is_named_by_its_key():
    config = load(
        {"models": ["cnn"], "suites": {"gue": {"tasks": ["H3"], "training": {"lr": 0.2}}}, "finetune": {"epochs": 2}},
        [], CATALOGUE,
    )  # fmt: skip
    training = config.training(Job("gue", "H3", "cnn", "heldout", 1))
    assert (training.lr, training.source["lr"]) == (0.2, "suites.gue.training")
    assert (training.epochs, training.source["epochs"]) == (2, "finetune")


def test_what_the_run_changes_in_a_model_of_the_catalogue_is_not_credited_to_its_authors():
    models = {
        "convnova_scratch": {"settings": {"width": 16, "kernel": 7}, "strands": "both"},
        "caduceus_ph": {"settings": {"width": 64}},
        "legnet": {"training": {"lr": 0.5}},
        "mine": {"like": "convnova_scratch", "title": "mine", "settings": {"width": 8}, "source": "our search"},
    }
    suites = {"nucleotide_transformer": ["H3"], "genomic_benchmarks": ["human_nontata_promoters"]}
    config = load({"genome": "hg38", "models": models, "suites": suites}, [], CATALOGUE)
    for task in ("nucleotide_transformer/H3", "genomic_benchmarks/human_nontata_promoters"):
        for model, key, line in (
            ("convnova_scratch", "settings.width", ["16", "run config"]), ("legnet", "lr", ["0.5", "run config"]),
            ("convnova_scratch", "strands", ["both", "run config"]), ("mine", "settings.width", ["8", "our search"]),
            ("convnova_scratch", "settings.kernel", ["7", "run config"]),
            ("convnova_scratch", "settings.tail_expansion", ["released code"]),
            ("mine", "settings.kernel", ["released code"]),
            ("caduceus_ph", "settings.width", ["64", "run config"]),
            ("caduceus_ph", "strands", ["both", "Schiff et al. 2024"]),
            ("caduceus_ph", "settings.layers", ["Schiff et al. 2024"]),
        ):  # fmt: skip
            assert lines_of(hyperparameters(config, task, model))[key][-len(line) :] == line
    weight_decay = lines_of(hyperparameters(config, "nucleotide_transformer/H3", "legnet"))["weight_decay"]
    assert weight_decay == ["1e-05", "released code"]


@pytest.mark.parametrize(
    "recipe, model, named",
    [
        ({"training": {"lr": 1.0}}, "cnn", "recipes.gue/H3/cnn.source"),
        ({"training": {"lr": 1.0}, "source": {"epochs": "paper"}}, "cnn", "source: expected one for lr too"),
        ({"training": {"rl": 1.0}, "source": "paper"}, "cnn", "recipes.gue/H3/cnn.training.rl = 1.0: unknown key"),
        ({"settings": {"blocks": 9}, "source": "paper"}, "convnova", "backbone is pretrained for all tasks"),
        ({"settings": {"blokcs": 9}, "source": "paper"}, "convnova_scratch", "did you mean 'blocks'"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, recipe, model, named):
    path = tmp_path / "gue/H3" / f"{model}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(recipe))
    written = {"models": [model], "suites": {"gue": ["H3"]}, "genome": "hg38", "recipes": str(tmp_path)}
    with pytest.raises(ConvNovaError, match=named):
        validate(load(written, [], CATALOGUE))
