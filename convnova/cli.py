"""The `convnova` command: every step of the pipeline by hand."""

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from convnova import __version__, cli_cost
from convnova.cli_results import add_commands
from convnova.errors import ConvNovaError
from convnova.progress import log, logging_to

if TYPE_CHECKING:
    from convnova.config import RunConfig


def main(arguments: list[str] | None = None) -> int:
    """Run one command. A mistake of the user's, or of the file system, is one line on standard error and in the log,
    and exit code 1; one of this program's own is a line in the log and a traceback."""
    options = parser().parse_args(arguments)
    if options.log and (rank := int(os.environ.get("RANK", 0))):  # torchrun: a log a process
        options.log = options.log.with_suffix(f".rank{rank}{options.log.suffix}")
    with logging_to(options.log):
        try:
            options.run(options)
        except (ConvNovaError, OSError) as error:
            log(f"error: {error}")
            if options.log:
                print(f"convnova {options.command}: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            log("interrupted")
            return 130
        except Exception as error:
            log(f"error: {type(error).__name__}: {' '.join(str(error).split())}")
            raise
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: one subcommand a step, in the order of the pipeline."""
    top = argparse.ArgumentParser(
        prog="convnova", description="From the raw genome to the ConvNova paper's comparison tables, step by step."
    )
    top.add_argument("--version", action="version", version=f"convnova {__version__}")
    top.add_argument("--log", type=Path, metavar="FILE", help="write progress to FILE as plain lines")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    config = _command(
        commands, "config", run_config, "check a config and print or write it with every default filled in"
    )
    config.add_argument("file", type=Path, help="config file (YAML)")
    config.add_argument("--catalogue", type=Path, default=Path("config"), metavar="DIR", help="default: config")
    config.add_argument("--out", type=Path, metavar="FILE", help="write here; default: print")

    simulate = _command(
        commands, "simulate", run_simulate, "write a mirror of the sources that holds a simulated genome"
    )
    simulate.add_argument("--seed", type=int, default=1)
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR")

    sources = _command(
        commands, "sources", run_sources, "list what can be fetched: size, licence, address, what is there"
    )
    sources.add_argument("--registry", type=Path, default=Path("config/sources.yaml"), metavar="FILE")
    sources.add_argument(
        "--raw", type=Path, default=Path("resources/raw"), metavar="DIR", help="where fetched files lie"
    )

    fetch = _command(commands, "fetch", run_fetch, "fetch one file of a source, resumed and checked")
    _with_config(fetch)
    fetch.add_argument("--source", required=True, help="a name in sources.yaml")
    fetch.add_argument("--file", required=True, help="one of the source's files")
    fetch.add_argument("--out", type=Path, required=True, metavar="FILE")

    genome = _command(commands, "shard-genome", run_shard_genome, "turn a FASTA into a genome shard")
    genome.add_argument("--fasta", type=Path, required=True, metavar="FILE", help="plain, gzip or bgzip")
    genome.add_argument(
        "--bed", type=Path, metavar="FILE", help="intervals with their split; default: whole chromosomes"
    )
    genome.add_argument("--valid", action="append", default=[], metavar="CHROMOSOME", help="kept for validation")
    genome.add_argument("--test", action="append", default=[], metavar="CHROMOSOME", help="kept for testing")
    genome.add_argument("--train", action="append", default=[], metavar="CHROMOSOME", help="default: all others")
    genome.add_argument("--out", type=Path, required=True, metavar="DIR")

    task = _command(commands, "shard-task", run_shard_task, "turn a task's files into a task shard")
    _with_config(task)
    task.add_argument("--task", required=True, metavar="SUITE/TASK")
    task.add_argument("--accept-counts", action="store_true", help="take files whose rows are not as many as published")
    task.add_argument("--out", type=Path, required=True, metavar="FILE")
    task.add_argument("files", nargs="+", metavar="ROLE=FILE", help="train=..., test=..., archive=..., genome=...")

    labels = _command(commands, "label-genes", run_label_genes, "label every base by an annotation, as BEND's files")
    labels.add_argument("--annotation", type=Path, required=True, metavar="FILE", help="GFF3")
    labels.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the genome shard")
    labels.add_argument("--length", type=int, default=4096, help="bases a row; default: 4096")
    labels.add_argument("--out", type=Path, required=True, metavar="DIR")

    audit = _command(commands, "audit", run_audit, "count what is in a task's splits, and what of test train has seen")
    _with_config(audit)
    audit.add_argument("--task", required=True, metavar="SUITE/TASK")
    audit.add_argument("--shard", type=Path, required=True, metavar="FILE", help="the task's shard")
    audit.add_argument("--genome", type=Path, metavar="DIR", help="genome shard that models are pretrained on")
    audit.add_argument("--out", type=Path, required=True, metavar="FILE")
    audit.add_argument("files", nargs="*", metavar="ROLE=FILE", help="the task's files, if they hold intervals")

    audit_tables = _command(
        commands, "audit-tables", run_audit_tables, "the audits of a run side by side, as TSV, Markdown and HTML"
    )
    _with_config(audit_tables)
    audit_tables.add_argument("--out", type=Path, required=True, metavar="DIR")
    audit_tables.add_argument("audits", nargs="+", type=Path, metavar="FILE", help="what `audit` wrote")

    leaks = _command(commands, "leaks", run_leaks, "scores with and without test rows that overlap train in the genome")
    _with_config(leaks)
    leaks.add_argument("--genome", type=Path, required=True, metavar="DIR", help="genome shard to look for rows in")
    leaks.add_argument("--out", type=Path, required=True, metavar="DIR")
    leaks.add_argument("shards", nargs="+", metavar="SUITE/TASK=FILE", help="shards of the tasks")

    pretrain = _command(
        commands, "pretrain", run_pretrain, "masked-language pretraining; continues where it was stopped"
    )
    _with_config(pretrain)
    pretrain.add_argument("--backbone", required=True, help="which of the config's pretrainings")
    pretrain.add_argument("--genome", type=Path, required=True, metavar="DIR", help="folder of the genome shard")
    pretrain.add_argument("--out", type=Path, required=True, metavar="DIR")
    pretrain.add_argument("--threads", type=int, default=os.cpu_count())
    pretrain.add_argument("--processes", type=int, default=1, metavar="N", help="one a GPU, started by torchrun")

    finetune = _command(commands, "finetune", run_finetune, "train on one task and score it")
    _with_config(finetune)
    finetune.add_argument("--job", required=True, metavar="SUITE/TASK/MODEL/PROTOCOL/seed=N")
    finetune.add_argument("--shard", type=Path, required=True, metavar="FILE", help="the task's shard")
    finetune.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights, for a pretrained model")
    finetune.add_argument("--out", type=Path, required=True, metavar="DIR")
    finetune.add_argument("--threads", type=int, default=os.cpu_count())

    aggregate = _command(commands, "aggregate", run_aggregate, "gather the scores of a run's fine-tunings")
    _with_config(aggregate)
    aggregate.add_argument("--out", type=Path, required=True, metavar="FILE")

    for name, run, text in (
        ("tables", run_tables, "comparison tables, as TSV, Markdown, LaTeX and HTML"),
        ("figures", run_figures, "comparison figures, as PDF, SVG and PNG"),
    ):
        command = _command(commands, name, run, text)
        _with_config(command)
        command.add_argument("--scores", type=Path, required=True, metavar="FILE", help="what `aggregate` wrote")
        command.add_argument("--published", type=Path, default=Path("config/published.csv"), metavar="FILE")
        command.add_argument("--out", type=Path, required=True, metavar="DIR")

    cli_cost.add_commands(commands, _command)
    add_commands(commands, _command)
    return top


def _command(commands, name: str, run, text: str) -> argparse.ArgumentParser:  # noqa: ANN001 - argparse's private types
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def _with_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="config of the run")


def run_config(options: argparse.Namespace) -> None:
    """`convnova config`"""
    from convnova.catalogue import as_yaml, load_file, save
    from convnova.models import check_models

    config = load_file(options.file, options.catalogue)
    check_models(config, [str(options.file)])
    if options.out:
        save(config, options.out)
    else:
        print(as_yaml(config), end="")


def run_simulate(options: argparse.Namespace) -> None:
    """`convnova simulate`"""
    from convnova.simulate import write_mirror

    write_mirror(options.out, options.seed)


def run_sources(options: argparse.Namespace) -> None:
    """`convnova sources`"""
    from convnova.fetch import describe, load_sources

    rows = describe(load_sources(options.registry), options.raw)
    columns = list(rows[0])
    print("\t".join(columns))
    for row in rows:
        print("\t".join("" if row[column] is None else str(row[column]) for column in columns))


def run_fetch(options: argparse.Namespace) -> None:
    """`convnova fetch`"""
    from convnova.catalogue import load_file, nearest
    from convnova.fetch import fetch_source_file, is_url

    config = load_file(options.config)
    source = config.sources.get(options.source)
    if source is None or options.file not in source.files:
        known = list(config.sources) if source is None else list(source.files)
        asked = options.source if source is None else options.file
        raise ConvNovaError(f"{options.config}: no {asked!r} among what this run fetches; {nearest(asked, known)}")
    lock = options.out.parent / f".{options.out.name}.lock.json"
    mirror = config.mirror if config.mirror is None or is_url(config.mirror) else str(config.place(config.mirror))
    fetch_source_file(source, options.file, options.out, mirror=mirror, offline=config.offline, lock=lock)


def run_shard_genome(options: argparse.Namespace) -> None:
    """`convnova shard-genome`"""
    from convnova.genome import shard_genome

    shard_genome(options.fasta, options.out, options.bed, options.valid, options.test, options.train)


def run_shard_task(options: argparse.Namespace) -> None:
    """`convnova shard-task`"""
    from convnova.catalogue import load_file
    from convnova.tasks import shard_task

    config = load_file(options.config)
    suite, task = _suite_and_task(config, options)
    files = _files(options.files)
    genome = files.pop("genome", None)
    shard_task(
        config.suites[suite].tasks[task],
        config.suites[suite].format,
        files,
        options.out,
        genome.parent if genome else None,
        options.accept_counts,
    )


def _suite_and_task(config: "RunConfig", options: argparse.Namespace) -> tuple[str, str]:
    suite, _, task = options.task.partition("/")
    if task not in getattr(config.suites.get(suite), "tasks", {}):
        raise ConvNovaError(f"{options.config}: no task {options.task!r}; expected SUITE/TASK")
    return suite, task


def _files(words: list[str]) -> dict[str, Path]:
    """Role to path."""
    from convnova.config import FILE_ROLES

    files = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    if unknown := [role for role, path in files.items() if role not in (*FILE_ROLES, "genome") or not path]:
        raise ConvNovaError(
            f"files: expected ROLE=FILE with a role of {', '.join(FILE_ROLES)}, genome; found {unknown}"
        )
    return {role: Path(path) for role, path in files.items()}


def run_label_genes(options: argparse.Namespace) -> None:
    """`convnova label-genes`"""
    from convnova.sources.gff import write_labels

    write_labels(options.annotation, options.genome, options.length, options.out)


def run_audit(options: argparse.Namespace) -> None:
    """`convnova audit`"""
    from convnova.audit import Pretraining, write_audit
    from convnova.catalogue import load_file

    config = load_file(options.config)
    suite, task = _suite_and_task(config, options)
    pretraining = None
    if options.genome:
        read = config.pretrain.length if config.pretrain.coverage == "first" else None
        same = config.suites[suite].genome == config.genome
        files = _files(options.files) if same else {}
        pretraining = Pretraining(config.genome or "", options.genome, read, config.suites[suite].format, files)
    write_audit(options.shard, options.out, pretraining, suite=suite, task=task)


def run_audit_tables(options: argparse.Namespace) -> None:
    """`convnova audit-tables`"""
    from convnova.audit_page import read_audits, write_pages
    from convnova.catalogue import load_file

    config = load_file(options.config)
    write_pages(read_audits(options.audits), options.out, config.simulate is not None)


def run_leaks(options: argparse.Namespace) -> None:
    """`convnova leaks`"""
    from convnova.catalogue import load_file
    from convnova.leaks import write_leaks

    config = load_file(options.config)
    shards = {}
    for word in options.shards:
        name, _, path = word.partition("=")
        options.task = name
        shards[_suite_and_task(config, options)] = Path(path)
    write_leaks(config, options.genome, shards, options.out)


def _load_torch(threads: int) -> None:
    """Import torch without the garbage collector, which goes through all of it many times: half a second of a job."""
    gc.disable()
    import torch

    gc.freeze()
    gc.enable()
    torch.set_num_threads(threads)
    if os.environ.get("CONVNOVA_DETERMINISTIC"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
    if torch.version.cuda:
        from convnova.gpus import take_gpus

        take_gpus()


def run_pretrain(options: argparse.Namespace) -> None:
    """`convnova pretrain`"""
    from convnova.catalogue import load_file, nearest
    from convnova.gpus import take_gpus

    config = load_file(options.config)
    if options.backbone not in config.backbones():
        raise ConvNovaError(f"backbone {options.backbone!r}: {nearest(options.backbone, list(config.backbones()))}")
    if options.processes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
        take_gpus(options.processes)
        os.execv(sys.executable, [sys.executable, *launcher, "--no-python", "--", *sys.argv])
    _load_torch(options.threads)
    from convnova.pretrain import pretrain

    pretrain(config, options.backbone, options.genome, options.out)


def run_finetune(options: argparse.Namespace) -> None:
    """`convnova finetune`"""
    from convnova.catalogue import load_file, nearest
    from convnova.config import Job

    config = load_file(options.config)
    jobs = {"/".join((*job[:4], f"seed={job.seed}")): job for job in config.jobs()}
    if options.job not in jobs:
        raise ConvNovaError(f"job {options.job!r} is not in {options.config}; {nearest(options.job, list(jobs)[:12])}")
    _load_torch(options.threads)
    from convnova.finetune import finetune

    finetune(config, Job(*jobs[options.job]), options.shard, options.out, options.weights)


def run_aggregate(options: argparse.Namespace) -> None:
    """`convnova aggregate`"""
    from convnova.aggregate import write_scores
    from convnova.catalogue import load_file

    write_scores(load_file(options.config), options.out)


def run_tables(options: argparse.Namespace) -> None:
    """`convnova tables`"""
    from convnova.catalogue import load_file
    from convnova.made_from import read_provenance, sentence
    from convnova.own_tables import write_sheets
    from convnova.published import read_published
    from convnova.scores import plan_of, read_scores
    from convnova.tables import write_tables

    config = load_file(options.config)
    given = (read_scores(options.scores), read_published(options.published), plan_of(config))
    made = sentence(config, read_provenance(options.scores))
    write_tables(*given, options.out, made)
    write_sheets(*given, options.out, made)


def run_figures(options: argparse.Namespace) -> None:
    """`convnova figures`"""
    from convnova.catalogue import load_file
    from convnova.comparison_figures import write_comparisons
    from convnova.figures import write_figures, write_pretraining
    from convnova.published import read_published
    from convnova.scores import plan_of, read_scores

    config = load_file(options.config)
    scores, plan = read_scores(options.scores), plan_of(config)
    scores["path"] = scores["path"].map(config.place)
    write_figures(scores, read_published(options.published), plan, options.out)
    write_comparisons(scores, plan, options.out)
    logs = {name: config.results / "pretrain" / name / "log.csv" for name in config.backbones()}
    if logs:
        write_pretraining(logs, config.simulate is not None, options.out)


if __name__ == "__main__":
    sys.exit(main())
