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


def alias_bomb(first: str, inside: str) -> str:
    """Nine values, nine times those, and so on, in little text."""
    lines = [f"a0: &a0 {first}"] + [f"a{i}: &a{i} {inside % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text, named",
    [
        ("a: " + "[" * 5000 + "]" * 5000, "line 1: .*50 levels"),
        ("[" * 5000, "line 1: .*50 levels"),
        ("".join(" " * level + "a:\n" for level in range(5000)), "line 50: .*50 levels"),
        (alias_bomb("[x, x, x]", "[%s]"), "line 6: .*100,000 values"),
        (alias_bomb("{k: 1, l: 2, m: 3}", "{<<: [%s]}"), "line 6: .*100,000 values"),
        ("a: &a [*a]", "line 1: .*100,000 values"),
        ("b: 1\na: " + "9" * 5000, "line 2: .*64 bits.*9999"),
        ("a: 0x" + "f" * 5000, "line 1: .*64 bits"),
        ("a: -9223372036854775809", "64 bits"),
        ("b: 1\n1: a", "line 2: .*text.*'1'"),
        ("yes: a", "text.*'yes'"),
        ("[a]: b", "text.*list"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: .*tag.*os.system"),
        ("a: !!binary aGVsbG8=", "tag.*binary"),
        ("a: !!int many", "tag.*int"),
        ('a: "\\ud800"', r"line 1: .*ud800"),
        ("a: \tb: c", "YAML"),
        (b"a: \xe9", "YAML: .*utf-8"),
    ],
)
def test_yaml_that_no_config_needs_is_refused_in_one_line(tmp_path, text, named):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConvNovaError, match=f"^{path}.*{named}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_dates_are_text_and_numbers_of_64_bits_are_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: 2024-01-01\nb: 2024-99-99\nc: [9223372036854775807, 0x1F, 1.5e-3, true, null, '1']\n")
    numbers = [2**63 - 1, 31, 0.0015, True, None, "1"]
    assert read_yaml(path) == {"a": "2024-01-01", "b": "2024-99-99", "c": numbers}


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
