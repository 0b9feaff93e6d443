"""The embedded run on a Slurm of two nodes and with `snakemake --cores 2`: the same tables, but for times and memory.

python tests/slurm/embedded.py FOLDER           ten minutes on two cores; FOLDER keeps both runs
python tests/slurm/embedded.py FOLDER short     one seed, one protocol, one epoch, two tasks a suite
"""

import sys
import time
from pathlib import Path

import cluster
import yaml

import workflow


def config(short: bool) -> dict:
    """The embedded run's, or less of it."""
    content = yaml.safe_load((workflow.ROOT / "config/config.yaml").read_text())
    if short:
        content |= {"seeds": [1], "protocols": ["heldout"]}
        content["pretrain"] |= {"epochs": 1, "windows": 80}
        for suite in content["suites"].values():
            suite["training"]["epochs"] = 1
            if "tasks" in suite:
                suite["tasks"] = suite["tasks"][:2]
    return content


def main(folder: Path, short: bool) -> int:
    found = {}
    for name in ("slurm", "local"):
        here = folder / name
        here.mkdir(parents=True, exist_ok=True)
        (here / "mine.yaml").write_text(yaml.safe_dump(config(short), sort_keys=False))
        began = time.monotonic()
        if name == "slurm":
            filled = dict(gpu_partition="gpu", threads=1, pretrain_gb=4, finetune_gb=4, finetune_hours=0.5, pack=9)
            with cluster.running(here / "cluster", cpus=2):
                code, output = workflow.run(here, workflow.fill_in(here, **filled))
        else:
            code, output = workflow.run(here, None)
        print(f"{name}: exit status {code}, {time.monotonic() - began:.0f} s", flush=True)
        if code:
            print(output)
            return code
        found[name] = {
            path.name: workflow.own_run.without_costs(path) for path in (here / "results/embedded/tables").iterdir()
        }
    differ = [table for table in sorted(found["local"]) if found["slurm"].get(table) != found["local"][table]]
    print(f"{len(found['local'])} tables, of which differ: {', '.join(differ) or 'none'}")
    return bool(differ or found["slurm"].keys() != found["local"].keys())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:] == ["short"]))
