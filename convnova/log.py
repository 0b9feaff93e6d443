"""Progress for people: a bar with rate and time left on a terminal, plain lines in a log file."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from convnova.errors import without_secrets

SECONDS_BETWEEN_LINES = 10.0


class _Handler(logging.StreamHandler):
    """Lines in a file, or on standard error, wherever that leads when a line is logged."""

    def __init__(self, file: TextIO | None = None):
        super().__init__(file)
        self.file = file
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream, record.msg = self.file or sys.stderr, without_secrets(record.msg)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk ends the step instead of its log."""
        error = sys.exception()
        if self.file and isinstance(error, OSError):
            raise OSError(error.errno, f"{error.strerror}, for the log", self.file.name) from None
        raise


_logger = logging.getLogger("convnova")
_logger.setLevel(logging.INFO)
_logger.propagate = False
_logger.handlers = [_Handler()]


@contextmanager
def logging_to(path: str | Path | None) -> Iterator[None]:
    """Write every line of `log` and `progress` to the file `path` instead of to standard error."""
    if path is None:
        yield
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        before, _logger.handlers = _logger.handlers, [_Handler(file)]
        try:
            yield
        finally:
            _logger.handlers = before
            with suppress(OSError):  # on a full disk, which the line that did not fit has reported
                file.close()


log = _logger.info
"""Print one line with the time of day, to the log file if there is one, else to standard error."""

debug = _logger.debug
"""The same for what only `--verbose` shows: files that are read and written, what was chosen, how long it took."""


class progress(tqdm):  # in lower case, for in use it is a function whose result closes itself, as tqdm's own
    """Show how far work is: a bar on a terminal, elsewhere a line every ten seconds; short work has no line.

    Args:
        label: what is being done.
        total: units of all the work, if that is known.
        unit: what is counted.
        start: units that were done before.
    """

    monitor_interval = 0  # no thread beside the work

    def __init__(self, label: str, total: float | None = None, unit: str = "", start: float = 0):
        self.bar = sys.stderr.isatty() and not any(getattr(handler, "file", None) for handler in _logger.handlers)
        of_total, left = (" of {total_fmt} ({percentage:.0f}%)", ", {remaining} left") if total else ("", "")
        lines = {
            "file": io.StringIO(),
            "unit": f" {unit}",
            "bar_format": f"{{desc}}: {{n_fmt}}{of_total}{{unit}}, {{rate_noinv_fmt}}{left}{{postfix}}",
            **dict.fromkeys(("mininterval", "delay"), SECONDS_BETWEEN_LINES),
            **{"miniters": 1, "smoothing": 0},
        }
        options = {"unit": unit, "dynamic_ncols": True} if self.bar else lines
        quiet = not _logger.isEnabledFor(logging.INFO)
        super().__init__(desc=label, total=total, initial=start, unit_scale=True, disable=quiet, **options)

    def update(self, amount: float = 1, remark: str = "") -> None:
        """Say that `amount` more units are done; the remark is shown beside the bar or at the end of the line."""
        self.set_postfix_str(remark, refresh=False)
        super().update(amount)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the state of the work; called by tqdm, when it is time."""
        if self.bar:
            super().display(msg, pos)
        else:
            log(str(self))
