"""Fixtures that many tests share."""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in the same order on every machine, and tests that do not fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """Real data and golden tensors beside the checkout; tests of them are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared with real data")
    return SHARED


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with a finished run; not to be written to."""
    import small_run

    folder = tmp_path_factory.mktemp("finished")
    with contextlib.chdir(folder):
        small_run.make()
    return folder


@pytest.fixture
def small(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run, as the working directory."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"
