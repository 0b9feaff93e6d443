"""Signals that ask a job to end: SIGTERM and SIGUSR1 of schedulers, SIGINT of Ctrl-C. The job saves and ends soon."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stopped(Exception):
    """A signal came."""


class SignalState:
    """Which signals have come: `received` is a flag to look at where it is a good moment to end."""

    def __init__(self) -> None:
        self.received = False
        self._may_interrupt = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends at once, by `Stopped`; also one that had come before the block."""
        self._may_interrupt = True
        try:
            if self.received:
                raise Stopped
            yield
        finally:
            self._may_interrupt = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Note the signal; Python calls this in the main thread."""
        self.received = True
        if self._may_interrupt:
            self._may_interrupt = False  # a second signal does not interrupt the clean-up after the first
            raise Stopped


@contextmanager
def catch_signals() -> Iterator[SignalState]:
    """A block in which the signals do not end the process; yields their state."""
    state = SignalState()
    previous = [signal.signal(number, state.handle) for number in NUMBERS]
    try:
        yield state
    finally:
        for number, handler in zip(NUMBERS, previous, strict=True):
            signal.signal(number, handler)
