"""Before the first job goes to Slurm: would it take each kind of job, and does an earlier run still have some there?

Slurm is asked itself: `sbatch --test-only` (https://slurm.schedmd.com/sbatch.html) says, without submitting a job,
whether a node of this cluster could ever serve a request.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import read_metrics
from convnova.log import log

PROFILE = "slurm/config.yaml"
FINETUNING_RESULTS = ("log.csv", "predictions.parquet", "metrics.json")
"""The last one is written last."""
KEPT_WEIGHTS = ("weights.safetensors", "weights.json")
"""What a fine-tuning writes besides where the config keeps its weights."""
PROFILE_KEYS = {
    "partition": "`partition`, `gpu_partition`", "account": "`account`", "cpus-per-task": "`threads`",
    "gpus": "`gpus` (0 on a cluster without GPUs), `gpu_type`",
    "mem": "`largest_gb`", "time": "`longest_hours`, `pack`, `attempts`",
}  # fmt: skip
"""Option of `sbatch` to the keys of the profile that its value comes from."""

SECONDS_TO_END = 90
SECONDS_TO_ANSWER = 120
SECONDS_BETWEEN_PINGS = 10


def sbatch_options(resources: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """The request of a job of Snakemake as options of `sbatch`, as the executor plugin passes it on.

    Args:
        resources: `slurm_partition`, `slurm_account`, `gpu` (how many), `gpu_model`, `mem_mb` and `runtime` (minutes);
            what is missing, empty or 0 is not asked for.
        threads: processor cores.
    """
    gpus, model = resources.get("gpu"), resources.get("gpu_model")
    options = {"partition": resources.get("slurm_partition"), "account": resources.get("slurm_account")}
    options |= {"gpus": f"{model}:{gpus}" if gpus and model else gpus, "cpus-per-task": threads}
    options |= {"mem": resources.get("mem_mb"), "time": resources.get("runtime")}
    return {name: value for name, value in options.items() if value}


def check_names(names: Iterable[str]) -> None:
    """Refuse names of files that a shell on the cluster would not read as they are.

    Snakemake writes them into the commands of submitted jobs by Python's `repr`, which quotes for Python: beside a
    single quote, what stands between backquotes would be executed. Slurm cannot write a log below a backslash.

    Raises:
        ConvNovaError: a name with a single quote, a backslash or a character that cannot be printed.
    """
    for name in names:
        if wrong := next((letter for letter in name if letter in "'\\" or not letter.isprintable()), None):
            raise ConvNovaError(f"{name!r} holds {wrong!r}, which no job of a cluster can be given: rename it")


def check_slurm(requests: Iterable[tuple[str, Mapping[str, Any]]], folder: Path, run: str) -> None:
    """Refuse what Slurm could never serve, then cancel the jobs that an earlier main process has left in the queue.

    A pretraining that is cancelled writes a checkpoint, so nothing of it is lost. The caller holds Snakemake's locks of
    its own run's files, so no other main process waits for jobs of that run; where there are locks of another run, that
    one may be under way, and this one does not begin.

    Args:
        requests: names of rules, each with the options of `sbatch` for its jobs at their last attempt, which asks for
            most; see `sbatch_options`. Equal options are asked about once.
        folder: the working directory of the run.
        run: its name.

    Raises:
        ConvNovaError: another run in the folder, no Slurm, a controller that does not answer, requests that no node
            serves, or jobs that have not ended after `SECONDS_TO_END`.
    """
    locked = [line for lock in folder.glob(".snakemake/locks/*.output.lock") for line in lock.read_text().splitlines()]
    if others := {path.split("/")[1] for path in locked if path.startswith("results/")} - {run}:
        message = f"expected one run at a time in {folder}, found files of {', '.join(sorted(others))} locked"
        advice = "wait for it, begin this one in another clone, or, if no Snakemake is at work, delete .snakemake/locks"
        raise ConvNovaError(f"slurm: {message}; {advice}")
    refusals, keys = [], {}
    for options, rule in {tuple(options.items()): rule for rule, options in requests}.items():
        words = [f"--{name}={value}" for name, value in options]
        if reason := _refusal(rule, dict(options), words):
            refusals.append(f"rule {rule} asks for {' '.join(words)}: {reason.rpartition(': ')[2]}")
            keys |= {PROFILE_KEYS[name]: None for name, _ in options}
    if refusals:
        advice = f"set {', '.join(keys)} in {PROFILE} to what a node of `sinfo` has"
        raise ConvNovaError(f"slurm: {'; '.join(refusals)}; {advice}")
    if jobs := _jobs_submitted_from(folder):
        log(f"slurm: cancelling {len(jobs)} jobs of an earlier run of this folder: {' '.join(jobs[:20])}")
        _ask("scancel", *jobs)
    end = time.monotonic() + SECONDS_TO_END
    while jobs := _jobs_submitted_from(folder):
        if time.monotonic() > end:
            raise ConvNovaError(f"slurm: jobs {' '.join(jobs)} of an earlier run here do not end; wait, then run again")
        time.sleep(1)


def _ask(*words: str) -> subprocess.CompletedProcess:
    """Run a command of Slurm."""
    no_answer = f"slurm: the controller does not answer {words[0]}; run again when `scontrol ping` says that it is up"
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except FileNotFoundError:
        advice = "log in where Slurm is, or run here with `snakemake --cores all --configfile config/paper.yaml`"
        raise ConvNovaError(f"slurm: expected the command {words[0]}, found none; {advice}") from None
    except subprocess.TimeoutExpired:
        raise ConvNovaError(no_answer) from None
    if done.returncode and "ontact slurm controller" in done.stderr:
        raise ConvNovaError(no_answer)
    return done


class Controller:
    """Whether Slurm's controller answers; what changes is said once.

    Its absence is no failure: running jobs go on without it, and queries and submissions can wait.
    """

    answers = True

    def note(self, answers: bool) -> None:
        """Say it if the controller is away now, or back."""
        if answers != self.answers:
            away = "does not answer; running jobs go on and this waits, so leave it running; see `scontrol ping`"
            log(f"slurm: the controller {'answers again' if answers else away}")
        self.answers = answers

    def wait(self) -> None:
        """Return when the controller answers."""
        while subprocess.run(["scontrol", "ping"], capture_output=True).returncode:
            self.note(False)
            time.sleep(SECONDS_BETWEEN_PINGS)
        self.note(True)


def _refusal(rule: str, options: dict[str, Any], words: list[str]) -> str:
    """Why Slurm would never run such a job; empty where it would, now or when nodes that are drained or down are back.

    `--test-only` answers alike for nodes that are away and for nodes that do not exist. So where it refuses, the job is
    submitted, to begin in an hour, and cancelled: Slurm refuses then what no node can serve, whatever its state, except
    for more cores than a node has.
    """
    job = ["--ntasks=1", "--nodes=1", *words, "--wrap", "true"]
    if _ask("sbatch", "--test-only", *job).returncode:
        later = _ask("sbatch", "--parsable", "--begin=now+1hour", "--output=/dev/null", *job)
        if later.returncode:
            return later.stderr.strip().rpartition("\n")[2]
        log(f"slurm: jobs of rule {rule} will wait: no node that can run them is up now, see `sinfo`")
        _ask("scancel", later.stdout.partition(";")[0].strip())
    partition, cores, allowed = options.get("partition"), 0, None
    for line in _ask("sinfo", "--noheader", "--Node", "--format", "%P|%l|%c").stdout.splitlines():
        name, limit, of_node = line.split("|")  # the default partition's name ends with a star
        if name.removesuffix("*") == partition if partition else name.endswith("*"):
            cores, allowed = max(cores, int(of_node)), limit
    if options.get("cpus-per-task", 1) > cores:
        return f"nodes of the partition have {cores} cores"
    days, _, clock = (allowed or "infinite").rpartition("-")  # [[days-]hours:]minutes:seconds, or `infinite`
    if clock[0].isdigit():
        hours, minutes, _ = [0, 0, *map(int, clock.split(":"))][-3:]
        if options.get("time", 0) > (minutes := 1440 * int(days or 0) + 60 * hours + minutes):
            return f"the partition gives {minutes} minutes"
    return ""


def _jobs_submitted_from(folder: Path) -> list[str]:
    """Ids of this user's unfinished jobs that the executor plugin submitted from `folder`."""
    queue = _ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A|%Z|%k").stdout
    rows = [line.split("|", 2) for line in queue.splitlines()]
    return sorted({job for job, place, comment in rows if Path(place) == folder and comment.startswith("rule_")})


def keep_results(out: Path, fingerprint: str, weights: bool) -> None:
    """Give the results of a fine-tuning a second name, until the whole run has ended.

    Where one of several fine-tunings in a job fails, Snakemake deletes the results of all and runs all again.

    Args:
        out: folder of the results.
        fingerprint: hash of settings and inputs.
        weights: whether its weights are among the results.
    """
    copies = out / ".finished" / fingerprint
    shutil.rmtree(copies.parent, ignore_errors=True)
    copies.mkdir(parents=True)
    for name in (KEPT_WEIGHTS if weights else ()) + FINETUNING_RESULTS:
        os.link(out / name, copies / name)


def restore_results(out: Path, fingerprint: str, weights: bool) -> bool:
    """Take back results of `keep_results`, if there are any of the same settings and inputs.

    Args:
        out: folder of the results.
        fingerprint: hash of settings and inputs.
        weights: whether its weights are among the results.

    Returns:
        Whether there are any that are as they were written.
    """
    copies, names = out / ".finished" / fingerprint, (KEPT_WEIGHTS if weights else ()) + FINETUNING_RESULTS
    if not all((copies / name).exists() for name in names):
        return False
    try:
        read_metrics(copies / "metrics.json")
        if weights:
            from convnova.models.weights import load_weights

            load_weights(copies / "weights.safetensors")
    except ConvNovaError as error:
        log(f"{error}; made anew")
        return False
    for name in names:
        os.utime(copies / name)
        (out / name).unlink(missing_ok=True)
        os.link(copies / name, out / name)
    log(f"finished by an earlier attempt of this job that failed later; taken from {copies}")
    return True
