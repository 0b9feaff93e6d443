"""Downloads: a file is there whole and verified, or it is not there at all.

`config/sources.yaml` says where each file comes from. A file has several addresses, or a mirror, and the first one that
gives the right file counts. Where nobody publishes a checksum, the one of what came first is recorded. How a file
comes, and when it is whole: see `convnova.data.transfer`.
"""

import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from convnova.data.transfer import Transfer, digest, is_url, reason
from convnova.errors import ConvNovaError, without_secrets
from convnova.files import read_json, write_json
from convnova.log import log

REFUSALS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""What is raised if an address does not give the right file; another may."""

MOST_LIST_BYTES = 1 << 24
"""Bytes that a list of checksums may have."""


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
        record: a JSON file for what came: `url`, `redirects` (every further address that it came through, in order),
            `sha256`, `size` and `time`, without passwords and tokens. If neither publisher nor mirror gives a
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
    paths = [urlsplit(url).netloc.rpartition("@")[2] + urlsplit(url).path for url in urls] if mirror else []
    checksum = ("sha256", sha256) if sha256 else ("md5", md5) if md5 else None
    if checksum is None and may_ask_mirror:
        sums = _mirror_checksums(mirror)
        checksum = next((("sha256", sums[path]) for path in paths if path in sums), None)
    advice = "try again later, or give a mirror"
    if checksum is None and record and record.exists():
        checksum = "sha256", str(read_json(record).get("sha256"))
        advice += f"; the hash was recorded in {record} at an earlier fetch; delete that file if the change is meant"
    try:
        # Without any checksum nobody can tell whether a file is whole, so it is fetched again.
        if checksum and out.is_file() and digest(out, checksum[0]) == checksum[1]:
            addresses, new = [], out
        elif offline and not may_ask_mirror:
            raise ConvNovaError(f"{out}: not there whole, and offline; run online, or give a mirror with {urls[0]}")
        else:
            transfer = Transfer(out, checksum, size)
            _bring_first([f"{mirror}/{path}" for path in paths] if mirror else urls, transfer, advice)
            addresses, new = transfer.addresses, transfer.part
        if record and (addresses or not record.exists()):
            url, *redirects = [without_secrets(address) for address in addresses] or [None]
            content = {"url": url, "redirects": redirects, "sha256": digest(new, "sha256"), "size": new.stat().st_size}
            write_json(record, content | {"time": datetime.now(UTC).isoformat(timespec="seconds")})
        if addresses:
            os.replace(new, out)
            transfer.state.unlink(missing_ok=True)
    except OSError as error:
        found = f"{error}; fix that and run again: what has come so far stays"
        raise ConvNovaError(f"{out}: expected a folder that can be written to and has room, found: {found}") from error
    return out


def _mirror_checksums(mirror: str) -> dict[str, str]:
    """The mirror's `SHA256SUMS` as path to checksum, empty if it has none; format: sha256sum of GNU coreutils."""
    sums_file, lines = f"{mirror}/SHA256SUMS", []
    if not is_url(mirror) and not Path(mirror).is_dir():
        raise ConvNovaError(f"{mirror}: expected a mirror, a folder or a URL, found no folder")
    if is_url(mirror) or Path(sums_file).is_file():
        with tempfile.TemporaryDirectory() as folder:
            transfer = Transfer(Path(folder, "SHA256SUMS"), None, None, MOST_LIST_BYTES)
            try:
                transfer.bring(sums_file)
                lines = transfer.part.read_text(encoding="utf-8").splitlines()
            except REFUSALS as error:
                if getattr(getattr(error, "response", None), "status_code", None) != requests.codes.not_found:
                    message = f"expected the mirror's checksums, found: {reason(error)}; try again"
                    raise ConvNovaError(f"{sums_file}: {message}") from error
    sums = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line)
        if match is None:
            where = f"{sums_file}, line {number}"
            raise ConvNovaError(f"{where}: expected a sha256, two spaces and a path, found {line[:80]!r}")
        sums[match[2]] = match[1].lower()
    return sums


def _bring_first(addresses: list[str], transfer: Transfer, advice: str) -> None:
    """Let the file come to `transfer.part` from the first address that gives the right one."""
    transfer.out.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for address in addresses:
        log(f"{transfer.out}: fetching {address}")
        try:
            return transfer.bring(address)
        except REFUSALS as error:
            failures.append(f"{address}: {reason(error)}")
            log(failures[-1])
    raise ConvNovaError(f"{transfer.out}: expected the whole file, found: {'; '.join(failures)}; {advice}")
