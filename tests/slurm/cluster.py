"""A real Slurm of one machine, without systemd or cgroups: munge, a controller and several nodes.

Jobs' steps forget SLURM_CONF, so its configuration is linked to from the default place; for that one has to be root.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DEFAULT_PLACE = Path("/etc/slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIGURATION = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=200
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=5
MinJobAge=300
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
{accounting}
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=24:00:00 State=UP
PartitionName=gpu Nodes=ALL Default=NO MaxTime=24:00:00 State=UP
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations"""
SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mysql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
DATABASE = "create database slurm; create user slurm@'%' identified by 'slurm'; grant all on slurm.* to slurm@'%'"


def missing(accounting: bool = False) -> str:
    """Why a cluster cannot be started here; empty where it can."""
    wanted = (*PROGRAMS, "slurmdbd", "mariadbd") if accounting else PROGRAMS
    absent = [name for name in wanted if shutil.which(name) is None]
    if absent:
        packages = "slurm-wlm munge" + " slurmdbd mariadb-server" * accounting
        return f"no {', '.join(absent)}: apt-get install {packages}"
    if os.geteuid() != 0:
        return f"only root can put {DEFAULT_PLACE}/slurm.conf"
    with one_at_a_time():
        there = (DEFAULT_PLACE / "slurm.conf").exists()
    if there:
        return f"{DEFAULT_PLACE}/slurm.conf is there: this machine has a Slurm of its own, or one was left running"
    return ""


class Cluster:
    """A running cluster whose parts can be stopped and started again.

    With accounting only users of the account `lab` may submit, and root is one.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 2,
        cpus: int = 8,
        memory_mb: int = 16_000,
        gpus: int = 2,
        accounting: bool = False,
    ):
        self.folder, self.host = folder, socket.gethostname().split(".")[0]
        self.nodes = [f"node{number}" for number in range(nodes)]
        for name in ("munge", "run", "log", "state", "etc", *(f"spool/{node}" for node in self.nodes)):
            (folder / name).mkdir(parents=True, mode=0o700)
        (folder / "munge/key").write_bytes(os.urandom(1024))
        (folder / "munge/key").chmod(0o600)
        *ports, port, dbd_port, self.mysql_port = _free_ports(nodes + 3)
        machine = f"NodeHostname={self.host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN"
        machine += f" Gres=gpu:{gpus}" if gpus else ""
        lines = [f"NodeName={node} Port={own} {machine}" for node, own in zip(self.nodes, ports, strict=True)]
        values = {"host": self.host, "folder": folder, "port": port, "nodes": "\n".join(lines)}
        values["accounting"] = ACCOUNTING.format(folder=folder, port=dbd_port) if accounting else NO_ACCOUNTING
        (folder / "etc/slurm.conf").write_text(CONFIGURATION.format(**values))
        if accounting:
            text = SLURMDBD.format(folder=folder, port=dbd_port, mysql_port=self.mysql_port)
            (folder / "etc/slurmdbd.conf").write_text(text)
            (folder / "etc/slurmdbd.conf").chmod(0o600)
        files = {node: f"/dev/tty[{n * gpus}-{(n + 1) * gpus - 1}]" for n, node in enumerate(self.nodes) if gpus}
        devices = [f"NodeName={node} Name=gpu File={file}\n" for node, file in files.items()]
        (folder / "etc/gres.conf").write_text("".join(devices))

    def start(self) -> None:
        """Everything, until all nodes are idle."""
        DEFAULT_PLACE.mkdir(exist_ok=True)
        for file in (self.folder / "etc").iterdir():
            link = DEFAULT_PLACE / file.name
            if link.is_symlink() and link.readlink().is_relative_to(tempfile.gettempdir()):
                link.unlink()  # of tests that were killed
            link.symlink_to(file)
        munge = self.folder / "munge"
        _call(
            "munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/munged.pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        if (self.folder / "etc/slurmdbd.conf").exists():
            self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_for(len(self.nodes))

    def _start_accounting(self) -> None:
        """A database, slurmdbd, and in it the account."""
        data = self.folder / "mysql"
        shared = ("--no-defaults", "--user=root", f"--datadir={data}")
        _call("mariadb-install-db", *shared, "--auth-root-authentication-method=normal", "--skip-test-db")
        place = (f"--socket={data}/socket", f"--port={self.mysql_port}", "--bind-address=127.0.0.1")
        server = ["mariadbd", *shared, *place, f"--pid-file={self.folder}/run/mysql.pid"]
        with (self.folder / "log/mariadb.log").open("w") as printed:
            subprocess.Popen(server, stdout=printed, stderr=printed)
        _until("mariadb", "--no-defaults", "--user=root", f"--socket={data}/socket", "-e", DATABASE)
        _call("slurmdbd")
        _until("sacctmgr", "-i", "add", "cluster", "sandbox")
        _call("sacctmgr", "-i", "add", "account", "lab", "description=lab", "organization=lab")
        _call("sacctmgr", "-i", "add", "user", "root", "account=lab")

    def wait_for(self, nodes: int, seconds: float = 60) -> None:
        """Until so many nodes can take jobs."""
        end = time.monotonic() + seconds
        while len(set(self.ask("sinfo", "-h", "-N", "-t", "idle,mixed,allocated", "-o", "%N").split())) != nodes:
            if time.monotonic() > end:
                raise TimeoutError(self.ask("sinfo", "-N", "-l") + (self.folder / "log/slurmctld.log").read_text())
            time.sleep(0.2)

    def start_controller(self) -> None:
        _call("slurmctld")

    def stop_controller(self, number: int = signal.SIGTERM) -> None:
        self._end(self.folder / "run/slurmctld.pid", number)

    def set_nodes(self, state: str) -> None:
        """Drain all nodes, or resume them."""
        for node in self.nodes:
            self.ask("scontrol", "update", f"nodename={node}", f"state={state}", "reason=tried")

    def start_node(self, node: str) -> None:
        _call("slurmd", "-N", node)

    def stop_node(self, node: str, number: int = signal.SIGTERM) -> None:
        self._end(self.folder / f"run/{node}.pid", number)

    def stop(self) -> None:
        """Cancel all jobs and end what was started."""
        self.ask("scancel", "-f", *self.ask("squeue", "-h", "-o", "%A").split())
        end = time.monotonic() + 20
        while self.ask("squeue", "-h") and time.monotonic() < end:
            time.sleep(0.2)
        for pid_file in sorted(self.folder.glob("run/*.pid"), reverse=True):
            self._end(pid_file)
        self._end(self.folder / "munge/munged.pid")
        for file in (self.folder / "etc").iterdir():
            if (DEFAULT_PLACE / file.name).resolve() == file:
                (DEFAULT_PLACE / file.name).unlink()

    def ask(self, *words: str) -> str:
        """What a Slurm command prints; empty when it fails."""
        return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout

    @staticmethod
    def _end(pid_file: Path, number: int = signal.SIGTERM) -> None:
        if not pid_file.exists() or not pid_file.read_text().strip():
            return
        pid = int(pid_file.read_text())
        try:
            for _ in range(100):
                os.kill(pid, number)
                time.sleep(0.1)
        except ProcessLookupError:
            pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits for a cluster that another process of the tests has."""
    with (Path(tempfile.gettempdir()) / "convnova-tests-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def running(folder: Path, **options: int) -> Iterator[Cluster]:
    """A cluster that is stopped at the end of the block, whatever happens."""
    cluster = Cluster(folder, **options)
    with one_at_a_time():
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _call(*words: str) -> None:
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")


def _until(*words: str, seconds: float = 60) -> None:
    """Again and again, until it succeeds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return _call(*words)
        except RuntimeError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [bound.getsockname()[1] for bound in sockets]
