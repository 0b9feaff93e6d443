"""Fixtures that many tests share."""

import contextlib
import resource
import shutil
from pathlib import Path

import pytest
import torch
from loopback import serving
from made_up_scores import GOLDEN

from convnova.data import transfer
from convnova.reporting.published import read_published
from convnova.reporting.scores import read_scores

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a Slurm of their own."""
    for item in items:
        if "slurm" in item.path.relative_to(Path(__file__).parent).parts:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in the same order on every machine, and tests that do not fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture
def full_disk():
    """A block in which no file of this process grows beyond 100,000 bytes, as on a full disk."""

    @contextlib.contextmanager
    def filled():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return filled


@pytest.fixture
def shared() -> Path:
    """Real data and golden tensors beside the checkout; tests of them are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared with real data")
    return SHARED


@pytest.fixture(scope="session")
def scores():
    """The made-up scores of the golden tables."""
    return read_scores(GOLDEN / "scores.tsv")


@pytest.fixture(scope="session")
def published():
    """The published numbers of the golden tables."""
    return read_published(GOLDEN / "published.csv")


@pytest.fixture(scope="session")
def paper_numbers():
    """All published numbers of the repository."""
    return read_published(Path(__file__).parents[1] / "config" / "published.csv")


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


@pytest.fixture
def server():
    """A server on the loopback interface, of whose answers a test decides."""
    with serving() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Downloads that give up soon, and never ask a proxy."""
    limits = {"TIMEOUT": (2.0, 0.3), "ANSWER_SECONDS": 2.0, "RETRIES": 2, "BACKOFF": 0.01, "RATE_SECONDS": 0.5}
    for name, limit in limits.items():
        monkeypatch.setattr(transfer, name, limit)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def out(tmp_path) -> Path:
    """Where a download belongs."""
    return tmp_path / "raw" / "genome.fa.gz"
