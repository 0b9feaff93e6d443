"""What dies on a cluster, done to a real one: after each fault the run ends with the tables of an undisturbed one.

    python tests/slurm/faults.py FOLDER [NAME ...]      half an hour on two cores; all faults, or those named

Each fault has a fresh cluster. Prints a line a fault: whether tables and weights are those of the undisturbed run
(`snakemake --cores 2`, in a folder of its own), which finished results were computed again, and what was left
half-written. A pretraining that is struck has to go on from a checkpoint; here one comes every second.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cluster

import workflow

TARGETS = ["results/own/tables/mine.md"]
SAME = ("tables/mine.md", "pretrain/convnova/weights.safetensors")
PROFILE = {"gpu_partition": "gpu", "largest_gb": 16, "threads": 1, "pretrain_gb": 2, "finetune_gb": 2}
PROFILE |= {"finetune_hours": 1, "attempts": 4}
SECONDS = 420
SEEDS = [1, 2, 3]
DATA = {"seeds": SEEDS, "length": 20_000, "epochs": 20}
"""A pretraining of some ten seconds, and three fine-tunings."""
FINISHED = ("own/runs/*/*/*/*/*/metrics.json", "own/pretrain/*/weights.json")
HALF = (".*.tmp", ".writing-*", "checkpoints", ".finished")
STEPS = "own/pretrain/convnova/checkpoints/*/step-*"
HUNGER = """\
import os, sys, threading, time

def eat():
    while not os.path.exists("hungry"):
        time.sleep(0.1)
    os.unlink("hungry")
    eaten.append(bytes(range(256)) * 8_000_000)

eaten = []
if "pretrain" in sys.argv:
    threading.Thread(target=eat, daemon=True).start()
"""
"""What Python reads at every start under `over_memory`: a pretraining takes two gigabytes once there is a file."""
ENVIRONMENT = workflow.ENVIRONMENT | {"CONVNOVA_CHECKPOINT_SECONDS": "1"}


class Run:
    """A run under way in a folder of its own."""

    def __init__(self, folder: Path, slurm: cluster.Cluster, **profile: object):
        self.folder, self.slurm, self.restarts = folder, slurm, 0
        self.results, self.seen = folder / "results", {}
        self.results.mkdir(parents=True)
        workflow.own_run.own_data(folder, **DATA)
        if profile.pop("disk", False):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", self.results], check=True)
        (folder / "sitecustomize.py").write_text(HUNGER)
        paths = f"{workflow.ROOT}:{folder}" if profile.pop("hunger", False) else str(workflow.ROOT)
        self.environment = ENVIRONMENT | {"PYTHONPATH": paths}
        if profile.pop("drained", False):
            slurm.set_nodes("drain")
        self.profile = workflow.fill_in(folder, **PROFILE | profile)
        self.main = self.start()

    def start(self, *words: str) -> subprocess.Popen:
        command = workflow.command(self.folder, self.profile, *words, *TARGETS)
        options = {"cwd": workflow.ROOT, "env": self.environment, "stderr": subprocess.STDOUT}
        with (self.folder / "main.log").open("a") as printed:
            return subprocess.Popen(command, stdout=printed, **options)

    def job(self, rule: str) -> str:
        """Id of a running job of the rule, when there is one whose own process works."""
        while True:
            assert self.main.poll() is None, (self.folder / "main.log").read_text()[-3000:]
            rows = self.slurm.ask("squeue", "-h", "-t", "RUNNING", "-o", "%A %k %Z").splitlines()
            found = [row.split()[0] for row in rows if f"rule_{rule}" in row and row.endswith(str(self.folder))]
            if found and workflow.processes(self.folder, rule):
                return found[0]
            time.sleep(0.2)

    def again(self) -> None:
        """The restart by hand."""
        self.main, self.restarts = self.start(), self.restarts + 1

    def look(self) -> None:
        """Remember what is finished: its provenance tells when it was computed."""
        for pattern in FINISHED:
            for path in self.results.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    self.seen.setdefault(path, set()).add(path.read_bytes())

    def at_step(self) -> None:
        """Wait until pretraining is under way: its log grows with its epochs."""
        log = self.folder / "results/own/logs/pretrain/convnova.log"
        seen = log.stat().st_size if log.exists() else 0
        while not log.exists() or not re.search(r"epoch \d+: ", log.read_text()) or log.stat().st_size == seen:
            time.sleep(0.2)

    def at_checkpoint(self) -> None:
        """Wait until pretraining has left a checkpoint and is under way."""
        self.job("pretrain")
        while not list(self.results.glob(STEPS)):
            assert self.main.poll() is None, "ended too early"
            time.sleep(0.05)

    def end(self, code: int = 0) -> None:
        """Wait for the end, which is a good one unless another exit status is expected."""
        limit = time.monotonic() + SECONDS
        while self.main.poll() is None:
            assert time.monotonic() < limit, "no end"
            self.look()
            time.sleep(0.2)
        self.look()
        assert self.main.returncode == code, (self.folder / "main.log").read_text()[-3000:]


def cancelled(run: Run) -> None:
    job = run.job("pretrain")
    run.at_step()
    run.slurm.ask("scancel", job)


def killed(run: Run) -> None:
    run.at_checkpoint()
    os.kill(workflow.processes(run.folder, "pretrain")[0], signal.SIGKILL)


def requeued(run: Run) -> None:
    job = run.job("pretrain")
    run.at_step()
    run.slurm.ask("scontrol", "requeue", job)


def node_lost(run: Run) -> None:
    """The node's daemons and all of the job's processes are gone at once; a minute later the node is back."""
    run.at_checkpoint()
    job = run.job("pretrain")
    node = run.slurm.ask("squeue", "-h", "-j", job, "-o", "%N").strip()
    run.slurm.stop_node(node, signal.SIGKILL)
    gone = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            daemon = (path / "cmdline").read_bytes().startswith(f"slurmstepd: [{job}.".encode())
            if daemon or f"SLURM_JOB_ID={job}\0".encode() in (path / "environ").read_bytes():
                gone.append((not daemon, int(path.name)))
    for _, process in sorted(gone):  # the daemons first: they would tell of the others' end
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    time.sleep(60)
    run.slurm.start_node(node)


def node_daemon_killed(run: Run) -> None:
    """slurmd alone: the step's own daemon and the training live on. The node is back before Slurm gives it up."""
    run.at_checkpoint()
    node = run.slurm.ask("squeue", "-h", "-j", run.job("pretrain"), "-o", "%N").strip()
    run.slurm.stop_node(node, signal.SIGKILL)
    time.sleep(5)
    run.slurm.start_node(node)


def controller_away(run: Run, number: int = signal.SIGTERM) -> None:
    run.job("pretrain")
    run.slurm.stop_controller(number)
    end = time.monotonic() + SECONDS
    while "slurm: the controller does not answer" not in (run.folder / "main.log").read_text():
        assert run.main.poll() is None and time.monotonic() < end, "nothing said"
        time.sleep(0.2)
    time.sleep(10)
    run.slurm.start_controller()
    run.end()
    said = [line for line in (run.folder / "main.log").read_text().splitlines() if "slurm: the controller" in line]
    assert [line.rpartition("controller ")[2][:7] for line in said] == ["does no", "answers"], said


def controller_killed(run: Run) -> None:
    controller_away(run, signal.SIGKILL)


def nodes_drained(run: Run) -> None:
    """All nodes before the first job, as for maintenance; jobs wait until they are back."""
    while "will wait" not in (run.folder / "main.log").read_text():
        assert run.main.poll() is None, (run.folder / "main.log").read_text()[-3000:]
        time.sleep(0.2)
    while not run.slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%k"):
        time.sleep(0.2)
    time.sleep(10)
    run.slurm.set_nodes("resume")


def main_killed(run: Run) -> None:
    """The restart by hand is `--unlock` and the same command; it cancels the job that was left, held till then."""
    run.at_checkpoint()
    os.kill(workflow.processes(run.folder, "pretrain")[0], signal.SIGSTOP)
    main_killed_now(run)


def main_killed_late(run: Run) -> None:
    """Two of three fine-tunings have finished, the third is held; the restart by hand is as for `main_killed`."""
    while len(held := workflow.processes(run.folder, f"mine/one/convnova/heldout/seed={SEEDS[-1]}")) < 1:
        assert run.main.poll() is None, "ended too early"
        time.sleep(0.02)
    os.kill(held[0], signal.SIGSTOP)
    while len(list(run.results.glob(FINISHED[0]))) < len(SEEDS) - 1:
        time.sleep(0.02)
    run.look()
    main_killed_now(run)


def main_killed_now(run: Run) -> None:
    run.main.kill()
    run.main.wait()
    unlock = run.start("--unlock")
    assert unlock.wait(timeout=SECONDS) == 0
    run.again()


def second_main(run: Run) -> None:
    run.job("pretrain")
    other = run.start()
    assert other.wait(timeout=SECONDS) == 1
    assert "Directory cannot be locked" in (run.folder / "main.log").read_text()


def over_memory(run: Run) -> None:
    """The training grows by two gigabytes where it may have one; the next attempt may have two, and does not grow."""
    run.at_checkpoint()
    (run.folder / "hungry").touch()


def over_time(run: Run) -> None:
    """The one minute it has passes while the training is held, and Slurm ends it; the next attempt goes on.

    Slurm's SIGTERM ends the job's own Snakemake too, and then Slurm kills what is left of the job: a training may have
    no time to write a checkpoint, so there is one before.
    """
    run.at_checkpoint()
    os.kill(workflow.processes(run.folder, "pretrain")[0], signal.SIGSTOP)


def packed(run: Run) -> None:
    """Of several fine-tunings in one job the last is killed: Snakemake deletes what the others have finished."""
    while len(list(run.results.glob(FINISHED[0]))) < len(SEEDS) - 1 or not workflow.processes(run.folder, "finetune"):
        assert run.main.poll() is None, "ended too early"
        time.sleep(0.05)
        run.look()
    os.kill(workflow.processes(run.folder, "finetune")[0], signal.SIGKILL)


def full_disk(run: Run) -> None:
    """The disk of the results fills up while the training runs; the restart by hand comes after room is made."""
    run.job("pretrain")
    run.at_step()
    with contextlib.suppress(OSError), (run.results / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 12))
    run.end(code=1)
    (run.results / "filler").unlink()
    run.again()


def read_only(run: Run) -> None:
    """The main process is stopped by Ctrl-C after pretraining; then the results cannot be written, then they can."""
    while "(Rule: pretrain)" not in (run.folder / "main.log").read_text():
        assert run.main.poll() is None, "ended too early"
        time.sleep(0.1)
    run.main.send_signal(signal.SIGINT)
    run.end(code=1)
    subprocess.run(["mount", "-o", "remount,ro", run.results], check=True)
    run.main = run.start()
    run.end(code=1)
    subprocess.run(["mount", "-o", "remount,rw", run.results], check=True)
    run.again()


def report(run: Run, whole: Path) -> str:
    """What the fault has left, in words."""
    one, other = (
        [workflow.own_run.without_costs(place / "results/own" / file) for file in SAME] for place in (whole, run.folder)
    )
    again = [str(path.relative_to(run.results)) for path, contents in run.seen.items() if len(contents) > 1]
    half = [path.name for pattern in HALF for path in run.results.rglob(pattern)]
    submitted = (run.folder / "main.log").read_text().count("has been submitted with SLURM jobid")
    log = (run.results / "own/logs/pretrain/convnova.log").read_text()
    went_on = "went on from a checkpoint, " if "continuing from" in log else ""
    if run.folder.name in STRIKE_PRETRAINING and not went_on:
        return "pretraining did not go on from a checkpoint"
    return (
        f"{'the same' if one == other else 'OTHER'} tables and weights, {' '.join(again) or 'none'} again, "
        f"{' '.join(half) or 'nothing'} half-written, {went_on}{submitted} jobs submitted, "
        f"{run.restarts} restarts by hand"
    )


OPTIONS = {
    "over_memory": {"pretrain_gb": 1, "hunger": True},
    "over_time": {"pretrain_hours": 1 / 60},
    "packed": {"pack": 3},
    "full_disk": {"disk": True, "attempts": 2},
    "read_only": {"disk": True},
    "nodes_drained": {"drained": True},
}
"""What the profile of a fault has of its own."""
FAULTS = {
    fault.__name__: fault
    for fault in (
        killed, node_daemon_killed, node_lost, controller_killed, controller_away, main_killed, main_killed_late,
        second_main, cancelled, requeued, nodes_drained, over_memory, over_time, packed, full_disk, read_only,
    )
}  # fmt: skip
STRIKE_PRETRAINING = {"cancelled", "killed", "requeued", "node_lost", "main_killed", "over_memory", "over_time"}


def main(folder: Path, names: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would ours
    whole = folder / "undisturbed"
    if not (whole / "results/own" / SAME[0]).exists():
        whole.mkdir(parents=True)
        workflow.own_run.own_data(whole, **DATA)
        code, output = workflow.run(whole, None, *TARGETS)
        assert code == 0, output
    failed = 0
    for name in names or FAULTS:
        with cluster.running(folder / f"{name}-{os.getpid()}") as slurm:
            began, profile = time.monotonic(), dict(OPTIONS.get(name, {}))
            on_disk = profile.get("disk")
            run = Run(folder / name, slurm, **profile)
            try:
                FAULTS[name](run)
                run.end()
                output = report(run, whole)
            except AssertionError as error:
                run.main.kill()
                output = f"NOT AS IT SHOULD: {error}"
            finally:
                if on_disk:
                    subprocess.run(["umount", "--lazy", run.results], check=True)
            failed += not output.startswith("the same tables and weights, none again, nothing half-written")
            print(f"{name}: {output}, {time.monotonic() - began:.0f} s", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
