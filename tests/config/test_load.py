"""From what a user wrote to a resolved run: names looked up, changes merged, files named in messages."""

import json
import re
from pathlib import Path

import pytest
import yaml
from own_config import CATALOGUE, OWN, own_config

from convnova.config.load import config_file, load, load_config, save
from convnova.config.schema import files_of
from convnova.errors import ConvNovaError
from convnova.files import read_yaml
from convnova.models import configure

SUITES = ["nucleotide_transformer", "genomic_benchmarks"]


def resolved(content=None, **changes):
    """The config with changes, or another content, resolved by the catalogue of the repository."""
    return load(content or own_config(**changes), [], CATALOGUE)


def test_the_run_is_named_after_its_file_and_models_follow_from_the_genome():
    without = {key: value for key, value in OWN.items() if key not in ("run", "models")}
    assert load(without, ["configs/my run.yaml"], CATALOGUE).run == "my_run" and load(without).run == "run"
    assert list(resolved(without).models) == ["convnova_scratch", "cnn"]
    assert list(resolved({**without, "genome": "hg38"}).models) == ["convnova", "convnova_scratch", "cnn"]


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"sedes": [1]}, r"sedes = \[1\]: .*'seeds'"),
        ({"suites__mine__tasks__H3__lr": 0.1}, "suites.mine.tasks.H3.lr = 0.1: .*under `training`"),
        ({"finetune": {"lr": "fast"}}, "finetune.lr = 'fast': "),
        ({"run": "a/b"}, "run = 'a/b': "),
        ({"suites__mine__tasks": None}, "suites.mine.tasks = {}: "),
        ({"suites__mine__tasks__H3": "a.csv"}, "suites.mine.tasks.H3 = 'a.csv': "),
        ({"suites": {"gue": {"tasks": {"H3": "a.csv"}}}}, "suites.gue.tasks.H3 = 'a.csv': "),
        ({"suites__mine__format": "tsv"}, "suites.mine.format = 'tsv': .*'csv'"),
        ({"suites__mine": 3}, "suites.mine: .*list of names.*3"),
        ({"suites": {"nucleotide_transformers": None}}, "suites.nucleotide_transformers: .*'nucleotide_transformer'"),
        (
            {"suites": {"gue": {"tasks": {"H3": {"train": "EMP/H3/tran"}}}}},
            "suites: .*source gue; .*'EMP/H3/train.csv'",
        ),
        ({"suites": {"gue": ["H3K9"]}}, "suites.gue.tasks.H3K9: .*'H3K9ac'"),
        ({"suites": None}, "suites: .*suites.*genome.*neither"),
        ({"models": "cnn"}, "models: .*list of names.*'cnn'"),
        ({"models": ["convnova_scrach"]}, "models.convnova_scrach: .*'convnova_scratch'"),
        ({"models": {"cnn": {"training": {"rl": 8}}}}, "models.cnn.training.rl = 8: .*'lr'"),
        ({"models": {"cnn": {"suites": {"mine": {"tasks": {"H33": {}}}}}}}, "models.cnn.suites.mine.tasks.H33: .*'H3'"),
        ({"models": {"a": {"like": "b"}, "b": {"like": "a"}}}, "models.a: .*basenji2"),
        ({"genome": "hg83"}, "genome: .*'hg83'.*'hg38'.*FASTA"),
        ({"genome": 3}, "genome = 3: "),
        ({"genome": {"fasta": "g.fa", "valid": ["I"], "test": ["I"]}}, "genome: .*'I'.*valid.*test"),
        ({"data": 3}, "data: .*folder.*3"),
        ({"mirror": "https://me:secret@host/a"}, "mirror: .*without a password.*netrc"),
        ({"mirror": "https://host/a?api_key=secret"}, "mirror: .*token"),
        ({"search": {"training": {"rl": [1]}}}, "search.training: unknown key 'rl'.*'lr'"),
        ({"recipes": "nowhere"}, "recipes: .*<suite>/<task>/<model>.yaml.*'nowhere'"),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_the_nearest_right_one(tmp_path, changes, named):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(own_config(**changes)))
    with pytest.raises(ConvNovaError, match=f"^{path}: {named}") as caught:
        load_config(path, CATALOGUE)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_all_mistakes_of_a_config_are_named_at_once(tmp_path):
    path = tmp_path / "mine.yaml"
    wrong = {
        "models": ["cnn", "convnva"],
        "sedes": [1],
        "protocols": ["heldot"],
        "finetune": {"epochs": 0, "lr": "fast"},
    }
    path.write_text(yaml.safe_dump(own_config(**wrong) | {"suites": ["nucleotide_transformr"]}))
    with pytest.raises(ConvNovaError) as caught:
        load_config(path, CATALOGUE)
    expected = [
        "suites.nucleotide_transformr: unknown.*'nucleotide_transformer'", "models.convnva: unknown.*'convnova'",
        "finetune.epochs = 0: ", "finetune.lr = 'fast': ", "protocols.0 = 'heldot': .*'heldout'", "sedes = .*'seeds'",
    ]  # fmt: skip
    found = re.split(rf"; (?={path})", str(caught.value))
    assert len(found) == len(expected)
    for line, right in zip(found, expected, strict=True):
        assert re.match(f"{path}: {right}", line)


def test_of_several_files_the_last_with_the_mistake_is_named(tmp_path):
    files = [str(tmp_path / name) for name in ("first.yaml", "second.yaml", "third.yaml")]
    contents = own_config(seeds=[0.5]), {"run": "other", "finetune": {"lr": "x"}}, {"finetune": {"epochs": 2}}
    for path, content in zip(files, contents, strict=True):
        Path(path).write_text(yaml.safe_dump(content))
    with pytest.raises(ConvNovaError) as caught:
        load(own_config(seeds=[0.5], run="other", finetune={"lr": "x", "epochs": 2}, offline="?"), files, CATALOGUE)
    offline, lr, seeds = str(caught.value).split("; ")
    assert offline.startswith(f"{files[2]}: offline = '?'")
    assert lr.startswith(f"{files[1]}: finetune.lr = 'x'") and seeds.startswith(f"{files[0]}: seeds.0 = 0.5")


def test_a_resolved_config_comes_back_as_it_was_and_files_are_found_beside_it(tmp_path, monkeypatch):
    config = load(read_yaml(CATALOGUE / "config.yaml"), ["config.yaml"], CATALOGUE)
    monkeypatch.chdir(tmp_path)
    name = config.run
    beside = {f"copies/results/{name}/config.yaml": Path("copies/results", name)}
    for place in (*beside, f"results/{name}/config.yaml", "results/y/config.yaml", "mine.yaml"):
        save(config, place)
        read = load_config(place)
        assert read.rooted_at(Path()) == config and read.results == beside.get(place, Path("results", name))
    assert load(yaml.safe_load(Path("mine.yaml").read_text())) == config


def test_a_run_is_meant_by_its_name_or_by_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConvNovaError, match="^mine: .* no runs in results/"):
        config_file("mine")
    file = Path("results/mine/config.yaml")
    save(resolved(run="mine"), file)
    Path("mine").write_text("a file of the same name")
    assert config_file("mine") == config_file(str(file)) == file and config_file("./mine") == Path("mine")
    assert config_file("config/paper.yaml") == CATALOGUE / "paper.yaml"
    for name in ("min", "min.yaml"):
        with pytest.raises(ConvNovaError, match=f"^{name}: .* did you mean 'mine'"):
            config_file(name)


def test_a_genome_of_the_users_own_gets_a_name_from_its_file():
    config = resolved(genome={"fasta": "x/S. cerevisiae.fa.gz", "valid": ["IX"]})
    assert config.genome == "S_cerevisiae" and config.genomes["S_cerevisiae"].valid == ["IX"]
    assert resolved(genome="x/hg38.fa").genome == "hg38_"


def test_a_simulated_run_has_no_published_counts_and_checksums():
    content = {"run": "x", "genome": "hg38", "models": ["cnn"], "suites": {"gue": ["H3"]}}
    real, simulated = (resolved({**content, **more}) for more in ({}, {"simulate": {"seed": 3}}))
    assert real.suites["gue"].tasks["H3"].counts == {"train": 11971, "valid": 1497, "test": 1497}
    assert simulated.suites["gue"].tasks["H3"].counts == {}
    assert (real.mirror, simulated.mirror) == (None, "resources/x/mirror")
    for config in (real, simulated):
        assert list(config.sources) == ["hg38", "gue"]
        assert set(config.sources["gue"].files) == {f"EMP/H3/{name}.csv" for name in ("train", "dev", "test")}
        checked = {bool(file.size or file.sha256 or file.md5) for file in config.sources["gue"].files.values()}
        assert (True in checked) == (config is real)


@pytest.mark.parametrize("path", sorted((CATALOGUE / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_of_the_catalogue_is_whole(path):
    model = read_yaml(path)
    configure(model["architecture"], {key: value for key, value in model["settings"].items() if key != "needs"})


def test_every_suite_of_the_catalogue_is_whole_and_its_files_are_registered():
    names = {path.stem: None for path in (CATALOGUE / "suites").glob("*.yaml")}
    config = resolved({"run": "all", "models": ["cnn"], "suites": names})
    for suite in config.suites.values():
        known = set(config.sources[suite.source].files)
        for task in suite.tasks.values():
            assert all(set(files_of(name, known)) <= known and files_of(name, known) for name in task.files().values())
    assert [len(config.suites[name].tasks) for name in SUITES] == [18, 8]
    folder = config.suites["genomic_benchmarks_intervals"].tasks["human_nontata_promoters"].intervals
    assert len(files_of(folder, config.sources["genomic_benchmarks"].files)) == 5


def test_the_users_paths_start_from_the_folder_that_is_named():
    genome = {"fasta": "genome.fa.gz", "bed": "a.bed", "valid": ["I"], "test": ["II"]}
    genes = {"source": None, "genome": genome, "tasks": {"gene_finding": {"annotation": "genes.gff"}}}
    content = own_config(data="my/files", genome=genome, suites__yeast_genes=genes, suites__gue=["H3"])
    before = json.dumps(content)
    config = resolved(content)
    task = config.suites["mine"].tasks["H3"]
    assert (task.train, task.test, task.max_length) == ("my/files/a.csv", "my/files/b.csv", 500)
    assert config.suites["yeast_genes"].tasks["gene_finding"].annotation == "my/files/genes.gff"
    assert config.suites["gue"].tasks["H3"].train == "EMP/H3/train.csv"
    assert config.genome == config.suites["yeast_genes"].genome and json.dumps(content) == before
    assert config.genomes[config.genome].files() == {"fasta": "my/files/genome.fa.gz", "bed": "my/files/a.bed"}
    assert resolved(data="my", genome="hg38").genomes["hg38"].fasta == "hg38.ml.fa.gz"


def test_a_suite_of_the_catalogue_with_changes():
    changes = {"tasks": {"H4": {"metric": "accuracy"}}, "training": {"lr": 0.5}, "title": "mine"}
    suite = resolved({"suites": {"gue": changes}, "models": ["cnn"]}).suites["gue"]
    assert (suite.title, suite.format, list(suite.tasks)) == ("mine", "csv", ["H4"])
    assert suite.tasks["H4"].metric == "accuracy" and suite.tasks["H4"].train == "EMP/H4/train.csv"
    assert suite.training.values() == {"lr": 0.5}  # replaced, not merged


def test_a_model_like_another_is_that_model_with_changes():
    longer = {"like": "convnova", "title": "longer", "pretrain": {"epochs": 7}, "training": {"epochs": 9, "lr": 0.5}}
    longest = {"like": "longer", "title": "longest", "training": {"lr": 0.25}}
    config = resolved(models={"convnova": None, "longer": longer, "longest": longest}, genome="yeast")
    base, longer, longest = config.models.values()
    assert longer.architecture == longest.architecture == "convnova" and longest.pretrained
    assert [model.published for model in (base, longer, longest)] == ["ConvNova", "ConvNova", None]
    assert [model.pretrain.epochs for model in (base, longer, longest)] == [1, 7, 7]
    assert longest.title == "longest" and longest.training.values() == {"epochs": 9, "lr": 0.25}


def test_a_setting_that_the_run_writes_counts_on_every_suite_unless_it_writes_those_too():
    models = {
        "convnova_scratch": {"settings": {"width": 32}},
        "other": {"like": "convnova_scratch", "title": "other", "settings": {"width": 32}, "suites": {}},
        "third": {"like": "other", "title": "third", "settings": {"kernel": 3}},
        "convnova_frozen": {"pretrained": False, "frozen": False},
    }
    config = resolved({"models": models, "suites": SUITES})
    settings = [config.settings(name, "genomic_benchmarks") for name in models]
    assert [(of["width"], of["kernel"]) for of in settings] == [(32, 5), (32, 9), (32, 3), (64, 5)]
    assert config.settings("convnova_frozen", "nucleotide_transformer")["width"] == 128


def test_what_a_run_changes_comes_from_the_run_config():
    models = {"caduceus_ph": {"settings": {"width": 64}}, "legnet": {"training": {"lr": 0.5}, "strands": "both"}}
    caduceus, legnet = resolved({"models": models, "suites": SUITES, "genome": "hg38"}).models.values()
    assert caduceus.source["width"] == legnet.source["strands"] == "run config"
    assert caduceus.source["layers"] == caduceus.source["strands"] == "Schiff et al. 2024"
    assert legnet.source["kernel"] == "Penzar et al. 2023" and legnet.training.source == {"lr": "run config"}
    assert legnet.suites["nucleotide_transformer"].training.source == "released code"


def test_a_search_puts_a_model_a_point_of_the_grid_in_place_of_each_model():
    """Its values count on every suite, also where the model has others."""
    search = {"training": {"weight_decay": [0.1, 0.2]}, "settings": {"kernel": [3, 7]}}
    config = resolved({"models": ["legnet"], "suites": SUITES, "search": search})
    assert len(config.models) == 4 and config.search.models == ["legnet"]
    name = "legnet--weight_decay-0.2--kernel-3"
    assert config.models[name].title.endswith(", weight_decay 0.2, kernel 3")
    for job in (job for job in config.jobs() if job.model == name):
        assert (config.training(job).weight_decay, config.training(job).lr) == (0.2, 6e-4)
        assert config.settings(job.model, job.suite, job.task)["kernel"] == 3


@pytest.mark.parametrize("suite", SUITES)
def test_each_ablation_changes_one_thing_on_every_suite(suite):
    """The form published for the suite, of width 16, and in it what the variant's name says."""
    variants, run = (read_yaml(CATALOGUE / f"{name}.yaml") for name in ("ablation_models", "ablations"))
    models = {
        **variants["models"],
        **run["models"],
        "published": {**variants["models"]["published"], **run["models"]["published"]},
    }
    config = resolved({**variants, **run, "models": models, "suites": [suite]})
    published = config.settings("published", suite)
    form = {"width": 16, "kernel": 9, "blocks": 5, "dilation_base": 4, "stacks": 1, "tail_expansion": 2, "ffn": False}
    form |= {"final_conv": False, "second_branch": "complement", "gate": "product", "dropout": 0.0}
    of_suite = {"kernel": 5, "tail_expansion": 4, "final_conv": True} if suite == "genomic_benchmarks" else {}
    assert published == form | of_suite
    expected = {"published": {}, "pretrained": {}, "down_sampling": {}}
    expected |= {"gate_sum": {"gate": "sum"}, "gate_none": {"gate": "none", "second_branch": "none"}}
    expected |= {"one_branch": {"second_branch": "none"}, "ffn": {"ffn": True}, "final_conv": {"final_conv": True}}
    expected |= {"reverse_complement": {"second_branch": "reverse_complement"}}
    expected |= {f"kernel_{kernel}": {"kernel": kernel} for kernel in (3, 5, 7, 11)}
    expected |= {f"base_{base}": {"dilation_base": base} for base in (1, 2, 3)}
    expected |= {f"blocks_{blocks}": {"blocks": blocks} for blocks in (10, 15, 20)}
    assert set(config.models) == set(expected)
    for name, model in config.models.items():
        assert config.settings(name, suite) == published | expected[name]
        assert model.architecture == ("unet" if name == "down_sampling" else "convnova")
        assert model.pretrained == (name == "pretrained") and model.training == config.models["published"].training
        assert model.published == {"published": "ConvNova*", "pretrained": "ConvNova"}.get(name)
