"""Your own BED with a class a line, cut out of a genome."""

from collections.abc import Iterator
from pathlib import Path

from convnova.config.schema import Task
from convnova.data import intervals
from convnova.data.readers.rows import Genome, SequenceRows, cut_in_pieces, need, split_files
from convnova.errors import ConvNovaError

COLUMNS = ["chrom", "start", "end", "label", "score", "strand"]


def read(task: Task, files: dict[str, Path], genome: Genome | None, scratch: Path) -> Iterator[SequenceRows]:
    """Read one BED a split: chromosome, start, end, label, and in column 6 the strand if there is one.

    With a header, the columns `label` and `strand` may stand anywhere after the first three.

    Raises:
        ConvNovaError: a line without a label, no genome; as `bed.checked` and `rows.cut`.
    """
    for split, path in split_files(files):
        yield from cut_in_pieces(split, str(path), need(genome, path), _intervals(path))


def _intervals(path: Path) -> Iterator[tuple[list[str], str, str, str]]:
    columns = intervals.header(path) or COLUMNS
    for line, fields in intervals.lines(path):
        where = f"{path} line {line}"
        named = dict(zip(columns, fields, strict=False))
        if not named.get("label"):
            found = f"{' '.join(fields)[:60]!r} under {', '.join(columns)}"
            raise ConvNovaError(f"{where}: expected a column with the label, found {found}")
        yield fields[:3], named.get("strand", ""), named["label"], where
