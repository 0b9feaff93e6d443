"""What the executor plugin for Kubernetes asks of an API server, by which a pod is a process in an empty folder.

No image, no limits, no scheduling: the requests are the plugin's own, and the command of a pod runs as it would in a
container that has its software, without a file system in common with anything else.
"""

import json
import os
import re
import subprocess
import tempfile
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import yaml

JOBS = re.compile(r"/apis/batch/v1/namespaces/[^/]+/jobs(?:/([^/?]+))?")
PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods(?:/([^/?]+))?(/log)?(?:\?.*job-name%3D([^&]+))?")
SECRETS = re.compile(r"/api/v1/namespaces/[^/]+/secrets")


class Cluster:
    """The jobs by their name: what was asked for, and its process."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment, self.lock = folder, environment, Lock()
        self.secrets: dict[str, dict[str, str]] = {}
        self.asked: dict[str, dict] = {}
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, job: dict) -> None:
        """Run the container of a job."""
        name, (container,) = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"]
        folder = Path(tempfile.mkdtemp(prefix="pod-", dir=self.folder))
        keys = {of["name"]: of["valueFrom"]["secretKeyRef"] for of in container["env"]}
        told = {name: b64decode(self.secrets[key["name"]][key["key"]]).decode() for name, key in keys.items()}
        with (self.folder / f"{name}.log").open("w") as log, self.lock:
            self.asked[name] = job
            self.processes[name] = subprocess.Popen(
                [*container["command"], *container["args"]], cwd=folder, env=self.environment | told, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def status(self, name: str) -> dict:
        """That of a job."""
        code = self.processes[name].poll()
        return {} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}

    def pod(self, name: str) -> dict:
        """The pod of a job."""
        code = self.processes[name].poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        container = {"name": "snakemake", "image": "", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        return {"metadata": {"name": name}, "status": {"containerStatuses": [container]}}

    def delete(self, name: str) -> None:
        """End a job."""
        if name in self.processes and self.processes[name].poll() is None:
            os.killpg(self.processes[name].pid, 9)


class Handler(BaseHTTPRequestHandler):
    """The few calls of the API, https://kubernetes.io/docs/reference/kubernetes-api."""

    cluster: Cluster

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if JOBS.match(self.path):
            self.cluster.start(body)
        elif SECRETS.match(self.path):
            self.cluster.secrets[body["metadata"]["name"]] = body["data"]
        self._answer(body, 201)

    def do_GET(self) -> None:
        if match := JOBS.match(self.path):
            self._answer({"metadata": {"name": match[1]}, "status": self.cluster.status(match[1])})
        elif (match := PODS.match(self.path)) and match[2]:
            self._answer((self.cluster.folder / f"{match[1]}.log").read_text())
        elif match:
            self._answer({"items": [self.cluster.pod(match[3])]})
        else:
            self._answer({"kind": "Status", "code": 404}, 404)

    def do_DELETE(self) -> None:
        if (match := JOBS.match(self.path)) and match[1]:
            self.cluster.delete(match[1])
        self._answer({"kind": "Status", "status": "Success"})

    def _answer(self, content: object, code: int = 200) -> None:
        told = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(folder: Path, environment: dict[str, str]):
    """A cluster while the context lasts, and the file that `KUBECONFIG` shall name."""
    folder.mkdir()
    cluster = Cluster(folder, environment)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"cluster": cluster}))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    access = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here", "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(yaml.safe_dump(access))
    try:
        yield cluster, folder / "kubeconfig"
    finally:
        for name in list(cluster.processes):
            cluster.delete(name)
        server.shutdown()
