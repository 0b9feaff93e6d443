"""The first page of a run: its result, all tables and figures, what was run, what is missing, the origin of numbers.

One HTML file that needs nothing from outside, by `templates/report.html`. The same results give the same bytes.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from convnova.config.load import as_yaml
from convnova.config.run import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.log import log
from convnova.reporting.audit_table import audit_table, read_audits
from convnova.reporting.comparison_tables import comparison_tables
from convnova.reporting.paired_test_rows import pair_table, read_test_rows
from convnova.reporting.published import read_published
from convnova.reporting.render import HTML
from convnova.reporting.report_provenance import Traces, data_files, numbers
from convnova.reporting.scores import read_scores
from convnova.reporting.suite_tables import suite_tables
from convnova.reporting.table import SIMULATED, Table
from convnova.reporting.verdict import caveats, verdict
from convnova.runs.outputs import (
    TEST_ROW_TABLE,
    audits,
    figure_titles,
    kept_weights,
    test_row_tasks,
)
from convnova.runs.provenance_table import provenance_frame, provenance_sentence
from convnova.runs.status import STATES, counts, steps
from convnova.runs.trace import Run, read_trace

LARGEST_DOWNLOAD = 2_000_000
"""Bytes of a file that the page holds itself, to be saved from there; a larger one is only named."""

MIME = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png", "tsv": "text/tab-separated-values"}


def write_report(config: RunConfig, published: Path, out: Path) -> None:
    """Write the page.

    Args:
        config: the run.
        published: the table of published numbers.
        out: the HTML file.

    Raises:
        ConvNovaError: the run's `tables/scores.tsv` is missing or does not fit the config, a result in it is gone
            or damaged.
    """
    folder, run = config.results, Run(config.local_path("").absolute(), config)
    scores = read_scores(folder / "tables" / "scores.tsv")
    given = (scores, read_published(published), config)
    suites = list(suite_tables(*given))
    keys = set(scores[list(Job._fields)].itertuples(index=False, name=None))
    traces = {job: read_trace(config.folder(job) / "metrics.json", run) for job in config.jobs() if tuple(job) in keys}
    audit_files = [config.local_path(path) for path in audits(config)]
    figures = {name: [folder / "figures" / f"{name}.{form}" for form in MIME][:3] for name in figure_titles(config)}
    pairs = folder / "tables" / f"{TEST_ROW_TABLE}.tsv"
    expected = [*audit_files, *(path for paths in figures.values() for path in paths)]
    expected += [pairs] if test_row_tasks(config) else []
    tables = [*suites, *_ablation_table(config), *comparison_tables(*given), *_test_row_table(pairs, config)]
    results = pd.concat([suite.data for suite in suites])
    over_test_rows = [note for table in tables if table.name == TEST_ROW_TABLE for note in table.notes]
    present = [path for path in audit_files if path.is_file()]
    progress = steps(config)
    page = HTML.get_template("report.html").render(
        config=config,
        config_yaml=as_yaml(config),
        warning=SIMULATED,
        verdict=verdict(results, scores, over_test_rows, config),
        caveats=list(caveats(scores, config)),
        overview=_overview(config, traces),
        all_tables=tables,
        audit=audit_table(read_audits(present), simulated=False) if present else None,
        steps=progress,
        states=STATES,
        state_counts=counts(progress),
        missing_files=[path for path in expected if not path.is_file()],
        table_files={table.name: [folder / "tables" / f"{table.name}.tsv"] for table in tables},
        figures=figure_titles(config),
        images={name: paths[0] for name, paths in figures.items() if paths[0].is_file()},
        figure_files=figures,
        data_uri=lambda path: f"data:{MIME[path.suffix[1:]]};base64,{base64.b64encode(path.read_bytes()).decode()}",
        largest_download=LARGEST_DOWNLOAD,
        numbers={table.title: list(numbers(table, traces, config)) for table in suites},
        data=data_files(traces, config),
    )
    write_text(out, page)


def _ablation_table(config: RunConfig) -> Iterator[Table]:
    """The variants beside their baseline, where the config names one that has results."""
    if config.ablation:
        from convnova.reporting.ablation_table import ablation_table, differences_of  # with matplotlib

        try:
            yield ablation_table(differences_of(config), config.simulated)
        except ConvNovaError as error:
            log(f"left out: {error}")


def _test_row_table(path: Path, config: RunConfig) -> Iterator[Table]:
    """The table of pairs of models over test rows, if it is there, without what an earlier config left in it."""
    tasks = test_row_tasks(config)
    if tasks and path.is_file():
        pairs = read_test_rows(path)
        of_config = [
            (suite, task) in tasks and protocol in config.protocols and {a, b} <= {*config.models}
            for suite, task, protocol, a, b in pairs[["suite", "task", "protocol", "a", "b"]].itertuples(index=False)
        ]
        yield pair_table(pairs[of_config], config)


def _overview(config: RunConfig, traces: Traces) -> dict[str, list[str]]:
    """What was run, by which code, where and at what cost: term to lines."""
    genome = f"pretrained on {config.genome}" if config.backbones() else "no pretraining"
    data = f"real; {genome}"
    if config.simulate:
        data = f"simulated, in place of the real files (simulation seed {config.simulate.seed}); {genome}"
    models = []
    for name, model in config.models.items():
        sizes = sorted({trace.record["parameters"] for job, trace in traces.items() if job.model == name})
        settings = [f"{key} {value}" for key, value in model.settings.items()]
        if sizes:
            settings.append(" to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))) + " parameters")
        start = "pretrained" if model.pretrained else "from scratch"
        models.append(f"{model.title}: {', '.join([start, *settings])}")
    tasks = [f"{suite.title or name}: {len(suite.tasks)}" for name, suite in config.suites.items()]
    terms = {"run": [config.run], "data": [data], "models": models, "tasks": tasks}
    terms |= {"seeds": [", ".join(map(str, config.seeds))], "protocols": [", ".join(config.protocols)]}
    terms["packages"] = list(dict.fromkeys(trace.packages for trace in traces.values()))
    made = provenance_frame({job: trace.record["provenance"] for job, trace in traces.items()})
    terms["results"] = list(filter(None, [provenance_sentence(config, made)]))
    weights = [path for file in kept_weights(config) if (path := config.local_path(file)).is_file()]
    if weights:
        size = sum(path.stat().st_size for path in weights) / 1e6
        line = f"{len(weights):,} fine-tuned models, {size:,.1f} MB; convnova.load reads them, such as {weights[0]}"
        terms["weights"] = [line]
    return terms
