"""Files fetched whole, verified, recorded, mirrored: from servers that truncate, stall, lie, refuse, or change files.

The server is a real one on the loopback interface.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import loopback
import pytest
from loopback import BODY, OTHER, SHA256, answer, names, stalled, status, truncated, wait, well

from convnova.data import download
from convnova.data.download import fetch
from convnova.errors import ConvNovaError

pytestmark = pytest.mark.usefixtures("impatient")

MD5 = hashlib.md5(BODY).hexdigest()


@pytest.mark.parametrize("broken", [truncated, stalled, partial(answer, upto=300_000, then=loopback.reset)])
def test_a_body_that_breaks_off_is_continued_from_where_it_broke(server, out, broken):
    url = server.put("/a", BODY, broken, broken, well)
    fetch([url], out, sha256=SHA256)
    assert out.read_bytes() == BODY and names(out) == ["genome.fa.gz"]
    starts = [int((one.range or "bytes=0-")[6:-1]) for one in server.answers]
    assert len(starts) == 3 and 0 == starts[0] < starts[1] < starts[2] <= 600_000


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


def test_a_body_that_breaks_off_again_and_again_comes_whole_as_long_as_each_answer_brings_some(server, out):
    fetch([server.put("/a", BODY, partial(answer, upto=100_000))], out, sha256=SHA256)
    assert out.read_bytes() == BODY and len(server.answers) == 10 > download.RETRIES + 1


def test_an_address_that_cannot_be_reached_or_is_no_address_is_passed_over(server, out):
    fetch(["http://127.0.0.1:1/nobody", "http://[bad/x", server.put("/good", BODY)], out, sha256=SHA256)
    assert out.read_bytes() == BODY


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server, out):
    fetch([server.put("/a", BODY, status(503), status(503), well)], out, sha256=SHA256)
    assert [one.status for one in server.answers] == [503, 503, 200]


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


def test_an_html_page_is_data_only_if_the_name_says_so(server, tmp_path):
    page = b"<html>a report</html>"
    url = server.put("/page", page, partial(answer, Content_Type="text/html"))
    assert fetch([url], tmp_path / "report.html").read_bytes() == page
    for wrong, found in ((url, "HTML"), (server.put("/hidden", b"\xef\xbb\xbf\n<!DocType HTML>"), "HTML"),
                         (server.put("/empty", b""), "0 bytes")):  # fmt: skip
        with pytest.raises(ConvNovaError, match=f"expected data, found .*{found}"):
            fetch([wrong], tmp_path / "report.bed")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_wrong_size_is_seen_before_the_body_is_fetched(server, out):
    with pytest.raises(ConvNovaError, match="expected 999,999 bytes, found 1,000,000"):
        fetch([server.put("/a", BODY, partial(answer, upto=0, then=wait))], out, size=999_999)
    assert names(out) == []


@pytest.mark.parametrize("behaviour", [partial(answer, Content_Encoding="x-gzip"), loopback.zipped_if_allowed])
def test_a_file_keeps_its_bytes_whatever_coding_the_server_says_or_offers(server, out, behaviour):
    packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KL\x02\x00m\x48\x83\x9e\x02\x00\x00\x00"
    fetch([server.put("/a", packed, behaviour)], out)
    assert out.read_bytes() == packed


def interrupted(server, out, url, **known):
    """Leave the first 300,000 bytes of `url` behind."""
    with pytest.raises(ConvNovaError):
        fetch([url], out, **known)
    assert out.with_name(out.name + ".part").stat().st_size == 300_000
    server.answers.clear()


BREAKS = (truncated, *[partial(answer, upto=0)] * 3)


@pytest.mark.parametrize(
    "validator", [{}, {"ETag": None, "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {"ETag": 'W/"weak"'}]
)
def test_a_later_call_goes_on_where_an_earlier_one_stopped(server, out, validator):
    interrupted(server, out, server.put("/a", BODY, *(partial(one, **validator) for one in BREAKS)), sha256=SHA256)
    state = json.loads(out.with_name(out.name + ".part.json").read_text())
    known = {"url": server.url + "/a", "total": 1_000_000, "validator": validator.get("Last_Modified")}
    assert state == known | ({} if validator else {"validator": '"one"'})
    fetch([server.put("/a", BODY, partial(answer, **validator))], out, sha256=SHA256)
    assert out.read_bytes() == BODY
    assert [(one.range, one.status, one.sent) for one in server.answers] == [("bytes=300000-", 206, 700_000)]


@pytest.mark.parametrize(
    "changed",
    [
        partial(answer, ranges=False),
        partial(answer, ETag='"two"'),
        lambda handler, body: answer(handler, body[:900_000], ETag=handler.headers["If-Range"] or '"two"'),
        lambda handler, body: answer(handler, body[:200_000], ETag=handler.headers["If-Range"] or '"two"'),
        loopback.from_elsewhere,
    ],
)
def test_a_file_that_changed_in_between_is_fetched_anew_and_never_mixed(server, out, changed):
    interrupted(server, out, server.put("/a", BODY, *BREAKS))
    fetch([server.put("/a", OTHER, changed)], out)
    assert out.read_bytes() in (OTHER[:200_000], OTHER[:900_000], OTHER)


def test_what_a_killed_process_left_or_came_from_another_address_is_not_taken_for_the_file(server, out):
    interrupted(server, out, server.put("/a", OTHER, *BREAKS))
    out.with_name(out.name + ".new").write_bytes(OTHER)
    fetch([server.put("/b", BODY)], out)
    assert out.read_bytes() == BODY


def test_a_copy_that_breaks_off_is_not_continued_from_the_internet(server, out, tmp_path, monkeypatch):
    url = server.put("/a", BODY, *BREAKS)
    interrupted(server, out, url)
    place = tmp_path / "mirror" / url.removeprefix("http://")
    place.parent.mkdir(parents=True)
    place.write_bytes(OTHER)

    def breaks_off(source, target):
        out.with_name(out.name + ".part").write_bytes(OTHER[:500_000])
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        fetch([url], out, mirror=str(tmp_path / "mirror"))
    fetch([server.put("/a", BODY)], out)
    assert out.read_bytes() == BODY


@pytest.mark.parametrize(
    "part, answers", [(OTHER[:300_000], [(206, 700_000), (200, 1_000_000)]), (BODY, [(416, 0)])], ids=["wrong", "whole"]
)
def test_a_damaged_beginning_costs_one_clean_download_and_a_whole_file_is_not_sent_again(server, out, part, answers):
    interrupted(server, out, server.put("/a", BODY, *BREAKS), sha256=SHA256)
    out.with_name(out.name + ".part").write_bytes(part)
    fetch([server.put("/a", BODY)], out, sha256=SHA256)
    assert out.read_bytes() == BODY and [(one.status, one.sent) for one in server.answers] == answers


def test_a_claim_of_more_than_there_is_is_not_believed_whole(server, out):
    with pytest.raises(ConvNovaError, match="changed since|more expected"):
        fetch([server.put("/a", BODY, partial(answer, claim=1_000_100))], out)
    assert not out.exists()


def test_proxies_of_the_environment_are_used(server, out, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    fetch([server.put("http://data.example/a", BODY)], out)
    assert out.read_bytes() == BODY


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
    assert written == {"url": url, "sha256": SHA256, "size": 1_000_000}
    for body in (BODY, OTHER):
        fetch([server.put("/a", body)], out, record=record)
        assert server.count("/a") == 1
    out.unlink()
    with pytest.raises(ConvNovaError) as caught:
        fetch([url], out, record=record)
    for part in (SHA256, hashlib.sha256(OTHER).hexdigest(), f"{record} at an earlier fetch; delete"):
        assert part in str(caught.value)
    assert not out.exists()


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
