"""Bytes of a file as servers send them that truncate, stall, lie, refuse, or change files.

The servers are real ones on the loopback interface. Every lie that we know of is in `tests/faults/downloads.py`.
"""

import base64
import gzip
import hashlib
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from functools import partial

import h5py
import loopback
import pytest
from loopback import BODY, OTHER, SHA256, answer, chunked, names, part, redirect, stalled, status, truncated, wait, well

from convnova.data import transfer
from convnova.data.download import fetch
from convnova.errors import ConvNovaError

pytestmark = pytest.mark.usefixtures("impatient")
BREAKS = (truncated, *[partial(answer, upto=0)] * 3)


def starts(server) -> list[int]:
    """Where each answer was asked to begin."""
    return [int((one.range or "bytes=0-")[6:-1]) for one in server.answers]


def interrupted(server, out, **options) -> str:
    """Leave the first 300,000 bytes of a file behind; returns its address."""
    known = {"sha256": options.pop("sha256")} if "sha256" in options else {}
    url = server.put("/a", BODY, *(partial(one, **options) for one in BREAKS))
    with pytest.raises(ConvNovaError):
        fetch([url], out, **known)
    assert out.with_name(out.name + ".part").stat().st_size == 300_000
    server.answers.clear()
    return url


@pytest.mark.parametrize("broken", [truncated, stalled, partial(answer, upto=300_000, then=loopback.reset)])
def test_a_body_that_breaks_off_is_continued_from_where_it_broke(server, out, broken):
    fetch([server.put("/a", BODY, broken, broken, well)], out, sha256=SHA256)
    assert out.read_bytes() == BODY and names(out) == ["genome.fa.gz"]
    assert len(server.answers) == 3 and 0 == starts(server)[0] < starts(server)[1] < starts(server)[2] <= 600_000


def test_a_body_that_breaks_off_again_and_again_comes_whole_as_long_as_each_answer_brings_some(server, out):
    fetch([server.put("/a", BODY, partial(answer, upto=100_000))], out, sha256=SHA256)
    assert out.read_bytes() == BODY and len(server.answers) == 10 > transfer.RETRIES + 1


@pytest.mark.parametrize(
    "behaviour",
    [partial(answer, pause=0.01), partial(answer, upto=20), loopback.slow_headers],
    ids=["slow", "little", "headers"],
)
def test_a_byte_a_second_ends(server, out, behaviour, monkeypatch):
    monkeypatch.setattr(transfer, "LEAST_RATE", 10_000)
    with pytest.raises(ConvNovaError, match=r"only \d+ bytes|more expected|no answer within"):
        fetch([server.put("/a", BODY, behaviour)], out, sha256=SHA256)
    assert len(server.answers) <= transfer.RETRIES + 2


def test_a_busy_server_is_asked_again_but_not_waited_for_as_long_as_it_likes(server, out, monkeypatch):
    busy = partial(lambda handler, body: handler.begin(503, {"Retry-After": "600", "Content-Length": 0}))
    monkeypatch.setattr(transfer, "LONGEST_WAIT", 0)
    fetch([server.put("/a", BODY, status(503), busy, well)], out, sha256=SHA256)
    assert [one.status for one in server.answers] == [503, 503, 200]


@pytest.mark.parametrize(
    "validator, known",
    [
        ({}, {}),
        ({"ETag": None, "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}),
        ({"ETag": 'W/"weak"'}, {"sha256": SHA256}),
        ({"ETag": None}, {"sha256": SHA256}),
    ],
)
def test_a_later_call_goes_on_where_an_earlier_one_stopped(server, out, validator, known):
    url = interrupted(server, out, **validator, **known)
    state = json.loads(out.with_name(out.name + ".part.json").read_text())
    etag = validator.get("ETag", '"one"')
    assert state == {"url": url, "total": 10**6, "ETag": etag, "Last-Modified": validator.get("Last_Modified")}
    fetch([server.put("/a", BODY, partial(answer, **validator))], out, **known)
    assert out.read_bytes() == BODY
    assert [(one.range, one.status, one.sent) for one in server.answers] == [("bytes=300000-", 206, 700_000)]


@pytest.mark.parametrize("validator", [{"ETag": None}, {"ETag": 'W/"weak"'}])
def test_without_checksum_and_validator_nobody_can_tell_whether_the_rest_is_of_the_same_file(server, out, validator):
    fetch([server.put("/a", BODY, partial(truncated, **validator), partial(answer, **validator))], out)
    assert out.read_bytes() == BODY and starts(server) == [0, 0]


def test_an_answer_without_length_and_validator_is_not_continued(server, out):
    fetch([server.put("/a", BODY, partial(chunked, ended=False, ETag=None), well)], out, sha256=SHA256)
    assert out.read_bytes() == BODY and starts(server) == [0, 0]


@pytest.mark.parametrize("honest", [True, False])
def test_a_part_shorter_than_its_range_is_gone_on_from(server, out, honest):
    def some(handler, body):
        part(handler, body, int(handler.headers["Range"][6:-1]), upto=200_000, honest=honest)

    fetch([server.put("/a", BODY, truncated, some, some, well)], out)
    assert out.read_bytes() == BODY and starts(server) == [0, 300_000, 500_000, 700_000]


@pytest.mark.parametrize(
    "changed",
    [
        partial(answer, ranges=False),
        partial(answer, ETag='"two"'),
        lambda handler, body: answer(handler, body[:900_000], ETag=handler.headers["If-Range"] or '"two"'),
        lambda handler, body: answer(handler, body[:200_000], ETag=handler.headers["If-Range"] or '"two"'),
        loopback.from_elsewhere,
        lambda handler, body: part(handler, body, 300_000, ETag='"two"'),
        lambda handler, body: handler.begin(416, {"Content-Range": "bytes */400000"}),
    ],
)  # fmt: skip
def test_a_file_that_changed_in_between_is_fetched_anew_and_never_mixed(server, out, changed):
    interrupted(server, out)
    fetch([server.put("/a", OTHER, changed, well)], out)
    assert out.read_bytes() in (OTHER[:200_000], OTHER[:900_000], OTHER)


def test_a_part_that_nobody_asked_for_is_not_taken(server, out):
    fetch([server.put("/a", BODY, lambda handler, body: part(handler, body, 300_000), well)], out)
    assert out.read_bytes() == BODY and len(server.answers) == 2


def test_what_a_killed_process_left_or_came_from_another_address_is_not_taken_for_the_file(server, out):
    interrupted(server, out)
    fetch([server.put("/b", OTHER)], out)
    assert out.read_bytes() == OTHER
    out.with_name(out.name + ".part").write_bytes(BODY)
    for state in ("[]", "{", '{"url": 1}'):
        out.with_name(out.name + ".part.json").write_text(state)
        fetch([server.put("/b", OTHER)], out)
        assert out.read_bytes() == OTHER


@pytest.mark.parametrize("lost", [None, "ETag", "total"])
@pytest.mark.parametrize(
    "damage",
    [{}, {"total": "7"}, {"total": None}, {"ETag": '"a\r\nX: 1"'}, {"ETag": 7}, {"Last-Modified": [{}]}],
    ids=str,
)
def test_a_damaged_state_of_a_download_costs_no_more_than_the_bytes_that_had_come(server, out, lost, damage):
    interrupted(server, out)
    state = out.with_name(out.name + ".part.json")
    known = {key: value for key, value in json.loads(state.read_text()).items() if key != lost}
    state.write_text(json.dumps(known | damage))
    fetch([server.put("/a", BODY)], out)
    assert out.read_bytes() == BODY


def test_a_copy_that_breaks_off_is_not_continued_from_the_internet(server, out, tmp_path, monkeypatch):
    url = interrupted(server, out)
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
    "left, answers", [(OTHER[:300_000], [(206, 700_000), (200, 1_000_000)]), (BODY, [(416, 0)])], ids=["wrong", "whole"]
)
def test_a_damaged_beginning_costs_one_clean_download_and_a_whole_file_is_not_sent_again(server, out, left, answers):
    interrupted(server, out, sha256=SHA256)
    out.with_name(out.name + ".part").write_bytes(left)
    fetch([server.put("/a", BODY)], out, sha256=SHA256)
    assert out.read_bytes() == BODY and [(one.status, one.sent) for one in server.answers] == answers


def test_nothing_beyond_what_broke_off_is_no_proof_of_the_end_where_no_length_was_known(server, out):
    """A text in chunks that break off, then the answer that the file ends there."""
    out = out.with_name("table.csv")
    answers = (
        lambda handler, body: chunked(handler, body[:300_000], ended=False),
        lambda handler, body: handler.begin(416, {"Content-Range": "bytes */300000"}),
    )
    fetch([server.put("/a", BODY, *answers, well)], out)
    assert out.read_bytes() == BODY


def forms() -> dict[str, bytes]:
    """Files whose own form says where they end."""
    hdf5, new, archive, tar = (io.BytesIO() for _ in range(4))
    for file, options in ((hdf5, {"userblock_size": 512}), (new, {"libver": "latest"})):
        with h5py.File(file, "w", **options) as written:
            written["labels"] = [1, 2, 3]
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a.csv", BODY[:1000])
    with tarfile.open(fileobj=tar, mode="w") as written:
        written.addfile(tarfile.TarInfo("a.csv"))
    return {"gzip": gzip.compress(BODY), "bgzip": gzip.compress(BODY) * 2, "HDF5": hdf5.getvalue(),
            "new HDF5": new.getvalue(), "zip": archive.getvalue(), "tar": tar.getvalue()[:1536]}  # fmt: skip


@pytest.mark.parametrize("form", forms())
def test_a_file_whose_form_says_where_it_ends_is_read_to_there(server, out, form):
    """Also where the server says that the file is shorter, or nothing."""
    body = forms()[form]
    for behaviour in (well, loopback.unframed, chunked):
        fetch([server.put("/a", body, behaviour)], out)
        assert out.read_bytes() == body
    for behaviour in (
        partial(answer, claim=len(body) - 4),
        lambda handler, body: loopback.unframed(handler, body[:-4]),
    ):
        with pytest.raises(ConvNovaError, match="whole .*(end|truncated)"):
            fetch([server.put("/a", body, behaviour)], out.with_name("other"))
    assert names(out) == ["genome.fa.gz"]


def test_a_text_must_come_with_its_length_or_in_chunks(server, tmp_path):
    out = tmp_path / "a.csv"
    for known, body in (({"size": 9}, b"a,b\n1,2\n3"), ({"sha256": SHA256}, BODY)):
        fetch([server.put("/a", body, loopback.unframed)], out, **known)
        assert out.read_bytes() == body
    with pytest.raises(ConvNovaError, match="says where it ends"):
        fetch([server.put("/a", BODY, loopback.unframed)], out)
    with pytest.raises(ConvNovaError, match="expected 9 bytes"):
        fetch([server.put("/a", BODY, loopback.unframed)], out, size=9)


def test_a_known_size_and_else_a_limit_ends_a_body_without_end(server, out, monkeypatch):
    endless = partial(chunked, repeat=10**6)
    monkeypatch.setattr(transfer, "MOST_BYTES", 3 * 10**6)
    for known, limit in (({"size": 10**6}, "1,000,000"), ({}, "3,000,000")):
        with pytest.raises(ConvNovaError, match=f"expected {limit} bytes, found more"):
            fetch([server.put("/a", BODY, endless)], out, **known)
    with pytest.raises(ConvNovaError, match="expected 999,999 bytes, found 1,000,000"):  # seen before the body comes
        fetch([server.put("/a", BODY, partial(answer, upto=0, then=wait))], out, size=999_999)
    assert names(out) == []


def test_a_claim_of_more_than_there_is_is_not_believed_whole(server, out):
    with pytest.raises(ConvNovaError, match="changed since|more expected"):
        fetch([server.put("/a", BODY, partial(answer, claim=1_000_100))], out)
    assert not out.exists()


def test_an_html_page_is_data_only_if_the_name_says_so(server, tmp_path):
    page = b"<html>a report</html>"
    url = server.put("/page", page, partial(answer, Content_Type="text/html"))
    assert fetch([url], tmp_path / "report.html").read_bytes() == page
    for wrong, found in ((url, "HTML"), (server.put("/hidden", b"\xef\xbb\xbf\n<!DocType HTML>"), "HTML"),
                         (server.put("/empty", b""), "0 bytes")):  # fmt: skip
        with pytest.raises(ConvNovaError, match=f"expected data.*found .*{found}"):
            fetch([wrong], tmp_path / "report.bed")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("behaviour", [partial(answer, Content_Encoding="x-gzip"), loopback.zipped_if_allowed])
def test_a_file_keeps_its_bytes_whatever_coding_the_server_says_or_offers(server, out, behaviour):
    packed = gzip.compress(b"ab")
    fetch([server.put("/a", packed, behaviour)], out)
    assert out.read_bytes() == packed
    with pytest.raises(ConvNovaError, match="coding gzip"):
        fetch([server.put("/a", packed, partial(answer, Content_Encoding="gzip"))], out.with_name("a.csv"))


def test_proxies_of_the_environment_are_used(server, out, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    fetch([server.put("http://data.example/a", BODY)], out)
    assert out.read_bytes() == BODY


def test_a_password_of_the_users_netrc_is_sent_to_its_machine_alone(server, out, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\nmachine other login you password no\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    def answers(handler, body):
        seen.append(handler.headers["Authorization"])
        well(handler, body)

    fetch([server.put("/a", BODY, answers)], out)
    fetch([server.put("/a", BODY, answers).replace("127.0.0.1", "localhost")], out)
    assert seen == ["Basic " + base64.b64encode(b"me:word").decode(), None]


def test_https_never_leads_to_http(server, out, tmp_path, monkeypatch):
    """A server with a certificate of its own; what it serves itself is fetched."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    words = [*words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    plain = server.put("/a", BODY)
    with loopback.Server() as safe:
        safe.socket = context.wrap_socket(safe.socket, server_side=True)
        threading.Thread(target=safe.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{safe.server_address[1]}"
        safe.put("/a", BODY)
        safe.put("/inside", b"", lambda handler, body: redirect(handler, "/a"))
        safe.put("/outside", b"", lambda handler, body: redirect(handler, plain))
        assert fetch([f"{url}/inside"], out).read_bytes() == BODY
        with pytest.raises(ConvNovaError, match="another protocol"):
            fetch([f"{url}/outside"], out)
        safe.shutdown()
    assert server.answers == []


def test_the_hash_of_what_came_is_in_the_message(server, out):
    with pytest.raises(ConvNovaError, match=f"{SHA256}.*{hashlib.sha256(OTHER).hexdigest()}"):
        fetch([server.put("/a", OTHER)], out, sha256=SHA256)
    assert names(out) == []
