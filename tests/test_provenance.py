import subprocess
import sys
import time
from pathlib import Path

import pytest

from convnova import provenance


def rapl(folder: Path, **microjoules: int) -> None:
    """Counters as Linux lays them out; `intel-rapl:0:0` is a part of `intel-rapl:0`."""
    for name, value in microjoules.items():
        (folder / name.replace("_", ":")).mkdir(parents=True, exist_ok=True)
        (folder / name.replace("_", ":") / "energy_uj").write_text(f"{value}\n")


def names(*values: int) -> dict[str, int]:
    return dict(zip(("intel-rapl_0", "intel-rapl_1", "intel-rapl_0_0"), values, strict=True))


def test_processors_energy_is_the_difference_of_all_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    rapl(tmp_path, **names(5_000_000, 7_000_000, 1_000_000))
    before = provenance.joules()
    rapl(tmp_path, **names(6_000_000, 9_500_000, 1_900_000))
    assert before == {"processors": 12}
    assert provenance.used(before) == {"processors": 3.5}


def test_a_counter_that_began_again_or_is_not_there_gives_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    assert provenance.joules() == {} and provenance.used({"processors": 1.0}) == {}
    rapl(tmp_path, **names(5_000_000, 7_000_000, 0))
    assert provenance.used({"processors": 13.0}) == {}


def test_a_counter_that_this_user_may_not_read_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    rapl(tmp_path, **names(5_000_000, 7_000_000, 0))
    monkeypatch.setattr(provenance.os, "access", lambda path, mode: False)
    assert provenance.joules() == {}


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git repository with one commit, where the package seems to lie."""
    (tmp_path / "package.py").write_text("1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "package.py"))
    return tmp_path


def test_commit_and_whether_files_differ_from_it(checkout):
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    clean = provenance.describe(time.time(), {}, "hash")
    (checkout / "package.py").write_text("2\n")
    changed = provenance.describe(time.time(), {}, "hash")
    assert (clean["commit"], clean["dirty"]) == (known, False)
    assert (changed["commit"], changed["dirty"]) == (known, True)


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/convnova", "finetune", "--out", "a folder/x"])
    assert provenance.describe(time.time(), {}, "hash")["command"] == "convnova finetune --out 'a folder/x'"


def test_wall_time_memory_and_machine_are_there():
    told = provenance.describe(time.time() - 2, {}, "hash")
    assert 2 <= told["seconds"] < 4
    assert 10 < told["peak_memory_mb"] < 1e6
    assert told["hardware"]["cores"] >= 1 and told["hardware"]["memory_gb"] > 0
    assert told["joules"] == {}
