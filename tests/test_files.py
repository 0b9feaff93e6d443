"""Compressed files that are not whole; JSON and YAML that are none."""

import gzip

import pytest

from convnova.errors import ConvNovaError
from convnova.files import open_bytes, read_json, read_yaml

WHOLE = gzip.compress(b"sequence,label\n" + b"".join(b"%dACGT,1\n" % number for number in range(5000)))
DAMAGES = {
    "ends early": WHOLE[: len(WHOLE) // 2],
    "without its checksum": WHOLE[:-8],
    "a byte turned": WHOLE[:-2000] + bytes([WHOLE[-2000] ^ 255]) + WHOLE[-1999:],
    "no more than the first bytes": b"\x1f\x8b\x08broken",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_gzip_file_is_named_in_one_line(damage, tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(ConvNovaError, match="train.csv.gz: .*gzip.*fetch") as caught, open_bytes(path) as stream:
        stream.read()
    assert "\n" not in str(caught.value)


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


def test_the_content_and_not_the_name_says_what_is_compressed(tmp_path):
    for name, content in (("a.csv", WHOLE), ("b.gz", gzip.decompress(WHOLE))):
        (tmp_path / name).write_bytes(content)
        with open_bytes(tmp_path / name) as stream:
            assert stream.read() == gzip.decompress(WHOLE)


def test_keys_that_a_merge_brings_may_be_there_already(tmp_path):
    """A mapping that is merged is itself made of one, and is written above the place where YAML builds it."""
    path = tmp_path / "mine.yaml"
    lines = ["a: {b: {c: &c {lr: 1, k: 2}, d: &d {<<: *c, lr: 3}}}", "e: {<<: *d, k: 4}", "f: {<<: [*c, *d], lr: 5}"]
    path.write_text("\n".join(lines))
    inner = {"c": {"lr": 1, "k": 2}, "d": {"lr": 3, "k": 2}}
    assert read_yaml(path) == {"a": {"b": inner}, "e": {"lr": 3, "k": 4}, "f": {"lr": 5, "k": 2}}
