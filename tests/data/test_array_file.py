"""Files of arrays, against the package safetensors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from convnova.data.array_file import ArrayFileWriter, read_arrays, read_metadata
from convnova.errors import ConvNovaError

ARRAYS = {
    "a": np.arange(7, dtype=np.uint8),
    "b": np.arange(-6, 6, dtype=np.int64).reshape(4, 3),
    "c": np.array([[1.5, -2.0]], np.float32),
    "none": np.empty(0, np.int8),
}


def write(path, arrays):
    """Append the arrays row by row, in turns."""
    with ArrayFileWriter(path) as file:
        for row in range(max(map(len, arrays.values()))):
            for name, array in arrays.items():
                if row < len(array) or not row:
                    file.append(name, array[row : row + 1])
        file.metadata["made"] = {"of": [1, "x"]}
    return path


def test_others_read_what_is_written(tmp_path):
    path = write(tmp_path / "new" / "a.safetensors", ARRAYS)
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["made"]) == {"of": [1, "x"]} == read_metadata(path)["made"]
    for arrays in (load_file(path), read_arrays(path)):
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)


def test_pieces_of_another_form_are_refused_and_leave_what_was_there(tmp_path):
    path = write(tmp_path / "a.safetensors", ARRAYS)
    before = path.read_bytes()
    for piece in (np.zeros((1, 2), np.int64), np.zeros((1, 3), np.int8)):
        with pytest.raises(ValueError, match="b: pieces of I64 .3. and of"), ArrayFileWriter(path) as file:
            file.append("b", ARRAYS["b"])
            file.append("b", piece)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path, full_disk):
    path = write(tmp_path / "a.safetensors", ARRAYS)
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError), ArrayFileWriter(path) as file:
        file.append("a", np.zeros(300_000, np.uint8))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_whole(tmp_path):
    path = write(tmp_path / "a.safetensors", ARRAYS)
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"x", whole[:40], b"", b"<html>no such file</html>"):
        path.write_bytes(content)
        with pytest.raises(ConvNovaError, match="a.safetensors: expected a whole safetensors file"):
            read_arrays(path)
    save_file(ARRAYS, path)
    for read in (read_arrays, read_metadata):
        with pytest.raises(ConvNovaError, match="a.safetensors: .*checksum"):
            read(path)


def test_every_bit_counts(tmp_path):
    path = write(tmp_path / "a.safetensors", ARRAYS)
    whole = path.read_bytes()
    for bit in range(0, len(whole) * 8, 11):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(ConvNovaError, match="a.safetensors: expected a .*(whole|checksum).*again"):
            read_arrays(path)
    path.write_bytes(whole)
    assert read_arrays(path).keys() == ARRAYS.keys()
    with pytest.raises(ConvNovaError, match="none: expected a tokenized file, found nothing"):
        read_metadata(tmp_path / "none")


def test_many_processes_read_one_file(tmp_path):
    """A second process that maps 40 MB and reads a few bytes grows by far less than that."""
    with ArrayFileWriter(tmp_path / "a") as file:
        file.append("chr1", np.tile(np.arange(4, dtype=np.uint8), 10_000_000))
    code = (
        "import sys; from convnova.data.array_file import read_arrays\n"
        "before = int(open('/proc/self/statm').read().split()[1])\n"
        "tokens = read_arrays(sys.argv[1])['chr1']; print(tokens[123:131].tolist())\n"
        "print((int(open('/proc/self/statm').read().split()[1]) - before) * 4096)"
    )
    words = [sys.executable, "-c", code, tmp_path / "a"]
    tokens, grown = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert tokens == "[3, 0, 1, 2, 3, 0, 1, 2]" and int(grown) < 5_000_000
