"""Fixtures that many tests share."""

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
