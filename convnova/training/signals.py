"""SIGTERM and SIGUSR1, by which schedulers ask a job to end, and SIGINT, Ctrl-C: what it has done is kept, and it ends
soon."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stopped(Exception):
    """A signal came."""


class Signals:
    """What has come. `received` is a flag to look at where it is a good moment to end."""

    def __init__(self) -> None:
        self.received = False
        self._leaving = False

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """A block that can be left anywhere: a signal that comes in it, or had come before, raises `Stopped` there."""
        self._leaving = True
        try:
            if self.received:
                raise Stopped
            yield
        finally:
            self._leaving = False

    def receive(self, _number: int, _frame: FrameType | None) -> None:
        """What Python calls, in the main thread."""
        self.received = True
        if self._leaving:
            self._leaving = False
            raise Stopped


@contextmanager
def signals() -> Iterator[Signals]:
    """A block in which the signals do not end the process."""
    asked = Signals()
    before = [signal.signal(number, asked.receive) for number in NUMBERS]
    try:
        yield asked
    finally:
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)
