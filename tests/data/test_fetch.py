"""Files fetched once, verified, recorded, mirrored and never half there; and the registry they come from."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from loopback import BODY, OTHER, SHA256, answer, names, stalled, status, wait

from convnova.config.data_sources import Source, describe, load_sources
from convnova.data.fetch import fetch, fetch_source_file
from convnova.errors import ConvNovaError

MD5 = hashlib.md5(BODY).hexdigest()
REGISTRY = Path(__file__).resolve().parents[2] / "config" / "sources.yaml"

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "locks" / "genome.json"


def test_the_first_fetch_is_recorded_and_later_ones_are_held_against_it(server, out, lock):
    url = server.put("/a", BODY)
    assert fetch([url], out, lock=lock) == out
    assert out.read_bytes() == BODY
    assert names(out) == ["genome.fa.gz"]
    record = json.loads(lock.read_text())
    assert record.pop("time").startswith("20")
    assert record == {"url": url, "sha256": SHA256, "size": 1_000_000}

    fetch([url], out, lock=lock)
    assert server.count("/a") == 1

    server.put("/a", OTHER)
    fetch([url], out, lock=lock)
    assert server.count("/a") == 1

    out.unlink()
    with pytest.raises(ConvNovaError) as caught:
        fetch([url], out, lock=lock)
    for part in (SHA256, hashlib.sha256(OTHER).hexdigest(), f"{lock} at an earlier fetch; delete"):
        assert part in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256, "md5": "0" * 32}])
def test_what_stands_there_with_the_published_checksum_is_left_alone(out, lock, known):
    out.parent.mkdir()
    out.write_bytes(BODY)
    fetch(["http://127.0.0.1:1/nobody"], out, lock=lock, size=len(BODY), **known)
    record = json.loads(lock.read_text())
    assert (record["url"], record["sha256"]) == (None, SHA256)


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}, {}])
def test_what_stands_there_and_is_not_known_to_be_right_is_replaced(server, out, known):
    out.parent.mkdir()
    out.write_bytes(BODY[:500_000])
    fetch([server.put("/a", BODY)], out, **known)
    assert out.read_bytes() == BODY


def test_what_stands_there_stays_if_nothing_better_comes(server, out):
    out.parent.mkdir()
    out.write_bytes(b"old")
    with pytest.raises(ConvNovaError, match=SHA256):
        fetch([server.put("/a", OTHER)], out, sha256=SHA256)
    assert out.read_bytes() == b"old"
    assert names(out) == ["genome.fa.gz"]


def test_a_record_that_cannot_be_read_is_an_error_that_names_it(out, lock):
    lock.parent.mkdir()
    lock.write_text("[]")
    with pytest.raises(ConvNovaError, match=f"{lock}: expected the record of a fetch"):
        fetch(["http://127.0.0.1:1/nobody"], out, lock=lock)


def test_offline_touches_no_network_and_names_file_and_address(server, out):
    url = server.put("/a", BODY)
    for mirror in (None, server.url):
        with pytest.raises(ConvNovaError) as caught:
            fetch([url], out, offline=True, mirror=mirror)
        assert url in str(caught.value) and str(out) in str(caught.value)
    assert server.answers == []
    out.parent.mkdir()
    out.write_bytes(BODY)
    fetch([url], out, sha256=SHA256, offline=True)
    assert server.answers == []


URL = "https://data.example/files/a.gz?download=1"


@pytest.fixture
def mirror(tmp_path):
    place = tmp_path / "mirror"
    (place / "data.example" / "files").mkdir(parents=True)
    (place / "data.example" / "files" / "a.gz").write_bytes(BODY)
    return place


@pytest.mark.parametrize("offline", [False, True])
def test_a_folder_as_mirror_is_copied_from(mirror, out, lock, offline):
    fetch(["https://gone.example/a.gz", URL], out, mirror=str(mirror), offline=offline, lock=lock)
    assert out.read_bytes() == BODY
    assert out.stat().st_nlink == 1
    assert names(out) == ["genome.fa.gz"]
    assert json.loads(lock.read_text())["url"] == f"{mirror}/data.example/files/a.gz"


def test_a_url_as_mirror_is_asked_instead_of_the_internet(server, out):
    server.put("/mirror/data.example/files/a.gz", BODY)
    fetch([URL], out, mirror=f"{server.url}/mirror/")
    assert out.read_bytes() == BODY


@pytest.mark.parametrize("form", ["{}  data.example/files/a.gz\n", "{} *./data.example/files/a.gz\n"])
@pytest.mark.parametrize("served", [False, True])
def test_the_checksums_of_a_mirror_count_where_none_is_published(mirror, server, out, lock, form, served):
    (mirror / "SHA256SUMS").write_text(form.format(SHA256.upper()))
    if served:
        server.put("/data.example/files/a.gz", BODY)
        server.put("/SHA256SUMS", (mirror / "SHA256SUMS").read_bytes())
    place = server.url if served else str(mirror)
    lock.parent.mkdir()
    lock.write_text(json.dumps({"sha256": "0" * 64}))
    for _ in range(2):
        fetch([URL], out, mirror=place, lock=lock)
    assert json.loads(lock.read_text())["sha256"] == SHA256
    assert server.count("/data.example/files/a.gz") == served

    (mirror / "SHA256SUMS").write_text(form.format("1" * 64))
    server.put("/SHA256SUMS", (mirror / "SHA256SUMS").read_bytes())
    with pytest.raises(ConvNovaError, match="1" * 64):
        fetch([URL], out, mirror=place)
    fetch([URL], out, mirror=place, sha256=SHA256)
    assert out.read_bytes() == BODY


def test_a_mirror_without_the_file_or_that_is_none_says_so(mirror, server, out):
    (mirror / "data.example" / "files" / "a.gz").unlink()
    with pytest.raises(ConvNovaError, match=f"{mirror}/data.example/files/a.gz: no such file"):
        fetch([URL], out, mirror=str(mirror))
    with pytest.raises(ConvNovaError, match="nowhere: expected a mirror"):
        fetch([URL], out, mirror=str(mirror / "nowhere"))
    (mirror / "SHA256SUMS").write_text("\nnot a checksum")
    with pytest.raises(ConvNovaError, match="SHA256SUMS, line 1: expected a sha256"):
        fetch([URL], out, mirror=str(mirror))
    server.put("/SHA256SUMS", b"", status(500))
    with pytest.raises(ConvNovaError, match="expected the mirror's checksums, found: 500"):
        fetch([URL], out, mirror=server.url)


def test_a_place_that_cannot_be_written_to_is_one_clear_error(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConvNovaError, match="expected a folder that can be written to"):
        fetch([server.put("/a", BODY)], tmp_path / "file" / "genome.fa.gz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_error_unless_nothing_is_to_be_done(server, out):
    out.parent.mkdir()
    out.write_bytes(BODY)
    out.parent.chmod(0o500)
    fetch([server.put("/a", BODY)], out, sha256=SHA256)
    with pytest.raises(ConvNovaError, match="expected a folder that can be written to"):
        fetch([server.put("/a", OTHER)], out)
    assert out.read_bytes() == BODY


def start(url, out, lock):
    """Fetch in another process."""
    code = (
        "import signal, sys; from convnova.data.fetch import fetch;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # tests may run where it is ignored
        "fetch(sys.argv[1:2], sys.argv[2], lock=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, url, str(out), str(lock)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def until(true):
    """Wait until `true()`, at most 10 seconds."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_that_want_the_same_file_fetch_it_once(server, out, lock):
    def patient(handler, body):
        wait(handler)
        answer(handler, body)

    url = server.put("/a", BODY, patient)
    first = start(url, out, lock)
    until(lambda: server.count("/a") == 1)
    second = start(url, out, lock)
    assert "another process is fetching it" in second.stderr.readline()
    server.release.set()
    assert (first.communicate() and first.returncode, second.communicate() and second.returncode) == (0, 0)
    assert server.count("/a") == 1
    assert names(out) == ["genome.fa.gz"]
    assert out.read_bytes() == BODY


def test_one_that_comes_when_another_has_just_finished_waits_for_the_one_that_had_waited(server, out, tmp_path):
    gates = [threading.Event(), threading.Event()]
    waits = [lambda handler, body, gate=gate: (gate.wait(10), answer(handler, body)) for gate in gates]
    url = server.put("/a", BODY, *waits, answer)
    processes = [start(url, out, tmp_path / "1.json")]
    until(lambda: server.count("/a") == 1)
    processes.append(start(url, out, tmp_path / "2.json"))
    assert "waiting" in processes[1].stderr.readline()
    gates[0].set()
    until(lambda: server.count("/a") == 2)
    processes.append(start(url, out, tmp_path / "3.json"))
    assert "waiting" in processes[2].stderr.readline()
    gates[1].set()
    for process in processes:
        assert process.communicate() and process.returncode == 0
    assert server.count("/a") == 3
    assert names(out) == ["genome.fa.gz"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_stopped_in_mid_download_leaves_the_old_file_and_its_bytes_are_not_sent_again(server, out, lock, how):
    out.parent.mkdir()
    out.write_bytes(b"old")
    part = out.with_name(out.name + ".part")
    url = server.put("/a", BODY, partial(stalled, upto=700_000), answer)
    process = start(url, out, lock)
    until(lambda: part.exists() and part.stat().st_size >= 600_000)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    assert out.read_bytes() == b"old"
    assert not lock.exists()
    if how == signal.SIGINT:
        assert names(out) == ["genome.fa.gz", "genome.fa.gz.part", "genome.fa.gz.part.json"]

    come = part.stat().st_size
    fetch([url], out, lock=lock)
    assert out.read_bytes() == BODY
    assert [(one.range, one.sent) for one in server.answers[1:]] == [(f"bytes={come}-", 1_000_000 - come)]
    assert names(out) == ["genome.fa.gz"]


SOURCE = {"title": "T", "homepage": "https://t.example/", "licence": "L", "citation": "C"}


def test_a_file_of_a_source_is_held_against_what_is_published(mirror, out):
    source = Source(**SOURCE, files={"a.gz": {"urls": [URL], "sha256": "1" * 64, "size": 5}})
    with pytest.raises(ConvNovaError, match="expected 5 bytes, found 1,000,000"):
        fetch_source_file(source, "a.gz", out, mirror=str(mirror))
    with pytest.raises(ConvNovaError, match="found 'b.gz'"):
        fetch_source_file(source, "b.gz", out)


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


def test_describe_says_what_would_be_fetched_and_what_is_there(tmp_path):
    sources = {"s": Source(**SOURCE, files={"x/a.gz": {"urls": [URL], "size": 5}, "b.gz": {"urls": [URL]}})}
    (tmp_path / "s" / "x").mkdir(parents=True)
    (tmp_path / "s" / "x" / "a.gz").write_bytes(b"12345")
    common = {"source": "s", "licence": "L", "url": URL}
    assert describe(sources, tmp_path) == [
        {**common, "file": "x/a.gz", "size": 5, "present": True},
        {**common, "file": "b.gz", "size": None, "present": False},
    ]
