"""Reading in a process of its own, for files that are read by libraries in C.

A damaged HDF5, parquet or MATLAB file can crash its library, keep it busy for ever, or make it ask for all memory there
is. In a process of its own that ends in one line.
"""

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from convnova.errors import ConvNovaError

SECONDS = 300
"""Until the next piece must be there."""
MEMORY, TIMES = 8 << 30, 8
"""Bytes that reading may take: so many, and so many times the file's size."""


def apart(read: Callable[..., Iterator[Any]], path: Path, *arguments: Any) -> Iterator[Any]:
    """Yield what `read(path, *arguments)` yields, and raise what it raises.

    Args:
        read: runs in another process, so what it changes is not seen here.
        path: the file that it reads.
        arguments: are not copied, for the process begins as a copy of this one.

    Raises:
        ConvNovaError: the process has died, has given nothing in `SECONDS`, or needs too much memory.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, read, path, *arguments), daemon=True)
    process.start()
    sender.close()
    found = f"one that was not read in {SECONDS} seconds"
    try:
        while receiver.poll(SECONDS):
            item, error = receiver.recv()
            if error:
                raise error
            if item is None:
                process.join(SECONDS)
                return
            yield item
    except EOFError:
        found = "one that its library breaks down on"
    except MemoryError:
        found = "one that takes too much memory"
    finally:
        process.kill()
        process.join()
        receiver.close()
    raise ConvNovaError(f"{path}: expected a whole file, found {found}; fetch it again")


def _send(sender: Connection, read: Callable[..., Iterator[Any]], path: Path, *arguments: Any) -> None:
    taken, most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, resource.getrlimit(resource.RLIMIT_DATA)[1]
    memory = taken + MEMORY + TIMES * path.stat().st_size
    try:
        if most == resource.RLIM_INFINITY or memory < most:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, most))
        for item in read(path, *arguments):
            sender.send((item, None))
        sender.send((None, None))
    except Exception as error:  # raised again where it is received
        sender.send((None, error))
