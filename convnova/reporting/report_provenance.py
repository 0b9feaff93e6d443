"""The provenance of every number on the page of a run: its fine-tunings by their traces, and the data behind these."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from convnova.config.run import Job, RunConfig
from convnova.config.schema import TableRow
from convnova.reporting.table import Table, mean_and_spread
from convnova.runs.trace import Input, Trace

Traces = dict[Job, Trace]


@dataclass(frozen=True)
class Number:
    """A score of a table, and the fine-tunings that it is the mean of."""

    anchor: str
    """Its id on the page."""
    title: str
    traces: list[Trace]
    """One a seed."""
    made_from: list["DataFile"]
    """The tokenized task, and the weights of the pretraining if there is one."""


@dataclass(frozen=True)
class DataFile:
    """A tokenized task or the weights of a pretraining, with all that it was made from."""

    anchor: str
    """Its id on the page."""
    title: str
    file: Input


def numbers(table: Table, traces: Traces, config: RunConfig) -> Iterator[Number]:
    """Every number of the table of a suite.

    Args:
        table: see `convnova.reporting.suite_tables.suite_table`.
        traces: those of all fine-tunings of the run.
        config: the config of the run.
    """
    for line in table.data[table.data["n"] > 0].itertuples():
        jobs = [Job(line.suite, line.task, line.model, line.protocol, int(seed)) for seed in line.seeds.split(",")]
        metric, of_seeds = TableRow(line.task, line.row, line.metric).metric_title, [traces[job] for job in jobs]
        score = mean_and_spread(line.mean, line.sd, line.n, line.n_expected)
        title = f"{line.row} · {line.title} · {line.protocol}: {metric} {score}"
        yield Number(f"{line.suite}.{line.Index}", title, of_seeds, list(_files(jobs[0], of_seeds[0], config)))


def _files(job: Job, trace: Trace, config: RunConfig) -> Iterator[DataFile]:
    """What a fine-tuning read."""
    for file in trace.inputs:
        if file.role == "task":
            yield DataFile(f"data.{job.suite}.{job.task}", f"{job.suite}/{job.task}", file)
        else:
            name = config.backbone(job.model, job.suite)
            yield DataFile(f"pretraining.{name}", f"pretraining {name}", file)


def data_files(traces: Traces, config: RunConfig) -> list[tuple[DataFile, int]]:
    """The files that the fine-tunings of a run read, and how many different files of that path there were.

    First the tokenized tasks, then the pretrainings.
    """
    files, versions = {}, defaultdict(set)
    for job, trace in traces.items():
        for part in _files(job, trace, config):
            files.setdefault(part.anchor, part)
            versions[part.anchor].add(part.file.sha256)
    in_order = sorted(files.values(), key=lambda part: part.file.role != "task")
    return [(part, len(versions[part.anchor])) for part in in_order]
