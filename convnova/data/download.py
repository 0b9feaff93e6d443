"""One file from one address: resumed by byte range, retried, and refused if it is not what was expected.

pooch checks and moves the file, requests and urllib3 retry what fails before a body comes and heed the proxies
of the environment. Byte ranges: RFC 9110, section 14.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3
from requests.adapters import HTTPAdapter

from convnova.data.fetch import is_url
from convnova.errors import ConvNovaError
from convnova.files import write_json
from convnova.log import log, progress

TIMEOUT = (20.0, 60.0)  # seconds to connect, and seconds without a byte
RETRIES = 5  # in a row without a new byte
BACKOFF = 1.0  # seconds, doubled at each retry
PIECE = 1 << 16
POOCH_ADVICE = (
    " Deleted download for safety. The downloaded file may have been corrupted or the known hash may be outdated."
)


class Refused(Exception):
    """This address did not give the right file; another may."""


def retrieve(address: str, out: Path, known: str | None, size: int | None) -> Path:
    """Bring the file of a URL or path to beside `out`, and check it.

    Args:
        known: `algorithm:checksum`, if any is known.
        size: bytes, if known.

    Returns:
        Where the whole file stands now, in the folder of `out`.

    Raises:
        Refused: the address gives no file, or another one.
        ConvNovaError: too little room for it.
        OSError: the disk is full or cannot be written.
    """
    pooch.get_logger().setLevel("WARNING")
    # Not `out` itself: without a checksum pooch takes whatever stands there for the right file.
    new = out.absolute().with_name(out.name + ".new")
    new.unlink(missing_ok=True)
    download = Download(out, size)
    while True:
        resumed_before = download.resumed
        try:
            return Path(pooch.retrieve(address, known, fname=new.name, path=new.parent, downloader=download))
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            if resumed_before or not download.resumed or not isinstance(error, ValueError):
                raise Refused(_reason(error)) from error
        log(f"{out}: what had come earlier does not fit; starting again")


def text(url: str) -> str:
    """The body of a small text file, empty if there is none.

    Raises:
        Refused: the server does not answer, or with an error.
    """
    try:
        with _session() as session, session.get(url, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.not_found:
                return ""
            response.raise_for_status()
            return response.text
    except requests.RequestException as error:
        raise Refused(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The innermost cause, on one line."""
    while causes := [cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, Exception)]:
        error = causes[0]
    if isinstance(error, requests.HTTPError):
        return f"{error.response.status_code} {error.response.reason}"
    return " ".join(str(error).removesuffix(POOCH_ADVICE).split())


class Download:
    """A pooch downloader: lets the file grow in `.part`, on from where that stands, and hands it over complete."""

    def __init__(self, out: Path, size: int | None):
        self.out, self.size = out, size
        self.part = out.with_name(out.name + ".part")
        self.state = out.with_name(out.name + ".part.json")
        self.resumed = False

    def __call__(self, address: str, temporary: str, pooch: object) -> None:
        os.unlink(temporary)  # only a place holder: a killed process leaves `.part` and its state, nothing else
        if is_url(address):
            self._request_until_complete(address)
        else:
            self._copy(Path(address))
        self._check()
        os.replace(self.part, temporary)
        self.state.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _check(self) -> None:
        """Refuse what cannot be the file, whatever its checksum."""
        found = self.part.stat().st_size
        with self.part.open("rb") as stream:
            head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        page = head.startswith((b"<!doctype html", b"<html")) and not self.out.name.endswith(".html")
        if found and not page and self.size in (None, found):
            return
        self._discard()
        expected = f"{self.size:,} bytes" if self.size else "data"
        raise ValueError(f"expected {expected}, found {'an HTML page' if page else f'{found:,} bytes'}")

    def _copy(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError("no such file")
        self._discard()
        _check_space(self.out, path.stat().st_size)
        shutil.copyfile(path, self.part)

    def _request_until_complete(self, url: str) -> None:
        """Ask again, with growing pauses, for what is missing, as long as new bytes come or retries are left."""
        retry, most = _retry(), 0
        with _session() as session:
            while True:
                try:
                    return self._request(session, url)
                except urllib3.exceptions.HTTPError as error:
                    have = self.part.stat().st_size if self.part.exists() else 0
                    if have > most:
                        retry, most = _retry(), have
                    retry = retry.increment("GET", url, error=error)
                    log(f"{self.out}: {have:,} bytes have come; {_reason(error)}; asking for the rest")
                    retry.sleep()

    def _request(self, session: requests.Session, url: str) -> None:
        """Ask once for all that is missing and append it to `.part`."""
        start, state = self._so_far(url)
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and state["validator"]:
            headers["If-Range"] = state["validator"]
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start, total = self._start_and_total(response, start, state.get("total"))
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                return
            _check_space(self.out, (total or start) - start)
            with self.part.open("ab" if start else "wb") as stream:
                if not start:
                    self._remember(url, response, total)
                with progress(f"{self.out.parent.name}/{self.out.name}", total, "B", start) as bar:
                    # Undecoded: some servers call a .gz file plain text in gzip coding.
                    for piece in response.raw.stream(PIECE, decode_content=False):
                        stream.write(piece)
                        bar.update(len(piece))

    def _so_far(self, url: str) -> tuple[int, dict[str, Any]]:
        """Bytes in `.part` that came from `url`, and what the server said of the file then."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            return (self.part.stat().st_size, state) if state["url"] == url else (0, {})
        except (FileNotFoundError, ValueError):
            return 0, {}

    def _remember(self, url: str, response: requests.Response, total: int | None) -> None:
        etag = response.headers.get("ETag", "W/")
        validator = response.headers.get("Last-Modified") if etag.startswith("W/") else etag
        write_json(self.state, {"url": url, "validator": validator, "total": total})

    def _start_and_total(self, response: requests.Response, start: int, total: int | None) -> tuple[int, int | None]:
        """First byte of the answer and length of the whole file."""
        if response.status_code in (requests.codes.partial_content, requests.codes.requested_range_not_satisfiable):
            return self._continued(response, start, total)
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/html") and not self.out.name.endswith(".html"):
            raise ValueError("expected data, found an HTML page")
        length = response.headers.get("Content-Length")
        if self.size and length and int(length) != self.size:
            raise ValueError(f"expected {self.size:,} bytes, found {int(length):,}")
        return 0, int(length) if length else None

    def _continued(self, response: requests.Response, start: int, total: int | None) -> tuple[int, int]:
        """The same, when a range was asked for; if nothing lies beyond `start`, the file ends there."""
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        begin, end = (int(match[1] or match[2]), int(match[2])) if match else (None, None)
        if begin != start or end is None or total not in (None, end):
            self._discard()
            raise urllib3.exceptions.ProtocolError(f"{response.url} has changed since the first bytes came")
        self.resumed = True
        return start, end


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise ConvNovaError(f"{out}: expected room for {needed:,} bytes, found {free:,} free; make room and run again")


def _retry() -> urllib3.Retry:
    return urllib3.Retry(
        RETRIES, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
    )


def _session() -> requests.Session:
    """A session that retries what fails before a body comes, and that heeds the proxies of the environment."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=_retry()))
    return session
