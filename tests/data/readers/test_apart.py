"""A library in C that dies, hangs or asks for too much ends in one line; whatever else is raised comes through."""

import os
import signal
import time

import pytest

from convnova.data.readers import apart as module
from convnova.data.readers.apart import apart
from convnova.errors import ConvNovaError


def reader(end):
    """A reader that yields twice, and then does something."""

    def read(path, *items):
        yield from items
        end()

    return read


@pytest.mark.parametrize(
    ("end", "kind", "message"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ConvNovaError, "a.h5: .*breaks down.*fetch it again"),
        (lambda: time.sleep(60), ConvNovaError, "a.h5: .*not read in 1 seconds"),
        (lambda: bytes(1 << 40), ConvNovaError, "a.h5: .*memory"),
        (lambda: 1 // 0, ZeroDivisionError, "by zero"),
    ],
)
def test_what_goes_wrong(tmp_path, monkeypatch, end, kind, message):
    monkeypatch.setattr(module, "SECONDS", 1)
    (tmp_path / "a.h5").touch()
    items = apart(reader(end), tmp_path / "a.h5", 1, [2])
    assert [next(items), next(items)] == [1, [2]]
    with pytest.raises(kind, match=message):
        next(items)


def test_all_items_come_in_order_and_the_process_ends_with_its_reader(tmp_path):
    (tmp_path / "a").touch()
    assert list(apart(reader(lambda: None), tmp_path / "a", *range(100))) == list(range(100))
    items = apart(reader(lambda: time.sleep(60)), tmp_path / "a", 1)
    next(items)
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 10
