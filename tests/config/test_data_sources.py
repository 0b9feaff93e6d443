"""The registry of sources: read, checked, complete."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from convnova.cli.main import main
from convnova.config.data_sources import Source, load_sources
from convnova.errors import ConvNovaError

REGISTRY = Path(__file__).resolve().parents[2] / "config" / "sources.yaml"
URL = "https://data.example/files/a.gz?download=1"
SOURCE = {"title": "T", "homepage": "https://t.example/", "licence": "L", "citation": "C"}


def test_addresses_are_made_from_bases_and_the_revision():
    bases = ["https://one.example/{revision}/", "https://two.example/"]
    source = Source(
        **SOURCE, revision="r7", base=bases, files={"x/a.fna": None, "b": {"urls": ["http://c.example/{revision}"]}}
    )
    assert source.urls("x/a.fna") == ["https://one.example/r7/x/a.fna", "https://two.example/x/a.fna"]
    assert source.urls("b") == ["http://c.example/r7"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"license": "MIT"}, "hg38.license = 'MIT': unknown key; did you mean 'licence'?"),
        ({"files": {"a": {"urls": [URL], "sha265": "0"}}}, "hg38.files.a.sha265 = '0': unknown key; did you mean 'sha"),
        ({"files": {"a": {"urls": ["ftp://x.org/a"]}}}, "hg38.files.a.urls.0 = 'ftp://x.org/a': string should match"),
        ({"files": {"a": {"urls": [URL], "md5": "12"}}}, "hg38.files.a.md5 = '12': string should match"),
        ({"base": ["https://x.example/a"]}, "hg38.base.0 = 'https://x.example/a': string should match"),
        ({"files": {"a": {}}}, "hg38: files.a: expected `urls`"),
        ({"files": {"../a": {"urls": [URL]}}}, "hg38: files.../a: expected a path inside"),
        ({"files": {"/a": {"urls": [URL]}}}, "hg38: files./a: expected a path inside"),
        ({"title": None}, "hg38.title = None: input should be a valid string"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_registry_is_named_on_one_line(tmp_path, change, message):
    path = tmp_path / "sources.yaml"
    path.write_text(json.dumps({"hg38": {**SOURCE, "files": {"a": {"urls": [URL]}}, **change}}))
    with pytest.raises(ConvNovaError) as caught:
        load_sources(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_the_registry_has_every_source_and_every_file_of_the_paper():
    sources = load_sources(REGISTRY)
    tasks = {name.split("/")[0] for name in sources["nucleotide_transformer"].files}
    assert len(tasks) == 18
    assert set(sources["nucleotide_transformer"].files) == {
        f"{task}/{part}.fna" for task in tasks for part in ("train", "test")
    }
    benchmarks = sources["genomic_benchmarks"].files
    archives = {name.removesuffix("_v0.zip") for name in benchmarks if name.endswith("_v0.zip")}
    assert len(archives) == 9
    assert {name.split("/")[1] for name in benchmarks if name.startswith("intervals/")} == archives
    assert sum(name.endswith(".csv.gz") for name in benchmarks) == 8 * 2 * 2 + 3 * 2
    assert {"hg38.ml.fa.gz", "sequences_human.bed", "hg38.fa.gz"} == set(sources["hg38"].files)
    assert {"hg19", "yeast", "mouse", "worm", "fly", "transcripts", "bend", "deepsea", "gue"} < set(sources)


def test_every_address_of_the_registry_is_whole_and_its_own():
    sources = load_sources(REGISTRY)
    urls = [url for source in sources.values() for name in source.files for url in source.urls(name)]
    assert len(urls) == len(set(urls)) > 150
    assert not [url for url in urls if "{" in url or " " in url]
    for source in sources.values():
        for name in source.files:
            assert Path(name).suffix in source.urls(name)[0]
    assert sources["nucleotide_transformer"].urls("H4ac/test.fna") == [
        "https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/"
        "9722b77543efe3c72dc19fa20f4524912aa6bf3b/H4ac/test.fna"
    ]


def test_checksums_of_the_registry_are_those_of_the_real_files(shared):
    folder = shared / "data" / "genomic_benchmarks_intervals"
    files = load_sources(REGISTRY)["genomic_benchmarks"].files
    paths = [*folder.glob("*/t*/*.csv.gz"), *folder.glob("*/metadata.yaml")]
    assert len(paths) == 15
    for path in paths:
        file = files[f"intervals/{path.relative_to(folder)}"]
        assert (file.sha256, file.size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    task = load_sources(REGISTRY)["gue"].files["prom/prom_300_tata/train.csv"]
    with gzip.open(shared / "data" / "gue_promoter" / "prom_300_tata" / "train.csv.gz") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == task.sha256


def test_the_command_says_what_would_be_fetched_and_what_is_there(tmp_path, capsys):
    files = {"x/a.gz": {"urls": [URL], "size": 5}, "b.gz": {"urls": [URL]}}
    (tmp_path / "sources.yaml").write_text(json.dumps({"s": {**SOURCE, "files": files}}))
    (tmp_path / "s" / "x").mkdir(parents=True)
    (tmp_path / "s" / "x" / "a.gz").write_bytes(b"12345")
    assert main(["sources", "--registry", str(tmp_path / "sources.yaml"), "--raw", str(tmp_path)]) == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["source", "file", "size", "licence", "url", "present"],
        ["s", "x/a.gz", "5", "L", URL, "True"],
        ["s", "b.gz", "", "L", URL, "False"],
    ]
