"""A real browser without a window, for tests of pages."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TRIES, SECONDS = 3, 20
"""Chromium now and then never finishes; a try takes a second or two."""


def needs_chromium(test: Callable) -> Callable:
    """Mark a test as one of `make test-all`, and skip it where the program is not installed."""
    return pytest.mark.external(pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")(test))


def opened(page: Path, folder: Path) -> tuple[str, str]:
    """The page as the browser's scripts have left it, and what the console said; with no network.

    Args:
        folder: for the browser's profile and output.
    """
    for attempt in range(TRIES):
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom",
            "--enable-logging=stderr", "--virtual-time-budget=5000", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / f'profile{attempt}'}", page.as_uri(),
        ]  # fmt: skip
        out, errors = folder / "dom.html", folder / "errors.txt"
        with out.open("w") as to_out, errors.open("w") as to_errors:
            process = subprocess.Popen(command, stdout=to_out, stderr=to_errors, start_new_session=True)
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                continue
        console = [line for line in errors.read_text().splitlines() if "CONSOLE" in line]
        return out.read_text(), "\n".join(console)
    raise AssertionError(f"chromium did not finish in {TRIES} tries of {SECONDS} s: {errors.read_text()[-500:]}")
