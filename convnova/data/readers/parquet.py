"""Parquet files with a column of sequences and one of labels, as users have them, and as one form of a benchmark."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from convnova.data.readers.apart import apart
from convnova.data.readers.rows import COLUMN_ADVICE, SequenceRows, TaskFiles, rows_of_sequences
from convnova.data.unpack import unpack_limit
from convnova.errors import ConvNovaError

ROWS_A_BATCH = 10_000


def read(raw: TaskFiles) -> Iterator[SequenceRows]:
    """Read one file a split.

    Raises:
        ConvNovaError: as `parquet_rows` and `rows_of_sequences`.
    """
    for split, path in raw.splits():
        rows = parquet_rows(path, raw.task.columns)
        yield from rows_of_sequences(split, str(path), ((sequence, raw.label(*labels)) for sequence, *labels in rows))


def parquet_rows(path: Path, columns: tuple[str, ...], task: str = "") -> Iterator[tuple[str, ...]]:
    """Some columns of each row as text, such as sequence and label; "" where a value is missing.

    Args:
        path: the file.
        columns: their names.
        task: a column that, where there is one, has the same value in all rows.

    Raises:
        ConvNovaError: a missing column, a damaged file, or rows of several tasks.
    """
    return chain.from_iterable(apart(_batches, path, columns, task))


def column_names(path: Path) -> Iterator[str]:
    """Yield the names of a file's columns; to be read `apart`.

    Raises:
        ConvNovaError: a damaged file.
    """
    from pyarrow import ArrowException, parquet

    try:
        yield from parquet.read_schema(path).names
    except (ArrowException, OSError) as error:
        raise ConvNovaError(f"{path}: expected a parquet file: {error}; fetch it again") from error


def _batches(path: Path, columns: tuple[str, ...], task: str) -> Iterator[list[tuple[str, ...]]]:
    """As `parquet_rows`, some rows at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as table:
            names, size, rows, tasks = table.schema_arrow.names, 0, 0, set()
            if missing := [name for name in columns if name not in names]:
                found = f"{', '.join(names)[:120]}; missing: {', '.join(missing)}{COLUMN_ADVICE}"
                raise ConvNovaError(f"{path}: expected the columns {' and '.join(columns)}, found {found}")
            wanted = [name for name in (*columns, task) if name in names]
            for batch in table.iter_batches(batch_size=ROWS_A_BATCH, columns=wanted):
                size, rows = size + batch.nbytes, rows + len(batch)
                if size > unpack_limit(path):
                    raise ConvNovaError(f"{path}: expected a file of data, found one that unpacks to {size:,} bytes")
                texts = {name: batch[name].cast(pyarrow.string()).to_pylist() for name in wanted}
                tasks.update(map(str, texts.get(task, ())))
                if len(tasks) > 1:
                    raise ConvNovaError(f"{path}: expected rows of one task, found {', '.join(sorted(tasks))}")
                rows_of_texts = zip(*(texts[name] for name in columns), strict=True)
                yield [tuple(text or "" for text in row) for row in rows_of_texts]
            if rows != (expected := table.metadata.num_rows):
                raise ConvNovaError(f"{path}: expected {expected:,} rows, found {rows:,}; fetch it again")
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise ConvNovaError(f"{path}: expected a parquet file: {error}; fetch it again") from error
