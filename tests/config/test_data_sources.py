"""The registry of sources: read, checked, complete."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from convnova.cli.main import main
from convnova.config.data_sources import Source, load_sources
from convnova.config.load import load, load_config, save
from convnova.errors import ConvNovaError
from convnova.files import read_yaml

REGISTRY = Path(__file__).resolve().parents[2] / "config" / "sources.yaml"
URL = "https://data.example/files/a.gz?download=1"
SOURCE = {"title": "T", "homepage": "https://t.example/", "licence": "L", "citation": "C"}


def test_addresses_are_made_from_bases_and_the_revision():
    files = {"x/a.fna": None, "b": {"urls": ["http://c.example/{revision}"]}}
    bases = ["https://one.example/{revision}/", "https://two.example/"]
    source = Source(**SOURCE, revision="r7", base=bases, files=files)
    assert source.urls("x/a.fna") == ["https://one.example/r7/x/a.fna", "https://two.example/x/a.fna"]
    assert source.urls("b") == ["http://c.example/r7"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"license": "MIT"}, "license = 'MIT'.*'licence'"),
        ({"files": {"a": {"urls": [URL], "sha265": "0"}}}, "files.a.sha265.*'sha256'"),
        ({"files": {"a": {"urls": ["ftp://x.org/a"]}}}, "files.a.urls.0 = 'ftp://x.org/a'"),
        ({"files": {"a": {"urls": [URL], "md5": "12"}}}, "files.a.md5 = '12'"),
        ({"base": ["https://x.example/a"]}, "base.0 = 'https://x.example/a'"),
        ({"base": ["https://me:word@x.example/"]}, "base.0: .*password"),
        ({"files": {"a": {"urls": [URL + "&token=word"]}}}, "files.a.urls.0: .*password"),
        ({"files": {"a": {}}}, "files.a: .*`urls`"),
        ({"files": {"../a": {"urls": [URL]}}}, "files.../a: .*inside"),
        ({"files": {"/a": {"urls": [URL]}}}, "files./a: .*inside"),
        ({"title": None}, "title = None"),
    ],
)
def test_a_mistake_in_the_registry_is_named_on_one_line(tmp_path, change, named):
    path = tmp_path / "sources.yaml"
    path.write_text(json.dumps({"hg38": {**SOURCE, "files": {"a": {"urls": [URL]}}, **change}}))
    with pytest.raises(ConvNovaError, match=f"^{path}: hg38(.|: ){named}") as caught:
        load_sources(path)
    assert "\n" not in str(caught.value) and "word" not in str(caught.value).replace("password", "")


def test_the_registry_has_every_file_of_the_paper_each_with_an_address_of_its_own():
    sources = load_sources(REGISTRY)
    files = {name: set(source.files) for name, source in sources.items()}
    tasks = {name.split("/")[0] for name in files["nucleotide_transformer"]}
    assert len(tasks) == 18
    assert files["nucleotide_transformer"] == {f"{task}/{part}.fna" for task in tasks for part in ("train", "test")}
    benchmarks = files["genomic_benchmarks"]
    archives = {name.removesuffix("_v0.zip") for name in benchmarks if name.endswith("_v0.zip")}
    assert len(archives) == 9
    assert {name.split("/")[1] for name in benchmarks if name.startswith("intervals/")} == archives
    assert sum(name.endswith(".csv.gz") for name in benchmarks) == 8 * 2 * 2 + 3 * 2
    assert {"hg38.ml.fa.gz", "sequences_human.bed", "hg38.fa.gz"} == files["hg38"]
    assert {"hg19", "yeast", "mouse", "worm", "fly", "transcripts", "bend", "deepsea", "gue"} < set(sources)

    urls = {(source, name): sources[source].urls(name) for source in files for name in files[source]}
    every = [url for addresses in urls.values() for url in addresses]
    assert len(every) == len(set(every)) > 150 and not [url for url in every if "{" in url or " " in url]
    assert all(Path(name).suffix in addresses[0] for (_, name), addresses in urls.items())
    revision = "9722b77543efe3c72dc19fa20f4524912aa6bf3b"
    assert urls["nucleotide_transformer", "H4ac/test.fna"] == [
        "https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/"
        f"{revision}/H4ac/test.fna"
    ]


def test_checksums_of_the_registry_are_those_of_the_real_files(shared):
    folder = shared / "data" / "genomic_benchmarks_intervals"
    files = load_sources(REGISTRY)["genomic_benchmarks"].files
    paths = [*folder.glob("*/t*/*.csv.gz"), *folder.glob("*/metadata.yaml")]
    assert len(paths) == 15
    for path in paths:
        file = files[f"intervals/{path.relative_to(folder)}"]
        assert (file.sha256, file.size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def test_gue_is_registered_as_its_files_are(shared):
    """Sizes, checksums and, but for the header, one row a line."""
    files, tasks = load_sources(REGISTRY)["gue"].files, read_yaml(REGISTRY.parent / "suites/gue.yaml")["tasks"]
    paths = [path for name in ("complete", "promoter") for path in (shared / f"data/gue_{name}").glob("*/*.csv.gz")]
    assert len(paths) == 9 * 3 and len(tasks) == 28
    for path in paths:
        role = path.name.removesuffix(".csv.gz").replace("dev", "valid")
        task, content = tasks[path.parent.name], gzip.decompress(path.read_bytes())
        file = files[task[role]]
        assert (file.sha256, file.size) == (hashlib.sha256(content).hexdigest(), len(content))
        assert content.count(b"\r\n") == task["counts"][role] + 1


def write_run(folder: Path, **changes) -> Path:
    config = load({"genome": "yeast", "models": ["convnova"], **changes}, [], REGISTRY.parent)
    save(config, folder / "results/x/config.yaml")
    return folder / "results/x/config.yaml"


def test_a_folder_of_ones_own_stands_for_a_source_also_offline(tmp_path):
    content, genome = b"a genome", "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / genome).write_bytes(gzip.compress(content))
    config = write_run(tmp_path, local={"yeast": str(tmp_path / "mine")}, offline=True)
    words = ["--source", "yeast", "--file", genome, "--out", str(tmp_path / "g.fa.gz")]
    assert main(["fetch", "--config", str(config), *words]) == 0
    assert gzip.decompress((tmp_path / "g.fa.gz").read_bytes()) == content
    with pytest.raises(ConvNovaError, match="local: .*yeast.* found gue"):
        write_run(tmp_path, local={"gue": "mine"})


def test_another_endpoint_of_the_hub_is_asked_for_the_files_of_the_hub_alone(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("convnova.data.download.fetch", lambda addresses, *_, **__: asked.extend(addresses))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    suites = {"nucleotide_transformer": ["H3"]}
    config = write_run(tmp_path, models=["cnn"], suites=suites)
    for source, file in (("nucleotide_transformer", "H3/train.fna"), ("yeast", None)):
        file = file or next(iter(load_config(config).sources[source].files))
        words = ["--source", source, "--file", file, "--out", str(tmp_path / "out")]
        assert main(["fetch", "--config", str(config), *words]) == 0
    hosts = [address.split("/")[2] for address in asked]
    assert "huggingface.co" not in hosts and hosts[0] == "hub.example" and "hub.example" not in hosts[1:]
