"""The few calls of the API of AWS Batch that Snakemake's plugin makes: definitions of jobs, and jobs.

https://docs.aws.amazon.com/batch/latest/APIReference
"""

import uuid
from pathlib import Path

import pods


class Handler(pods.Handler):
    """Every job has a definition of its own."""

    definitions: dict[str, dict] = {}

    def do_POST(self) -> None:
        body = self.body()
        self.answer(getattr(self, self.path.rsplit("/", 1)[1])(**body))

    def registerjobdefinition(self, jobDefinitionName: str, containerProperties: dict, **_: object) -> dict:
        self.definitions[f"{jobDefinitionName}:1"] = containerProperties
        arn = f"arn:aws:batch:here:1:job-definition/{jobDefinitionName}:1"
        return {"jobDefinitionName": jobDefinitionName, "jobDefinitionArn": arn, "revision": 1}

    def submitjob(self, jobName: str, jobDefinition: str, **_: object) -> dict:
        name, container = str(uuid.uuid4()), self.definitions[jobDefinition]
        variables = {of["name"]: of["value"] for of in container["environment"]}
        self.pods.start(name, container, container["command"], variables)
        return {"jobName": jobName, "jobId": name}

    def describejobs(self, jobs: list[str]) -> dict:
        return {"jobs": [self._described(name) for name in jobs]}

    def _described(self, name: str) -> dict:
        code = self.pods.code(name)
        state = {"status": "RUNNING" if code is None else "SUCCEEDED" if code == 0 else "FAILED"}
        found = {"jobId": name, "jobName": name, "jobQueue": "queue", "jobDefinition": "arn", "startedAt": 1}
        return found | state | ({} if code is None else {"container": {"exitCode": code}, "statusReason": "ended"})

    def terminatejob(self, jobId: str, **_: object) -> dict:
        self.pods.kill(jobId)
        return {}

    def deregisterjobdefinition(self, **_: object) -> dict:
        return {}


def output(container: dict) -> tuple[str, str, str]:
    """Command, memory and GPUs of a job."""
    needs = {of["type"]: of["value"] for of in container["resourceRequirements"]}
    return container["command"][-1], needs["MEMORY"], needs.get("GPU", "0")


def access(_: Path, address: str) -> dict[str, str]:
    """The variables by which a client finds the server."""
    return {"AWS_ENDPOINT_URL_BATCH": address}
