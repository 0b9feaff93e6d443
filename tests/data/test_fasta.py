"""FASTA in pieces, against a reader that is slow and obviously right."""

import gzip
import random
from pathlib import Path

import pysam
import pytest

from convnova.data import fasta
from convnova.errors import ConvNovaError


def slowly(path: Path) -> list[tuple[str, str]]:
    """(header, letters) of every record, a line at a time."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    records: list[tuple[str, str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(">"):
            records.append((line[1:].strip(), ""))
        elif records:
            records[-1] = records[-1][0], records[-1][1] + line
    return records


def in_one(path: Path) -> list[tuple[str, str]]:
    records: dict[tuple[int, str], str] = {}
    for piece in fasta.pieces(path):
        key = piece.record, piece.header
        records[key] = records.get(key, "") + piece.letters.translate(None, b"\r\n").decode()
    assert [number for number, _ in records] == list(range(1, len(records) + 1))
    return [(header, letters) for (_, header), letters in records.items()]


def random_fasta(chance: random.Random) -> str:
    """Wrapped or not, LF or CRLF, blank lines, any letters, `>` within headers."""
    end = chance.choice(["\n", "\r\n"])
    lines = [""] * chance.randrange(2)
    for record in range(chance.randrange(1, 6)):
        lines.append(f">chr{record} a > in the middle {'x' * chance.randrange(30)}")
        letters = "".join(chance.choices("ACGTNacgtnRykU", k=chance.randrange(1, 300)))
        width = chance.choice([1, 7, 60, 1000])
        lines += [letters[i : i + width] for i in range(0, len(letters), width)] + [""] * chance.randrange(2)
    return end.join(lines) + end * chance.randrange(2)


@pytest.mark.parametrize("form", ["plain", "gzip", "members", "bgzip"])
@pytest.mark.parametrize("seed", range(25))
def test_pieces_are_what_the_slow_reader_finds(tmp_path, monkeypatch, form, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(fasta, "READ_BYTES", chance.choice([1, 5, 64, 1 << 17]))
    text, path = random_fasta(chance).encode(), tmp_path / "genome.fa"
    half = len(text) // 2
    if form == "bgzip":
        (tmp_path / "plain").write_bytes(text)
        pysam.tabix_compress(str(tmp_path / "plain"), str(path), force=True)
    elif form == "members":
        path.write_bytes(gzip.compress(text[:half]) + gzip.compress(text[half:]))
    else:
        path.write_bytes(text if form == "plain" else gzip.compress(text))
    assert in_one(path) == slowly(path)


@pytest.mark.parametrize("size", range(1, 9))
def test_pieces_say_where_they_stand_and_a_header_begins_a_line(tmp_path, monkeypatch, size):
    """In the middle of a line `>` is a letter, which no sequence has, even where a piece begins with it."""
    path, text = tmp_path / "two.fa", b">a\nACGT\n\nAC\n>b\nTTTT\nTT\n>c\nA"
    path.write_bytes(text)
    monkeypatch.setattr(fasta, "READ_BYTES", size)
    for piece in fasta.pieces(path):
        lines = text.splitlines(keepends=True)[piece.line - 1 :]
        assert b"".join(lines).startswith(piece.letters) and (piece.letters.strip() or not piece.letters)
    (tmp_path / "a.fa").write_bytes(b">a\nAC>GT\n>b>c\nA\n")
    assert in_one(tmp_path / "a.fa") == [("a", "AC>GT"), ("b>c", "A")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "found an empty file"),
        (b"\n\n", "found an empty file"),
        (b"ACGT\n>a\nACGT\n", "expected FASTA, its first line a header with '>', found 'ACGT'"),
        (b"<!DOCTYPE html>\n<html>", "found '<!DOCTYPE html>'"),
        (b">a\nACGT\n>b\n\n>c\nACGT\n", "found none for 'b' in line 3"),
        (b">a\nACGT\n>b\n", "found none for 'b' in line 3"),
        (b">a\nACGT\n>b", "found none for 'b' in line 3"),
    ],
)
def test_what_is_no_fasta(tmp_path, text, message):
    for name, content in (("plain.fa", text), ("gzip.fa.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConvNovaError, match=message):
            list(fasta.pieces(tmp_path / name))


def test_gzip_that_ends_within_a_member_is_refused_and_padding_behind_the_last_one_is_not(tmp_path):
    path, whole = tmp_path / "genome.fa.gz", gzip.compress(b">a\nACGT\n")
    for content in (whole[:-1], whole + whole[:20]):
        path.write_bytes(content)
        with pytest.raises(ConvNovaError, match="truncated or damaged"):
            list(fasta.pieces(path))
    path.write_bytes(whole + b"\0" * 512)
    assert in_one(path) == [("a", "ACGT")]
