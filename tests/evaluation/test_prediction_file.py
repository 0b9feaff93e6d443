import numpy as np
import pyarrow.parquet
import pytest
from dna_strings import labelled

from convnova.errors import ConvNovaError
from convnova.evaluation.prediction_file import read_predictions, write_predictions


def test_classes_come_back_as_they_were_written(tmp_path):
    scores = np.array([[0.25, 0.75], [1, 0]], np.float32)
    write_predictions(tmp_path / "p.parquet", labelled("classes", [0, 1, 0], [1, 2]), scores, "abc", fold=3)
    read = read_predictions(tmp_path / "p.parquet")
    assert (read.rows.tolist(), read.labels.tolist()) == ([1, 2], [1, 0])
    assert np.array_equal(read.predicted, scores) and not read.lengths.size
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["row", "label", "score", "fold"] and table["fold"].to_pylist() == [3, 3]


def test_bases_come_back_with_the_lengths_of_their_sequences(tmp_path):
    data = labelled("per_base", [0, 1, 2, 3, 4, 5], [1, 2])
    write_predictions(tmp_path / "p.parquet", data, np.array([2, 2, 4, 5], np.uint8), "")
    read = read_predictions(tmp_path / "p.parquet")
    assert read.lengths.tolist() == [3, 1]
    assert (read.labels.tolist(), read.predicted.tolist()) == ([2, 3, 4, 5], [2, 2, 4, 5])


def test_many_labels_are_written_as_small_numbers(tmp_path):
    scores = np.array([[0.25, 0.5], [1, 0]])
    write_predictions(tmp_path / "p.parquet", labelled("multilabel", [[0, 1], [1, 1], [0, 0]], [1, 2]), scores, "")
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    types = [f"fixed_size_list<element: {name}>[2]" for name in ("uint8", "halffloat")]
    assert [str(table[name].type) for name in ("label", "score")] == types
    assert table["label"].to_pylist() == [[1, 1], [0, 0]] and table["score"].to_pylist() == scores.tolist()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_what_is_no_file_of_predictions_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(ConvNovaError, match=r"p\.parquet: expected predictions"):
        read_predictions(tmp_path / "p.parquet")
