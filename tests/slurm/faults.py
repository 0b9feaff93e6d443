"""What dies on a cluster, done to a real one: after each fault the run ends with the tables of an undisturbed one.

    python tests/slurm/faults.py FOLDER [NAME ...]      a quarter of an hour on two cores; all faults, or those named

Prints a line a fault. The undisturbed run is `snakemake --cores 2` in a folder of its own.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cluster

import workflow

TARGETS = ["results/own/tables/mine.md"]
SAME = ("tables/mine.md", "pretrain/convnova/weights.safetensors")
PROFILE = {"gpu_partition": "gpu", "threads": 1, "pretrain_gb": 2, "finetune_gb": 2, "attempts": 4}
SECONDS = 420


class Run:
    """A run under way in a folder of its own."""

    def __init__(self, folder: Path, slurm: cluster.Cluster, **profile: object):
        self.folder, self.slurm, self.restarts = folder, slurm, 0
        folder.mkdir(parents=True, exist_ok=True)
        data(folder)
        self.profile = workflow.fill_in(folder, **PROFILE | profile)
        self.main = self.start()

    def start(self, *words: str) -> subprocess.Popen:
        command = workflow.command(self.folder, self.profile, *words, *TARGETS)
        with (self.folder / "main.log").open("a") as printed:
            return subprocess.Popen(
                command, cwd=workflow.ROOT, env=workflow.ENVIRONMENT, stdout=printed, stderr=subprocess.STDOUT
            )

    def job(self, rule: str) -> str:
        """Id of a running job of the rule, when there is one whose own process works."""
        while True:
            assert self.main.poll() is None, (self.folder / "main.log").read_text()[-3000:]
            rows = self.slurm.ask("squeue", "-h", "-t", "RUNNING", "-o", "%A %k %Z").splitlines()
            found = [row.split()[0] for row in rows if f"rule_{rule}" in row and row.endswith(str(self.folder))]
            if found and workflow.processes(self.folder, rule):
                return found[0]
            time.sleep(0.2)

    def at_step(self) -> None:
        """Wait until pretraining is under way: its log grows with its epochs."""
        log = self.folder / "results/own/logs/pretrain/convnova.log"
        seen = log.stat().st_size if log.exists() else 0
        while not log.exists() or not re.search(r"epoch \d+: ", log.read_text()) or log.stat().st_size == seen:
            time.sleep(0.2)

    def end(self) -> None:
        """Wait for the end, which is a good one."""
        code = self.main.wait(timeout=SECONDS)
        assert code == 0, (self.folder / "main.log").read_text()[-3000:]


def data(folder: Path) -> None:
    """A pretraining of some ten seconds, and two fine-tunings."""
    workflow.own_data(folder, [1, 2], length=20_000, epochs=20)


def cancelled(run: Run) -> None:
    job = run.job("pretrain")
    run.at_step()
    run.slurm.ask("scancel", job)


def killed(run: Run) -> None:
    run.job("pretrain")
    run.at_step()
    os.kill(workflow.processes(run.folder, "pretrain")[0], signal.SIGKILL)


def requeued(run: Run) -> None:
    job = run.job("pretrain")
    run.at_step()
    run.slurm.ask("scontrol", "requeue", job)


def node_lost(run: Run) -> None:
    """The node's daemon and all of the job's processes are gone at once; a minute later the node is back."""
    job = run.job("pretrain")
    run.at_step()
    node = run.slurm.ask("squeue", "-h", "-j", job, "-o", "%N").strip()
    run.slurm.stop_node(node, signal.SIGKILL)
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_JOB_ID={job}\0".encode() in (path / "environ").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue
    time.sleep(60)
    run.slurm.start_node(node)


def controller_away(run: Run) -> None:
    run.job("pretrain")
    run.slurm.stop_controller()
    time.sleep(30)
    run.slurm.start_controller()


def main_killed(run: Run) -> None:
    """The restart by hand is `--unlock` and the same command; the job that was left running is cancelled by it."""
    run.job("pretrain")
    run.at_step()
    run.main.kill()
    run.main.wait()
    unlock = run.start("--unlock")
    assert unlock.wait(timeout=SECONDS) == 0
    run.main, run.restarts = run.start(), 1


def second_main(run: Run) -> None:
    run.job("pretrain")
    other = run.start()
    assert other.wait(timeout=SECONDS) == 1
    assert "Directory cannot be locked" in (run.folder / "main.log").read_text()


def over_memory(run: Run) -> None:
    """Too little is asked for; every further attempt asks for twice as much."""


def over_time(run: Run) -> None:
    """One minute is given to what takes more; the next attempt goes on and has two."""


FAULTS: dict[str, tuple[Callable[[Run], None], dict]] = {
    "cancelled": (cancelled, {}),
    "killed": (killed, {}),
    "requeued": (requeued, {}),
    "node_lost": (node_lost, {}),
    "controller_away": (controller_away, {}),
    "main_killed": (main_killed, {}),
    "second_main": (second_main, {}),
    "over_memory": (over_memory, {"pretrain_gb": 0.3}),
    "over_time": (over_time, {"pretrain_hours": 1 / 60}),
}


def main(folder: Path, names: list[str]) -> int:
    whole = folder / "undisturbed"
    if not (whole / "results/own" / SAME[0]).exists():
        whole.mkdir(parents=True)
        data(whole)
        code, told = workflow.run(whole, None, *TARGETS)
        assert code == 0, told
    failed = 0
    with cluster.running(folder / f"cluster-{os.getpid()}") as slurm:
        for name in names or FAULTS:
            fault, profile = FAULTS[name]
            began = time.monotonic()
            run = Run(folder / name, slurm, **profile)
            fault(run)
            run.end()
            results = [(place / "results/own" / file).read_bytes() for place in (whole, run.folder) for file in SAME]
            same = results[: len(SAME)] == results[len(SAME) :]
            submitted = (run.folder / "main.log").read_text().count("has been submitted with SLURM jobid")
            failed += not same
            print(
                f"{name}: {'the same' if same else 'OTHER'} tables and weights, {submitted} jobs submitted, "
                f"{run.restarts} restarts by hand, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
