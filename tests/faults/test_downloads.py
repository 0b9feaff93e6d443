"""Every lie of a server once, the short form of `downloads.py`."""

import random

import downloads
import pytest

from convnova.data import transfer


@pytest.mark.slow
@pytest.mark.parametrize("lie", downloads.LIES)
def test_a_lie_gives_the_right_file_or_one_line(lie, server, tmp_path, monkeypatch):
    for name, limit in downloads.LIMITS.items():
        monkeypatch.setattr(transfer, name, limit)
    draw = random.Random(lie)
    for known, after in ((set(), ["right"]), ({"sha256"}, []), ({"size"}, ["right"])):
        form = draw.choice(list(downloads.FORMS))
        line = downloads.attack(server, tmp_path, [lie, *after], form, known)
        assert line == "right" or f"file.{form}: expected the whole file" in line
