"""A user's BED with a class a line, cut out of a genome."""

from collections.abc import Iterator
from pathlib import Path

from convnova.data.intervals import bed_header, bed_rows
from convnova.data.readers.rows import SequenceRows, TaskFiles, rows_of_intervals
from convnova.errors import ConvNovaError

COLUMNS = ["chrom", "start", "end", "label", "score", "strand"]


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one BED a split: chromosome, start, end, label, and in column 6 the strand if there is one.

    With a header, the columns `label` and `strand` may stand anywhere after the first three.

    Raises:
        ConvNovaError: a line without a label, no genome; as `rows_of_intervals`.
    """
    for split, path in raw.splits():
        yield from rows_of_intervals(split, str(path), raw.needed_genome(path), _labelled_intervals(path))


def _labelled_intervals(path: Path) -> Iterator[tuple[list[str], str, str, str]]:
    columns = bed_header(path) or COLUMNS
    for line, fields in bed_rows(path):
        values, where = dict(zip(columns, fields, strict=False)), f"{path} line {line}"
        if not values.get("label"):
            found = f"{' '.join(fields)[:60]!r} under {', '.join(columns)}"
            raise ConvNovaError(f"{where}: expected a column with the label, found {found}")
        yield fields[:3], values.get("strand", ""), values["label"], where
