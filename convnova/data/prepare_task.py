"""A benchmark task as one file of arrays, whatever the form of its files: written once, read by `task_dataset`.

For each split the file holds `<split>.tokens`, all sequences end to end; `<split>.offsets`, where each begins
and, last, where the last ends; and `<split>.labels`: class ids (n,), 0 and 1 (n, labels), a class id a base, or
numbers (n, targets or bins).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convnova.config.schema import KINDS, Task
from convnova.data.array_file import ArrayFileWriter, read_metadata
from convnova.data.genome import GENOME_FILE, SPLITS, read_genome
from convnova.data.readers import SequenceRows, TaskFiles, reader_of
from convnova.data.readers.rows import refuse_rows
from convnova.data.task_dataset import check_metric
from convnova.errors import ConvNovaError
from convnova.files import scratch_folder, sha256_of_raw
from convnova.log import log, progress


@dataclass
class _Tally:
    """What is known of a split when all its rows are read.

    Attributes:
        others: letters that were read as N.
        lengths: bases of each row, int64 (n,), of each piece.
        names: file, number of the first row and the classes' names, text (n,), of each piece.
        label_count: labels or numbers a row; for a class id a base, one more than the largest.
        numbers: least and largest of each target, (2, targets), of each piece; all bins are one target.
    """

    others: int = 0
    lengths: list[np.ndarray] = field(default_factory=list)
    names: list[tuple[str, int, np.ndarray]] = field(default_factory=list)
    label_count: int = 0
    numbers: list[np.ndarray] = field(default_factory=list)


def tokenize_task(
    task: Task,
    read_format: str,
    files: Mapping[str, Path],
    out: Path,
    genome: Path | None = None,
    accept_counts: bool = False,
) -> None:
    """Read a task's files and write its tokens and labels to `out`, or nothing if anything is wrong.

    Args:
        task: what the run config says of it.
        read_format: one of `config.schema.Format`.
        files: role to path, roles as in `config.schema.FILE_ROLES`.
        out: the file to write.
        genome: folder written by `tokenize_genome`, for formats that give intervals.
        accept_counts: log numbers of rows other than the published ones instead of refusing them.

    Raises:
        ConvNovaError: a missing or damaged file, no train or no test rows, a sequence that is empty or
            no DNA, a label that is empty or outside the classes, sizes that do not fit, other counts than
            published, classes or numbers that the task's metric is not defined for.
    """
    if task.kind not in (kinds := KINDS.get(read_format, ("classes",))):
        held = " or ".join(map(repr, kinds))
        raise ConvNovaError(f"task: expected kind {held}, which format {read_format!r} holds, found {task.kind!r}")
    for role, path in files.items():
        if not Path(path).exists():
            raise ConvNovaError(f"{path}: expected the file of {role!r}, found nothing; fetch it, or correct its name")
    inputs = {role: {"name": Path(path).name, "sha256": sha256_of_raw(path)} for role, path in files.items()}
    with scratch_folder(out) as scratch, ArrayFileWriter(out) as file:
        raw = TaskFiles(task, files, scratch, genome, read_genome(genome) if genome else None)
        tallies: dict[str, _Tally] = {}
        read: Counter[str] = Counter()
        with progress(f"reading {', '.join(Path(path).name for path in files.values())}", unit="rows") as work:
            for rows in reader_of(read_format)(raw):
                _append(file, tallies.setdefault(rows.split, _Tally()), rows, task)
                path, colon, member = rows.file.partition(":")
                read[f"{Path(path).name}{colon}{member}"] += len(rows.lengths)
                work.update(len(rows.lengths))
        _check_counts(task, tallies, files, accept_counts)
        classes = _classes(task, tallies)
        counts = _append_offsets_and_ids(file, tallies, classes or [])
        if task.kind == "classes":
            if len(classes) < 2:
                raise ConvNovaError(f"{files.get('train', out)}: expected rows of two classes or more, found {classes}")
            check_metric(task.metric, counts["test"], files.get("test", out))
        elif task.kind == "regression":
            _describe_numbers(tallies, classes or [], files.get("test", out))
        if genome:
            inputs["genome"] = read_metadata(genome / GENOME_FILE)["inputs"]["fasta"]
        splits = {split: _describe(split, tallies[split], task.max_length) for split in SPLITS if split in tallies}
        file.metadata |= {"kind": task.kind, "classes": classes, "inputs": inputs, "splits": splits}
        file.metadata |= {"read": read, "skipped": raw.skipped}
        if task.kind == "variants":
            file.metadata["chromosomes"] = list(raw.genome or ())
        for what, count in raw.skipped.items():
            log(f"{count:,} {what} passed over")


def _append(file: ArrayFileWriter, tally: _Tally, rows: SequenceRows, task: Task) -> None:
    """Append a piece's tokens, and its labels where these need no list of classes."""
    file.append(f"{rows.split}.tokens", rows.tokens)
    for name, values in rows.columns.items():
        file.append(f"{rows.split}.{name}", values)
    tally.lengths.append(rows.lengths)
    tally.others += rows.others
    if task.kind in ("classes", "variants"):
        tally.names.append((rows.file, rows.first, rows.labels))
        return
    if task.kind == "regression":
        _add_numbers(tally, rows, task)
    file.append(f"{rows.split}.labels", rows.labels)
    if task.kind == "regression":
        return
    if task.kind == "multilabel":
        tally.label_count = rows.labels.shape[1]
        needed = max([end for _, end in task.groups.values()], default=len(task.classes or ()))
        if tally.label_count < needed or task.classes and tally.label_count != len(task.classes):
            raise ConvNovaError(f"{rows.file}: expected {needed} labels a row, found {tally.label_count}")
        return
    tally.label_count = max(tally.label_count, int(rows.labels.max()) + 1)
    if task.classes and tally.label_count > len(task.classes):
        label = rows.labels[rows.labels >= len(task.classes)][0]
        raise _unknown_class(rows.file, rows.first, str(label), map(str, range(len(task.classes))))


def _add_numbers(tally: _Tally, rows: SequenceRows, task: Task) -> None:
    """Note what is known of the numbers of a piece."""
    targets = rows.labels.reshape(-1, 1) if task.bin_size else rows.labels
    count = tally.label_count or (targets.shape[1] if not task.classes else len(task.classes))
    if targets.shape[1] != count:
        found = f"{targets.shape[1]} from row {rows.first} on"
        raise ConvNovaError(f"{rows.file}: expected {count} numbers a row, found {found}")
    if task.loss == "poisson":
        refuse_rows((targets < 0).any(1), rows.file, rows.first, "numbers of 0 or more, for the loss is poisson")
    tally.label_count = count
    tally.numbers.append(np.stack([targets.min(0), targets.max(0)]))


def _describe_numbers(tallies: dict[str, _Tally], names: list[str], test: Path) -> None:
    """Log the numbers of each target, and those that are all the same.

    Raises:
        ConvNovaError: no target has test rows that differ: there is no correlation with any.
    """
    for split, tally in tallies.items():
        pieces = np.stack(tally.numbers)
        least, largest = pieces[:, 0].min(0), pieces[:, 1].max(0)
        ranges = list(zip(names, least.tolist(), largest.tolist(), strict=True))
        log(f"{split}: " + ", ".join(f"{name} from {low:.6g} to {high:.6g}" for name, low, high in ranges))
        if constant := [name for name, low, high in ranges if low == high]:
            effect = "no correlation is defined, and it is left out of the mean" if split == "test" else "see why"
            log(f"warning: {split}: {', '.join(constant)} is the same in all rows; {effect}")
        if split == "test" and len(constant) == len(names):
            raise ConvNovaError(f"{test}: expected test rows with different numbers, found all {least[0]:.6g}")


def _check_counts(task: Task, tallies: dict[str, _Tally], files: Mapping[str, Path], accept: bool) -> None:
    """Train and test must be there, and each split as large as published."""
    names = ", ".join(str(path) for path in files.values())
    counts = {split: sum(map(len, tally.lengths)) for split, tally in tallies.items()}
    trained = () if task.kind == "variants" else ("train",)
    for split in (*trained, "test", *(role for role in files if role == "valid")):
        if split not in counts:
            raise ConvNovaError(f"{names}: expected rows of the split {split!r}, found {counts or 'none at all'}")
    if task.kind in ("multilabel", "regression") and len({tally.label_count for tally in tallies.values()}) > 1:
        labels = {split: tally.label_count for split, tally in tallies.items()}
        raise ConvNovaError(f"{names}: expected as many labels a row in every split, found {labels}")
    for split, expected in task.counts.items():
        if counts.get(split, 0) != expected:
            message = f"{names}: expected {expected:,} {split} rows as published, found {counts.get(split, 0):,}"
            if not accept:
                raise ConvNovaError(f"{message}; is it another revision? Take it all the same with --accept-counts")
            log(f"{message}; accepted")


def _classes(task: Task, tallies: dict[str, _Tally]) -> list[str] | None:
    """The task's own; or the classes in train in the order of their ids, numbers by value; or the names of targets."""
    if task.classes or task.kind == "multilabel":
        return task.classes
    if task.kind == "per_base":
        return [str(number) for number in range(max(tally.label_count for tally in tallies.values()))]
    if task.kind == "regression":
        count, names = tallies["train"].label_count, ["signal"] if task.bin_size else [*task.columns[1:]]
        return names if len(names) == count else [f"target {number}" for number in range(1, count + 1)]
    first = "test" if task.kind == "variants" else "train"
    names = {str(name) for _, _, names in tallies[first].names for name in np.unique(names)}
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def _append_offsets_and_ids(
    file: ArrayFileWriter, tallies: dict[str, _Tally], classes: list[str]
) -> dict[str, list[int]]:
    """Append what is known only when all rows are: offsets, and ids of classes; count the rows of each class by split.

    The counts are logged, and a class without rows.
    """
    ids, counts = {name: number for number, name in enumerate(classes)}, {}
    for split, tally in tallies.items():
        file.append(f"{split}.offsets", np.cumsum(np.concatenate([[0], *tally.lengths]), dtype=np.int64))
        if not tally.names:
            continue
        of_class = dict.fromkeys(classes, 0)
        for source, first, names in tally.names:
            for row, name in enumerate(names.tolist(), start=first):
                if name not in ids:
                    raise _unknown_class(source, row, name, ids)
                of_class[name] += 1
            file.append(f"{split}.labels", np.array([ids[name] for name in names.tolist()], np.int64))
        counts[split] = list(of_class.values())
        log(f"{split}: rows of each class: {', '.join(f'{name} {count:,}' for name, count in of_class.items())}")
        if missing := [name for name, count in of_class.items() if not count]:
            log(f"warning: {split}: no rows of the class {', '.join(missing)}; see whether rows or labels are wrong")
    return counts


def _unknown_class(file: str, row: int, label: str, classes: Iterable[str]) -> ConvNovaError:
    return ConvNovaError(
        f"{file} row {row}: expected one of the classes {', '.join(classes)}, found the label {label!r}"
    )


def _describe(split: str, tally: _Tally, max_length: int | None) -> dict[str, int]:
    """Log, and return, how many rows there are and what will be read otherwise than it stands in the file."""
    lengths = np.concatenate(tally.lengths)
    longer = int(np.count_nonzero(lengths > (max_length or lengths.max())))
    log(f"{split}: {len(lengths):,} rows of {lengths.min():,} to {lengths.max():,} bases")
    if tally.others:
        log(f"{split}: {tally.others:,} letters other than A, C, G, T and N, read as N")
    if longer:
        log(f"{split}: {longer:,} rows longer than max_length, read only their first {max_length:,} bases")
    return {"rows": len(lengths), "longest": int(lengths.max()), "longer": longer, "others": tally.others}
