"""A bar on a terminal, plain lines in a log file."""

import io

import pytest

import convnova.log as log_module
from convnova.log import log, logging_to, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as the test says."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def work(clock: list[float], seconds: float) -> None:
    with progress("reading", 40, "rows") as bar:
        for row in range(40):
            clock[0] += seconds
            bar.update(1, f"row {row}")


def test_on_a_terminal_a_bar_has_rate_and_time_left(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    work(clock, 2.0)
    bars = terminal.getvalue().split("\r")
    assert any("reading:  50%" in bar and "20.0/40.0 [00:40<00:40" in bar and "2.00s/rows" in bar for bar in bars)


def test_in_a_log_file_every_ten_seconds_a_plain_line(monkeypatch, clock, tmp_path):
    monkeypatch.setattr("sys.stderr", Terminal())
    path = tmp_path / "deep" / "er" / "work.log"
    with logging_to(path):
        log("begun")
        work(clock, 2.0)
    text = path.read_text()
    lines = [line.split(" ", 1)[1] for line in text.splitlines()]
    assert "\r" not in text and len(lines) == 1 + 8 + 1
    assert lines[0] == "begun" and lines[4] == "reading: 20.0 of 40.0 (50%) rows, 0.50 rows/s, 00:40 left, row 19"


def test_short_work_leaves_no_line(clock, capsys):
    work(clock, 0.1)
    assert capsys.readouterr().err == "" and log_module.SECONDS_BETWEEN_LINES > 40 * 0.1
