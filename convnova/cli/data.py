"""The commands on data: config, simulate, sources, fetch, tokenize-genome, tokenize-task, label-genes, audit."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.cli.common import command, config_of, of_run
from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    config = command(
        commands, "config", run_config, "check a config and print or write it with every default filled in"
    )
    config.add_argument("file", type=Path, help="config file (YAML)")
    config.add_argument("--catalogue", type=Path, default=Path("config"), metavar="DIR", help="default: config")
    config.add_argument("--out", type=Path, metavar="FILE", help="write here; default: print")

    simulate = command(
        commands, "simulate", run_simulate, "write a mirror of the sources that holds a simulated genome"
    )
    simulate.add_argument("--seed", type=int, default=1)
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR")

    sources = command(
        commands, "sources", run_sources, "list what can be fetched: size, licence, address, what is there"
    )
    sources.add_argument("--registry", type=Path, default=Path("config/sources.yaml"), metavar="FILE")
    sources.add_argument(
        "--raw", type=Path, default=Path("resources/raw"), metavar="DIR", help="where fetched files lie"
    )

    fetch = of_run(commands, "fetch", run_fetch, "fetch one file of a source, resumed and checked")
    fetch.add_argument("--source", required=True, help="a name in sources.yaml")
    fetch.add_argument("--file", required=True, help="one of the source's files")
    fetch.add_argument("--out", type=Path, required=True, metavar="FILE")

    genome = command(commands, "tokenize-genome", run_tokenize_genome, "turn a FASTA into a tokenized genome")
    genome.add_argument("--fasta", type=Path, required=True, metavar="FILE", help="plain, gzip or bgzip")
    genome.add_argument(
        "--bed", type=Path, metavar="FILE", help="intervals with their split; default: whole chromosomes"
    )
    genome.add_argument("--valid", action="append", default=[], metavar="CHROMOSOME", help="kept for validation")
    genome.add_argument("--test", action="append", default=[], metavar="CHROMOSOME", help="kept for testing")
    genome.add_argument("--train", action="append", default=[], metavar="CHROMOSOME", help="default: all others")
    genome.add_argument("--out", type=Path, required=True, metavar="DIR")

    task = of_run(commands, "tokenize-task", run_tokenize_task, "turn a task's files into a tokenized task")
    task.add_argument("--task", required=True, metavar="SUITE/TASK")
    task.add_argument("--accept-counts", action="store_true", help="take files whose rows are not as many as published")
    task.add_argument("--out", type=Path, required=True, metavar="FILE")
    task.add_argument("files", nargs="+", metavar="ROLE=FILE", help="train=..., test=..., archive=..., genome=...")

    labels = command(commands, "label-genes", run_label_genes, "label every base by an annotation, as BEND's files")
    labels.add_argument("--annotation", type=Path, required=True, metavar="FILE", help="GFF3")
    labels.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the tokenized genome")
    labels.add_argument("--length", type=int, default=4096, help="bases a row; default: 4096")
    labels.add_argument("--out", type=Path, required=True, metavar="DIR")

    text = "count what is in a task's splits, and which test rows overlap train or pretraining data"
    audit = of_run(commands, "audit", run_audit, text)
    audit.add_argument("--task", required=True, metavar="SUITE/TASK")
    audit.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the tokenized task")
    audit.add_argument("--genome", type=Path, metavar="DIR", help="tokenized genome that models are pretrained on")
    audit.add_argument("--out", type=Path, required=True, metavar="FILE")
    audit.add_argument("files", nargs="*", metavar="ROLE=FILE", help="the task's files, if they hold intervals")


def run_config(options: argparse.Namespace) -> None:
    """`convnova config`"""
    from convnova.config.load import as_yaml, load_config, save
    from convnova.runs.validate import validate

    config = load_config(options.file, options.catalogue)
    validate(config, [str(options.file)])
    if options.out:
        save(config, options.out)
    else:
        print(as_yaml(config), end="")


def run_simulate(options: argparse.Namespace) -> None:
    """`convnova simulate`"""
    from convnova.simulation import write_mirror

    write_mirror(options.out, options.seed)


def run_sources(options: argparse.Namespace) -> None:
    """`convnova sources`"""
    from convnova.config.data_sources import load_sources

    print("source", "file", "size", "licence", "url", "present", sep="\t")
    for name, source in load_sources(options.registry).items():
        for file, content in source.files.items():
            present = (options.raw / name / file).is_file()
            print(name, file, content.size or "", source.licence, source.urls(file)[0], present, sep="\t")


def run_fetch(options: argparse.Namespace) -> None:
    """`convnova fetch`"""
    from convnova.data.download import fetch, is_url
    from convnova.errors import nearest

    config = config_of(options)
    source = config.sources.get(options.source)
    if source is None or options.file not in source.files:
        known = list(config.sources) if source is None else list(source.files)
        asked = options.source if source is None else options.file
        raise ConvNovaError(f"{options.config}: no {asked!r} among what this run fetches; {nearest(asked, known)}")
    file, record = source.files[options.file], options.out.parent / f".{options.out.name}.lock.json"
    mirror = config.mirror if config.mirror is None or is_url(config.mirror) else str(config.local_path(config.mirror))
    published = {"sha256": file.sha256, "md5": file.md5, "size": file.size}
    fetch(source.urls(options.file), options.out, mirror=mirror, offline=config.offline, record=record, **published)


def run_tokenize_genome(options: argparse.Namespace) -> None:
    """`convnova tokenize-genome`"""
    from convnova.data.genome import tokenize_genome

    tokenize_genome(options.fasta, options.out, options.bed, options.valid, options.test, options.train)


def run_tokenize_task(options: argparse.Namespace) -> None:
    """`convnova tokenize-task`"""
    from convnova.data.prepare_task import tokenize_task

    config = config_of(options)
    suite, task = suite_and_task(config, options.task, options.config)
    files = files_by_role(options.files)
    genome = files.pop("genome", None)
    tokenize_task(
        config.suites[suite].tasks[task],
        config.suites[suite].format,
        files,
        options.out,
        genome.parent if genome else None,
        options.accept_counts,
    )


def suite_and_task(config: "RunConfig", name: str, file: Path) -> tuple[str, str]:
    """What `name` stands for, in the config that was read from `file`."""
    suite, _, task = name.partition("/")
    if task not in getattr(config.suites.get(suite), "tasks", {}):
        raise ConvNovaError(f"{file}: no task {name!r}; expected SUITE/TASK")
    return suite, task


def files_by_role(words: list[str]) -> dict[str, Path]:
    """Role to path."""
    from convnova.config.schema import FILE_ROLES

    files = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    if unknown := [role for role, path in files.items() if role not in (*FILE_ROLES, "genome") or not path]:
        raise ConvNovaError(
            f"files: expected ROLE=FILE with a role of {', '.join(FILE_ROLES)}, genome; found {unknown}"
        )
    return {role: Path(path) for role, path in files.items()}


def run_label_genes(options: argparse.Namespace) -> None:
    """`convnova label-genes`"""
    from convnova.data.readers.gff import write_labels

    write_labels(options.annotation, options.genome, options.length, options.out)


def run_audit(options: argparse.Namespace) -> None:
    """`convnova audit`"""
    from convnova.data.task_dataset import read_task
    from convnova.evaluation.leakage.split_audit import Pretraining, audit
    from convnova.files import write_json

    config = config_of(options)
    suite, task = suite_and_task(config, options.task, options.config)
    pretraining = None
    if options.genome:
        read = config.pretrain.length if config.pretrain.coverage == "first" else None
        same = config.suites[suite].genome == config.genome
        files = files_by_role(options.files) if same else {}
        pretraining = Pretraining(config.genome or "", options.genome, read, config.suites[suite].format, files)
    write_json(options.out, {"suite": suite, "task": task, **audit(read_task(options.dataset), pretraining)})
