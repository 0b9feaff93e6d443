"""The ways back on the page of a run: behind every number its fine-tunings, behind these their data."""

from typing import Any

from convnova.config.run import Job
from convnova.config.schema import TableRow
from convnova.reporting.pages import breakable, escape
from convnova.reporting.table import Table, mean_and_spread
from convnova.runs.explain import code, command, machine, snakemake_line
from convnova.runs.trace import CHANGED, GONE, Input, Run, inputs_of

Results = dict[Job, dict[str, Any]]


def numbers(run: Run, table: Table, results: Results) -> str:
    """The way back from every cell of a suite's table, each closed until it is asked for."""
    cells = [_number(run, line, results) for line in table.data.itertuples() if line.n]
    head = f"<summary>{escape(table.title)}: {len(cells)} numbers</summary>"
    return f"<details class=suite>{head}\n" + "\n".join(cells) + "\n</details>"


def _number(run: Run, line: Any, results: Results) -> str:
    """One cell: its seeds with their scores, the code, the data, and the commands that make them again."""
    row, place = TableRow(line.task, line.row, line.metric), f"{line.suite}.{line.Index}"
    jobs = [Job(line.suite, row.task, line.model, line.protocol, int(seed)) for seed in line.seeds.split(",")]
    of_cell = {job: results[job] for job in jobs}
    text = mean_and_spread(line.mean, line.sd, line.n, line.n_expected)
    title = f"{row.label} · {line.title} · {line.protocol}: {row.metric_title} {text}"
    made = [metrics["provenance"] for metrics in of_cell.values()]
    lines = "<br>".join(escape(text) for text in dict.fromkeys([*map(code, made), *map(machine, made)]))
    return "\n".join(
        [
            f'<details class=number id="{place}"><summary>{escape(title)}</summary>',
            _seeds(row, of_cell),
            f"<p>{lines}</p>",
            f"<p>Made from {_made_from(run, jobs[0], made[0])}.</p>",
            *[_again(run, job, metrics["provenance"]) for job, metrics in of_cell.items()],
            "</details>",
        ]
    )


def _seeds(row: TableRow, of_cell: Results) -> str:
    """A line a seed."""
    heads = ("seed", row.metric_title, "95% interval", "best epoch", "test rows", "wall time", "peak memory", "started")
    lines = []
    for job, metrics in of_cell.items():
        part = metrics.get("groups", {}).get(row.label, metrics)
        low_high = metrics["interval"] if part is metrics else None
        made = metrics["provenance"]
        texts = (
            str(job.seed),
            f"{part[row.metric]:.6f}",
            "{:.3f} to {:.3f}".format(*low_high) if low_high else "",
            f"{metrics['best_epoch']} of {len(metrics['epochs'])}",
            f"{metrics['rows']['test']:,}",
            f"{made['seconds']:.1f} s",
            f"{made['peak_memory_mb']:,} MB",
            made["started"],
        )
        lines.append("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>")
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    body = "\n".join(lines)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _made_from(run: Run, job: Job, provenance: dict[str, Any]) -> str:
    """Links to the task's data and to the pretraining."""
    inputs = provenance["inputs"]
    links = [
        f'<a href="#{_data_place(job)}">the data of {escape(job.task)}</a> (sha256 {inputs["task"]["sha256"][:12]}…)'
    ]
    if "weights" in inputs and run.config:
        backbone = run.config.backbone(job.model, job.suite)
        sha256 = inputs["weights"]["sha256"][:12]
        links.append(
            f'<a href="#pretraining.{escape(backbone)}">the pretraining {escape(backbone)}</a> (sha256 {sha256}…)'
        )
    return " and ".join(links)


def _again(run: Run, job: Job, provenance: dict[str, Any]) -> str:
    """Where a fine-tuning's result lies, and the two commands that make it again."""
    path = run.root / job.folder(run.config.run if run.config else "") / "metrics.json"
    commands = "".join(f"<pre>{escape(line)}</pre>" for line in (snakemake_line(run, path), command(provenance)))
    return f"<p>Seed {job.seed}: <code>{escape(run.relative_path(path))}</code></p>{commands}"


def _data_place(job: Job) -> str:
    return f"data.{job.suite}.{job.task}"


def data(run: Run, results: Results) -> str:
    """The files behind the results: the shard of every task and the weights of every pretraining, down to addresses."""
    parts: dict[str, str] = {}
    for job, metrics in results.items():
        weights = "weights" in metrics["provenance"]["inputs"] and run.config
        backbone = run.config.backbone(job.model, job.suite) if weights and run.config else ""
        places = {"task": (_data_place(job), f"{job.suite}/{job.task}")}
        if backbone:
            places["weights"] = (f"pretraining.{backbone}", f"pretraining {backbone}")
        if any(place not in parts for place, _ in places.values()):
            for found in inputs_of(run, metrics["provenance"], job.suite, job.task):
                place, title = places[found.role]
                parts.setdefault(place, _part(run, found, place, title, _different_shards(results, found)))
    return "\n".join(parts[place] for place in sorted(parts, key=lambda place: place.startswith("pretraining.")))


def _different_shards(results: Results, found: Input) -> int:
    """From how many different files of one path the results were made."""
    recorded = {
        entry["sha256"]
        for metrics in results.values()
        for entry in metrics["provenance"]["inputs"].values()
        if found.path.match(entry["path"])
    }
    return len(recorded)


def _part(run: Run, found: Input, place: str, title: str, different: int) -> str:
    """One shard or pretraining, closed until it is asked for."""
    warning = f"<p class=warning>Results were made from {different} different files of this name.</p>" * (different > 1)
    body = f"{warning}<ul class=inputs>{_input(run, found)}</ul>"
    return f'<details id="{escape(place)}"><summary>{breakable(title)}</summary>{body}</details>'


def _input(run: Run, found: Input) -> str:
    """A file with its checksum, what became of it, its addresses, and the files it was made from."""
    loud = found.state.startswith((CHANGED, GONE))
    state = f"<strong class=changed>{escape(found.state)}</strong>" if loud else escape(found.state)
    lines = [f"{escape(found.role)}: <code>{escape(run.relative_path(found.path))}</code>"]
    lines.append(f"sha256 <code>{found.sha256}</code>, {state}" if found.sha256 else state)
    lines += [f'<a href="{escape(url)}" rel="noreferrer">{escape(url)}</a>' for url in found.urls]
    lines += [escape(note) for note in found.notes]
    below = "".join(_input(run, other) for other in found.inputs)
    return f"<li>{'<br>'.join(lines)}{f'<ul>{below}</ul>' if below else ''}</li>"
