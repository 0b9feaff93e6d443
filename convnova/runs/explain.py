"""`convnova explain`: the trace of a result as text, and the results behind a cell of a table."""

from functools import partial
from pathlib import Path

import pandas as pd

from convnova.errors import ConvNovaError, nearest
from convnova.runs.outputs import TEST_ROW_TABLE, extra_table_titles
from convnova.runs.trace import FileState, Input, Run, Trace, read_trace, run_of

CELL = ("row", "model", "protocol", "seed")
"""Columns that name a cell of a table, and one fine-tuning behind it."""

SIMULATED = "Simulated genome: this number shows that the pipeline works and cannot be compared with the paper."


def explain(words: list[str]) -> str:
    """Explain results.

    Args:
        words: paths of `metrics.json`, a file beside one, weights of a pretraining, or a table; after a table,
            words may name a row of it, a model, a protocol and a seed.

    Raises:
        ConvNovaError: no such file, a file that is no result, a cell that the table does not have.
    """
    questions: list[tuple[Path, list[str]]] = []
    for word in words:
        if questions and questions[-1][0].parent.name == "tables" and "/" not in word:
            questions[-1][1].append(word)
        else:
            questions.append((Path(word), []))
    return "\n\n".join(text for path, cell in questions for text in _explain(path, cell)) + "\n"


def _explain(path: Path, cell: list[str]) -> list[str]:
    """The text of one result, or one text for each fine-tuning behind a cell of a table."""
    if not path.exists():
        raise ConvNovaError(f"{path}: expected a result, found nothing; `convnova status` lists what is there")
    folder = path if path.is_dir() else path.parent
    for name in ("metrics.json", "weights.json"):
        if (folder / name).is_file():
            return [as_text(read_trace(folder / name))]
    if path.parent.name == "tables" and (folder / "scores.tsv").is_file() and path.stem != "audit":
        return _explain_table(path, cell)
    raise ConvNovaError(
        f"{path}: expected a metrics.json, a file beside one, the weights of a pretraining or a table of scores, "
        "found none of these; `convnova status` lists the results"
    )


def as_text(trace: Trace) -> str:
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


def _explain_table(path: Path, cell: list[str]) -> list[str]:
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
    results = _select(path, scores if of_suite.empty else of_suite, cell)
    if not cell:
        return [_listing(run, path, results)]
    lines = [f"{path}: {len(results)} fine-tuning{'s' if len(results) != 1 else ''} behind {' '.join(cell)}"]
    if not of_suite.empty and path.with_suffix(".tsv").is_file():
        for row in _select(path, read(path.with_suffix(".tsv")), cell[:3]).itertuples():
            text = f"  {row.model} {row.protocol}: mean {row.mean}, standard deviation {row.sd or 'not known'} "
            text += f"over seeds {row.seeds}; {row.verdict}"
            if row.published:
                text += f"; published {row.published} ({row.published_table}, {row.published_source})"
            lines.append(text)
    return ["\n".join(lines), *(_explain_score(run, row) for row in results.itertuples())]


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


def _listing(run: Run, path: Path, results: pd.DataFrame) -> str:
    """Every cell of a table with its scores, and how to ask for one."""
    cells, name = dict(list(results.groupby(list(CELL[:3]), sort=False))), run.relative_path(path)
    lines = [f"{name}: {len(cells)} cells from {len(results)} results, in scores.tsv"]
    for keys, of_cell in cells.items():
        scores = ", ".join(f"{float(row.score):.6f} (seed {row.seed})" for row in of_cell.itertuples())
        lines.append(f"  {' '.join(keys)}: {of_cell['metric'].iloc[0]} {scores}")
    lines.append(f"  again: {run.run_command(name)}")
    return "\n".join([*lines, f"  a cell: convnova explain {name} {' '.join(next(iter(cells)))}"])


def _explain_score(run: Run, row: pd.Series) -> str:
    """The fine-tuning of a line of `scores.tsv`; says if it was made again since with another score."""
    path = run.root / row.path
    if not path.is_file():
        return f"{row.path}\n  CHANGED   {FileState.MISSING}; the table says {row.metric} {row.score}"
    trace, then = read_trace(path, run), float(row.score)
    now = trace.record.get("groups", {}).get(row.row, trace.record).get(row.metric)
    made_again = f"\n  CHANGED   made again since: the table was made when {row.metric} was {then:.6f}"
    return as_text(trace) + (made_again if now != then else "")
