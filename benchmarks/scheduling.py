"""What the main process costs: dry runs of the paper's graph and of a larger one, and short jobs through a real Slurm.

    python benchmarks/scheduling.py dry                  time and memory of `snakemake -n` by the number of jobs
    python benchmarks/scheduling.py slurm --jobs 500 --pack 50      jobs of one second through a Slurm started here

Overhead a job: time of the whole run, less the seconds of sleep over the processor cores of the cluster, over the
number of jobs. Without --pack every job is one of Slurm's; --array submits them as arrays. The nodes are all on this
machine, so how busy its processors were tells how much of the overhead is theirs: starts of Python on all the nodes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/slurm"))
import cluster  # noqa: E402

import workflow  # noqa: E402

SLEEPS = """\
rule all:
    input:
        expand("out/{{n}}", n=range({jobs})),
    localrule: True


rule finetune:
    output:
        "out/{{n}}",
    threads: 1
    resources:
        mem_mb=1500,
        runtime=1,
        gpu=0,
    shell:
        "sleep 1; touch {{output}}"
"""


def timed(words: list[str], folder: Path) -> tuple[float, float, float, str]:
    """Seconds, peak MB of the largest process, processor seconds, and what was printed.

    The processes are the main one and those that it has started and waited for, such as `sbatch`; no job of Slurm's.
    """
    began = time.monotonic()
    with (folder / "printed.log").open("w") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=workflow.ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    printed = (folder / "printed.log").read_text()
    if status:
        sys.exit(printed)
    return time.monotonic() - began, usage.ru_maxrss / 1000, usage.ru_utime + usage.ru_stime, printed


def processor_seconds() -> float:
    """What all processes of this machine have used since it was started."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def dry(seeds: list[int]) -> None:
    """`snakemake -n` of the paper with other numbers of seeds."""
    for count in seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            content = yaml.safe_load((ROOT / "config/paper.yaml").read_text()) | {"seeds": list(range(1, count + 1))}
            (folder / "mine.yaml").write_text(yaml.safe_dump(content))
            seconds, memory, own, printed = timed(workflow.command(folder, None, "-n", "--quiet", "rules"), folder)
            jobs = next(line.split()[1] for line in printed.splitlines() if line.startswith("finetune"))
            print(f"{jobs} fine-tunings: {seconds:.1f} s, {own:.1f} processor seconds, {memory:.0f} MB", flush=True)


def slurm(jobs: int, pack: int, array: bool, cores: int) -> None:
    """Jobs that sleep one second, through the executor plugin."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SLEEPS.format(jobs=jobs))
        profile = workflow.fill_in(folder, pack=pack, gpus=0, threads=1, jobs=1000)
        text = (profile / "config.yaml").read_text().replace("configfile: config/paper.yaml", "")
        text = text[: text.index("set-threads:")] + text[text.index("groups:") :]
        text = re.sub(r"^  (tokenize_task|tokenize): .*\n", "", text, flags=re.MULTILINE)
        (profile / "config.yaml").write_text(text)
        words = ["snakemake", "-s", str(folder / "Snakefile"), "--directory", str(folder), "--profile", str(profile)]
        words += ["--slurm-array-jobs", "finetune"] * array
        with cluster.running(folder / "cluster", cpus=cores // 2, memory_mb=1000 * cores):
            before = processor_seconds()
            seconds, memory, own, printed = timed(words, folder)
            used = processor_seconds() - before
    submitted = printed.count("SLURM jobid") + printed.count("SLURM job ID")
    overhead = (seconds - jobs / cores) / jobs
    print(
        f"{jobs} jobs of 1 s on {cores} cores of 2 nodes, pack {pack}, {'arrays' if array else 'no arrays'}: "
        f"{submitted} submissions, {seconds:.0f} s, {overhead:.2f} s overhead a job, main process {memory:.0f} MB and "
        f"{own:.0f} processor seconds ({1000 * own / jobs:.0f} ms a job), "
        f"{used / jobs:.2f} processor seconds a job, {used / seconds / (os.cpu_count() or 1):.0%} of this machine's"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_dry = commands.add_parser("dry")
    of_dry.add_argument("--seeds", type=int, nargs="+", default=[5, 30])
    of_slurm = commands.add_parser("slurm")
    of_slurm.add_argument("--jobs", type=int, default=500)
    of_slurm.add_argument("--pack", type=int, default=1)
    of_slurm.add_argument("--array", action="store_true")
    of_slurm.add_argument("--cores", type=int, default=8)
    options = parser.parse_args()
    if options.command == "dry":
        dry(options.seeds)
    else:
        slurm(options.jobs, options.pack, options.array, options.cores)
