"""A config for a user's own files: what is in them, and what follows for the run."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from convnova.bundle import bundled
from convnova.config.load import load
from convnova.config.schema import FORMATS_WITH_COLUMNS, Format, Kind, Task
from convnova.data.readers import csv, parquet, reader_of
from convnova.data.readers.apart import apart
from convnova.data.readers.rows import TaskFiles
from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.log import log

MODELS = ["convnova_mean_max", "cnn", "kmers"]
COLUMNS = {
    "sequence_column": ("sequence", "seq", "dna", "dna_sequence", "nucleotides"),
    "label_column": ("label", "class", "target", "category", "y"),
}
"""Keys of a task to names of columns, in lower case, that are taken for sequences and for labels."""
LARGEST_TRIMMED_SHARE = 0.01
"""Longest sequences, as a share of all, that may be cut so that the others need less padding."""


@dataclass
class Split:
    """What one file holds.

    Attributes:
        lengths: bases of each sequence.
        classes: name of a class, or a number, to its rows.
        others: letters that are read as N.
        sequences: hashes of the sequences' tokens, to find repeats.
    """

    lengths: list[int] = field(default_factory=list)
    classes: Counter[str | float] = field(default_factory=Counter)
    others: int = 0
    sequences: list[int] = field(default_factory=list)


def write_new_config(
    train: Path,
    test: Path,
    valid: Path | None,
    name: str,
    out: Path,
    sequence_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Look at labelled sequences and write a config that trains and compares three models on them.

    Where all labels of the training rows are numbers, and some are not whole, the task is a regression.

    Args:
        train, test: a table with a header (columns separated by tabs, commas, semicolons or bars), parquet, or FASTA
            with headers `>name|label`; tables and FASTA may be gzipped.
        valid: the rows that choose the epoch; default a tenth of train.
        name: name of the run, which is its folder under `results`.
        out: the config, YAML.
        sequence_column, label_column: which columns those are; default by their names, see `COLUMNS`.

    Raises:
        ConvNovaError: `out` exists, a file is of no known format, a column is not there, or a row cannot be read; names
            file and row.
    """
    if out.exists():
        raise ConvNovaError(f"{out}: expected no file of this name, found one; name another with --out, or delete it")
    files = {"train": train, "valid": valid, "test": test}
    paths = {split: path for split, path in files.items() if path is not None}
    formats = {split: format_of(path) for split, path in paths.items()}
    if len(set(formats.values())) > 1:
        found = ", ".join(f"{paths[split]} is {form}" for split, form in formats.items())
        raise ConvNovaError(f"expected files of one format, found several: {found}")
    columns = columns_of(train, formats["train"], {"sequence_column": sequence_column, "label_column": label_column})
    splits = read_splits(formats["train"], paths, columns)
    # All bases are read, unless few sequences are more than twice as long as the others.
    lengths, is_regression = splits["train"].lengths, are_real_numbers(splits["train"].classes)
    nearly_longest = int(np.quantile(lengths, 1 - LARGEST_TRIMMED_SHARE, method="higher"))
    chosen = nearly_longest if max(lengths) > 2 * nearly_longest else max(lengths)
    if is_regression:
        splits = read_splits(formats["train"], paths, columns, "regression")
    task = {split: str(path) for split, path in paths.items()} | columns
    task |= {"kind": "regression", "metric": "pearson"} if is_regression else {"metric": "mcc"}
    task["max_length"] = chosen
    suites = {name: {"format": formats["train"], "tasks": {name: task}}}
    content = {"run": name, "models": MODELS, "protocols": ["heldout"], "seeds": [1, 2, 3], "suites": suites}
    load(content)
    schema = os.path.relpath(bundled("config/schema.json"), out.parent)
    comments = [f"# {line}" for line in what_was_found(splits, chosen, columns, is_regression)]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(out, "\n".join([f"# yaml-language-server: $schema={schema}", *comments, text]))
    plan, run = f"convnova plan --run {out}", f"convnova run --cores 2 --configfile {out}"
    for line in [*comments, f"{out}: written; how long it takes: {plan}; next: {run}"]:
        log(line.removeprefix("# "))


def format_of(path: Path) -> Format:
    """Format of a file, by how it begins.

    Raises:
        ConvNovaError: it begins like neither a FASTA nor a table with a header.
    """
    with open_bytes(path) as stream:
        _, first = next(text_lines(stream, str(path)), (1, ""))
    if first.startswith(">"):
        return "fasta"
    if first.startswith("PAR1"):
        return "parquet"
    if len(csv.read_header(iter([(1, first)]), str(path))[1]) > 1:
        return "csv"
    raise ConvNovaError(
        f"{path}: expected a table with columns of sequences and labels, or a FASTA with headers '>name|label', "
        f"found a first line {first.strip()[:60]!r}"
    )


def columns_of(path: Path, name: Format, asked: dict[str, str | None]) -> dict[str, str]:
    """The columns of a file that have sequences and labels, where they are others than a task's by default.

    Args:
        path: the file.
        name: its format.
        asked: keys of `COLUMNS` to the column that a user named.

    Raises:
        ConvNovaError: none is named, and none has a known name; names those that are there.
    """
    if name not in FORMATS_WITH_COLUMNS:
        return {}
    if name == "parquet":
        names = list(apart(parquet.column_names, path))
    else:
        with open_bytes(path) as stream:
            _, names = csv.read_header(text_lines(stream, str(path)), str(path))
    chosen = {}
    for key, known in COLUMNS.items():
        column = asked[key] or next((name for word in known for name in names if name.lower() == word), None)
        if column is None:
            option = f"name one with --{key.replace('_', '-')}"
            raise ConvNovaError(f"{path}: expected a column {known[0]!r}, found {', '.join(names)[:200]}; {option}")
        if column != known[0]:
            chosen[key] = column
    return chosen


def read_splits(
    name: Format, paths: dict[str, Path], columns: dict[str, str], kind: Kind = "classes"
) -> dict[str, Split]:
    """Read every row of the files.

    Args:
        name: their format, one that needs no genome.
        paths: split to file.
        columns: as of `columns_of`.
        kind: what the labels are read as.

    Raises:
        ConvNovaError: a row cannot be read; names file and row.
    """
    splits = {split: Split() for split in paths}
    task = Task(kind=kind, **{split: str(path) for split, path in paths.items()}, **columns)
    for rows in reader_of(name)(TaskFiles(task, paths, Path("."))):
        split = splits[rows.split]
        split.lengths += rows.lengths.tolist()
        split.classes.update(rows.labels.ravel().tolist())
        split.others += rows.others
        ends = np.cumsum(rows.lengths)
        split.sequences += [hash(part.tobytes()) for part in np.split(rows.tokens, ends[:-1])]
    return splits


def are_real_numbers(labels: Iterable[str]) -> bool:
    """Whether labels are numbers of which some are not whole; `0.0` and `1.0` are classes as a table writes them."""
    try:
        numbers = np.array([float(label) for label in labels])
    except ValueError:
        return False
    return bool((np.isfinite(numbers) & (numbers % 1 != 0)).any())


def what_was_found(
    splits: dict[str, Split], chosen: int, columns: dict[str, str], is_regression: bool = False
) -> list[str]:
    """Sentences on the files, for the head of the config and for the terminal.

    Args:
        splits: what they hold.
        chosen: bases that are read of a sequence.
        columns: as of `columns_of`.
        is_regression: whether the labels are numbers to be predicted.
    """
    lines = [f"{key.replace('_', ' ')}: {column}" for key, column in columns.items()]
    if is_regression:
        lines.append("the labels are real numbers, so the task is a regression")
    for name, split in splits.items():
        classes = ", ".join(f"{label}: {rows}" for label, rows in sorted(split.classes.items())[:10])
        if is_regression:
            classes = f"numbers from {min(split.classes):g} to {max(split.classes):g}"
        shortest, longest = min(split.lengths), max(split.lengths)
        lines.append(f"{name}: {len(split.lengths):,} sequences of {shortest:,} to {longest:,} bases; {classes}")
        if split.others:
            lines.append(f"{name}: {split.others:,} letters other than A, C, G, T and N are read as N")
        if cut := sum(length > chosen for length in split.lengths):
            lines.append(f"{name}: {cut:,} sequences are read up to {chosen:,} bases")
    seen = set(splits["train"].sequences)
    if repeats := sum(sequence in seen for sequence in splits["test"].sequences):
        lines.append(f"{repeats:,} of {len(splits['test'].sequences):,} test sequences are also in train")
    if "valid" not in splits:
        lines.append("no validation file: a tenth of train, drawn by the seed, chooses the epoch")
    return lines
