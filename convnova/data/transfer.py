"""The bytes of one file, from a web address or a folder to beside the place where it belongs.

requests and urllib3 follow redirects, retry what fails before a body comes, and heed the proxies and the `~/.netrc` of
the environment. What is added here: a body that breaks off is continued by byte range (RFC 9110, sections 13 and 14),
as long as its length and its validators stay the same; a server that sends nothing, next to nothing or without end is
left; an address of https does not lead to one of http.
"""

import hashlib
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from convnova.data.unpack import GZIP_MAGIC, open_bytes
from convnova.errors import ConvNovaError, without_secrets
from convnova.files import read_json, write_json
from convnova.log import log, progress

TIMEOUT = (20.0, 60.0)  # seconds to connect, and seconds without a byte
ANSWER_SECONDS = 900.0  # to a body's first byte, with all redirects and retries
RETRIES = 5  # in a row without enough new bytes
BACKOFF = 1.0  # seconds, doubled at each retry
LONGEST_WAIT = 60  # seconds that a busy server may ask us to wait
LEAST_RATE, RATE_SECONDS = 1000, 60.0  # bytes a second, over so many seconds
MOST_REDIRECTS = 10
MOST_BYTES = 1 << 36
"""Largest file of a length that nobody knows."""
PIECE_BYTES = 1 << 16
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
VALIDATORS = ("ETag", "Last-Modified")


def is_url(address: str) -> bool:
    """Whether it is a web address, not a folder."""
    return address.startswith(("http://", "https://"))


def reason(error: BaseException) -> str:
    """The innermost cause, on one line."""
    while causes := [cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, Exception)]:
        error = causes[0]
    if isinstance(error, requests.exceptions.InvalidSchema):
        return "it leads to an address of another protocol, which is not followed"
    return " ".join(str(error).split())


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file's bytes by an algorithm of `hashlib`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def read_to_end(path: Path) -> bool:
    """Whether a file's own form says where it ends: gzip, zip, HDF5 and tar do.

    Raises:
        ValueError: it ends elsewhere.
    """
    size, form, is_whole = path.stat().st_size, "", True
    with path.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, size - 1024))
        tail = stream.read()
    superblock = next((at for at in (0, 512, 1024, 2048) if head.startswith(HDF5_MAGIC, at)), None)
    if head.startswith(GZIP_MAGIC):
        form = "gzip file"
        try:
            with open_bytes(path):
                pass  # all of it is read when this block ends
        except ConvNovaError as error:
            raise ValueError(str(error)) from error
    elif head.startswith(b"PK\x03\x04"):
        form, is_whole = "zip archive", zipfile.is_zipfile(path)
    elif superblock is not None:
        # The file's end is behind one address less in later versions, and behind fewer sizes.
        at = superblock + (40 if head[superblock + 8] < 2 else 28)
        form, is_whole = "HDF5 file", int.from_bytes(head[at : at + 8], "little") <= size
    elif head.startswith(b"ustar", 257):
        form, is_whole = "tar archive", not tail.strip(b"\0") and size % 512 == 0
    if not is_whole:
        raise ValueError(f"expected a whole {form}, found one without its end")
    return bool(form)


def _retry() -> urllib3.Retry:
    options = {"backoff_factor": BACKOFF, "retry_after_max": LONGEST_WAIT, "raise_on_status": False}
    return urllib3.Retry(RETRIES, status_forcelist=(429, 500, 502, 503, 504), **options)


def _session(url: str) -> requests.Session:
    """A session that retries what fails before a body comes; for an address of https it knows nothing else."""
    session = requests.Session()
    session.max_redirects = MOST_REDIRECTS
    session.headers["Accept-Encoding"] = "identity"
    session.adapters.clear()
    for scheme in ("https://",) if url.startswith("https://") else ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=_retry()))
    return session


def _ask(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """The answer to a request, its body not read yet.

    Headers may come a byte at a time, none of them too late for `TIMEOUT`; so a thread waits for them, which is left
    behind if they take too long.
    """
    answer: Future[requests.Response] = Future()

    def wait() -> None:
        try:
            answer.set_result(session.get(url, headers=headers, stream=True, timeout=TIMEOUT))
        except BaseException as error:  # for the caller
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        return answer.result(ANSWER_SECONDS)
    except TimeoutError as error:
        raise requests.Timeout(f"no answer within {ANSWER_SECONDS:,.0f} seconds") from error


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes, undecoded, for some servers call a .gz file plain text in gzip coding.

    Raises:
        urllib3.exceptions.HTTPError: it breaks off, or comes too slowly.
    """
    since, count = time.monotonic(), 0
    while piece := response.raw.read1(PIECE_BYTES, decode_content=False):
        yield piece
        count += len(piece)
        if (seconds := time.monotonic() - since) > RATE_SECONDS:
            if count < LEAST_RATE * seconds:
                raise urllib3.exceptions.ProtocolError(f"only {count:,} bytes came in {seconds:,.0f} seconds")
            since, count = time.monotonic(), 0


class Transfer:
    """A file that grows in `out` + `.part`, on from where an earlier call left it, until it is whole and right.

    Attributes:
        checksum: its algorithm and hexadecimal digest, if they are known.
        size: its bytes, if they are known.
        most: bytes that it may have, if nobody says how many it has.
        part: the bytes that have come so far.
        state: a JSON beside it: their URL, and the validators and the length that the server gave for the file.
        resumed: whether bytes of an earlier answer are in it.
        has_end: whether the server said where the body ends, so that one that breaks off is seen to do so.
        addresses: all that were asked, in order: that of the file, then those that it led to.
    """

    def __init__(self, out: Path, checksum: tuple[str, str] | None, size: int | None, most: int | None = None):
        self.out, self.checksum, self.size, self.most = out, checksum, size, most or MOST_BYTES
        self.part = out.with_name(out.name + ".part")
        self.state = out.with_name(out.name + ".part.json")

    def bring(self, address: str) -> None:
        """Let the whole file of a URL or path come to `part`.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, ValueError: it does not come, or is another one.
        """
        for is_last in (False, True):
            self.resumed, self.has_end, self.addresses = False, True, [address]
            if is_url(address):
                self._request_until_complete(address)
            elif Path(address).is_file():
                self.discard()
                shutil.copyfile(address, self.part)
            else:
                raise ValueError("no such file")
            try:
                return self._check()
            except ValueError:
                self.discard()
                if is_last or not self.resumed:
                    raise
                log(f"{self.out}: what had come earlier does not fit; starting again")

    def _check(self) -> None:
        """Refuse what is not the whole and right file."""
        with self.part.open("rb") as stream:
            head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        self._refuse(head.startswith((b"<!doctype html", b"<html")), self.part.stat().st_size)
        if self.checksum:
            if (found := digest(self.part, self.checksum[0])) != self.checksum[1]:
                raise ValueError(f"expected the {self.checksum[0]} {self.checksum[1]}, found {found}")
        elif not (read_to_end(self.part) or self.has_end or self.size):
            raise ValueError("expected an answer that says where it ends, found none; give a checksum or a size")

    def discard(self) -> None:
        """Forget what has come."""
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _request_until_complete(self, url: str) -> None:
        """Ask again, with growing pauses, for what is missing, as long as enough new bytes come or retries are left."""
        retry, most, since = _retry(), 0, time.monotonic()
        with _session(url) as session:
            while True:
                try:
                    return self._request(session, url)
                except urllib3.exceptions.HTTPError as error:
                    length = self.part.stat().st_size if self.part.exists() else 0
                    if length > most + LEAST_RATE * max(RATE_SECONDS, time.monotonic() - since):
                        retry, most = _retry(), length
                    retry = retry.increment("GET", url, error=error)
                    log(f"{self.out}: {length:,} bytes have come; {reason(error)}; asking for the rest")
                    retry.sleep()
                    since = time.monotonic()

    def _request(self, session: requests.Session, url: str) -> None:
        """Ask once for all that is missing and append it to `part`."""
        start, headers, known = self._standing(url)
        with _ask(session, url, headers) as response:
            self.addresses += [answer.url for answer in (*response.history, response)][1:]
            partial = response.status_code in (requests.codes.partial_content, requests.codes.range_not_satisfiable)
            if partial and start:
                total = self._check_range(response, start, known)
                if response.status_code == requests.codes.range_not_satisfiable:
                    return  # nothing lies beyond `start`: the file ends there
            elif partial:
                raise urllib3.exceptions.ProtocolError("a part of the file came that nobody asked for")
            else:
                response.raise_for_status()
                if response.status_code != requests.codes.ok:
                    raise ValueError(f"expected an answer 200, found {response.status_code} {response.reason}")
                coding = response.headers.get("Content-Encoding", "identity")
                if coding != "identity" and not self.out.name.endswith((".gz", ".bgz")):
                    raise ValueError(f"expected the file as it is, found it in the coding {coding}")
                start, total = 0, response.raw.length_remaining
                self.has_end = response.raw.chunked or total is not None
                self._refuse(response.headers.get("Content-Type", "").startswith("text/html"), total)
            # A new file empties `part` before its state is written, so that no other file's bytes go with it.
            with self.part.open("ab" if start else "wb") as stream:
                if not start:
                    validators = {name: response.headers.get(name) for name in VALIDATORS}
                    write_json(self.state, {"url": without_secrets(url), "total": total, **validators})
                with progress(f"{self.out.parent.name}/{self.out.name}", total, "B", start) as bar:
                    for piece in _pieces(response):
                        stream.write(piece)
                        bar.update(len(piece))
                        if stream.tell() > (limit := total or self.size or self.most):
                            self.discard()
                            raise ValueError(f"expected {limit:,} bytes, found more")
        if total and self.part.stat().st_size < total:
            raise urllib3.exceptions.ProtocolError("the server sent less than it said")

    def _standing(self, url: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Bytes in `part` that are from `url`, the headers that ask for the rest, and what is known of the file."""
        known: dict[str, Any] = {}
        with suppress(ConvNovaError):
            known = read_json(self.state)
        is_whole = known.keys() == {"url", "total", *VALIDATORS} and all(str(it).isprintable() for it in known.values())
        start = self.part.stat().st_size if self.part.exists() else 0
        etag = str(known.get("ETag") or "W/")  # a weak one does not vouch for every byte
        validator = known.get("Last-Modified") if etag.startswith("W/") else etag
        if (
            not is_whole
            or known["url"] != without_secrets(url)
            or not (validator or self.checksum and known.get("total"))
        ):
            return 0, {}, {}
        headers = {"Range": f"bytes={start}-"} if start else {}
        return start, headers | ({"If-Range": str(validator)} if start and validator else {}), known

    def _check_range(self, response: requests.Response, start: int, known: dict[str, Any]) -> int:
        """The length of the whole file if the answer is its rest from `start` on; otherwise discards what has come."""
        match = re.fullmatch(r"bytes (?:(\d{1,18})-\d+|\*)/(\d{1,18})", response.headers.get("Content-Range", ""))
        is_same = all(response.headers.get(name) in (None, known[name]) for name in VALIDATORS if known.get(name))
        # After a body that broke off and had no length, an answer without bytes is no proof that the file ends there.
        is_proof = match and (match[1] or known["total"] or self.checksum)
        if is_proof and int(match[1] or match[2]) == start and known["total"] in (None, int(match[2])) and is_same:
            self.resumed = True
            return int(match[2])
        self.discard()
        raise urllib3.exceptions.ProtocolError(f"{response.url} has changed since the first bytes came")

    def _refuse(self, is_page: bool, length: int | None) -> None:
        """Refuse what cannot be the file, whatever its checksum; `length` is its bytes, as far as they are known."""
        is_page = is_page and not self.out.name.endswith(".html")
        if is_page or length == 0 or length is not None and (length > self.most or self.size not in (None, length)):
            expected = f"{self.size:,} bytes" if self.size else f"data, {self.most:,} bytes at most"
            raise ValueError(f"expected {expected}, found {'an HTML page' if is_page else f'{length:,} bytes'}")
