"""The first page of a run: what was run, what it says, what is missing, every table and figure, every way back.

One HTML file that needs nothing from outside. The same bytes each time from the same results.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnova.config.load import as_yaml
from convnova.config.run import Job, RunConfig
from convnova.files import read_json, write_text
from convnova.reporting import audit_table, report_provenance, test_row_comparison
from convnova.reporting.comparison_tables import comparison_tables
from convnova.reporting.pages import WARNING, escape, fill
from convnova.reporting.published import read_published
from convnova.reporting.render import html_notes, html_table
from convnova.reporting.scores import read_scores
from convnova.reporting.suite_tables import suite_tables
from convnova.reporting.table import SIMULATED, Table
from convnova.runs.explain import code, machine, packages
from convnova.runs.outputs import ITEMS, extra_table_titles, figure_titles, test_row_tasks
from convnova.runs.provenance_table import wall_time
from convnova.runs.status import STATES, Step, counts, steps
from convnova.runs.trace import Run

LARGEST_DOWNLOAD = 2_000_000
"""Bytes of a file that the page carries along; a larger one is named only."""

ASKED_FOR = {"scores", "provenance", "audit", "leaks", "cost", "study", "search"}
"""Files of tables/ and figures/ that the page does not show and that may be there whatever the config."""

MIME = {
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}


@dataclass(frozen=True)
class Material:
    """What the page is made from."""

    run: Run
    config: RunConfig
    suite_tables: list[Table]
    other_tables: list[Table]
    results: dict[Job, dict[str, Any]]
    """The metrics of every fine-tuning in the tables."""
    steps: list[Step]
    audits: list[audit_table.Audit]
    absent: list[Path]
    """Audits, figures and the table of test rows, where they are not there."""
    left: list[str]
    """Tables and figures that are not of this config: see `left_over`."""

    @property
    def folder(self) -> Path:
        """The run's results."""
        return self.config.results


def write_report(config: RunConfig, published: Path, out: Path) -> None:
    """Write the page.

    Args:
        published: the table of published numbers.
        out: the HTML file.

    Raises:
        ConvNovaError: the run's `tables/scores.tsv` is missing or does not fit the config, a result in it is gone.
    """
    write_text(out, page(gather(config, published)))


def gather(config: RunConfig, published: Path) -> Material:
    """Read a run's scores, results, audits and states; errors as for `write_report`."""
    folder = config.results
    scores = read_scores(folder / "tables" / "scores.tsv")
    given = (scores, read_published(published), config)
    seen = {tuple(keys) for keys in scores[list(Job._fields)].itertuples(index=False)}
    jobs = [job for job in config.jobs() if tuple(job) in seen]
    audits = [folder / "audit" / name / f"{task}.json" for name, suite in config.suites.items() for task in suite.tasks]
    figures = [path for name in figure_titles(config) for path in _forms(folder, name)]
    items = folder / "tables" / f"{ITEMS}.tsv"
    return Material(
        run=Run(config.local_path("").absolute(), config),
        config=config,
        suite_tables=list(suite_tables(*given)),
        other_tables=[*comparison_tables(*given), *_of_items(items, config)],
        results={job: read_json(config.folder(job) / "metrics.json") for job in jobs},
        steps=steps(config),
        audits=audit_table.read_audits([path for path in audits if path.is_file()]),
        absent=[path for path in (*audits, *figures, *[items] * bool(test_row_tasks(config))) if not path.is_file()],
        left=left_over(config),
    )


def _of_items(path: Path, config: RunConfig) -> list[Table]:
    """The table of test rows, without what an earlier config left in it."""
    tasks = test_row_tasks(config)
    if not tasks or not path.is_file():
        return []
    table = test_row_comparison.read_test_rows(path)
    ours = [
        (suite, task) in tasks and protocol in config.protocols and {a, b} <= {*config.models}
        for suite, task, protocol, a, b in table[["suite", "task", "protocol", "a", "b"]].itertuples(index=False)
    ]
    return [test_row_comparison.pair_table(table[ours], config)]


def left_over(config: RunConfig) -> list[str]:
    """Names, as `tables/ranks.*`, of what lies beside the run's tables and figures and is not of its config."""
    items = [ITEMS] * bool(test_row_tasks(config))
    of_config = {"tables": {*config.suites, *extra_table_titles(config), *items}, "figures": {*figure_titles(config)}}
    return sorted(
        {
            f"{folder}/{path.stem}.*"
            for folder, names in of_config.items()
            for path in (config.results / folder).glob("[!.]*")
            if path.stem not in names | ASKED_FOR
        }
    )


def _forms(folder: Path, name: str) -> list[Path]:
    return [folder / "figures" / f"{name}.{form}" for form in ("svg", "pdf", "png")]


def page(material: Material) -> str:
    """The page as HTML."""
    config = material.config
    parts = {
        "RUN": escape(config.run),
        "WARNING": f"<p class=warning>{escape(SIMULATED)}</p>" * (config.simulate is not None),
        "OVERVIEW": _overview(material),
        "SAYS": _says(material),
        "MISSING": _missing(material) + _left(material.left),
        "TABLES": "\n".join(_section(material, of) for of in (*material.suite_tables, *material.other_tables)),
        "FIGURES": "\n".join(_figure(material, name, title) for name, title in figure_titles(config).items()),
        "AUDIT": _audit(material.audits),
        "DATA": report_provenance.data(material.run, material.results),
        "NUMBERS": "\n".join(
            report_provenance.numbers(material.run, table, material.results) for table in material.suite_tables
        ),
        "CONFIG": escape(as_yaml(config)),
        "AGAIN": escape(f"snakemake --cores all --configfile results/{config.run}/config.yaml"),
    }
    return fill("report.html", parts)


def _overview(material: Material) -> str:
    """What was run, by whom, as terms and their descriptions."""
    config, made = material.config, [metrics["provenance"] for metrics in material.results.values()]
    terms = {
        "run": [config.run],
        "data": [_genome(config)],
        "models": [_model(material, name) for name in config.models],
        "tasks": [f"{suite.title or name}: {len(suite.tasks)}" for name, suite in config.suites.items()],
        "seeds": [", ".join(map(str, config.seeds))],
        "protocols": [", ".join(config.protocols)],
        "code": _different(map(code, made)),
        "machine": _different(map(machine, made)),
        "packages": _different(map(packages, made)),
        "cost": _cost(made),
    }
    return "\n".join(
        f"<dt>{term}</dt><dd>{'<br>'.join(map(escape, lines)) or 'nothing yet'}</dd>" for term, lines in terms.items()
    )


def _genome(config: RunConfig) -> str:
    genome = f"pretrained on {config.genome}" if config.backbones() else "no pretraining"
    if config.simulate:
        return f"simulated, in place of the real files (simulation seed {config.simulate.seed}); {genome}"
    return f"real; {genome}"


def _model(material: Material, name: str) -> str:
    """Title, architecture, settings and size of a model."""
    model = material.config.models[name]
    sizes = {metrics["parameters"] for job, metrics in material.results.items() if job.model == name}
    size = f", {min(sizes):,}" + f" to {max(sizes):,}" * (len(sizes) > 1) + " parameters" if sizes else ""
    settings = ", ".join(f"{key} {value}" for key, value in model.settings.items())
    return f"{model.title}: {'pretrained' if model.pretrained else 'from scratch'}, {settings}{size}"


def _different(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _cost(made: list[dict[str, Any]]) -> list[str]:
    """Time, memory and energy of all fine-tunings together."""
    if not made:
        return []
    seconds = sum(of_one["seconds"] for of_one in made)
    times = sorted(of_one["started"] for of_one in made)
    lines = [
        f"{len(made)} fine-tunings, {wall_time(seconds)} of wall time together, {times[0]} to {times[-1]}",
        f"at most {max(of_one['peak_memory_mb'] for of_one in made):,} MB of memory in one",
    ]
    for name in sorted({name for of_one in made for name in of_one["joules"]}):
        told = [of_one["joules"][name] for of_one in made if name in of_one["joules"]]
        lines.append(f"energy of the {name}: {sum(told):,.0f} J in {len(told)} of them, by the machine's own counters")
    return lines


def _says(material: Material) -> str:
    """The summary line of every table, and of the audit."""
    lines = [
        f'<li><a href="#table-{table.name}">{escape(table.title)}</a>: {escape(table.summary)}</li>'
        for table in (*material.suite_tables, *material.other_tables)
    ]
    if material.audits:
        summary = audit_table.audit_table(material.audits, False).summary
        lines.append(f'<li><a href="#audit">Audit</a>: {escape(summary)}</li>')
    return "\n".join(lines)


def _missing(material: Material) -> str:
    """What of the config is not there, and why as far as logs tell."""
    of_config = [step for step in material.steps if step.suite]
    undone = [step for step in material.steps if step.state != "done"]
    absent = "".join(f"<li><code>{escape(path)}</code> is not there</li>" for path in material.absent)
    if not undone and not absent:
        return f"<p>Nothing: all {len(of_config)} results of the config (fine-tunings and pretrainings) are in.</p>"
    told = "".join(
        f"<li>{step.state}: {escape(step.name)}"
        + f"<br><code>{escape(step.detail)}</code><br>log: <code>{escape(step.log)}</code></li>" * bool(step.detail)
        for step in undone
        if step.state != "missing"
    )
    names = "".join(f"<li>{escape(step.name)}</li>" for step in undone if step.state == "missing")
    missing = f"<details><summary>missing, by name</summary><ul>{names}</ul></details>" * bool(names)
    done = len(of_config) - sum(bool(step.suite) for step in undone)
    head = f"<p>{done} of {len(of_config)} results of the config (fine-tunings and pretrainings) are in.</p>"
    return head + _count_table(material.steps) + f"<ul>{told}{absent}</ul>" * bool(told + absent) + missing


def _left(names: list[str]) -> str:
    """What lies beside the run's tables and figures without being of its config."""
    if not names:
        return ""
    told = ", ".join(f"<code>{escape(name)}</code>" for name in names)
    return f"<p>Left from an earlier config, not of this one and not shown here: {told}. They may be deleted.</p>"


def _count_table(found: list[Step]) -> str:
    """Suites and models with how many of their results are in which state."""
    heads = "".join(f"<th scope=col>{text}</th>" for text in STATES)
    rows = "".join(
        f"<tr><th scope=row>{escape(suite)}</th><td class=text>{escape(model)}</td>"
        + "".join(f"<td>{row[state] or ''}</td>" for state in STATES)
        + "</tr>"
        for (suite, model), row in counts(found).items()
    )
    head = f"<tr><th class=text scope=col>suite</th><th class=text scope=col>model</th>{heads}</tr>"
    return f'<div class="scroll" tabindex="0"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _section(material: Material, of: Table) -> str:
    """A table: of a suite, each score a link to its way back; of all suites together; or one of a paper."""
    name, notes = of.name, html_notes(of)
    if name not in material.config.suites:
        notes = f"<details><summary>notes</summary>{notes}</details>" if of.notes else ""
    downloads = [download(material.folder / "tables" / f"{name}.tsv", "TSV")]
    if name in figure_titles(material.config):
        downloads.append(f'<a href="#figure-{name}">figure</a>')
    return "\n".join(
        [
            f'<section id="table-{name}"><h3>{escape(of.title)}</h3>',
            WARNING * of.simulated,
            f'<p id="{name}-summary"><strong>Summary:</strong> {escape(of.summary)}</p>',
            html_table(of, links=True),
            f"<p class=note>{' · '.join(filter(None, downloads))}</p>",
            f'<p class=note id="{name}-caption">{escape(of.caption)}</p>',
            notes,
            "</section>",
        ]
    )


def _figure(material: Material, name: str, title: str) -> str:
    """A figure as SVG, with its files to keep."""
    svg, *others = _forms(material.folder, name)
    if not svg.is_file():
        return ""
    kept = [download(path, path.suffix[1:].upper()) for path in (svg, *others)]
    of_suite = name in material.config.suites
    alt = f"{title}: every seed a dot, their mean a tick" if of_suite else title
    simulated = "Simulated genome. " * (material.config.simulate is not None)
    return (
        f'<figure id="figure-{name}"><div class="scroll" tabindex="0">'
        f'<img alt="{escape(simulated + alt)}" src="{data_uri(svg)}"></div>\n'
        f"<figcaption>{escape(title)}. {simulated}{' · '.join(filter(None, kept))}</figcaption></figure>"
    )


def data_uri(path: Path) -> str:
    """A file as an address that holds the file itself."""
    return f"data:{MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def download(path: Path, text: str) -> str:
    """A link that saves a file which the page carries; the path alone of a file too large for that; else nothing."""
    if not path.is_file():
        return ""
    if path.stat().st_size > LARGEST_DOWNLOAD:
        return f"{escape(text)}: <code>{escape(path)}</code>"
    return f'<a download="{escape(path.name)}" href="{data_uri(path)}">{escape(text)}</a>'


def _audit(audits: list[audit_table.Audit]) -> str:
    """The audits side by side, and what they mean."""
    if not audits:
        return "<p>There is no audit yet.</p>"
    table = audit_table.audit_table(audits, simulated=False)
    return "\n".join(
        [
            f'<p id="audit-summary"><strong>Summary:</strong> {escape(table.summary)}</p>',
            html_table(table),
            f'<p class=note id="audit-caption">{escape(table.caption)}</p>',
            f"<details><summary>What that means for each task</summary>{html_notes(table)}</details>",
        ]
    )
