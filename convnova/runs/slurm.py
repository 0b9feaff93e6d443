"""Before the first job goes to Slurm: would it take each kind of job, and does an earlier run still have some there?

Slurm is asked itself: `sbatch --test-only` (https://slurm.schedmd.com/sbatch.html) says of a request whether a node
of this cluster could ever serve it, without a job.
"""

import math
import os
import subprocess
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from convnova.errors import ConvNovaError
from convnova.log import log

PROFILE = "slurm/config.yaml"
SECONDS_TO_END = 90
SECONDS_TO_ANSWER = 120


class Request(NamedTuple):
    """What a job asks for at its last attempt, which asks for most; empty or 0 is nothing in particular.

    partition_key: the key of the profile that the partition comes from.
    """

    rule: str
    partition: str = ""
    account: str = ""
    gpus: int = 0
    gpu_type: str = ""
    cores: int = 1
    memory_mb: int = 0
    minutes: int = 0
    partition_key: str = "partition"

    def options(self) -> list[str]:
        """As options of `sbatch`."""
        gpus = f"{self.gpu_type}:{self.gpus}" if self.gpu_type else self.gpus
        named = {
            "partition": self.partition, "account": self.account, "gpus": self.gpus and gpus,
            "cpus-per-task": self.cores, "mem": self.memory_mb, "time": self.minutes,
        }  # fmt: skip
        return ["--ntasks=1", "--nodes=1", *(f"--{name}={value}" for name, value in named.items() if value)]


def check(requests: Iterable[Request]) -> None:
    """Ask Slurm for each kind of job whether it would take it; first those that most keys may be named for.

    Raises:
        ConvNovaError: no Slurm, or a request that no node serves; the message names the keys of the profile.
    """
    most_first = sorted(requests, key=lambda request: (request.gpus, request.memory_mb, request.cores), reverse=True)
    kinds = {request[1:]: request for request in most_first}
    for request in kinds.values():
        if refusal := _refusal(request):
            advice = _advice(request, refusal)
            raise ConvNovaError(
                f"slurm: rule {request.rule} asks for {' '.join(request.options())}; {refusal}; {advice}"
            )


def _refusal(request: Request) -> str:
    """Why Slurm would not take a job, or never start it; empty where it would."""
    done = _ask("sbatch", "--test-only", *request.options(), "--wrap", "true")
    if not done.returncode:
        return _too_long(request)
    lines = [line.split(": ", 1)[-1] for line in done.stderr.splitlines()]
    return lines[-1] if lines else f"sbatch ended with {done.returncode}"


def _ask(*words: str) -> subprocess.CompletedProcess:
    """What a command of Slurm's answers.

    Raises:
        ConvNovaError: there is no such command, or no controller that answers it.
    """
    away = f"slurm: the controller does not answer {words[0]}; run again when `scontrol ping` says that it is up"
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except FileNotFoundError:
        raise ConvNovaError(
            f"slurm: expected the command {words[0]}, found none; log in where Slurm is, or run on this machine with "
            "`snakemake --cores all --configfile config/paper.yaml`"
        ) from None
    except subprocess.TimeoutExpired:
        raise ConvNovaError(away) from None
    if done.returncode and "ontact slurm controller" in done.stderr:
        raise ConvNovaError(away)
    return done


def _too_long(request: Request) -> str:
    """Most clusters let a job wait forever that asks for more time than its partition gives."""
    rows = [line.split("|") for line in _ask("sinfo", "--noheader", "--format", "%P|%l").stdout.splitlines()]
    limits = {name.removesuffix("*"): _minutes(limit) for name, limit in rows}
    default = next((name.removesuffix("*") for name, _ in rows if name.endswith("*")), "")
    limit = limits.get(request.partition or default, math.inf)
    return f"the partition gives {limit:.0f} minutes" if request.minutes > limit else ""


def _minutes(limit: str) -> float:
    """Slurm's [days-]hours:minutes:seconds or minutes:seconds; `infinite` is."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return math.inf
    hours, minutes, seconds = ([0, 0, 0] + [int(part) for part in parts])[-3:]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


def _advice(request: Request, refusal: str) -> str:
    """Which keys to set: the fewest without which Slurm would take the job, or the account, which some clusters want to
    be named."""
    training = request.rule in ("pretrain", "finetune", "cost")
    other = f"attempts` (each asks for twice as much) or `{request.partition_key}"
    times = {"pretrain": "longest_hours", "finetune": "longest_hours` or `pack", "cost": "longest_hours"}
    keys = {
        "partition": request.partition_key,
        "account": "account",
        "gpu_type": "gpu_type",
        "gpus": "gpus` (0 on a cluster without GPUs) or `gpu_partition",
        "memory_mb": "largest_gb",
        "minutes": times.get(request.rule, other),
        "cores": "threads" if training or request.rule == "tokenize_task" else request.partition_key,
    }
    asked = [field for field in keys if getattr(request, field) != Request._field_defaults[field]]
    for fields in (some for count in range(1, len(asked) + 1) for some in combinations(asked, count)):
        if not _refusal(request._replace(**{field: Request._field_defaults[field] for field in fields})):
            return f"set {', and '.join(f'`{keys[field]}`' for field in fields)} in {PROFILE}"
    if "account" in refusal:
        return f"set `account` in {PROFILE}, to one of those that `sacctmgr show associations user=$USER` lists"
    return f"ask for less in {PROFILE}, or for what `sinfo` lists"


def cancel_left_over(folder: Path) -> None:
    """End the jobs that a main process which is gone has left in `folder`; the new one submits what is unfinished.

    A pretraining that is cancelled writes a checkpoint, so nothing of it is lost. The caller holds Snakemake's lock of
    the folder, so no other main process waits for these jobs.

    Raises:
        ConvNovaError: Slurm does not answer, or some jobs have not ended after `SECONDS_TO_END`.
    """
    jobs = _jobs_of(folder)
    if not jobs:
        return
    log(f"slurm: cancelling {len(jobs)} jobs of an earlier run of this folder: {' '.join(jobs[:20])}")
    _ask("scancel", *jobs)
    end = time.monotonic() + SECONDS_TO_END
    while jobs := _jobs_of(folder):
        if time.monotonic() > end:
            raise ConvNovaError(f"slurm: jobs {' '.join(jobs)} of an earlier run here do not end; wait, then run again")
        time.sleep(1)


def _jobs_of(folder: Path) -> list[str]:
    """Ids of one's own jobs that the executor plugin submitted from `folder` and that have not ended."""
    told = _ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A|%Z|%k").stdout
    rows = [line.split("|", 2) for line in told.splitlines()]
    return sorted({job for job, place, comment in rows if Path(place) == folder and comment.startswith("rule_")})
