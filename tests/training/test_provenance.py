import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest

from convnova.training import provenance
from convnova.training.provenance import Provenance


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
    """Results do not count, files of the package that no commit has do."""
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    (checkout / "results/scores.tsv").write_text("2\n")
    assert provenance.git_commit() == (commit, False)
    (checkout / "model.py").write_text("1\n")
    assert provenance.git_commit() == (commit, True)
    (checkout / "model.py").unlink()
    (checkout / "package.py").write_text("2\n")
    described = Provenance().describe("float32")
    assert (described["commit"], described["dirty"]) == (commit, True)


def test_outside_a_checkout_the_commit_is_the_containers(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() == ("", False)
    monkeypatch.setenv("CONVNOVA_COMMIT", "0123abc")
    assert provenance.git_commit() == ("0123abc", False)


def test_command_time_memory_and_machine_are_described(monkeypatch):
    """The command can be pasted into a shell; memory is in millions of bytes."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/convnova", "finetune", "--out", "a folder/x"])
    monkeypatch.setattr(provenance, "peak_resident", lambda: 336_999_999)
    described = Provenance({"task": {"path": "a", "sha256": "b"}}, "hash", started=time.time() - 2).describe("float32")
    assert described["command"] == "convnova finetune --out 'a folder/x'"
    assert (described["settings"], described["inputs"]["task"]["path"]) == ("hash", "a")
    assert 2 <= described["seconds"] < 4 and described["peak_memory_mb"] == 336
    assert described["hardware"]["cores"] >= 1 and described["hardware"]["memory_gb"] > 0
    assert described["packages"]["numpy"] == numpy.__version__
