"""A user's BED with a class or a number a line, cut out of a genome."""

from collections.abc import Iterator
from pathlib import Path

from convnova.data.intervals import bed_header, bed_rows
from convnova.data.readers.rows import Label, SequenceRows, TaskFiles, rows_of_intervals
from convnova.errors import ConvNovaError

COLUMNS = ["chrom", "start", "end", "label", "score", "strand"]


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one BED a split: chromosome, start, end, label, and in column 6 the strand if there is one.

    With a header, the columns `label` and `strand` may stand anywhere after the first three.

    Raises:
        ConvNovaError: a line without a label or of another number of columns, no genome; as `rows_of_intervals`.
    """
    for split, path in raw.splits():
        intervals = _labelled_intervals(path, raw)
        yield from rows_of_intervals(split, str(path), raw.needed_genome(path), intervals)


def _labelled_intervals(path: Path, raw: TaskFiles) -> Iterator[tuple[list[str], str, Label, str]]:
    columns, width = bed_header(path) or COLUMNS, 0
    for line, fields in bed_rows(path, raw.skipped):
        values, where, width = dict(zip(columns, fields, strict=False)), f"{path} line {line}", width or len(fields)
        if len(fields) != width:
            raise ConvNovaError(f"{where}: expected as many columns in every line, found {len(fields)} after {width}")
        if not values.get("label"):
            found = f"{' '.join(fields)[:60]!r} under {', '.join(columns)}"
            raise ConvNovaError(f"{where}: expected a column with the label, found {found}")
        yield fields[:3], values.get("strand", ""), raw.label(values["label"]), where
