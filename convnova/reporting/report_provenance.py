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
    seeds: list[dict[str, str]]
    """A line a seed: head to text."""
    made_by: list[str]
    """Code and machines, each once."""
    made_from: list[tuple[str, str, str]]
    """Of the tokenized task, and of the pretraining if there is one: title, id on the page and sha256."""


@dataclass(frozen=True)
class DataFile:
    """A tokenized task or the weights of a pretraining, with all that it was made from."""

    anchor: str
    """Its id on the page."""
    title: str
    file: Input
    versions: int
    """How many different files of that path the results were made from."""


def numbers(table: Table, traces: Traces, config: RunConfig) -> Iterator[Number]:
    """Every number of the table of a suite.

    Args:
        table: see `convnova.reporting.suite_tables.suite_table`.
        traces: those of all fine-tunings of the run.
        config: the config of the run.
    """
    for line in table.data.itertuples():
        if not line.n:
            continue
        jobs = [Job(line.suite, line.task, line.model, line.protocol, int(seed)) for seed in line.seeds.split(",")]
        of_seeds, row = [traces[job] for job in jobs], TableRow(line.task, line.row, line.metric)
        score = mean_and_spread(line.mean, line.sd, line.n, line.n_expected)
        made_from = []
        for file in of_seeds[0].inputs:
            anchor = _anchor(file, jobs[0], config)
            title = f"the data of {line.task}" if file.role == "task" else f"the {anchor.replace('.', ' ', 1)}"
            made_from.append((title, anchor, file.sha256))
        yield Number(
            anchor=f"{line.suite}.{line.Index}",
            title=f"{row.label} · {line.title} · {line.protocol}: {row.metric_title} {score}",
            traces=of_seeds,
            seeds=[_seed(trace.record, row) for trace in of_seeds],
            made_by=list(dict.fromkeys([trace.code for trace in of_seeds] + [trace.machine for trace in of_seeds])),
            made_from=made_from,
        )


def _seed(metrics: dict, row: TableRow) -> dict[str, str]:
    """The score and the cost of one fine-tuning: head to text."""
    part, made = metrics.get("groups", {}).get(row.label, metrics), metrics["provenance"]
    interval = metrics["interval"] if part is metrics else None
    return {
        "seed": str(metrics["seed"]),
        row.metric_title: f"{part[row.metric]:.6f}",
        "95% interval": "{:.3f} to {:.3f}".format(*interval) if interval else "",
        "best epoch": f"{metrics['best_epoch']} of {len(metrics['epochs'])}",
        "test rows": f"{metrics['rows']['test']:,}",
        "wall time": f"{made['seconds']:.1f} s",
        "peak memory": f"{made['peak_memory_mb']:,} MB",
        "started": made["started"],
    }


def _anchor(file: Input, job: Job, config: RunConfig) -> str:
    """Where on the page an input of a fine-tuning is described."""
    if file.role == "task":
        return f"data.{job.suite}.{job.task}"
    return f"pretraining.{config.backbone(job.model, job.suite)}"


def data_files(traces: Traces, config: RunConfig) -> list[DataFile]:
    """The files that the fine-tunings of a run read: first the tokenized tasks, then the pretrainings."""
    files, versions = {}, defaultdict(set)
    for job, trace in traces.items():
        for file in trace.inputs:
            anchor = _anchor(file, job, config)
            title = f"{job.suite}/{job.task}" if file.role == "task" else anchor.replace(".", " ", 1)
            files.setdefault(anchor, (title, file))
            versions[file.path].add(file.sha256)
    parts = [DataFile(anchor, title, file, len(versions[file.path])) for anchor, (title, file) in files.items()]
    return sorted(parts, key=lambda part: part.file.role != "task")
