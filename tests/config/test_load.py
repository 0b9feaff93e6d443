import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from convnova.config.load import load, load_file, save
from convnova.config.run import Job
from convnova.config.schema import METRICS_OF, Metric, files_of
from convnova.errors import ConvNovaError, nearest
from convnova.evaluation import metrics
from convnova.files import read_yaml
from convnova.models import configure
from convnova.runs.validate import check_files, validate

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "config"

OWN = {
    "run": "mine",
    "models": ["convnova_scratch"],
    "suites": {"mine": {"format": "csv", "tasks": {"H3": {"train": "a.csv", "test": "b.csv", "max_length": 500}}}},
}


def written(**changes):
    """The smallest config of one's own, with some of it changed; dotted keys reach inside."""
    content = json.loads(json.dumps(OWN))
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = content
        for part in path:
            inner = inner[part]
        inner[last] = value
    return content


def refusal(tmp_path, content) -> str:
    """What a user is told about a config file with this content."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConvNovaError) as caught:
        validate(load(content, [str(path)], CATALOGUE), [str(path)])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: "), message
    return message.removeprefix(f"{path}: ")


def test_a_small_config_of_ones_own_gets_sensible_defaults():
    config = load(written(), ["mine.yaml"], CATALOGUE)
    assert (config.seeds, config.protocols, config.genome) == ([1, 2, 3], ["heldout", "released"], None)
    assert len(list(config.jobs())) == 6
    job = Job("mine", "H3", "convnova_scratch", "heldout", 2)
    assert job.folder(config.run) == "results/mine/runs/mine/H3/convnova_scratch/heldout/seed=2"
    assert config.task(job).metric == "mcc"
    assert (config.training(job).epochs, config.training(job).lr) == (20, 1e-3)
    assert config.backbones() == {}


def test_the_run_is_named_after_its_file_and_models_follow_from_the_genome():
    without = {key: value for key, value in OWN.items() if key not in ("run", "models")}
    assert load(without, ["configs/my run.yaml"], CATALOGUE).run == "my_run"
    assert list(load(without, ["a.yaml"], CATALOGUE).models) == ["convnova_scratch", "cnn"]
    assert list(load({**without, "genome": "hg38"}, ["a.yaml"], CATALOGUE).models)[0] == "convnova"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sedes": [1]}, "sedes = [1]: unknown key; did you mean 'seeds'?"),
        ({"suites__mine__tasks__H3__metrik": "mcc"}, "suites.mine.tasks.H3.metrik = 'mcc': unknown key; did you mean 'metric'?"),
        ({"suites__mine__tasks__H3__metric": "f1_makro"}, "suites.mine.tasks.H3.metric = 'f1_makro': did you mean 'f1_macro'?"),
        ({"suites__mine__tasks__H3__max_length": 0}, "suites.mine.tasks.H3.max_length = 0: input should be greater"),
        ({"protocols": ["held_out"]}, "protocols.0 = 'held_out': did you mean 'heldout'?"),
        ({"seeds": [1, 1]}, "seeds = [1, 1]: each only once"),
        ({"seeds": []}, "seeds = []: list should have at least 1 item"),
        ({"models": ["convnova_scrach"]}, "models.convnova_scrach: unknown; did you mean 'convnova_scratch'?"),
        ({"models": {"cnn": {"settings": {"embeding": 8}}}}, "models.cnn.settings.embeding = 8: unknown key; did you mean 'embedding'?"),
        ({"models": {"cnn": {"settings": {"embedding": "8"}}}}, "models.cnn.settings.embedding = '8': expected int"),
        (
            {"models": {"convnova_scratch": {"settings": {"kernel": 4}}}},
            "models.convnova_scratch.settings.kernel = 4: expected an odd number",
        ),
        ({"finetune": {"learning_rate": 1}}, "finetune.learning_rate = 1: unknown key"),
        ({"finetune": {"lr": "fast"}}, "finetune.lr = 'fast': input should be a valid number"),
        ({"genome": "hg83"}, "genome: unknown genome 'hg83'; did you mean 'hg38'?"),
        ({"models": ["convnova"]}, "models ['convnova'] are pretrained, so `genome` must say on what"),
        ({"suites": {"nucleotide_transformers": None}}, "suites.nucleotide_transformers: unknown; did you mean 'nucleotide_transformer'?"),
        ({"suites": {"nucleotide_transformer": ["H3K9"]}}, "suites.nucleotide_transformer.tasks.H3K9: unknown; did you mean 'H3K9ac'?"),
        ({"base": "convnova_scratch"}, "base = 'convnova_scratch': unknown key; it is now `ablation: {baseline: MODEL}`"),
        ({"against": {"a": "b"}}, "against = {'a': 'b'}: unknown key; it is now `ablation: {compare_to: "),
        ({"models": {"cnn": {"architecture": "kmers"}}}, "models.cnn.architecture: 'kmers' is now 'kmer_regression'"),
        ({"suites__mine__tasks__H3__test": None}, "suites.mine: tasks.H3: expected the files test too, of format csv"),
        ({"suites__mine__format": "bed"}, "suites.mine: format bed is intervals, so `genome` must say of what"),
        ({"suites__mine__tasks": None}, "suites.mine.tasks = {}: dictionary should have at least 1 item"),
        ({"suites__mine": {"format": "csv"}}, "suites.mine.tasks = {}: dictionary should have at least 1 item"),
        ({"suites__mine__tasks": ["H3"]}, "suites.mine: tasks.H3: expected the files train, test too, of format csv"),
        ({"suites__mine__tasks__H3": "a.csv"}, "suites.mine.tasks.H3: expected a list of names or a mapping, found 'a.csv'"),
        ({"data": "x", "suites__mine__tasks__H3": "a.csv"}, "suites.mine.tasks.H3: expected a list of names or a mapping, found"),
        ({"suites": {"gue": {"tasks": {"H3": "a.csv"}}}}, "suites.gue.tasks.H3: expected a list of names or a mapping, found"),
        ({"suites__mine__format": "tsv"}, "suites.mine.format: 'tsv': did you mean 'csv'?"),
        ({"run": "a/b"}, "run = 'a/b': string should match pattern"),
        ({"suites": None}, "suites: expected suites to fine-tune on, or a genome to pretrain on; found neither"),
        ({"models": "cnn"}, "models: expected a list of names or a mapping, found 'cnn'"),
        ({"suites__mine__tasks__H3__lr": 0.1}, "suites.mine.tasks.H3.lr = 0.1: unknown key; it belongs under `training`"),
        ({"epochs": 3}, "epochs = 3: unknown key; it belongs under `pretrain`"),
        ({"finetune": {"seeds": [1]}}, "finetune.seeds = [1]: unknown key; expected one of batch_size, "),
        ({"suites__mine__metric": "mcc"}, "suites.mine.metric = 'mcc': unknown key; "),
        ({"models": {"cnn": {"widht": 8}}}, "models.cnn.widht = 8: unknown key; "),
        ({"genome": "g.fa", "pretrain": {"epoch": 3}}, "pretrain.epoch = 3: unknown key; did you mean 'epochs'?"),
        ({"genome": {"fasta": "g.fa", "valid": ["I"], "test": ["I"]}}, "genomes.g: chromosome 'I' is in valid and in test"),
        (
            {"genome": "hg38", "suites": {"gene_finding": {"training": {"reverse_complement": True}}}},
            "gene_finding/gene_finding/convnova_scratch: reverse_complement = true: the labels of bases belong to one strand",
        ),
        (
            {"models": {"cnn": {"suites": {"mine": {"training": {"checkpointing": True}}}}}},
            "mine/H3/cnn: checkpointing = true: cnn cannot, as convnova can; leave it out",
        ),
        (
            {"models": {"down": {"like": "convnova_scratch", "title": "down", "architecture": "unet"}}, "finetune": {"checkpointing": True}},
            "mine/H3/down: checkpointing = true: unet cannot",
        ),
        (
            {"genome": "hg38", "models": ["transformer"], "pretrain": {"checkpointing": True}},
            "pretraining of transformer: checkpointing = true: transformer cannot",
        ),
        (
            {"genome": "hg38", "models": ["convnova"], "pretrain": {"reverse_complement": True}},
            "pretraining of convnova: reverse_complement = true: windows are read from one strand",
        ),
        (
            {"genome": "hg38", "models": {"convnova": {"pretrain": {"padding": "pooled"}}}},
            "pretraining of convnova: padding = pooled: windows are of one length",
        ),
        (
            {"genome": "hg38", "models": {"hyenadna": {"pretrain": {"length": 4096}}}},
            "models.hyenadna.pretrain.length = 4096: the model reads 1024 bases at most; take shorter windows",
        ),
        ({"suites__mine__tasks__H3__kind": "per_base"}, "suites.mine: tasks.H3.kind = per_base: format csv holds classes"),
        (
            {"suites__mine__tasks__H3": {"train": "a", "test": "b", "metric": "f1_binary", "classes": ["x", "y", "z"]}},
            "suites.mine: tasks.H3.metric = f1_binary: expected two classes, found 3; take f1_macro",
        ),
        (
            {"suites__mine__tasks__H3": {"train": "a", "test": "b", "groups": {"TF": [0, 2]}}},
            "suites.mine: tasks.H3.groups: only a task of many labels",
        ),
        (
            {"genome": "hg38", "suites": {"gene_finding": {"tasks": {"gene_finding": {"metric": "auroc"}}}}},
            "suites.gene_finding: tasks.gene_finding.metric = auroc: of kind per_base, so expected one of mcc, f1_macro, accuracy",
        ),
        (
            {"suites": {"chromatin_profile": {"tasks": {"chromatin_profile": {"metric": "auprc"}}}}},
            "suites.chromatin_profile: tasks.chromatin_profile.metric = auprc: groups of labels have an AUROC alone",
        ),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_refused_with_file_key_value_and_the_nearest_right_one(tmp_path, changes, told):
    assert refusal(tmp_path, written(**changes)).startswith(told)


def test_a_length_that_a_model_cannot_be_measured_at_is_refused(tmp_path, monkeypatch):
    """HyenaDNA is made for each length, so it can; a model of other people's says what it can read."""
    monkeypatch.setattr("convnova.models.huggingface.find_spec", lambda name: True)
    theirs = {"like": "hyenadna_released", "title": "theirs", "settings": {"path": str(tmp_path), "needs": ""}}
    content = {"models": {"hyenadna_scratch": {}, "theirs": theirs}, "cost": {"lengths": [4096, 65536]}}
    told = "cost.lengths: theirs reads 16000 bases at most, and 65536 are to be measured; leave out what is above 16000"
    assert refusal(tmp_path, content).startswith(told)
    load(content | {"cost": {"lengths": [4096, 16000]}}, [], CATALOGUE)


def test_every_kind_has_metrics_that_its_predictions_have():
    labels, scores = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = {
        "classes": metrics.classification(labels, scores),
        "per_base": metrics.per_base(labels, scores.argmax(1)),
        "multilabel": metrics.multilabel(np.stack([labels, 1 - labels], 1), scores, {}),
    }
    for kind, told in found.items():
        assert set(METRICS_OF[kind]) == set(get_args(Metric)) & set(told)


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path):
    with pytest.raises(ConvNovaError, match=r"suites.mine.tasks.H3.train = 'a.csv': expected a file, found nothing"):
        check_files(load(written(), [], CATALOGUE), [])
    files = {name: str(tmp_path / name) for name in ("a.csv", "b.csv")}
    for path in files.values():
        Path(path).touch()
    present = {"suites__mine__tasks__H3__train": files["a.csv"], "suites__mine__tasks__H3__test": files["b.csv"]}
    check_files(load(written(**present), [], CATALOGUE), [])
    with pytest.raises(ConvNovaError, match=r"genome.g = 'x/g.fa': expected a file, found nothing"):
        check_files(load(written(genome="x/g.fa", **present), [], CATALOGUE), [])


def test_a_task_that_is_not_simulated_is_named_with_those_that_are():
    content = {"simulate": {"seed": 1}, "models": ["cnn"], "suites": {"genomic_benchmarks": ["human_ocr_ensembl"]}}
    with pytest.raises(ConvNovaError, match="human_ocr_ensembl is not simulated; there are demo_coding.*nontata"):
        check_files(load(content, [], CATALOGUE), [])
    check_files(load(content | {"suites": {"genomic_benchmarks": ["human_nontata_promoters"]}}, [], CATALOGUE), [])
    check_files(load_file(CATALOGUE / "config.yaml"), [])


def test_of_several_files_the_one_with_the_mistake_is_named(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(written(seeds=[0.5])))
    second.write_text("run: other\n")
    with pytest.raises(ConvNovaError, match=re.escape(f"{first}: seeds.0 = 0.5")):
        load(written(seeds=[0.5], run="other"), [str(first), str(second)], CATALOGUE)


def test_hyperparameters_come_from_the_innermost_layer_that_names_them():
    content = written(
        suites__mine__training={"epochs": 3, "lr": 0.1, "batch_size": 7},
        suites__mine__tasks__H3__training={"lr": 0.2},
        models={
            "convnova_scratch": {"training": {"weight_decay": 0.5}, "suites": {"mine": {"training": {"batch_size": 9}}}}
        },
        finetune={"epochs": 4},
    )
    training = load(content, [], CATALOGUE).training(Job("mine", "H3", "convnova_scratch", "heldout", 1))
    assert (training.epochs, training.lr, training.batch_size, training.weight_decay) == (4, 0.2, 9, 0.5)


def test_a_genome_of_ones_own_gets_a_name_from_its_file():
    config = load(written(genome={"fasta": "x/S. cerevisiae.fa.gz", "valid": ["IX"]}), [], CATALOGUE)
    assert config.genome == "S_cerevisiae"
    assert config.genomes["S_cerevisiae"].valid == ["IX"]


def test_a_resolved_config_comes_back_as_it_was(tmp_path):
    config = load(read_yaml(CATALOGUE / "config.yaml"), ["config.yaml"], CATALOGUE)
    save(config, tmp_path / "resolved.yaml")
    assert load_file(tmp_path / "resolved.yaml") == config
    assert load(yaml.safe_load((tmp_path / "resolved.yaml").read_text())) == config


def test_a_runs_files_are_found_beside_its_config(tmp_path, monkeypatch):
    config = load({"suites": {"nucleotide_transformer": ["H3"]}, "run": "x", "seeds": [1]}, [], CATALOGUE)
    here, (job, *_) = "copies/results/x/config.yaml", config.jobs()
    monkeypatch.chdir(tmp_path)
    for place in (here, "results/x/config.yaml", "results/y/config.yaml", "mine.yaml"):
        save(config, place)
    found = load_file(here)
    assert found.folder(job) == Path("copies", job.folder("x"))
    assert found.relative_path("copies/resources/x/a.safetensors") == "resources/x/a.safetensors"
    assert found.relative_path("/elsewhere/a.safetensors") == "/elsewhere/a.safetensors"
    assert found.fingerprint(found) == config.fingerprint(config)
    for place in ("results/x/config.yaml", "results/y/config.yaml", "mine.yaml"):
        assert load_file(place).results == Path("results/x"), place


def test_fingerprints_change_with_what_a_number_depends_on_and_with_nothing_else():
    def prints(**changes):
        config = load(written(models=["convnova_scratch", "cnn"], **changes), [], CATALOGUE)
        return [config.job_fingerprint(Job("mine", "H3", model, "heldout", 1)) for model in ("convnova_scratch", "cnn")]

    before = prints()
    assert prints(seeds=[1, 2, 3, 4], run="other", protocols=["heldout"]) == before
    assert all(new != old for new, old in zip(prints(finetune={"lr": 0.1}), before, strict=True))
    config = load(written(models={"convnova_scratch": None, "cnn": {"settings": {"embedding": 8}}}), [], CATALOGUE)
    assert config.job_fingerprint(Job("mine", "H3", "convnova_scratch", "heldout", 1)) == before[0]
    assert config.job_fingerprint(Job("mine", "H3", "cnn", "heldout", 1)) != before[1]


def test_a_suite_with_other_settings_gets_a_pretraining_of_its_own():
    suites = {"nucleotide_transformer": ["H3"], "genomic_benchmarks": ["human_nontata_promoters"]}
    config = load({"run": "x", "genome": "hg38", "models": ["convnova"], "suites": suites}, [], CATALOGUE)
    found = {"convnova": ("convnova", None), "convnova@genomic_benchmarks": ("convnova", "genomic_benchmarks")}
    assert config.backbones() == found
    assert config.settings("convnova", "genomic_benchmarks")["width"] == 64


def test_a_simulated_run_is_not_held_against_published_counts_and_checksums():
    suites = {"nucleotide_transformer": ["H3"], "chromatin_profile": None}
    content = {"run": "x", "models": ["cnn"], "suites": suites}
    real, simulated = (load({**content, **more}, [], CATALOGUE) for more in ({}, {"simulate": {"seed": 3}}))
    assert real.suites["nucleotide_transformer"].tasks["H3"].counts == {"train": 13468, "test": 1497}
    assert simulated.suites["nucleotide_transformer"].tasks["H3"].counts == {}
    assert simulated.mirror == "resources/x/mirror"
    assert list(simulated.sources["nucleotide_transformer"].files) == ["H3/train.fna", "H3/test.fna"]


@pytest.mark.parametrize("path", sorted((CATALOGUE / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_of_the_catalogue_is_whole(path):
    model = read_yaml(path)
    configure(model["architecture"], {key: value for key, value in model["settings"].items() if key != "needs"})


def test_every_suite_of_the_catalogue_is_whole_and_its_files_are_registered():
    suites = {path.stem: None for path in (CATALOGUE / "suites").glob("*.yaml")}
    config = load({"run": "all", "models": ["cnn"], "suites": suites}, [], CATALOGUE)
    for suite in config.suites.values():
        for task in suite.tasks.values():
            known = set(config.sources[suite.source].files)
            assert all(found and set(found) <= known for found in (files_of(n, known) for n in task.files().values()))
    assert len(config.suites["nucleotide_transformer"].tasks) == 18
    assert len(config.suites["genomic_benchmarks"].tasks) == 8
    folder = config.suites["genomic_benchmarks_intervals"].tasks["human_nontata_promoters"].intervals
    assert len(files_of(folder, config.sources["genomic_benchmarks"].files)) == 5


def test_nearest_lists_all_where_nothing_is_near():
    assert nearest("zzz", ["alpha", "beta"]) == "expected one of alpha, beta"


def test_paths_of_ones_own_start_from_the_folder_that_is_named():
    bed = {"fasta": "genome.fa.gz", "valid": ["I"], "test": ["II"]}
    genes = {"source": None, "genome": bed, "tasks": {"gene_finding": {"annotation": "genes.gff"}}}
    content = written(data="my/files", genome=bed, suites__yeast_genes=genes, suites__gue=["H3"])
    config = load(content, [], CATALOGUE)
    task = config.suites["mine"].tasks["H3"]
    assert (task.train, task.test, task.max_length) == ("my/files/a.csv", "my/files/b.csv", 500)
    assert config.suites["yeast_genes"].tasks["gene_finding"].annotation == "my/files/genes.gff"
    assert config.suites["gue"].tasks["H3"].train == "EMP/H3/train.csv"
    assert config.genome == config.suites["yeast_genes"].genome
    assert config.genomes[config.genome].fasta == "my/files/genome.fa.gz"


def test_a_model_like_another_with_a_pretraining_of_its_own():
    other = {"like": "convnova", "title": "longer", "pretrain": {"epochs": 7}, "training": {"lr": 0.5}}
    config = load(written(genome="yeast", models={"convnova": None, "longer": other}), [], CATALOGUE)
    assert config.models["longer"].architecture == "convnova" and config.models["longer"].pretrained
    assert (config.pretraining("longer").epochs, config.pretraining("convnova").epochs) == (7, 1)
    assert config.pretraining_fingerprint("longer") != config.pretraining_fingerprint("convnova")
    assert config.training(Job("mine", "H3", "longer", "heldout", 1)).lr == 0.5


@pytest.mark.parametrize("suite", ["nucleotide_transformer", "genomic_benchmarks"])
def test_each_ablation_changes_one_thing_on_every_suite(suite):
    """The form published for the suite, of width 16, and in it what the variant's name says."""
    content = read_yaml(CATALOGUE / "ablations.yaml") | {"suites": [suite]}
    config = load(content, [], CATALOGUE)
    published = config.settings("published", suite)
    form = {"width": 16, "kernel": 9, "blocks": 5, "dilation_base": 4, "tail_expansion": 2}
    of_suite = {"kernel": 5, "tail_expansion": 4, "final_conv": True} if suite == "genomic_benchmarks" else {}
    assert published == form | of_suite
    expected = {
        "published": {},
        "pretrained": {},
        "down_sampling": {},
        "gate_sum": {"gate": "sum"},
        "gate_none": {"gate": "none", "second_branch": "none"},
        "one_branch": {"second_branch": "none"},
        "reverse_complement": {"second_branch": "reverse_complement"},
        **{f"kernel_{kernel}": {"kernel": kernel} for kernel in (3, 5, 7, 11)},
        **{f"base_{base}": {"dilation_base": base} for base in (1, 2, 3)},
        **{f"blocks_{blocks}": {"blocks": blocks} for blocks in (10, 15, 20)},
        "ffn": {"ffn": True},
        "final_conv": {"final_conv": True},
    }
    assert set(config.models) == set(expected)
    for name, model in config.models.items():
        assert config.settings(name, suite) == published | expected[name]
        assert model.architecture == ("unet" if name == "down_sampling" else "convnova")
        assert model.pretrained == (name == "pretrained") and model.training == config.models["published"].training
        assert model.published == {"published": "ConvNova*", "pretrained": "ConvNova"}.get(name)
    validate(config)


def test_a_setting_that_the_run_writes_counts_on_every_suite_unless_it_writes_those_too():
    models = {
        "convnova_scratch": {"settings": {"width": 32}},
        "other": {"like": "convnova_scratch", "title": "other", "settings": {"width": 32}, "suites": {}},
        "third": {"like": "other", "title": "third", "settings": {"kernel": 3}},
        "convnova_frozen": {"pretrained": False, "frozen": False},
    }
    config = load({"models": models, "suites": ["nucleotide_transformer", "genomic_benchmarks"]}, [], CATALOGUE)
    on_suite = {name: config.settings(name, "genomic_benchmarks") for name in models}
    assert (on_suite["convnova_scratch"]["width"], on_suite["convnova_scratch"]["kernel"]) == (32, 5)
    assert (on_suite["other"]["width"], on_suite["other"]["kernel"]) == (32, 9)
    assert (on_suite["third"]["width"], on_suite["third"]["kernel"]) == (32, 3)
    assert (on_suite["convnova_frozen"]["width"], on_suite["convnova_frozen"]["kernel"]) == (64, 5)
    assert config.settings("convnova_frozen", "nucleotide_transformer")["width"] == 128


@pytest.mark.parametrize("models", [{"a": {"like": "b"}, "b": {"like": "a"}}, {"a": {"like": "a"}}])
def test_models_that_are_like_each_other_are_refused(tmp_path, models):
    assert "unknown; expected one of basenji2" in refusal(tmp_path, written(models=models))


def test_equal_backbones_are_pretrained_once():
    wide = {"like": "convnova", "title": "wide", "settings": {"width": 256}}
    slow = {"like": "convnova", "title": "slow", "pretrain": {"lr": 1.0e-4}}
    models = {"convnova_scratch": {}, "convnova": {}, "convnova_frozen": {}, "wide": wide, "slow": slow}
    suites = ["nucleotide_transformer", "genomic_benchmarks"]
    config = load({"genome": "hg38", "suites": suites, "models": models}, [], CATALOGUE)
    assert config.backbones() == {
        "convnova": ("convnova", None),
        "convnova@genomic_benchmarks": ("convnova", "genomic_benchmarks"),
        "wide": ("wide", None),
        "wide@genomic_benchmarks": ("wide", "genomic_benchmarks"),
        "slow": ("slow", None),
        "slow@genomic_benchmarks": ("slow", "genomic_benchmarks"),
    }
    assert config.backbone("convnova_frozen", "genomic_benchmarks") == "convnova@genomic_benchmarks"
