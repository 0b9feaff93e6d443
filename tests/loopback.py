"""A real HTTP server on the loopback interface that answers well or badly, as a test says."""

import gzip
import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY, OTHER = (random.Random(seed).randbytes(1_000_000) for seed in (1, 2))
SHA256 = hashlib.sha256(BODY).hexdigest()


def names(out: Path) -> list[str]:
    """What lies beside a download, itself with it."""
    return sorted(path.name for path in out.parent.iterdir())


@dataclass
class Answer:
    """One request, and what is being sent for it."""

    path: str
    range: str | None
    status: int = 404
    sent: int = 0


class Server(ThreadingHTTPServer):
    """Serves bytes under paths; `answers` has every request so far."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, tuple[bytes, list[Callable]]] = {}
        self.answers: list[Answer] = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, body: bytes, *behaviours: Callable) -> str:
        """Serve `body` at `path`, each request with the next behaviour and from then on with the last one."""
        self.files[path] = body, list(behaviours or [well])
        return self.url + path if path.startswith("/") else path

    def count(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(answer.path == path for answer in self.answers)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer = Answer(self.path, self.headers["Range"])
        self.server.answers.append(self.answer)
        with suppress(BrokenPipeError, ConnectionResetError):
            if self.path in self.server.files:
                body, behaviours = self.server.files[self.path]
                (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(self, body)
            else:
                self.send_error(404)

    def begin(self, status: int, headers: dict[str, object]) -> None:
        """Send the status line and the headers that are not None."""
        self.answer.status = status
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer(
    handler: Handler, body: bytes, ranges: bool = True, upto: int | None = None, claim: int | str | None = None,
    then: Callable[[Handler], None] | None = None, pause: float = 0, **headers: str | None,
) -> None:  # fmt: skip
    """Send the file, or the range that is asked for: `upto` bytes of it at most, with a Content-Length of `claim`.

    With a pause, in seconds, a byte at a time.
    """
    start, total = 0, len(body)
    validators = {"ETag": '"one"', **{name.replace("_", "-"): value for name, value in headers.items()}}
    asked, condition = handler.headers["Range"], handler.headers["If-Range"]
    if ranges and asked and condition in (None, validators["ETag"], validators.get("Last-Modified")):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= total > 0:
        handler.begin(416, {"Content-Range": f"bytes */{total}", "Content-Type": "text/html"})
        handler.wfile.write(b"<html>There is nothing there</html>")
        return
    partly = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
    length = claim if claim is not None else total - start
    handler.begin(206 if start else 200, {"Content-Length": length, **partly, **validators})
    sent = body[start:] if upto is None else body[start : start + upto]
    width = 1 if pause else 4096
    for piece in (sent[at : at + width] for at in range(0, len(sent), width)):
        handler.answer.sent += len(piece)
        handler.wfile.write(piece)
        time.sleep(pause)
    if then:
        then(handler)


def status(code: int) -> Callable:
    """Only an error."""
    return lambda handler, body: handler.begin(code, {"Content-Length": 0})


def wait(handler: Handler) -> None:
    """Send nothing more until the test ends or releases us."""
    handler.wfile.flush()
    handler.server.release.wait(20)


def reset(handler: Handler) -> None:
    """Break the connection off without a goodbye."""
    time.sleep(0.1)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def zipped_if_allowed(handler: Handler, body: bytes) -> None:
    """Compress on the way for a client that can take it, as servers do with text."""
    zipped = "gzip" in handler.headers.get("Accept-Encoding", "")
    answer(handler, gzip.compress(body) if zipped else body, Content_Encoding="gzip" if zipped else None)


def from_elsewhere(handler: Handler, body: bytes) -> None:
    """Answer a range with another range."""
    if handler.headers["Range"] is None:
        return answer(handler, body)
    handler.begin(206, {"Content-Range": f"bytes 1000-{len(body) - 1}/{len(body)}", "Content-Length": len(body) - 1000})
    handler.wfile.write(body[1000:])


def unframed(handler: Handler, body: bytes) -> None:
    """Send a body that only the connection's end ends."""
    handler.begin(200, {"ETag": '"one"'})
    handler.wfile.write(body)


def chunked(handler: Handler, body: bytes, ended: bool = True, repeat: int = 1, **headers: str | None) -> None:
    """Send the body, or it again and again, in chunks, the last of which may be missing."""
    handler.begin(200, {"Transfer-Encoding": "chunked", "ETag": '"one"', **headers})
    for _ in range(repeat):
        for piece in (body[at : at + 4096] for at in range(0, len(body), 4096)):
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n" if ended else b"")


def part(
    handler: Handler, body: bytes, start: int, upto: int | None = None, honest: bool = False,
    total: int | None = None, **headers: str,
) -> None:  # fmt: skip
    """Send a 206 from `start` on: `upto` bytes, though the headers say all of them unless they are honest."""
    end = min(len(body), start + (upto or len(body)))
    length, last = end - start, (end if honest else len(body)) - 1
    content_range = {"Content-Range": f"bytes {start}-{last}/{total or len(body)}"}
    handler.begin(206, {"Content-Length": length, "ETag": '"one"', **content_range, **headers})
    handler.wfile.write(body[start:end])


def redirect(handler: Handler, address: str) -> None:
    """Send to another address."""
    handler.begin(302, {"Location": address, "Content-Length": 0})


def raw(handler: Handler, text: bytes) -> None:
    """Send what follows the status line."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + text)


def slow_headers(handler: Handler, _: bytes) -> None:
    """Send headers without end, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.server.release.wait(0.05):
        handler.wfile.write(b"x")


well = answer
truncated = partial(answer, upto=300_000)
stalled = partial(answer, upto=300_000, then=wait)


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs as long as the block."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
