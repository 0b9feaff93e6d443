"""Some bits and bytes of every form of input, the short form of `inputs.py`."""

import inputs
import pytest

from convnova.data.readers import apart


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    return inputs.forms(tmp_path_factory.mktemp("forms"))


NAMES = (
    "genome FASTA", "genome BED", "csv", "csv.gz", "fasta", "fasta.gz", "parquet", "bed", "zip", "zip of tables", "tar",
    "tar.gz", "hdf5", "bend.bed", "gff", "mat 5", "mat 7.3", "bundle", "tokenized task",
    "tokenized genome.safetensors", "tokenized intervals.tsv", "config", "weights.safetensors", "weights.json",
    "checkpoint state.pt", "checkpoint weights.safetensors", "checkpoint weights.json", "metrics.json",
    "predictions.parquet", "variants",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_or_one_line(forms, monkeypatch, name):
    monkeypatch.setattr(apart, "SECONDS", inputs.SECONDS)
    assert sorted(NAMES) == sorted(forms)
    counts, wrong = inputs.attack(name, forms[name], flips=5, mutations=10, seed=1)
    assert wrong == [] and sum(counts.values()) == 15
