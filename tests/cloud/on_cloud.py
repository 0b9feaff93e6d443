"""The workflow by a profile for a cloud, a pretraining killed: the tables and weights of an undisturbed run here.

    pip install snakemake-executor-plugin-kubernetes==0.5.1 snakemake-executor-plugin-aws-batch==0.2.1 \\
        snakemake-storage-plugin-s3==0.3.6 'moto[s3,server]==5.2.1'
    python tests/cloud/on_cloud.py kubernetes FOLDER          some minutes on two cores; FOLDER keeps what came of it
    python tests/cloud/on_cloud.py aws-batch FOLDER

The profile, the plugins, their requests and the files in the bucket are real. The servers are `kubernetes_api.py` and
`aws_batch_api.py`, by which a job is a process in an empty folder, and for the bucket moto's.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import aws_batch_api
import boto3
import kubernetes_api
from moto.server import ThreadedMotoServer
from pods import Pods, serving

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/workflow"), str(ROOT / "tests/slurm"), str(ROOT / "tests")]
from own_run import config_file, without_costs  # noqa: E402
from test_storage import SMALL, check_out  # noqa: E402 - the same run

from workflow import fill_in  # noqa: E402

ENGINES = {"kubernetes": kubernetes_api, "aws-batch": aws_batch_api}
FILLED = {
    "kubernetes": {"volume": "checkpoints", "pretrain_gb": 2, "threads": 1},
    "aws-batch": {"queue": "queue", "role": "role", "threads": 1},
}
PORT = 5055
S3 = f"http://127.0.0.1:{PORT}"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
STORAGE = {
    "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": S3,
    "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret",
}
LONG = {"length": 256, "batch_size": 16, "windows": 640, "epochs": 4}
"""A pretraining that leaves time to be killed."""
WEIGHTS = "results/small/pretrain/convnova/weights.safetensors"


@contextmanager
def bucket() -> Iterator[object]:
    """A client of a server that has the bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", PORT, verbose=False)
    server.start()
    client = boto3.client("s3", endpoint_url=S3, aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket="lab")
    try:
        yield client
    finally:
        server.stop()


def download(client: object, folder: Path) -> None:
    """Everything in the bucket."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="lab"):
        for entry in page["Contents"]:
            (folder / entry["Key"]).parent.mkdir(parents=True, exist_ok=True)
            client.download_file("lab", entry["Key"], str(folder / entry["Key"]))


class Trial:
    """A checkout and what is done in it."""

    def __init__(self, engine: str, folder: Path):
        self.name, self.engine, self.folder, self.checkout = engine, ENGINES[engine], folder, folder / "checkout"
        folder.mkdir(parents=True)
        self.config = SMALL | {"pretrain": LONG}
        check_out(self.checkout, self.config)
        self.profile = fill_in(folder, f"profiles/{engine}", bucket="s3://lab/mine", **FILLED[engine])
        self.environment = (
            os.environ
            | KEYS
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.checkout),
                "OMP_NUM_THREADS": "1",
                "CONVNOVA_CHECKPOINT_SECONDS": "1",
                "CONVNOVA_CHECKPOINTS": str(folder / "checkpoints"),
            }
        )

    def snakemake(self, name: str, *words: str) -> str:
        """Run the workflow and return what was printed."""
        command = ["snakemake", "--configfile", "mine.yaml", *words]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        print(f"{name}: exit status {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
        (self.folder / f"{name}.log").write_text(done.stdout)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def kill_pretraining(self, pods: Pods) -> None:
        """`kill -9` when it has left a checkpoint."""
        kept, own = self.folder / "checkpoints", "pod-*/.snakemake/storage/s3/lab/mine"
        steps = f"{Path(WEIGHTS).parent}/checkpoints/*/step-*"
        while not [*kept.glob(steps), *self.folder.glob(f"{own}/{steps}")]:
            time.sleep(0.05)
        (name,) = (name for name, asked in list(pods.asked.items()) if self.rule(asked) == "pretrain")
        pods.kill(name)

    def rule(self, asked: dict) -> str:
        """The rule of a job."""
        return self.engine.output(asked)[0].split("--target-jobs ")[1].split(":")[0].strip("'")

    def run(self) -> bool:
        """Whether all is as it should be."""
        own = {name: value for name, value in self.environment.items() if name != "CONVNOVA_CHECKPOINTS"}
        pods = Pods(self.folder, own)  # a job knows of that folder if its request says so
        with bucket() as client, serving(self.engine.Handler, pods) as address:
            self.environment |= STORAGE | self.engine.access(self.folder, address)
            Thread(target=self.kill_pretraining, args=(pods,), daemon=True).start()
            there = ("--profile", str(self.profile), "--seconds-between-status-checks", "1")
            output = self.snakemake("there", *there)
            again = "Nothing to be done" in self.snakemake("again", *there, "--dry-run")
            config_file(self.checkout, **self.config | {"seeds": [1, 2]})
            self.snakemake("with a seed more", *there)
            download(client, self.folder / "bucket")
        self.snakemake("here", "--cores", "2")
        return self.compare(pods, output, again)

    def compare(self, pods: Pods, output: str, again: bool) -> bool:
        """Print what came of it."""
        mine = self.folder / "bucket/mine"
        tables = {path.name: path for path in sorted((self.checkout / "results/small/tables").iterdir())}
        differ = [
            name
            for name, path in tables.items()
            if without_costs(mine / path.relative_to(self.checkout)) != without_costs(path)
        ]
        weights = (mine / WEIGHTS).read_bytes() == (self.checkout / WEIGHTS).read_bytes()
        went_on = "continuing from" in (mine / "results/small/logs/pretrain/convnova.log").read_text()
        needs = {self.rule(asked): self.engine.output(asked)[1:] for asked in pods.asked.values()}
        failed = output.count("Error in rule")
        print(f"{len(pods.asked)} jobs, of which failed {failed}; went on: {went_on}")
        print(f"{len(tables)} tables, of which differ: {', '.join(differ) or 'none'}; weights the same: {weights}")
        print("memory and GPUs:", ", ".join(f"{rule} {' '.join(need)}" for rule, need in needs.items()))
        print(f"a second call has nothing to do: {again}")
        return not differ and weights and again and failed == 1 and went_on == ("volume" in FILLED[self.name])


if __name__ == "__main__":
    sys.exit(not Trial(sys.argv[1], Path(sys.argv[2]).resolve()).run())
