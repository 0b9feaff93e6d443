"""One reader a file format, each a module of this folder that yields the same rows.

A reader is a function `read(raw)`: it takes `TaskFiles`, yields `SequenceRows`, raises `ConvNovaError` for what it
cannot read, and never holds a whole large file in memory.
"""

from collections.abc import Callable, Iterator
from importlib import import_module

from convnova.data.readers.rows import SequenceRows, TaskFiles


def reader_of(read_format: str) -> Callable[[TaskFiles], Iterator[SequenceRows]]:
    """The reader of a `config.schema.Format`."""
    return import_module(f"{__name__}.{read_format}").read
