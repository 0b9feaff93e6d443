"""`convnova explain`: the trace of a result as text or JSON, and the results behind a cell of a table."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError, nearest
from convnova.runs.outputs import TEST_ROW_TABLE, extra_table_titles
from convnova.runs.trace import FileState, Input, Run, Trace, read_trace, run_of

CELL = ("row", "model", "protocol", "seed")
"""Columns that name a cell of a table, and one fine-tuning behind it."""

SIMULATED = "Simulated genome: this number shows that the pipeline works and cannot be compared with the paper."


@dataclass(frozen=True)
class Listing:
    """All cells of a table."""

    table: str
    cells: list[dict[str, Any]]
    """`row`, `model`, `protocol`, `metric`, and `scores`: a `seed`, `score` and `path` a fine-tuning."""
    again: str
    """The command that makes the table again."""


@dataclass(frozen=True)
class Score:
    """One fine-tuning behind a cell."""

    path: str
    trace: Trace | None
    """None of a result that is no longer there."""
    changed: str
    """How it differs from what the table says; empty if it does not."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table, or several where fewer than three words name them."""

    table: str
    words: list[str]
    lines: list[dict[str, str]]
    """Of the table, by column: one a model and protocol; none where the table has no such lines."""
    scores: list[Score]


Answer = Trace | Listing | Cell


def explain(words: list[str], run: RunConfig | None = None) -> list[Answer]:
    """Explain results.

    Args:
        words: paths of `metrics.json`, a file beside one, weights of a pretraining, or a table; after a table,
            words may name a row of it, a model, a protocol and a seed. None: all scores of the run.
        run: in whose folder paths may start; there a fine-tuning may be called as by `convnova status`.

    Raises:
        ConvNovaError: no such file, a file that is no result, a cell that the table does not have.
    """
    if not words and run is None:
        raise ConvNovaError("expected a result or --run, found neither; `convnova status` lists what is there")
    questions: list[tuple[Path, list[str]]] = []
    for word in words or ["tables/scores.tsv"]:
        if questions and questions[-1][0].parent.name == "tables" and "/" not in word:
            questions[-1][1].append(word)
        else:
            places = [run.results / word, run.results / "runs" / word] if run else []
            questions.append((next((path for path in places if path.exists()), Path(word)), []))
    return [_explain(path, cell) for path, cell in questions]


def _explain(path: Path, cell: list[str]) -> Answer:
    """The trace of one result, or what is behind a table or a cell of it."""
    if not path.exists():
        raise ConvNovaError(f"{path}: expected a result, found nothing; `convnova status` lists what is there")
    folder = path if path.is_dir() else path.parent
    for name in ("metrics.json", "weights.json"):
        if (folder / name).is_file():
            return read_trace(folder / name)
    if path.parent.name == "tables" and (folder / "scores.tsv").is_file() and path.stem != "audit":
        return _explain_table(path, cell)
    raise ConvNovaError(
        f"{path}: expected a metrics.json, a file beside one, the weights of a pretraining or a table of scores, "
        "found none of these; `convnova status` lists the results"
    )


def as_text(answer: Answer) -> str:
    """An answer for people."""
    if isinstance(answer, Listing):
        return _listing_text(answer)
    if isinstance(answer, Cell):
        return _cell_text(answer)
    return _trace_text(answer)


def _trace_text(trace: Trace) -> str:
    """A trace with headings at the left and their lines beside them."""
    sections = [("score", trace.scores), ("settings", trace.settings), ("code", [trace.code])]
    sections += [(file.role, _file_lines(file)) for file in trace.inputs]
    sections += [("made", [*trace.cost, trace.machine, trace.packages]), ("again", trace.commands)]
    sections += [("CHANGED", trace.differences)]
    lines = [trace.path, *([SIMULATED] if trace.record["simulated"] else [])]
    for heading, texts in sections:
        lines += [f"  {'' if i else heading:<9} {text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def _file_lines(file: Input) -> list[str]:
    """A file, its checksum and addresses, and below it, indented, those that it was made from."""
    checksum = f"sha256 {file.sha256}, {file.state_text}" if file.sha256 else file.state_text
    lines = [checksum, *file.urls, *file.notes]
    for below in file.inputs:
        first, *others = _file_lines(below)
        lines += [f"{below.role}: {first}", *others]
    return [file.path, *(f"  {line}" for line in lines)]


def _explain_table(path: Path, words: list[str]) -> Listing | Cell:
    """The content of a table, or the fine-tunings of one cell.

    Raises:
        ConvNovaError: the table has no such cell; names the nearest.
    """
    read = partial(pd.read_csv, sep="\t", dtype=str, keep_default_na=False)
    scores, run = read(path.with_name("scores.tsv")), run_of(path)
    of_suite = scores[scores["suite"] == path.stem]
    of_all_suites = ("scores", TEST_ROW_TABLE, *(extra_table_titles(run.config) if run.config else ()))
    if of_suite.empty and path.stem not in of_all_suites:
        raise ConvNovaError(f"{path}: expected a table of scores, found none in {path.with_name('scores.tsv')}")
    results = _select(path, scores if of_suite.empty else of_suite, words)
    if not words:
        return _listing(run, path, results)
    lines = []
    if not of_suite.empty and path.with_suffix(".tsv").is_file():
        lines = _select(path, read(path.with_suffix(".tsv")), words[:3]).to_dict("records")
    return Cell(str(path), words, lines, [_score(run, row) for row in results.itertuples()])


def _cell_text(cell: Cell) -> str:
    """What the table says of a cell, and the trace of every fine-tuning behind it."""
    several = "s" if len(cell.scores) != 1 else ""
    lines = [f"{cell.table}: {len(cell.scores)} fine-tuning{several} behind {' '.join(cell.words)}"]
    for line in cell.lines:
        text = f"  {line['model']} {line['protocol']}: mean {line['mean']}, standard deviation "
        text += f"{line['sd'] or 'not known'} over seeds {line['seeds']}; {line['verdict']}"
        if line["published"]:
            text += f"; published {line['published']} ({line['published_table']}, {line['published_source']})"
        lines.append(text)
    texts = ["\n".join(lines)]
    for score in cell.scores:
        changed = f"\n  CHANGED   {score.changed}" if score.changed else ""
        texts.append((_trace_text(score.trace) if score.trace else score.path) + changed)
    return "\n\n".join(texts)


def _select(path: Path, table: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """The lines of a table that the words name, word by word."""
    if len(cell) > len(CELL):
        raise ConvNovaError(f"{path}: expected at most a row, a model, a protocol and a seed, found {' '.join(cell)}")
    for i, (column, word) in enumerate(zip(CELL, cell, strict=False)):
        name = word.removeprefix("seed=") if column == "seed" else word
        known = list(table[column].unique())
        if name not in known:
            of = f" of {' '.join(cell[:i])}" if i else ""
            raise ConvNovaError(f"{path}: no result with {column} {name!r}{of}; {nearest(name, known)}")
        table = table[table[column] == name]
    return table


def _listing(run: Run, path: Path, results: pd.DataFrame) -> Listing:
    """Every cell of a table with its scores."""
    cells = []
    for keys, of_cell in results.groupby(list(CELL[:3]), sort=False):
        scores = of_cell[["seed", "score", "path"]].astype({"score": float}).to_dict("records")
        cells.append(dict(zip(CELL[:3], keys, strict=True)) | {"metric": of_cell["metric"].iloc[0], "scores": scores})
    name = run.relative_path(path)
    return Listing(name, cells, run.run_command(name))


def _listing_text(listing: Listing) -> str:
    """A line a cell, and how to ask for one."""
    names = [" ".join(cell[column] for column in CELL[:3]) for cell in listing.cells]
    count = sum(len(cell["scores"]) for cell in listing.cells)
    lines = [f"{listing.table}: {len(listing.cells)} cells from {count} results, in scores.tsv"]
    for name, cell in zip(names, listing.cells, strict=True):
        scores = ", ".join(f"{of_seed['score']:.6f} (seed {of_seed['seed']})" for of_seed in cell["scores"])
        lines.append(f"  {name}: {cell['metric']} {scores}")
    return "\n".join([*lines, f"  again: {listing.again}", f"  a cell: convnova explain {listing.table} {names[0]}"])


def _score(run: Run, row: pd.Series) -> Score:
    """The fine-tuning of a line of `scores.tsv`, and whether it was made again since with another score."""
    path = run.root / row.path
    if not path.is_file():
        return Score(row.path, None, f"{FileState.MISSING}; the table says {row.metric} {row.score}")
    trace, then = read_trace(path, run), float(row.score)
    now = trace.record.get("groups", {}).get(row.row, trace.record).get(row.metric)
    changed = f"made again since: the table was made when {row.metric} was {then:.6f}" if now != then else ""
    return Score(row.path, trace, changed)
