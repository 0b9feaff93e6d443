"""Jobs of a cloud as processes of this machine: each in an empty folder, with what its request says and nothing else.

There is no image, no limit and no scheduling; `python`, `pip` and `convnova` are those of this environment, as a
container would have its own.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread


class Pods:
    """The processes by the names of their jobs, and what was asked for."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment, self.lock = folder, environment, Lock()
        self.asked: dict[str, dict] = {}
        self._processes: dict[str, subprocess.Popen] = {}

    def start(self, name: str, asked: dict, command: list[str], variables: dict[str, str]) -> None:
        """Run the command of a job."""
        folder = Path(tempfile.mkdtemp(prefix="pod-", dir=self.folder))
        with (self.folder / f"{name}.log").open("w") as log, self.lock:
            self.asked[name] = asked
            self._processes[name] = subprocess.Popen(
                command, cwd=folder, env=self.environment | variables, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def code(self, name: str) -> int | None:
        """The exit status, None before the end."""
        return self._processes[name].poll()

    def log(self, name: str) -> str:
        """What it printed."""
        return (self.folder / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """`kill -9` to all of its processes."""
        if name in self._processes and self.code(name) is None:
            os.killpg(self._processes[name].pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """The same to those of every job."""
        for name in list(self._processes):
            self.kill(name)


class Handler(BaseHTTPRequestHandler):
    """What the servers of the clouds have in common."""

    pods: Pods

    def body(self) -> dict:
        """The JSON of a request."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")

    def answer(self, content: object, code: int = 200) -> None:
        """Text as it is, anything else as JSON."""
        output = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(output)))
        self.end_headers()
        self.wfile.write(output)

    def log_message(self, *_: object) -> None:
        """No lines on standard error."""


@contextmanager
def serving(handler: type[Handler], pods: Pods) -> Iterator[str]:
    """The address of a server, while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"pods": pods}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        pods.kill_all()
        server.shutdown()
