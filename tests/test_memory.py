"""Peak memory: what a process itself has held, not the one that started it."""

import json
import subprocess
import sys

PARENT = """
import json, subprocess, sys
from convnova.memory import peak_resident
before = peak_resident()
held = bytearray(b"x") * 300_000_000
child = subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, check=True).stdout
print(json.dumps([before, peak_resident(), int(child)]))
"""
CHILD = "from convnova.memory import peak_resident; print(peak_resident())"


def test_it_grows_with_what_is_held_and_a_child_begins_anew():
    told = subprocess.run([sys.executable, "-c", PARENT, CHILD], capture_output=True, check=True, text=True).stdout
    before, after, child = json.loads(told)
    assert after - before > 250_000_000
    assert 5_000_000 < child < 100_000_000
