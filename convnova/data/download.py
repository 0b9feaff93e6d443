"""Downloads: a file is there whole and verified, or it is not there at all.

`config/sources.yaml` says where each file comes from. pooch checks a file and moves it to where it belongs, requests
and urllib3 retry what fails before a body comes and heed the proxies of the environment. What is added here: a body
that breaks off is continued by byte range (RFC 9110, section 14), a file has several addresses or a mirror, and the
checksum of what came first is recorded where nobody publishes one.
"""

import json
import os
import re
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
import urllib3
from pooch.hashes import hash_matches
from requests.adapters import HTTPAdapter

from convnova.errors import ConvNovaError
from convnova.files import read_json, write_json
from convnova.files import sha256 as sha256_of
from convnova.log import log, progress

TIMEOUT = (20.0, 60.0)  # seconds to connect, and seconds without a byte
RETRIES = 5  # in a row without a new byte
BACKOFF = 1.0  # seconds, doubled at each retry
PIECE_BYTES = 1 << 16
REFUSALS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""What is raised if an address does not give the right file; another may."""


def fetch(
    urls: list[str],
    out: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    mirror: str | None = None,
    offline: bool = False,
    record: Path | None = None,
) -> Path:
    """Bring a file to `out`, whole and verified, unless it is there already. One process at a time may fetch a file.

    Args:
        urls: its addresses, best first; each is tried until one gives the right file.
        out: where it shall stand. Until it is whole it grows in `out` + `.part`, from where a later call goes on.
        sha256, md5, size: as published; the first of the two checksums that is known decides.
        mirror: a folder or URL that holds HOST/PATH for each URL, taken instead of the internet; if nothing is
            published, a file `SHA256SUMS` at its root decides.
        offline: never touch the network.
        record: a JSON file for url, sha256, size and time of what came. If neither publisher nor mirror gives a
            checksum, the one recorded here at the first fetch decides from then on.

    Returns:
        `out`.

    Raises:
        ConvNovaError: no address gave the right file, the disk is full or cannot be written, or `offline`
            and the file is not there. What stood at `out` stands there still.
    """
    out, record = Path(out), Path(record) if record else None
    mirror = mirror.rstrip("/") if mirror else None
    may_ask_mirror = mirror and not (offline and is_url(mirror))
    paths = [urlsplit(url).netloc + urlsplit(url).path for url in urls] if mirror else []
    checksum = f"sha256:{sha256}" if sha256 else f"md5:{md5}" if md5 else None
    if checksum is None and may_ask_mirror:
        sums = _mirror_checksums(mirror)
        checksum = next((f"sha256:{sums[path]}" for path in paths if path in sums), None)
    advice = "try again later, or give a mirror"
    if checksum is None and record and record.exists():
        checksum = "sha256:" + str(read_json(record).get("sha256"))
        advice += f"; the hash was recorded in {record} at an earlier fetch; delete that file if the change is meant"
    try:
        # Without any checksum nobody can tell whether a file is whole, so it is fetched again.
        if checksum and out.is_file() and hash_matches(out, checksum):
            address, new = None, out
        elif offline and not may_ask_mirror:
            raise ConvNovaError(f"{out}: not there whole, and offline; run online, or give a mirror with {urls[0]}")
        else:
            addresses = [f"{mirror}/{path}" for path in paths] if mirror else urls
            address, new = _retrieve_from_first(addresses, out, checksum, size, advice)
        if record and (address or not record.exists()):
            time = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(record, {"url": address, "sha256": sha256_of(new), "size": new.stat().st_size, "time": time})
        if address:
            os.replace(new, out)
    except OSError as error:
        found = f"{error}; fix that and run again: what has come so far stays"
        raise ConvNovaError(f"{out}: expected a folder that can be written to and has room, found: {found}") from error
    return out


def is_url(address: str) -> bool:
    """Whether it is a web address, not a folder."""
    return address.startswith(("http://", "https://"))


def _mirror_checksums(mirror: str) -> dict[str, str]:
    """The mirror's `SHA256SUMS` as path to checksum, empty if it has none; format: sha256sum of GNU coreutils."""
    sums_file, text = f"{mirror}/SHA256SUMS", ""
    if is_url(mirror):
        try:
            with _session() as session, session.get(sums_file, timeout=TIMEOUT) as response:
                if response.status_code != requests.codes.not_found:
                    response.raise_for_status()
                    text = response.text
        except requests.RequestException as error:
            found = _reason(error)
            raise ConvNovaError(f"{sums_file}: expected the mirror's checksums, found: {found}; try again") from error
    elif not Path(mirror).is_dir():
        raise ConvNovaError(f"{mirror}: expected a mirror, a folder or a URL, found no folder")
    elif Path(sums_file).is_file():
        text = Path(sums_file).read_text(encoding="utf-8")
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line)
        if match is None:
            where = f"{sums_file}, line {number}"
            raise ConvNovaError(f"{where}: expected a sha256, two spaces and a path, found {line[:80]!r}")
        sums[match[2]] = match[1]
    return sums


def _retrieve_from_first(
    addresses: list[str], out: Path, checksum: str | None, size: int | None, advice: str
) -> tuple[str, Path]:
    """The first address that gives the right file, and where it is now, beside `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for address in addresses:
        log(f"{out}: fetching {address}")
        try:
            return address, _retrieve(address, out, checksum, size)
        except REFUSALS as error:
            failures.append(f"{address}: {_reason(error)}")
            log(failures[-1])
    raise ConvNovaError(f"{out}: expected the whole file, found: {'; '.join(failures)}; {advice}")


def _retrieve(address: str, out: Path, checksum: str | None, size: int | None) -> Path:
    """Bring the file of a URL or path to beside `out`, check it, and return where it is."""
    pooch.get_logger().setLevel("WARNING")
    # Not `out` itself: without a checksum pooch takes whatever stands there for the right file.
    new = out.absolute().with_name(out.name + ".new")
    new.unlink(missing_ok=True)
    download = ResumableDownload(out, size)
    retrieve = partial(pooch.retrieve, address, checksum, fname=new.name, path=new.parent, downloader=download)
    try:
        return Path(retrieve())
    except ValueError:
        if not download.resumed:
            raise
    log(f"{out}: what had come earlier does not fit; starting again")
    return Path(retrieve())


def _reason(error: BaseException) -> str:
    """The innermost cause, on one line."""
    while causes := [cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, Exception)]:
        error = causes[0]
    # Behind a wrong checksum pooch advises something that is not true here.
    return " ".join(str(error).partition(" Deleted download for safety.")[0].split())


def _retry() -> urllib3.Retry:
    busy = (429, 500, 502, 503, 504)
    return urllib3.Retry(RETRIES, backoff_factor=BACKOFF, status_forcelist=busy, raise_on_status=False)


def _session() -> requests.Session:
    """A session that retries what fails before a body comes, and that heeds the proxies of the environment."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=_retry()))
    return session


class ResumableDownload:
    """A pooch downloader: lets the file grow in `.part`, on from where that stands, and hands it over complete.

    Attributes:
        part: the bytes that have come so far.
        state: a JSON beside it: their URL, and the validator and the length that the server gave for the file.
        resumed: whether bytes of an earlier answer are in it.
    """

    def __init__(self, out: Path, size: int | None):
        self.out, self.size = out, size
        self.part = out.with_name(out.name + ".part")
        self.state = out.with_name(out.name + ".part.json")
        self.resumed = False

    def __call__(self, address: str, temporary: str, pooch: object) -> None:
        """Write the file of an address, a URL or a path, to `temporary`."""
        os.unlink(temporary)  # an empty file of pooch's: a killed process shall leave nothing but `.part` and its state
        if is_url(address):
            self._request_until_complete(address)
        elif Path(address).is_file():
            self._discard()
            shutil.copyfile(address, self.part)
        else:
            raise ValueError("no such file")
        with self.part.open("rb") as stream:
            head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        try:
            self._check(head.startswith((b"<!doctype html", b"<html")), self.part.stat().st_size)
        except ValueError:
            self._discard()
            raise
        os.replace(self.part, temporary)
        self.state.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _check(self, is_page: bool, length: int | None) -> None:
        """Refuse what cannot be the file, whatever its checksum; `length` is its bytes, as far as they are known."""
        is_page = is_page and not self.out.name.endswith(".html")
        if is_page or length == 0 or None not in (self.size, length) and self.size != length:
            expected = f"{self.size:,} bytes" if self.size else "data"
            raise ValueError(f"expected {expected}, found {'an HTML page' if is_page else f'{length:,} bytes'}")

    def _request_until_complete(self, url: str) -> None:
        """Ask again, with growing pauses, for what is missing, as long as new bytes come or retries are left."""
        retry, most = _retry(), 0
        with _session() as session:
            while True:
                try:
                    return self._request(session, url)
                except urllib3.exceptions.HTTPError as error:
                    length = self.part.stat().st_size if self.part.exists() else 0
                    if length > most:
                        retry, most = _retry(), length
                    retry = retry.increment("GET", url, error=error)
                    log(f"{self.out}: {length:,} bytes have come; {_reason(error)}; asking for the rest")
                    retry.sleep()

    def _request(self, session: requests.Session, url: str) -> None:
        """Ask once for all that is missing and append it to `.part`."""
        start, validator, total = self._progress(url)
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and validator:
            headers["If-Range"] = validator
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code in (requests.codes.partial_content, requests.codes.range_not_satisfiable):
                total = self._check_range(response, start, total)
                if response.status_code == requests.codes.range_not_satisfiable:
                    return  # nothing lies beyond `start`: the file ends there
            else:
                response.raise_for_status()
                length = response.headers.get("Content-Length")
                start, total = 0, int(length) if length else None
                self._check(response.headers.get("Content-Type", "").startswith("text/html"), total)
            # A new file empties `.part` before its state is written, so that no other file's bytes go with it.
            with self.part.open("ab" if start else "wb") as stream:
                if not start:
                    etag = response.headers.get("ETag", "W/")  # a weak one does not vouch for every byte
                    validator = response.headers.get("Last-Modified") if etag.startswith("W/") else etag
                    write_json(self.state, {"url": url, "validator": validator, "total": total})
                with progress(f"{self.out.parent.name}/{self.out.name}", total, "B", start) as bar:
                    # Undecoded: some servers call a .gz file plain text in gzip coding.
                    for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
                        stream.write(piece)
                        bar.update(len(piece))

    def _progress(self, url: str) -> tuple[int, str | None, int | None]:
        """Bytes in `.part` that came from `url`, and the file's validator and length as the server gave them then."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            if state["url"] == url:
                return self.part.stat().st_size, state["validator"], state["total"]
        except (FileNotFoundError, ValueError):
            pass
        return 0, None, None

    def _check_range(self, response: requests.Response, start: int, total: int | None) -> int:
        """The length of the whole file if the answer is its rest from `start` on; otherwise discards what has come."""
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1] or match[2]) != start or total not in (None, int(match[2])):
            self._discard()
            raise urllib3.exceptions.ProtocolError(f"{response.url} has changed since the first bytes came")
        self.resumed = True
        return int(match[2])
