"""Files that are read plain or compressed: damage, bombs and endless lines are refused in one line."""

import contextlib
import gzip

import pytest

from convnova.data import unpack
from convnova.data.unpack import open_bytes, text_lines
from convnova.errors import ConvNovaError

TEXT = b"sequence,label\n" + b"".join(b"%dACGT,1\n" % number for number in range(5000))
WHOLE = gzip.compress(TEXT)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:-8],  # without its checksum
        WHOLE[:-2000] + bytes([WHOLE[-2000] ^ 255]) + WHOLE[-1999:],
        b"\x1f\x8b\x08broken",
        WHOLE + b"more",
    ],
)
@pytest.mark.parametrize("bytes_read", [1, -1])
def test_a_damaged_gzip_file_is_named_however_little_is_read_of_it(tmp_path, content, bytes_read):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(content)
    with pytest.raises(ConvNovaError, match="train.csv.gz: .*damaged.*fetch"), open_bytes(path) as stream:
        stream.read(bytes_read)


def test_the_content_and_not_the_name_says_what_is_compressed(tmp_path):
    for name, content in (("a.csv", WHOLE), ("b.gz", TEXT)):
        (tmp_path / name).write_bytes(content)
        with open_bytes(tmp_path / name) as stream:
            assert stream.read() == TEXT


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "a.gz"
    for size, is_taken in ((1 << 20, True), ((1 << 20) + 1, False)):  # of about a thousandth of this size
        path.write_bytes(gzip.compress(b"A" * size))
        refusal = pytest.raises(ConvNovaError, match="a.gz: .*1,048,576 bytes")
        with contextlib.nullcontext() if is_taken else refusal, open_bytes(path) as stream:
            assert len(stream.read()) == size


def test_lines(monkeypatch, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf1\r\ntwo\xff\n\nlongest")
    with open_bytes(path) as stream:
        assert list(text_lines(stream, "a")) == [(1, "1\r\n"), (2, "two\ufffd\n"), (3, "\n"), (4, "longest")]
    monkeypatch.setattr(unpack, "LINE_BYTES", 7)
    with pytest.raises(ConvNovaError, match="a.txt line 4: .*7 letters"), open_bytes(path) as stream:
        list(text_lines(stream, str(path)))
