"""Some kills of a small run, the short form of `kills.py`."""

import kills
import pytest


@pytest.mark.slow
def test_after_every_kill_the_same_command_ends_with_the_same_tables(tmp_path):
    counts = kills.attack(tmp_path, kills.SHORT, kills=4, seed=1)
    assert sum(counts[target] for target in kills.TARGETS) == 4 and counts["compared"]
