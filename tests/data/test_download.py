"""Files fetched whole, verified, recorded, mirrored: from servers that truncate, stall, lie, refuse, or change files.

The server is a real one on the loopback interface.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from loopback import BODY, OTHER, SHA256, answer, chunked, names, redirect, stalled, status, truncated, unframed, wait

from convnova.data import download
from convnova.data.download import fetch
from convnova.errors import ConvNovaError

pytestmark = pytest.mark.usefixtures("impatient")

MD5 = hashlib.md5(BODY).hexdigest()


@pytest.mark.parametrize(
    "bad",
    [
        status(404),
        status(503),
        partial(truncated, ranges=False),
        partial(answer, upto=0, then=wait),
        partial(answer, claim=1_000_100),
        partial(answer, claim=900_000),
        lambda handler, body: answer(handler, OTHER),
        lambda handler, body: answer(handler, body[:-1]),
        lambda handler, body: answer(handler, b""),
        partial(answer, Content_Type="text/html; charset=utf-8"),
    ],
)
def test_the_next_address_is_taken_when_one_fails(server, out, bad):
    first, second = server.put("/bad", BODY, bad), server.put("/good", BODY)
    fetch([first, second], out, sha256=SHA256)
    assert out.read_bytes() == BODY and names(out) == ["genome.fa.gz"]
    assert server.count("/bad") >= 1 and server.count("/good") == 1


def test_an_address_that_cannot_be_reached_or_is_no_address_is_passed_over(server, out):
    fetch(["http://127.0.0.1:1/nobody", "http://[bad/x", server.put("/good", BODY)], out, sha256=SHA256)
    assert out.read_bytes() == BODY


def test_one_line_says_what_was_wrong_with_every_address(server, out):
    urls = [
        server.put("/gone", BODY, status(404)),
        server.put("/busy", BODY, status(503)),
        server.put("/wrong", OTHER),
        server.put("/page", b"\n <!DOCTYPE html><html>sign in</html>"),
        server.put("/cut", BODY, partial(truncated, ranges=False)),
    ]
    with pytest.raises(ConvNovaError) as caught:
        fetch(urls, out, sha256=SHA256)
    message = str(caught.value)
    assert "\n" not in message and "Deleted" not in message
    for part in (*urls, "404", "503", SHA256, hashlib.sha256(OTHER).hexdigest(), "HTML page", "700000 more expected"):
        assert part in message
    assert not out.exists()


@pytest.fixture
def old(out):
    """What stood there before."""
    out.parent.mkdir()
    out.write_bytes(b"old")


def test_a_disk_that_fills_up_is_one_clear_error_and_the_old_file_stays(server, out, old, full_disk):
    with full_disk(), pytest.raises(ConvNovaError, match="expected a folder .* has room, found: .*too large"):
        fetch([server.put("/a", BODY)], out, sha256=SHA256)
    assert out.read_bytes() == b"old"


@pytest.fixture
def record(tmp_path):
    return tmp_path / "records" / "genome.json"


def test_the_first_fetch_is_recorded_and_later_ones_are_held_against_it(server, out, record):
    url = server.put("/a", BODY)
    assert fetch([url], out, record=record) == out
    assert out.read_bytes() == BODY and names(out) == ["genome.fa.gz"]
    written = json.loads(record.read_text())
    assert written.pop("time").startswith("20")
    assert written == {"url": url, "redirects": [], "sha256": SHA256, "size": 1_000_000}
    for body in (BODY, OTHER):
        fetch([server.put("/a", body)], out, record=record)
        assert server.count("/a") == 1
    out.unlink()
    with pytest.raises(ConvNovaError) as caught:
        fetch([url], out, record=record)
    for part in (SHA256, hashlib.sha256(OTHER).hexdigest(), f"{record} at an earlier fetch; delete"):
        assert part in str(caught.value)
    assert not out.exists()


def test_the_record_names_every_address_and_passwords_and_tokens_are_written_nowhere(server, out, record, capsys):
    server.put("/b?X-Amz-Signature=hidden&part=1", BODY, partial(truncated, ETag='"one"'), answer)
    url = server.put("/a?token=hidden", b"/b?X-Amz-Signature=hidden&part=1", lambda a, to: redirect(a, to.decode()))
    fetch([url.replace("://", "://me:hidden@")], out, record=record)
    written = json.loads(record.read_text())
    assert written["url"] == f"{server.url}/a?token=***"
    assert set(written["redirects"]) == {f"{server.url}/b?X-Amz-Signature=***&part=1"}
    for bad in ("/gone?token=hidden", "/b?X-Amz-Signature=hidden&part=1"):
        with pytest.raises(ConvNovaError) as caught:
            fetch([f"http://me:hidden@{server.url[7:]}{bad}"], out.with_name("b"), sha256="0" * 64)
        assert "hidden" not in str(caught.value) and f"{server.url}{bad.split('=')[0]}" in str(caught.value)
    assert "hidden" not in capsys.readouterr().err
    server.put("/c?token=hidden", BODY, *[truncated] * 2, partial(answer, upto=0))
    with pytest.raises(ConvNovaError):
        fetch([f"{server.url}/c?token=hidden"], out)
    assert "***" in out.with_name(out.name + ".part.json").read_text()
    assert not [path for path in out.parent.iterdir() if b"hidden" in path.read_bytes()]


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256, "md5": "0" * 32}])
def test_what_stands_there_with_the_published_checksum_is_left_alone(out, record, known):
    out.parent.mkdir()
    out.write_bytes(BODY)
    fetch(["http://127.0.0.1:1/nobody"], out, record=record, size=len(BODY), **known)
    written = json.loads(record.read_text())
    assert (written["url"], written["sha256"]) == (None, SHA256)


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}, {}])
def test_what_stands_there_and_is_not_known_to_be_right_is_replaced(server, out, old, known):
    fetch([server.put("/a", BODY)], out, **known)
    assert out.read_bytes() == BODY


def test_what_stands_there_stays_if_nothing_better_comes(server, out, old):
    with pytest.raises(ConvNovaError, match=SHA256):
        fetch([server.put("/a", OTHER)], out, sha256=SHA256)
    assert out.read_bytes() == b"old" and names(out) == ["genome.fa.gz"]


def test_a_record_that_cannot_be_read_is_an_error_that_names_it(out, record):
    record.parent.mkdir()
    record.write_text("[]")
    with pytest.raises(ConvNovaError, match=f"{record}: expected a JSON object"):
        fetch(["http://127.0.0.1:1/nobody"], out, record=record)


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
    (tmp_path / "mirror/data.example/files").mkdir(parents=True)
    (tmp_path / "mirror/data.example/files/a.gz").write_bytes(BODY)
    return tmp_path / "mirror"


@pytest.mark.parametrize("offline", [False, True])
def test_a_folder_as_mirror_is_copied_from(mirror, out, record, offline):
    fetch(["https://gone.example/a.gz", URL], out, mirror=str(mirror), offline=offline, record=record)
    assert out.read_bytes() == BODY and out.stat().st_nlink == 1 and names(out) == ["genome.fa.gz"]
    assert json.loads(record.read_text())["url"] == f"{mirror}/data.example/files/a.gz"


def test_a_url_as_mirror_is_asked_instead_of_the_internet(server, out):
    server.put("/mirror/data.example/files/a.gz", BODY)
    fetch([URL], out, mirror=f"{server.url}/mirror/")
    assert out.read_bytes() == BODY


@pytest.mark.parametrize("form", ["{}  data.example/files/a.gz\n", "{} *./data.example/files/a.gz\n"])
@pytest.mark.parametrize("served", [False, True])
def test_the_checksums_of_a_mirror_count_where_none_is_published(mirror, server, out, record, form, served):
    (mirror / "SHA256SUMS").write_text(form.format(SHA256.upper()))
    if served:
        server.put("/data.example/files/a.gz", BODY)
        server.put("/SHA256SUMS", (mirror / "SHA256SUMS").read_bytes())
    place = server.url if served else str(mirror)
    record.parent.mkdir()
    record.write_text(json.dumps({"sha256": "0" * 64}))
    for _ in range(2):
        fetch([URL], out, mirror=place, record=record)
    assert json.loads(record.read_text())["sha256"] == SHA256
    assert server.count("/data.example/files/a.gz") == served

    (mirror / "SHA256SUMS").write_text(form.format("1" * 64))
    server.put("/SHA256SUMS", (mirror / "SHA256SUMS").read_bytes())
    with pytest.raises(ConvNovaError, match="1" * 64):
        fetch([URL], out, mirror=place)
    fetch([URL], out, mirror=place, sha256=SHA256)
    assert out.read_bytes() == BODY


def test_a_mirror_without_the_file_or_that_is_none_says_so(mirror, server, out, monkeypatch):
    (mirror / "data.example" / "files" / "a.gz").unlink()
    with pytest.raises(ConvNovaError, match=f"{mirror}/data.example/files/a.gz: no such file"):
        fetch([URL], out, mirror=str(mirror))
    with pytest.raises(ConvNovaError, match="nowhere: expected a mirror"):
        fetch([URL], out, mirror=str(mirror / "nowhere"))
    (mirror / "SHA256SUMS").write_text("\nnot a checksum")
    with pytest.raises(ConvNovaError, match="SHA256SUMS, line 1: expected a sha256"):
        fetch([URL], out, mirror=str(mirror))
    monkeypatch.setattr(download, "MOST_LIST_BYTES", 1000)
    (mirror / "SHA256SUMS").write_text(f"{SHA256}  a\n" * 100)
    for place in (str(mirror), server.url):
        server.put("/SHA256SUMS", (mirror / "SHA256SUMS").read_bytes(), chunked)
        with pytest.raises(ConvNovaError, match="SHA256SUMS: .*1,000 bytes"):
            fetch([URL], out, mirror=place)
    for bad, found in (
        (status(500), "500"),
        (partial(answer, upto=9, ranges=False), "more"),
        (unframed, "where it ends"),
    ):
        server.put("/SHA256SUMS", b"ab" * 9, bad)
        with pytest.raises(ConvNovaError, match=f"SHA256SUMS: expected the mirror's checksums, found: .*{found}"):
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_stopped_in_mid_download_leaves_the_old_file_and_its_bytes_are_not_sent_again(
    server, out, old, record, how
):
    part = out.with_name(out.name + ".part")
    url = server.put("/a", BODY, partial(stalled, upto=700_000), answer)
    code = (
        "import signal, sys; from convnova.data.download import fetch;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # tests may run where it is ignored
        "fetch(sys.argv[1:2], sys.argv[2], record=sys.argv[3])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url, str(out), str(record)], stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while not part.exists() or part.stat().st_size < 600_000:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0 and out.read_bytes() == b"old" and not record.exists()
    if how == signal.SIGINT:
        assert names(out) == ["genome.fa.gz", "genome.fa.gz.part", "genome.fa.gz.part.json"]
    sent = part.stat().st_size
    fetch([url], out, record=record)
    assert out.read_bytes() == BODY and names(out) == ["genome.fa.gz"]
    assert [(one.range, one.sent) for one in server.answers[1:]] == [(f"bytes={sent}-", 1_000_000 - sent)]
