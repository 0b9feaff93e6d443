"""Peak memory: what a process itself has held, not the one that started it."""

import subprocess
import sys

from convnova.memory import peak_resident

CHILD = "from convnova.memory import peak_resident; print(peak_resident())"


def test_it_grows_with_what_is_held_and_a_child_begins_anew():
    before = peak_resident()
    held = bytearray(b"x") * 300_000_000
    assert peak_resident() - before > 250_000_000
    child = int(subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True).stdout)
    assert 5_000_000 < child < 100_000_000 < len(held)
