"""The few calls of the API of Kubernetes that Snakemake's plugin makes: secrets, jobs, and the pods of jobs.

https://kubernetes.io/docs/reference/kubernetes-api
"""

import re
from base64 import b64decode
from pathlib import Path

import pods
import yaml

JOBS = re.compile(r"/apis/batch/v1/namespaces/[^/]+/jobs(?:/([^/?]+))?")
PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods(?:/([^/?]+))?(/log)?(?:\?.*job-name%3D([^&]+))?")
SECRETS = re.compile(r"/api/v1/namespaces/[^/]+/secrets")


class Handler(pods.Handler):
    """A pod has the name of its job."""

    secrets: dict[str, dict[str, str]] = {}

    def do_POST(self) -> None:
        body = self.body()
        if SECRETS.match(self.path):
            self.secrets[body["metadata"]["name"]] = body["data"]
        elif JOBS.match(self.path):
            container = container_of(body)
            keys = {of["name"]: of["valueFrom"]["secretKeyRef"] for of in container["env"]}
            output = {name: b64decode(self.secrets[key["name"]][key["key"]]).decode() for name, key in keys.items()}
            self.pods.start(body["metadata"]["name"], body, [*container["command"], *container["args"]], output)
        self.answer(body, 201)

    def do_GET(self) -> None:
        if match := JOBS.match(self.path):
            code = self.pods.code(match[1])
            status = {} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
            self.answer({"metadata": {"name": match[1]}, "status": status})
        elif (match := PODS.match(self.path)) and match[2]:
            self.answer(self.pods.log(match[1]))
        elif match:
            self.answer({"items": [self.pod(match[3])]})
        else:
            self.answer({"kind": "Status", "code": 404}, 404)

    def pod(self, name: str) -> dict:
        """The pod of a job."""
        code = self.pods.code(name)
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        container = {"name": "snakemake", "image": "", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        return {"metadata": {"name": name}, "status": {"containerStatuses": [container]}}

    def do_DELETE(self) -> None:
        if (match := JOBS.match(self.path)) and match[1]:
            self.pods.kill(match[1])
        self.answer({"kind": "Status", "status": "Success"})


def container_of(job: dict) -> dict:
    """The one of a job."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


def output(job: dict) -> tuple[str, str, str]:
    """Command, memory and GPUs of a job."""
    limits = container_of(job)["resources"]["limits"]
    return container_of(job)["args"][1], limits["memory"], limits["nvidia.com/gpu"]


def access(folder: Path, address: str) -> dict[str, str]:
    """The variables by which a client finds the server."""
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here", "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(yaml.safe_dump(content))
    return {"KUBECONFIG": str(folder / "kubeconfig")}
