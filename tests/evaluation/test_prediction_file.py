import numpy as np
import pyarrow.parquet
import pytest

from convnova.data.batches import LabelledSequences
from convnova.errors import ConvNovaError
from convnova.evaluation.prediction_file import read_predictions, write_predictions


def labelled(labels: np.ndarray, kind: str) -> LabelledSequences:
    """Three sequences of 2, 3 and 1 bases, of which the last two rows are asked for."""
    return LabelledSequences(np.zeros(6, np.uint8), np.array([0, 2, 5, 6]), labels, kind, np.array([1, 2]), 3)


def test_classes_come_back_as_they_were_written(tmp_path):
    scores = np.array([[0.25, 0.75], [1, 0]], np.float32)
    write_predictions(tmp_path / "p.parquet", labelled(np.array([0, 1, 0]), "classes"), scores, "abc", fold=3)
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.settings, found.rows.tolist(), found.labels.tolist()) == ("abc", [1, 2], [1, 0])
    assert np.array_equal(found.predicted, scores) and not found.lengths.size
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["row", "label", "score", "fold"] and table["fold"].to_pylist() == [3, 3]


def test_bases_come_back_with_the_lengths_of_their_sequences(tmp_path):
    data = labelled(np.array([0, 1, 2, 3, 4, 5]), "per_base")
    write_predictions(tmp_path / "p.parquet", data, np.array([2, 2, 4, 5], np.uint8), "")
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.settings, found.lengths.tolist()) == ("", [3, 1])
    assert (found.labels.tolist(), found.predicted.tolist()) == ([2, 3, 4, 5], [2, 2, 4, 5])


def test_many_labels_are_written_as_small_numbers(tmp_path):
    labels, scores = np.array([[0, 1], [1, 1], [0, 0]]), np.array([[0.25, 0.5], [1, 0]])
    write_predictions(tmp_path / "p.parquet", labelled(labels, "multilabel"), scores, "")
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert [str(table[name].type) for name in ("label", "score")] == [
        "fixed_size_list<element: uint8>[2]",
        "fixed_size_list<element: halffloat>[2]",
    ]
    assert table["label"].to_pylist() == [[1, 1], [0, 0]] and table["score"].to_pylist() == scores.tolist()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_what_is_no_file_of_predictions_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(ConvNovaError, match=r"p\.parquet: expected predictions"):
        read_predictions(tmp_path / "p.parquet")
