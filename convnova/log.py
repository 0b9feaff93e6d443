"""Progress for people: a bar with rate and time left on a terminal, plain lines in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0

_log_file: TextIO | None = None


@contextmanager
def logging_to(path: str | Path | None) -> Iterator[None]:
    """Write every line of `log` and `track` to the file `path` instead of to standard error."""
    global _log_file
    if path is None:
        yield
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", buffering=1) as _log_file:
        try:
            yield
        finally:
            _log_file = None


def log(message: str) -> None:
    """Print one line with the time of day, to the log file if there is one, else to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=_log_file or sys.stderr, flush=True)


class Progress:
    """Work under way: `update(n, remark)` after each piece; the remark is shown beside the bar."""

    def __init__(self, label: str, total: float | None, unit: str, start: float = 0):
        self.label, self.total, self.unit = label, total, unit
        self.started = self.last = time.monotonic()
        self.start = self.done = start
        self.remark = ""
        on_terminal = _log_file is None and sys.stderr.isatty()
        self.bar = (
            tqdm(desc=label, total=total, initial=start, unit=unit, unit_scale=True, dynamic_ncols=True)
            if on_terminal
            else None
        )

    def update(self, amount: float = 1, remark: str = "") -> None:
        """Say that `amount` more units are done."""
        self.done += amount
        self.remark = remark
        if self.bar is not None:
            self.bar.set_postfix_str(remark, refresh=False)
            self.bar.update(amount)
        elif time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            log(self.line())

    def line(self) -> str:
        """Where the work stands: done, rate, time left."""
        rate = (self.done - self.start) / max(time.monotonic() - self.started, 1e-9)
        of = left = ""
        if self.total:
            of = f" of {tqdm.format_sizeof(self.total)} ({self.done / self.total:.0%})"
            left = f", {tqdm.format_interval((self.total - self.done) / rate)} left" if rate else ""
        remark = f", {self.remark}" if self.remark else ""
        done, speed = tqdm.format_sizeof(self.done), tqdm.format_sizeof(rate)
        return f"{self.label}: {done}{of} {self.unit}, {speed} {self.unit}/s{left}{remark}"

    def close(self) -> None:
        """End the bar, or log the last line if the work took long enough to have logged one."""
        if self.bar is not None:
            self.bar.close()
        elif self.last != self.started:
            log(self.line())


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "", start: float = 0) -> Iterator[Progress]:
    """A `Progress` that is closed at the end of the block."""
    work = Progress(label, total, unit, start)
    try:
        yield work
    finally:
        work.close()


def track(items: Iterable, total: int | None = None, unit: str = "it", label: str = "") -> Iterator:
    """Yield the items and show how far the work is."""
    with progress(label, total, unit) as work:
        for item in items:
            yield item
            work.update(1)
