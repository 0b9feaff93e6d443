"""JSON and YAML that are none; files on the way to their place."""

import subprocess
import sys
from pathlib import Path

import pytest

from convnova.errors import ConvNovaError
from convnova.files import atomic, read_json, read_yaml, scratch_folder


@pytest.mark.parametrize(
    "read, content, named",
    [
        *((read_json, content, "make it again") for content in (None, "{", "[1]")),
        (read_yaml, "a: [", "YAML"),
        (read_yaml, "- a", "list"),
        (read_yaml, None, "nothing"),
        (read_yaml, "run: x\nsuites:\n  own:\n    tasks:\n      t: {train: a}\n      t: {train: b}\n", "line 6: .*'t'"),
    ],
)
def test_what_is_no_json_object_or_config_is_refused(read, content, named, tmp_path):
    path = tmp_path / "broken"
    if content:
        path.write_text(content)
    with pytest.raises(ConvNovaError, match=f"{path}.*{named}"):
        read(path)


def test_keys_that_a_merge_brings_may_be_there_already(tmp_path):
    """A mapping that is merged is itself made of one, and is written above the place where YAML builds it."""
    path = tmp_path / "mine.yaml"
    lines = ["a: {b: {c: &c {lr: 1, k: 2}, d: &d {<<: *c, lr: 3}}}", "e: {<<: *d, k: 4}", "f: {<<: [*c, *d], lr: 5}"]
    path.write_text("\n".join(lines))
    inner = {"c": {"lr": 1, "k": 2}, "d": {"lr": 3, "k": 2}}
    assert read_yaml(path) == {"a": {"b": inner}, "e": {"lr": 3, "k": 4}, "f": {"lr": 5, "k": 2}}


WRITES = """
import sys, time
from pathlib import Path
from convnova import files
with getattr(files, sys.argv[1])(sys.argv[2]) as place:
    (place / "part" if place.is_dir() else place).write_text("half")
    print(place.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("write", [atomic, scratch_folder])
def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(tmp_path, write):
    path = tmp_path / "a[1].csv"
    words = [sys.executable, "-c", WRITES, write.__name__, str(path)]
    (tmp_path / ".b.csv.0123.tmp").touch()  # of another file
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as alive,
    ):
        half, growing = (process.stdout.readline().strip() for process in (killed, alive))
        killed.kill()
        killed.wait()
        assert (tmp_path / half).exists()
        with write(path) as place:
            present = {each.name for each in tmp_path.iterdir()}
            assert present == {place.name, growing, ".b.csv.0123.tmp"} and half != growing
        alive.kill()
    with write(path):
        pass
    assert {each.name for each in tmp_path.iterdir()} - {path.name} == {".b.csv.0123.tmp"}


def test_after_an_error_the_file_of_before_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "a.csv"
    for text in ("one", "two"):
        with pytest.raises(KeyboardInterrupt), atomic(path) as place:
            place.write_text("half")
            raise KeyboardInterrupt
        assert [each.name for each in path.parent.iterdir()] == (["a.csv"] if text == "two" else [])
        with atomic(path) as place:
            place.write_text(text)
    assert Path(path).read_text() == "two" and len(list(path.parent.iterdir())) == 1
