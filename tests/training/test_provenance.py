import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from convnova.training import provenance


def rapl(folder: Path, first: int, second: int) -> None:
    """Counters of two processors as Linux lays them out; those of a part and of the whole machine do not count."""
    zones = {"0": ("package-0", first), "1": ("package-1", second), "0:0": ("core", 10**6), "2": ("psys", 10**9)}
    for number, (name, microjoules) in zones.items():
        zone = folder / f"intel-rapl:{number}"
        zone.mkdir(exist_ok=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{microjoules}\n")


def test_processors_energy_is_the_difference_of_all_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    rapl(tmp_path, 5_000_000, 7_000_000)
    before = provenance.joules()
    rapl(tmp_path, 6_000_000, 9_500_000)
    assert before == {"processors": 12}
    assert provenance.used(before) == {"processors": 3.5}


def test_a_counter_that_began_again_or_is_not_there_gives_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    assert provenance.joules() == {} and provenance.used({"processors": 1.0}) == {}
    rapl(tmp_path, 5_000_000, 7_000_000)
    assert provenance.used({"processors": 13.0}) == {}


def test_a_counter_that_this_user_may_not_read_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    rapl(tmp_path, 5_000_000, 7_000_000)
    monkeypatch.setattr(provenance.os, "access", lambda path, mode: False)
    assert provenance.joules() == {}


class Driver:
    """Stands in for NVIDIA's library, whose functions give 0 or the number of an error and write what they found."""

    def __init__(self, millijoules: int, failed: int = 0):
        self.millijoules, self.failed, self.asked = millijoules, failed, b""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle) -> int:
        self.asked = uuid
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules) -> int:
        millijoules._obj.value = self.millijoules
        return self.failed


@pytest.fixture
def with_gpu(tmp_path, monkeypatch):
    """A machine on which torch sees one GPU."""
    monkeypatch.setattr(provenance, "RAPL", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="0a1b-2c"))
    return lambda driver: monkeypatch.setattr(provenance.ctypes, "CDLL", driver)


def test_energy_of_the_gpu_that_torch_uses(with_gpu):
    driver = Driver(5_000)
    with_gpu(lambda name: driver)
    before = provenance.joules()
    driver.millijoules = 7_600
    assert before == {"gpu": 5} and provenance.used(before) == {"gpu": 2.6}
    assert driver.asked == b"GPU-0a1b-2c"


def test_a_gpu_that_does_not_count_and_one_without_the_library_are_left_out(with_gpu):
    def absent(name):
        raise OSError(name)

    with_gpu(lambda name: Driver(5_000, failed=3))
    assert provenance.joules() == {}
    with_gpu(absent)
    assert provenance.joules() == {}


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git repository with one commit, where the package seems to lie."""
    (tmp_path / "package.py").write_text("1\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/scores.tsv").write_text("1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "package.py"))
    return tmp_path


def test_commit_and_whether_files_differ_from_it(checkout):
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    (checkout / "results/scores.tsv").write_text("2\n")
    clean = provenance.describe(time.time(), {}, "hash")
    (checkout / "package.py").write_text("2\n")
    changed = provenance.describe(time.time(), {}, "hash")
    assert (clean["commit"], clean["dirty"]) == (known, False)
    assert (changed["commit"], changed["dirty"]) == (known, True)


def test_a_file_of_the_package_that_no_commit_has_is_a_difference(checkout):
    assert provenance.git_commit()[1] is False
    (checkout / "model.py").write_text("1\n")
    assert provenance.git_commit()[1] is True


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/convnova", "finetune", "--out", "a folder/x"])
    assert provenance.describe(time.time(), {}, "hash")["command"] == "convnova finetune --out 'a folder/x'"


def test_wall_time_memory_and_machine_are_there():
    told = provenance.describe(time.time() - 2, {}, "hash")
    assert 2 <= told["seconds"] < 4
    assert 10 < told["peak_memory_mb"] < 1e6
    assert told["hardware"]["cores"] >= 1 and told["hardware"]["memory_gb"] > 0
    assert told["joules"] == {}


def test_memory_is_told_in_millions_of_bytes(monkeypatch):
    monkeypatch.setattr(provenance, "peak_resident", lambda: 336_999_999)
    assert provenance.describe(time.time(), {}, "hash")["peak_memory_mb"] == 336


def test_outside_a_checkout_the_commit_is_what_the_container_was_built_with(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() == ("", False)
    monkeypatch.setenv("CONVNOVA_COMMIT", "0123abc")
    assert provenance.git_commit() == ("0123abc", False)
