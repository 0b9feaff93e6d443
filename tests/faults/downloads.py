"""Every lie of a server: a download ends with the right file or with one line, and it ends.

    PYTHONPATH=tests:. python tests/faults/downloads.py --seed 1 --count 2000

draws lies one after another for each download, the last of them for ever, a form of the file, and what is known of it.
The counts are in docs/reliability.md; a short form is in `test_downloads.py`.
"""

import argparse
import functools
import gzip
import io
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import loopback
import numpy as np
from loopback import answer, chunked, part, redirect, unframed, well

from convnova.data import transfer
from convnova.data.download import fetch
from convnova.errors import ConvNovaError

LIMITS = {"TIMEOUT": (2.0, 0.2), "ANSWER_SECONDS": 1.0, "RETRIES": 2, "BACKOFF": 0.001, "LONGEST_WAIT": 0}
LIMITS |= {"RATE_SECONDS": 0.2, "LEAST_RATE": 10_000, "MOST_BYTES": 10_000_000}
"""Of a download that gives up soon, in place of those of `convnova.data.transfer`."""

MOST_SECONDS = 30.0
PIECE = 30_000


def forms(seed: int) -> dict[str, bytes]:
    """A file of each form, with random content."""
    content = random.Random(seed).randbytes(200_000)
    files = {"text": content.hex().encode()[:200_000], "gzip": gzip.compress(content, mtime=0)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), content)
    files["zip"] = file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    files["tar"] = file.getvalue()
    for name, options in (("hdf5", {"userblock_size": 512}), ("new hdf5", {"libver": "latest"})):
        file = io.BytesIO()
        with h5py.File(file, "w", **options) as written:
            written["labels"] = np.frombuffer(content, np.uint8)
        files[name] = file.getvalue()
    return files


FORMS, OTHERS = forms(1), forms(2)


def other(handler, body: bytes, **options) -> None:
    """Another file of the same form, with another validator."""
    (form,) = (name for name, content in FORMS.items() if content is body)
    answer(handler, OTHERS[form], ETag='"two"', **options)


def gone_on_elsewhere(handler, body: bytes) -> None:
    """Send the first third of the file; the rest from another file, which has another validator."""
    if handler.headers["Range"] is None:
        return answer(handler, body, upto=len(body) // 3)
    start = int(handler.headers["Range"][6:-1])
    (form,) = (name for name, content in FORMS.items() if content is body)
    return part(handler, OTHERS[form].ljust(len(body))[: len(body)], start, ETag='"two"')


def at_asked(handler, body: bytes, **options) -> None:
    """A part from where the range begins that is asked for, or from a third of the file on."""
    asked = handler.headers["Range"]
    part(handler, body, int(asked[6:-1]) if asked else len(body) // 3, **options)


LIES: dict[str, Callable] = {
    "cut": lambda handler, body: answer(handler, body, upto=PIECE),
    "cut, and no ranges": lambda handler, body: answer(handler, body, upto=PIECE, ranges=False),
    "cut, and no validator": lambda handler, body: answer(handler, body, upto=PIECE, ETag=None),
    "cut, and a weak validator": lambda handler, body: answer(handler, body, upto=PIECE, ETag='W/"one"'),
    "stalled": lambda handler, body: answer(handler, body, upto=PIECE, then=loopback.wait),
    "reset": lambda handler, body: answer(handler, body, upto=PIECE, then=loopback.reset),
    "a length too long": lambda handler, body: answer(handler, body, claim=len(body) + 100),
    "a length that is none": lambda handler, body: answer(handler, body, claim="many"),
    "a negative length": lambda handler, body: answer(handler, body, claim=-1),
    "a length too short": lambda handler, body: answer(handler, body, claim=len(body) - 9),
    "neither length nor end": lambda handler, body: unframed(handler, body[:PIECE]),
    "whole, without a length": unframed,
    "chunks that break off": lambda handler, body: chunked(handler, body[:PIECE], ended=False),
    "chunks": chunked,
    "chunks without end": lambda handler, body: chunked(handler, body, repeat=10**6),
    "chunks of no number": lambda handler, body: loopback.raw(handler, b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc"),
    "a part that nobody asked for": lambda handler, body: part(handler, body, len(body) // 3),
    "parts shorter than their range": functools.partial(at_asked, upto=PIECE),
    "parts that say how short they are": functools.partial(at_asked, upto=PIECE, honest=True),
    "a part of a longer file": functools.partial(at_asked, total=10**9),
    "a part with another validator": gone_on_elsewhere,
    "a part from elsewhere": loopback.from_elsewhere,
    "nothing beyond": lambda handler, body: handler.begin(416, {"Content-Range": f"bytes */{PIECE}"}),
    "another file": other,
    "another file, cut": functools.partial(other, upto=PIECE),
    "a page": lambda handler, body: answer(handler, b"<!DOCTYPE html><p>sign in", Content_Type="text/html"),
    "a page that is no page": lambda handler, body: answer(handler, b" <html><p>sign in"),
    "nothing": lambda handler, body: answer(handler, b""),
    "no content": loopback.status(204),
    "an error": loopback.status(500),
    "not there": loopback.status(404),
    "busy for a day": lambda handler, body: handler.begin(503, {"Retry-After": "86400", "Content-Length": 0}),
    "a circle": lambda handler, body: redirect(handler, handler.path),
    "a file of this machine": lambda handler, body: redirect(handler, "file:///etc/passwd"),
    "nowhere": lambda handler, body: redirect(handler, "http://127.0.0.1:1/"),
    "an address that is none": lambda handler, body: redirect(handler, "http://[::1/"),
    "a byte at a time": lambda handler, body: answer(handler, body, upto=PIECE, pause=0.02),
    "headers a byte at a time": loopback.slow_headers,
    "a header of a megabyte": lambda handler, body: answer(handler, body, X=10**6 * "x"),
    "no HTTP": lambda handler, body: handler.wfile.write(b"220 ready\r\n"),
    "another coding": lambda handler, body: answer(handler, gzip.compress(body), Content_Encoding="gzip"),
    "right": well,
}


def attack(server: loopback.Server, folder: Path, lies: list[str], form: str, known: set[str]) -> str:
    """One download from a server that answers each request with the next lie, and for ever with the last.

    Returns:
        What came: `right`, or the line that says what was wrong.

    Raises:
        AssertionError: a wrong file, more than a line, or no end.
    """
    body, out = FORMS[form], folder / f"file.{form}"
    published = {"sha256": transfer.hashlib.sha256(body).hexdigest(), "size": len(body)}
    url = server.put(f"/{random.random()}", body, *(LIES[lie] for lie in lies))
    server.answers.clear()
    started, line = time.monotonic(), "right"
    try:
        fetch([url], out, **{name: published[name] for name in known})
    except ConvNovaError as error:
        line = str(error)
        assert "\n" not in line and not out.exists()
    else:
        right = {body} if "sha256" in known else {body, OTHERS[form]}
        if form == "text" and not known:  # then the server's word on the length counts
            right |= {body[:-9]} if "a length too short" in lies else set()
        assert out.read_bytes() in right, "a wrong file"
    assert time.monotonic() - started < MOST_SECONDS, "it took too long"
    for path in folder.iterdir():
        path.unlink()
    return line


def main() -> int:
    """Draw and run; print what was wrong, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, limit in LIMITS.items():
        setattr(transfer, name, limit)
    draw, counts = random.Random(options.seed), Counter()
    with loopback.serving() as server, tempfile.TemporaryDirectory() as folder:
        for _ in range(options.count):
            lies, form = draw.choices(list(LIES), k=draw.choice([1, 1, 2, 3])), draw.choice(list(FORMS))
            known = set(draw.choice([["sha256"], ["size"], ["sha256", "size"], []]))
            try:
                line = attack(server, Path(folder), lies, form, known)
            except Exception as error:
                counts["wrong"] += 1
                print(lies, form, sorted(known), repr(error))
            else:
                counts["right" if line == "right" else "one line"] += 1
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
