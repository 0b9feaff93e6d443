"""JSON and YAML that are none."""

import pytest

from convnova.errors import ConvNovaError
from convnova.files import read_json, read_yaml


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
