"""Compressed files that are not whole, and tables."""

import gzip

import pandas as pd
import pytest

from convnova.errors import ConvNovaError
from convnova.files import open_bytes, read_json, read_yaml, write_tsv

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
    told = "train.csv.gz: expected gzip data, found a .*fetch it again"
    with pytest.raises(ConvNovaError, match=told) as caught, open_bytes(path) as stream:
        stream.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_what_is_no_json_object_is_named(content, tmp_path):
    path = tmp_path / "metrics.json"
    if content:
        path.write_text(content)
    with pytest.raises(ConvNovaError, match=r"metrics\.json: expected .*; make it again"):
        read_json(path)


def test_the_content_and_not_the_name_says_what_is_compressed(tmp_path):
    for name, content in (("a.csv", WHOLE), ("b.gz", gzip.decompress(WHOLE))):
        (tmp_path / name).write_bytes(content)
        with open_bytes(tmp_path / name) as stream:
            assert stream.read() == gzip.decompress(WHOLE)


def test_a_table_has_six_decimals_and_empty_cells_where_nothing_is_known(tmp_path):
    table = pd.DataFrame({"name": ["a", "b"], "count": [1, 20], "score": [1 / 3, float("nan")]})
    write_tsv(tmp_path / "tables" / "t.tsv", table)
    assert (tmp_path / "tables" / "t.tsv").read_bytes() == b"name\tcount\tscore\na\t1\t0.333333\nb\t20\t\n"


@pytest.mark.parametrize("text, told", [("a: [", "expected YAML"), ("- a", "expected keys and values, found list")])
def test_a_file_that_is_no_config_is_refused(tmp_path, text, told):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConvNovaError, match=told):
        read_yaml(path)
    with pytest.raises(ConvNovaError, match="expected a config file, found nothing"):
        read_yaml(tmp_path / "missing.yaml")


def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("run: x\nsuites:\n  own:\n    tasks:\n      t: {train: a}\n      t: {train: b}\n")
    with pytest.raises(ConvNovaError, match="mine.yaml line 6: expected the key 't' once, found it again"):
        read_yaml(path)


def test_keys_that_a_merge_brings_may_be_there_already(tmp_path):
    """A mapping that is merged is itself made of one, and is written above the place where YAML builds it."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "a: {b: {c: &c {lr: 1, k: 2}, d: &d {<<: *c, lr: 3}}}\ne: {<<: *d, k: 4}\nf: {<<: [*c, *d], lr: 5}\n"
    )
    assert read_yaml(path) == {
        "a": {"b": {"c": {"lr": 1, "k": 2}, "d": {"lr": 3, "k": 2}}}, "e": {"lr": 3, "k": 4}, "f": {"lr": 5, "k": 2}
    }  # fmt: skip
