"""Downloads: a file is there whole and verified, or it is not there at all.

`config/sources.yaml` says where each file comes from. `convnova.data.download` brings a file from one address;
here are several addresses for one file, mirrors, the record of what came, and one process at a time.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from convnova.config.data_sources import Source
from convnova.errors import ConvNovaError
from convnova.files import sha256, write_json
from convnova.log import log


def fetch_source_file(
    source: Source,
    name: str,
    out: Path,
    *,
    mirror: str | None = None,
    offline: bool = False,
    lock: Path | None = None,
) -> Path:
    """Fetch one file of a source; see `fetch`."""
    urls, file = source.urls(name), source.files[name]
    known = {"sha256": file.sha256, "md5": file.md5, "size": file.size}
    return fetch(urls, out, mirror=mirror, offline=offline, lock=lock, **known)


def fetch(
    urls: list[str],
    out: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    mirror: str | None = None,
    offline: bool = False,
    lock: Path | None = None,
) -> Path:
    """Bring a file to `out`, whole and verified, unless it is there already.

    Args:
        urls: its addresses, best first; each is tried until one gives the right file.
        out: where it shall stand. Until it is whole it grows in `out` + `.part`, from where a later call goes on.
        sha256, md5, size: as published; the first of the two checksums that is known decides.
        mirror: a folder or URL that holds HOST/PATH for each URL, taken instead of the internet; if nothing is
            published, a file `SHA256SUMS` at its root decides.
        offline: never touch the network.
        lock: a JSON file for url, sha256, size and time of what came. If neither publisher nor mirror gives a
            checksum, the one recorded here at the first fetch decides from then on.

    Returns:
        `out`.

    Raises:
        ConvNovaError: no address gave the right file, the disk is full or cannot be written, or `offline`
            and the file is not there. What stood at `out` stands there still.
    """
    out, lock = Path(out), Path(lock) if lock else None
    known = f"sha256:{sha256}" if sha256 else f"md5:{md5}" if md5 else None
    if known is None and mirror and not (offline and is_url(mirror)):
        sums = _checksums(mirror)
        known = next((f"sha256:{sums[key]}" for key in map(_host_and_path, urls) if key in sums), None)
    with _disk_errors(out):
        if not _is_whole(out, known, lock):
            if offline and (mirror is None or is_url(mirror)):
                raise ConvNovaError(f"{out}: not there whole, and offline; run online, or give a mirror with {urls[0]}")
            with _alone(out):
                if not _is_whole(out, known, lock):
                    _try_each(_addresses(urls, mirror), out, known, size, lock)
        if lock and not lock.exists():
            _record(lock, None, out)
    return out


def is_url(place: str) -> bool:
    """Whether it is a web address, not a folder."""
    return place.startswith(("http://", "https://"))


def _host_and_path(url: str) -> str:
    return urlsplit(url).netloc + urlsplit(url).path


def _addresses(urls: list[str], mirror: str | None) -> list[str]:
    return urls if mirror is None else [f"{mirror.rstrip('/')}/{_host_and_path(url)}" for url in urls]


def _is_whole(out: Path, known: str | None, lock: Path | None) -> bool:
    """Whether `out` is the file of the checksum; without any checksum nobody can tell, so it is not."""
    known = known or _recorded(lock)
    if known is None or not out.is_file():
        return False
    algorithm, _, checksum = known.partition(":")
    with out.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == checksum.lower()


def _recorded(lock: Path | None) -> str | None:
    """The checksum that was recorded at an earlier fetch."""
    if lock is None or not lock.exists():
        return None
    try:
        return "sha256:" + json.loads(lock.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConvNovaError(f"{lock}: expected the record of a fetch, found {error!r}; delete it") from error


def _record(lock: Path, address: str | None, out: Path) -> None:
    """Write down what stands at `out`; an address of None says that it was there already."""
    content = {
        "url": address,
        "sha256": sha256(out),
        "size": out.stat().st_size,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(lock, content)


def _checksums(mirror: str) -> dict[str, str]:
    """The mirror's `SHA256SUMS` as path to checksum, empty if it has none; format: sha256sum of GNU coreutils."""
    place = f"{mirror.rstrip('/')}/SHA256SUMS"
    sums = {}
    for number, line in enumerate(_text(place).splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line)
        if match is None:
            raise ConvNovaError(
                f"{place}, line {number}: expected a sha256, two spaces and a path, found {line[:80]!r}"
            )
        sums[match[2]] = match[1]
    return sums


def _text(place: str) -> str:
    """What the mirror's text file holds, nothing if there is none."""
    if not is_url(place):
        if not Path(place).parent.is_dir():
            raise ConvNovaError(f"{Path(place).parent}: expected a mirror, a folder or a URL, found no folder")
        return Path(place).read_text(encoding="utf-8") if Path(place).is_file() else ""
    from convnova.data.download import Refused, text

    try:
        return text(place)
    except Refused as refusal:
        raise ConvNovaError(f"{place}: expected the mirror's checksums, found: {refusal}; try again") from refusal


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConvNovaError(
            f"{out}: expected a folder that can be written to and has room, found: {error}; "
            "mend that and run again: what has come so far is kept"
        ) from error


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let one process at a time fetch `out`; the others wait."""
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.fetching")
    while True:
        with path.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log(f"{out}: another process is fetching it; waiting")
                fcntl.flock(stream, fcntl.LOCK_EX)
            # The process before us removes the file: then others may have locked a new one of that name.
            if _is_at(path, stream):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _is_at(path: Path, stream: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _try_each(addresses: list[str], out: Path, known: str | None, size: int | None, lock: Path | None) -> None:
    """Fetch from the first address that gives the right file."""
    from convnova.data.download import (  # not above: it imports this module, and requests, which is slow
        Refused,
        retrieve,
    )

    failures = []
    for address in addresses:
        log(f"{out}: fetching {address}")
        try:
            new = retrieve(address, out, known or _recorded(lock), size)
        except Refused as refusal:
            failures.append(f"{address}: {refusal}")
            log(failures[-1])
            continue
        if lock:
            _record(lock, address, new)
        os.replace(new, out)
        return
    advice = "try again later, or give a mirror"
    if known is None and _recorded(lock):
        advice += f"; the hash was recorded in {lock} at an earlier fetch; delete that file if the change is meant"
    raise ConvNovaError(f"{out}: expected the whole file, found: {'; '.join(failures)}; {advice}")
