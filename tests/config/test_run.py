"""A resolved run: its jobs, what their numbers depend on, its pretrainings and where its files lie."""

import itertools
import platform
from pathlib import Path

import pytest
from own_config import CATALOGUE, own_config

from convnova.cli.train import _provenance
from convnova.config.load import load
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.runs.provenance_table import provenance_frame

JOB = Job("mine", "H3", "convnova_scratch", "heldout", 2)
SUITES = ["nucleotide_transformer", "genomic_benchmarks"]


def resolved(**changes):
    return load(own_config(**changes), [], CATALOGUE)


def test_jobs_and_defaults_of_a_small_config():
    config = resolved()
    assert (config.seeds, config.protocols, config.genome) == ([1, 2, 3], ["heldout"], None)
    assert len(list(config.jobs())) == 3 and JOB in config.jobs()
    assert JOB.folder(config.run) == "results/mine/runs/mine/H3/convnova_scratch/heldout/seed=2"
    assert resolved(suites=["gue"]).protocols == ["heldout", "released"]
    assert config.task(JOB).metric == "mcc" and not config.models[JOB.model].pretrained
    assert (config.training(JOB).epochs, config.training(JOB).lr) == (20, 1e-3)
    assert config.backbones() == {} and not config.offline and config.pretrain.length == 1024


def test_a_suite_may_leave_out_protocols_of_the_run():
    suites = {"mine": own_config()["suites"]["mine"], "other": own_config()["suites"]["mine"]}
    suites["other"]["protocols"] = ["heldout"]
    config = resolved(suites=suites, protocols=["released", "heldout"])
    assert [config.protocols_on(suite) for suite in suites] == [["released", "heldout"], ["heldout"]]
    assert config.main_protocol == "heldout" and len(list(config.jobs())) == 6 + 3
    assert resolved(protocols=["released", "cv"]).main_protocol == "cv"
    for wrong in (["cv"], ["heldout", "heldout"]):
        with pytest.raises(ConvNovaError, match="suites.other.protocols = .*: expected some of .'heldout'., each once"):
            resolved(suites=suites | {"other": suites["other"] | {"protocols": wrong}})


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_result_names_its_machine_only_if_that_is_asked_for(is_asked):
    provenance, _ = _provenance(resolved(host=is_asked), "hash", {}, Path("out"))
    described = provenance.describe("float32")
    assert described["host"] == (platform.node() if is_asked else "")
    assert provenance_frame({JOB: described})["machine"][0].startswith(f"{platform.node()}: ") == is_asked


def test_the_seeds_of_cross_validation_are_the_folds_of_the_suite():
    jobs = resolved(protocols=["cv", "heldout"], seeds=[7], suites__mine__folds=4).jobs()
    assert [(job.protocol, job.seed) for job in jobs] == [*(("cv", k) for k in (1, 2, 3, 4)), ("heldout", 7)]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"seeds": [1, 1]}, r"seeds = \[1, 1\].* once"),
        ({"protocols": ["cv", "cv"]}, "protocols = .* once"),
        ({"seeds": []}, r"seeds = \[\].* at least 1"),
        ({"finetune": {"lr": float("inf")}}, "finetune.lr = inf.* finite"),
        ({"models": ["convnova"]}, "'convnova'.* `genome`"),
        ({"models": {"cnn": {}, "wide": {"like": "cnn"}}}, "models cnn and wide have one title, 'CNN': .*`title`"),
        ({"ablation": {"baseline": "third"}}, "ablation.* found third"),
        ({"ablation": {"baseline": "convnova_scratch", "compare_to": {"a": "convnova_scratch"}}}, "found a$"),
        ({"ablation": {"baseline": "convnova_scratch", "compare_to": {"convnova_scratch": "b"}}}, "found b$"),
        ({"ablation": {"baseline": "convnova_scratch"}, "protocols": ["released"]}, "ablation.* heldout"),
        ({"base": "convnova_scratch"}, "base = 'convnova_scratch'.* `ablation: {baseline: MODEL}`"),
        ({"against": {"a": "b"}}, "against = .* `ablation: {compare_to: {MODEL: MODEL}}`"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, words):
    with pytest.raises(ConvNovaError, match=words):
        resolved(**changes)


def test_hyperparameters_come_from_the_innermost_layer_that_sets_them(tmp_path):
    folder = tmp_path / "mine/H3"
    folder.mkdir(parents=True)
    (folder / "convnova_scratch.yaml").write_text("training: {beta1: 0.5, epochs: 9}\nsource: searched\n")
    of_suite = {"training": {"batch_size": 9, "beta1": 0.4, "clip": 3.0}, "tasks": {"H3": {"clip": 2.0, "beta1": 0.3}}}
    model = {"training": {"weight_decay": 0.5}, "suites": {"mine": of_suite}}
    training = resolved(
        suites__mine__training={"epochs": 3, "lr": 0.1, "batch_size": 7},
        suites__mine__tasks__H3__training={"lr": 0.2, "weight_decay": 0.4},
        models={"convnova_scratch": model}, finetune={"epochs": 4}, recipes=str(tmp_path),
    ).training(JOB)  # fmt: skip
    written = {key: (getattr(training, key), source) for key, source in training.source.items()}
    defaults = ("released", "our", "default")
    assert {key: value for key, value in written.items() if not value[1].startswith(defaults)} == {
        "epochs": (4, "finetune"),
        "lr": (0.2, "suites.mine.tasks.H3.training"),
        "batch_size": (9, "models.convnova_scratch.suites.mine.training"),
        "weight_decay": (0.5, "models.convnova_scratch.training"),
        "clip": (2.0, "models.convnova_scratch.suites.mine.tasks.H3"),
        "beta1": (0.5, "searched"),
    }


def test_a_pretraining_has_the_hyperparameters_of_the_run_with_the_changes_of_the_model():
    models = {"convnova": None, "longer": {"like": "convnova", "title": "longer", "pretrain": {"epochs": 7}}}
    pretrain = {"epochs": 3, "lr": 0.5, "source": {"lr": "paper"}}
    config = resolved(genome="yeast", models=models, pretrain=pretrain)
    longer, convnova = (config.pretraining(model) for model in ("longer", "convnova"))
    assert (longer.epochs, longer.lr, convnova.epochs) == (7, 0.5, 3)
    assert (longer.source["epochs"], longer.source["lr"]) == ("models.longer.pretrain", "paper")
    assert convnova.source["epochs"] == "pretrain" and longer.source["length"] == "our default"
    assert config.pretraining_fingerprint("longer") != config.pretraining_fingerprint("convnova")


def test_strands_of_a_model_on_a_suite_and_a_task_whose_labels_hold_for_both():
    models = {"cnn": {"strands": "both"}, "convnova_scratch": {"suites": {"mine": {"strands": "both"}}}}
    models["legnet"] = {"strands": "forward"}
    config = resolved(models=models, suites__gue={"tasks": {"H3": None, "tf_0": None}})
    tasks = {"mine": "H3", "gue": "H3", "peaks": "tf_0"}
    both = {"cnn": set(tasks), "convnova_scratch": {"mine", "peaks"}, "legnet": set()}
    for model, (name, task) in itertools.product(models, tasks.items()):
        suite = name.replace("peaks", "gue")
        assert (config.strands(model, suite, task) == "both") == (name in both[model]), (model, name)
        training = config.training(Job(suite, task, model, "heldout", 1))
        assert training.reverse_complement == (name == "peaks")
        assert training.source["reverse_complement"].endswith("tf_0.strands") == (name == "peaks")


def test_fingerprints_change_with_what_a_number_depends_on_and_with_nothing_else():
    def fingerprints(models=("convnova_scratch", "cnn"), **changes):
        models = models if isinstance(models, dict) else list(models)
        config = resolved(models=models, genome="yeast", **changes)
        return [config.job_fingerprint(JOB._replace(model=model)) for model in config.models]

    before = fingerprints()
    for same in ({"seeds": [1, 2, 4]}, {"run": "other"}, {"protocols": ["heldout"]}, {"finetune": {"source": "mine"}}):
        assert fingerprints(**same) == before, same
    both = {"convnova_scratch": {"strands": "both"}, "cnn": {"strands": "both"}}
    for other in ({"finetune": {"lr": 0.1}}, {"suites__mine__tasks__H3__max_length": 400}, {"models": both}):
        assert all(new != old for new, old in zip(fingerprints(**other), before, strict=True)), other
    after = fingerprints({"convnova_scratch": None, "cnn": {"settings": {"embedding": 8}}})
    assert after[0] == before[0] and after[1] != before[1]
    pretrained = fingerprints(["convnova"])
    assert pretrained == fingerprints(["convnova"], pretrain={"source": "mine"})
    assert pretrained != fingerprints(["convnova"], pretrain={"seed": 2})
    places = [resolved(suites__mine={"format": "bed", "genome": name, "tasks": {"H3": {"train": "a", "test": "b"}}})
              for name in ("yeast", "hg38")]  # fmt: skip
    assert len({config.job_fingerprint(next(iter(config.jobs()))) for config in places}) == 2


def test_equal_backbones_are_pretrained_once_and_a_suite_with_other_settings_has_its_own():
    wide = {"like": "convnova", "title": "wide", "settings": {"width": 256}}
    slow = {"like": "convnova", "title": "slow", "pretrain": {"lr": 1.0e-4}}
    models = {"convnova_scratch": {}, "convnova": {}, "convnova_frozen": {}, "wide": wide, "slow": slow}
    config = load({"genome": "hg38", "suites": SUITES, "models": models}, [], CATALOGUE)
    assert config.backbones() == {
        name: (model, suite)
        for model in ("convnova", "wide", "slow")
        for name, suite in ((model, None), (f"{model}@genomic_benchmarks", "genomic_benchmarks"))
    }
    assert config.backbone("convnova_frozen", "genomic_benchmarks") == "convnova@genomic_benchmarks"
    assert config.backbone("convnova_scratch", "nucleotide_transformer") == "convnova_scratch"  # shares with none
    assert config.settings("convnova", "genomic_benchmarks")["width"] == 64


def test_a_pretraining_that_sets_what_is_the_default_is_another_one_than_the_runs():
    """The run decays weights and has another rate; each of two models takes one of these back."""
    models = {"convnova": {}, "low": {"like": "convnova", "title": "low", "pretrain": {"lr": 1.0e-3}},
              "free": {"like": "convnova", "title": "free", "pretrain": {"weight_decay": 0.0}},
              "same": {"like": "convnova", "title": "same", "pretrain": {"lr": 2.0e-3}}}  # fmt: skip
    config = load({"genome": "hg38", "models": models, "pretrain": {"lr": 2.0e-3, "weight_decay": 0.1}}, [], CATALOGUE)
    assert [*config.backbones()] == ["convnova", "low", "free"]


def test_changes_of_a_models_pretraining_leave_its_other_settings():
    models = {
        "hyenadna": {"pretrain": {"epochs": 7}},
        "mine": {"like": "hyenadna", "title": "mine", "strands": "forward"},
    }
    config = load({"genome": "hg38", "models": models}, [], CATALOGUE)
    settings = {"dropout": 0.0, "embedding_dropout": 0.1}
    assert config.pretraining("hyenadna").settings == config.pretraining("mine").settings == settings
    assert (config.pretraining("hyenadna").epochs, config.pretraining("mine").epochs) == (7, 1)
    assert config.pretraining("hyenadna").source["epochs"] == "run config"


def test_paths_are_written_down_as_they_are_below_the_root():
    config = resolved()
    moved = config.rooted_at(Path("copies"))
    assert (config.results, moved.results) == (Path("results/mine"), Path("copies/results/mine"))
    assert moved.folder(JOB) == Path("copies", JOB.folder("mine"))
    assert moved.relative_path("copies/resources/a.safetensors") == "resources/a.safetensors"
    assert moved.relative_path("/elsewhere/a.safetensors") == "/elsewhere/a.safetensors"
    assert moved.fingerprint(moved) == config.fingerprint(config)
    simulated = load({"run": "x", "simulate": {}, "models": ["cnn"], "suites": ["gene_finding"]}, [], CATALOGUE)
    assert (config.path_of("a.csv", "gue"), config.path_of("a.csv", None)) == ("resources/raw/gue/a.csv", "a.csv")
    assert (simulated.path_of("a.csv", "gue"), simulated.path_of("a", None)) == ("resources/x/raw/gue/a.csv", "a")
