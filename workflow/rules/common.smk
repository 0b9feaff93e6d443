# What the other files share: the resolved config, folders, and the names that wildcards stand for.
import json
import os
import sys
from pathlib import Path
from typing import get_args

from convnova.config.load import load, save
from convnova.config.run import Job
from convnova.config.schema import TRAINING_ROWS, Protocol
from convnova.errors import ConvNovaError, nearest
from convnova.files import read_yaml
from convnova.runs import outputs, status

FILES = [os.path.relpath(path) for path in workflow.configfiles]
try:
    # Snakemake has read these files, and of a key that is there twice it keeps the last.
    for file in FILES if workflow.is_main_process else []:
        read_yaml(file)
    # And it makes dates of texts that look like one.
    RUN = load(json.loads(json.dumps(config, default=str)), FILES, Path(CATALOGUE))
    if workflow.is_main_process:
        from convnova.runs.validate import check_files, validate

        validate(RUN, FILES)
        # Where the user's files are in a storage, Snakemake itself says what is missing.
        check_files(RUN, FILES, must_exist=not workflow.storage_settings.default_storage_provider)
except ConvNovaError as error:
    sys.exit(f"config: {error}")

RESULTS = f"results/{RUN.run}"
RESOURCES = f"resources/{RUN.run}"
MIRROR = f"{RESOURCES}/mirror"
GENOME = f"{RESOURCES}/genomes/{RUN.genome}"
VARIANTS = "|".join(name for name, suite in RUN.suites.items() if suite.format == "variants") or "(?!)"
FINETUNING = f"{RESULTS}/runs/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}"
# Every job reads the resolved config. What its numbers depend on is among its params, so the file's age does not count.
CONFIG = ancient(f"{RESULTS}/config.yaml")
PUBLISHED = local(f"{CATALOGUE}/published.csv")
CONDA = "../../envs/convnova.yaml"


wildcard_constraints:
    source="[^/]+",
    seed=r"\d+",
    length=r"\d+",


def update_config(file):
    """Write the resolved config anew if it is there already: its job runs only once.

    Snakemake does not ask whether jobs have reasons to run again, such as other settings, where they depend on a job
    that runs again by files whose age does not count.
    """
    stored = getattr(file, "storage_object", None)
    if stored.exists() if stored else Path(file).is_file():
        save(RUN, file)
        if stored:
            stored.store_object()


def named(kind, name, known):
    """The name, if it is known. Otherwise exit with the nearest one: it comes from a path that a user asked for."""
    if name not in known:
        sys.exit(f"{kind} {name!r}: {nearest(name, list(known))}")
    return name


def task_of(wildcards):
    """The names of the suite and the task."""
    suite = named("suite", wildcards.suite, RUN.suites)
    return suite, named(f"task of {suite}", wildcards.task, RUN.suites[suite].tasks)


def task_files(wildcards):
    """The files of a task by role."""
    return outputs.task_files(RUN, *task_of(wildcards))


def task_words(wildcards, input):
    """The files of a task as words of the command."""
    return outputs.task_words(RUN, *task_of(wildcards), dict(input.items()))


def job_of(wildcards):
    """The fine-tuning that the wildcards name."""
    model = named("model", wildcards.model, RUN.models)
    protocol = named("protocol", wildcards.protocol, get_args(Protocol))
    return Job(*task_of(wildcards), model, protocol, int(wildcards.seed))


def by_attempt(mb, minutes, gpu=0):
    """What a job asks for; memory and time double with every attempt."""

    def doubling(amount):
        return lambda wildcards, attempt: amount * 2 ** (attempt - 1)

    return {"mem_mb": doubling(mb), "runtime": doubling(minutes), "gpu": gpu}
