"""The commands on data: configs, sources, tokens of genomes and tasks, labels, training rows, audits."""

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.bundle import bundled
from convnova.cli.common import WHICH_RUN, command, command_of_run, positive
from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def _add_those_before_a_run(commands: argparse._SubParsersAction) -> None:
    text = "check a config; print or write it with every default"
    config = command(commands, "config", run_config, text)
    what = config.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", **WHICH_RUN)
    what.add_argument("--schema", action="store_true", help="print a JSON Schema of what a config may say instead")
    config.add_argument("--catalogue", type=Path, metavar="DIR", help="default: config here, or the package's")
    config.add_argument("--out", type=Path, metavar="FILE", help="write here; default: print")

    text = "look at your own sequences and write a config for them"
    init = command(commands, "init", "convnova.runs.new_config:write_new_config", text)
    init.add_argument("train", type=Path, metavar="TRAIN", help="table (CSV, TSV, parquet) or FASTA with labels")
    init.add_argument("test", type=Path, metavar="TEST", help="the same, for the scores")
    init.add_argument("--valid", type=Path, metavar="FILE", help="the same, to choose the epoch")
    for what in ("sequence", "label"):
        text = f"of a table; default: one that is named {what}, or alike"
        init.add_argument(f"--{what}-column", metavar="NAME", help=text)
    init.add_argument("--name", default="mine", help="name of the run; default: mine")
    init.add_argument("--out", type=Path, default=Path("mine.yaml"), metavar="FILE", help="default: mine.yaml")

    text = "write a mirror of the sources that holds a simulated genome"
    simulate = command(commands, "simulate", "convnova.simulation:write_mirror", text)
    simulate.add_argument("--seed", type=int, default=1)
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR")

    text = "list what can be fetched: size, licence, address"
    sources = command(commands, "sources", run_sources, text)
    sources.add_argument("--registry", type=Path, default=bundled("config/sources.yaml"), metavar="FILE")
    sources.add_argument("--raw", type=Path, default=Path("resources/raw"), metavar="DIR", help="fetched files")
    sources.add_argument("--json", action="store_true", help="every file as JSON")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    _add_those_before_a_run(commands)

    fetch = command_of_run(
        commands, "fetch", run_fetch, "fetch one file of a source, resumed and checked", is_step=True
    )
    fetch.add_argument("--source", required=True, help="a name in sources.yaml")
    fetch.add_argument("--file", required=True, help="one of the source's files")
    fetch.add_argument("--out", type=Path, required=True, metavar="FILE")

    text = "turn a FASTA into a tokenized genome"
    genome = command(commands, "tokenize-genome", "convnova.data.genome:tokenize_genome", text)
    genome.add_argument("--fasta", type=Path, required=True, metavar="FILE", help="plain, gzip or bgzip")
    genome.add_argument("--bed", type=Path, metavar="FILE", help="intervals and splits; default: whole chromosomes")
    genome.add_argument("--rows", type=positive, metavar="N", help="intervals in the BED; another number is an error")
    splits = {"valid": "kept for validation", "test": "kept for testing", "train": "default: all others"}
    for split, text in splits.items():
        genome.add_argument(f"--{split}", action="append", default=[], metavar="CHROMOSOME", help=text)
    genome.add_argument("--out", type=Path, required=True, metavar="DIR")

    task = command_of_run(
        commands, "tokenize-task", run_tokenize_task, "turn a task's files into a tokenized task", is_step=True
    )
    task.add_argument("--task", required=True, metavar="SUITE/TASK")
    task.add_argument("--accept-counts", action="store_true", help="take files whose rows are not as many as published")
    task.add_argument("--out", type=Path, required=True, metavar="FILE")
    task.add_argument("files", nargs="+", metavar="ROLE=FILE", help="train=..., test=..., archive=..., genome=...")

    text = "label every base by an annotation, as BEND's files"
    labels = command(commands, "label-genes", "convnova.data.readers.gff:write_labels", text)
    labels.add_argument("--annotation", type=Path, required=True, metavar="FILE", help="GFF3")
    labels.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the tokenized genome")
    labels.add_argument("--length", type=positive, default=4096, help="bases a row; default: 4096")
    labels.add_argument("--out", type=Path, required=True, metavar="DIR")

    text = "write the training rows of all tasks as a genome"
    rows = command_of_run(commands, "training-rows", run_training_rows, text, is_step=True)
    rows.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="FASTA; its intervals go to a BED beside it"
    )

    text = "count a task's rows, and test rows that occur in training"
    audit = command_of_run(commands, "audit", run_audit, text, is_step=True)
    audit.add_argument("--task", required=True, metavar="SUITE/TASK")
    audit.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    audit.add_argument("--genome", type=Path, metavar="DIR", help="tokenized genome that models are pretrained on")
    audit.add_argument("--out", type=Path, required=True, metavar="FILE")
    audit.add_argument("files", nargs="*", metavar="ROLE=FILE", help="the task's files, if they hold intervals")


def run_config(options: argparse.Namespace) -> None:
    """`convnova config`"""
    from convnova.config.editor_schema import editor_schema
    from convnova.config.load import as_yaml, config_file, load_config, save
    from convnova.runs.validate import validate

    if options.schema:
        print(editor_schema(), end="")
        return
    file = config_file(options.run)
    config = load_config(file, options.catalogue)
    validate(config, [str(file)])
    if options.out:
        save(config, options.out)
    else:
        print(as_yaml(config), end="")


def run_sources(options: argparse.Namespace) -> None:
    """`convnova sources`"""
    from tabulate import tabulate

    from convnova.config.data_sources import load_sources

    rows = []
    for name, source in load_sources(options.registry).items():
        for file, content in source.files.items():
            row = {"source": name, "file": file, "size": content.size, "present": (options.raw / name / file).is_file()}
            rows.append(row | {"url": source.urls(file)[0], "licence": source.licence})
    print(json.dumps(rows, indent=2) if options.json else tabulate(rows, "keys", tablefmt="plain"))


def run_fetch(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova fetch`"""
    from convnova.data.download import fetch, is_url
    from convnova.errors import nearest
    from convnova.files import lock_of

    source = config.sources.get(options.source)
    if source is None or options.file not in source.files:
        known = list(config.sources) if source is None else list(source.files)
        asked = options.source if source is None else options.file
        raise ConvNovaError(f"{options.config}: no {asked!r} among what this run fetches; {nearest(asked, known)}")
    file, record = source.files[options.file], lock_of(options.out)
    mirror = config.mirror if config.mirror is None or is_url(config.mirror) else str(config.local_path(config.mirror))
    published = {"sha256": file.sha256, "md5": file.md5, "size": file.size}
    addresses, offline = source.urls(options.file), config.offline
    if options.source in config.local:
        addresses, mirror, offline = [str(config.local_path(config.local[options.source]) / options.file)], None, False
    elif mirror is None and (endpoint := os.environ.get("HF_ENDPOINT")):  # as the hub's own programs do
        addresses = [re.sub("^https://huggingface.co(?=/)", endpoint.rstrip("/"), url) for url in addresses]
    fetch(addresses, options.out, mirror=mirror, offline=offline, record=record, **published)


def run_tokenize_task(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova tokenize-task`"""
    from convnova.data.prepare_task import tokenize_task

    suite, task = _suite_and_task(config, options)
    files = _files_by_role(options.files)
    genome = files.pop("genome", None)
    content, folder = config.suites[suite], genome.parent if genome else None
    tokenize_task(content.tasks[task], content.format, files, options.out, folder, options.accept_counts)


def _suite_and_task(config: "RunConfig", options: argparse.Namespace) -> tuple[str, str]:
    """The suite and the task that `--task` names."""
    suite, _, task = options.task.partition("/")
    if task not in getattr(config.suites.get(suite), "tasks", {}):
        raise ConvNovaError(f"{options.config}: no task {options.task!r}; expected SUITE/TASK")
    return suite, task


def _files_by_role(words: list[str]) -> dict[str, Path]:
    """Role to path, from words ROLE=FILE."""
    from convnova.config.schema import FILE_ROLES

    files = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    if unknown := [role for role, path in files.items() if role not in (*FILE_ROLES, "genome") or not path]:
        roles = ", ".join([*FILE_ROLES, "genome"])
        raise ConvNovaError(f"files: expected ROLE=FILE with a role of {roles}; found {unknown}")
    return {role: Path(path) for role, path in files.items()}


def run_audit(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova audit`"""
    from convnova.data.task_dataset import read_task
    from convnova.evaluation.leakage.split_audit import Pretraining, audit
    from convnova.files import write_json

    suite, task = _suite_and_task(config, options)
    pretraining = None
    if options.genome:
        trainings = [config.pretraining(model) for model, _ in config.backbones().values()]
        is_part = all(training.coverage == "first" for training in trainings)
        read = max(training.length for training in trainings) if is_part else None  # what any of them reads
        same = config.suites[suite].genome == config.genome
        files = _files_by_role(options.files) if same else {}
        pretraining = Pretraining(config.genome or "", options.genome, read, config.suites[suite].format, files)
    write_json(options.out, {"suite": suite, "task": task, **audit(read_task(options.dataset), pretraining)})


def run_training_rows(config: "RunConfig", options: argparse.Namespace) -> None:
    """`convnova training-rows`"""
    from convnova.data.task_dataset import read_task
    from convnova.evaluation.leakage.unseen_rows import write_unseen_rows
    from convnova.runs.outputs import IN_TRAINING_ROWS, tasks_of_kinds, tokenized_task

    tasks = tasks_of_kinds(config, *IN_TRAINING_ROWS)
    datasets = {".".join(task): read_task(config.local_path(tokenized_task(config, *task))) for task in tasks}
    write_unseen_rows(datasets, options.out)
