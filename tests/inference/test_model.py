"""Sequences from everywhere, batches, long sequences, both strands: the same numbers as one sequence alone."""

import gzip

import numpy as np
import pytest
import torch
from saved_models import CONVNOVA, save_language_model, save_predictor

import convnova
from convnova.data.dna import decode, encode, reverse_complement
from convnova.errors import ConvNovaError
from convnova.files import seal

LETTERS = "ACGTTGCAGGACGACTNACGATCGACTAGCTTTAGGAC"


def opposite(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture
def model(tmp_path):
    save_predictor(tmp_path / "fine")
    return convnova.load(tmp_path / "fine")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name, text, names",
    [
        ("s.fa", f">one first\n{LETTERS[:20]}\n{LETTERS[20:]}\n>two\nACGTA\n", ["one", "two"]),
        ("s.csv", f"label,sequence\n1,{LETTERS.lower()}\n0,ACGTA\n", ["1", "2"]),
        ("s.tsv", f"name\tsequence\nanna\t{LETTERS}\nbert\tACGTA\n", ["anna", "bert"]),
    ],
)
def test_files_are_the_sequences_in_them(model, tmp_path, name, text, names, packed):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    table = model.predict(path)
    assert table["name"].tolist() == names
    in_memory = model.predict([LETTERS, "ACGTA"])
    np.testing.assert_allclose(table.iloc[:, 1:].astype(float), in_memory.iloc[:, 1:].astype(float), atol=1e-6)
    np.testing.assert_allclose(model.embed(str(path)), model.embed([LETTERS, "ACGTA"]), atol=1e-6)


def test_intervals_are_cut_from_a_genome_and_read_along_their_strand(model, tmp_path):
    (tmp_path / "g.fa").write_text(f">chr1\n{LETTERS}\n")
    (tmp_path / "i.bed").write_text("chr1\t3\t12\tfirst\t0\t+\n1\t20\t31\t.\t0\t-\nchr1\t0\t5\n")
    table = model.predict(tmp_path / "i.bed", genome=tmp_path / "g.fa")
    assert table["name"].tolist() == ["first", "1:20-31", "chr1:0-5"]
    expected = model.embed([LETTERS[3:12], opposite(LETTERS[20:31]), LETTERS[:5]])
    np.testing.assert_allclose(model.embed(tmp_path / "i.bed", genome=tmp_path / "g.fa"), expected, atol=1e-6)
    with pytest.raises(ConvNovaError, match="i.bed: expected a genome"):
        model.predict(tmp_path / "i.bed")


def test_tokens_are_as_good_as_letters(model):
    tokens = encode(LETTERS)[0]
    for source in ([tokens], tokens[None].astype(np.int64), torch.from_numpy(tokens)[None], [LETTERS.lower()]):
        np.testing.assert_array_equal(model.embed(source), model.embed([LETTERS]))


@pytest.mark.parametrize(
    "source, words",
    [
        ([], "sequences: expected some"),
        (["ACGT", ""], "sequences row 2: expected a sequence"),
        (["ACGT", "MKVE"], "sequences row 2: .* 'E' .*protein"),
        ([np.array([0, 5])], "sequences row 1: expected .*tokens 0 to 4"),
        ([np.array([0.5, 1])], "sequences row 1: expected .*tokens .*float64"),
        ("ACGTACGT", r"ACGTACGT: .* file.* \['ACGT'\]"),
        ("nowhere.fa", "nowhere.fa: expected a file"),
    ],
)
def test_what_are_no_sequences_is_refused_in_a_line(model, source, words):
    for method in (model.embed, model.predict):
        with pytest.raises(ConvNovaError, match=words):
            method(source)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("p.fa", ">p\nMKVEL\n", "p.fa row 1: .*'E'.*protein"),
        ("e.fa", "", "e.fa: .*empty"),
        ("e.csv", "sequence,label\n", "e.csv: expected some"),
        ("c.csv", "seq,label\nACGT,1\n", "c.csv: expected .*column 'sequence'"),
        ("x.doc", "ACGT", "x.doc: .*ends in fa, fasta"),
    ],
)
def test_what_is_no_file_of_sequences_is_refused_in_a_line(model, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConvNovaError, match=words):
        model.predict(tmp_path / name)


def test_any_number_and_length_gives_what_each_gives_alone(model):
    """More than a batch holds, of lengths from one to thousands, in an order of no kind."""
    random = np.random.default_rng(0)
    lengths = random.permutation([1, 2, 5000, 9000, *random.integers(3, 900, 60)])
    sequences = [decode(random.integers(0, 4, length).astype(np.uint8)) for length in lengths]
    together, of_bases = model.embed(sequences), model.embed(sequences, per_base=True)
    for row in (0, 7, *np.argsort(lengths)[[0, 1, -2, -1]]):
        with torch.inference_mode():
            features = model.network.module.features(torch.from_numpy(encode(sequences[row])[0])[None])[0]
        np.testing.assert_allclose(of_bases[row], features, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(together[row], features.mean(0), atol=1e-5, rtol=1e-5)


def test_a_sequence_of_megabases_is_read_by_windows(model, monkeypatch):
    """Nothing as long as the sequence goes through the convolutions at once."""
    backbone = type(model.network.module.backbone)
    whole, widest = backbone._features, []

    def watched(self, tokens, positions):
        widest.append(tokens.numel())
        return whole(self, tokens, positions)

    monkeypatch.setattr(backbone, "_features", watched)
    tokens = np.random.default_rng(0).integers(0, 4, 1_000_000).astype(np.uint8)
    (features,) = model.embed([tokens], per_base=True)
    assert features.shape == (1_000_000, 8) and max(widest) < 300_000
    middle = slice(499_000, 501_000)
    (part,) = model.embed([tokens[498_000:502_000]], per_base=True)
    np.testing.assert_allclose(features[middle], part[1000:3000], atol=1e-5, rtol=1e-5)


def test_both_strands_are_the_mean_of_a_sequence_and_its_reverse_complement(tmp_path):
    save_predictor(tmp_path, strands="both")
    model = convnova.load(tmp_path)
    both, forward = model.predict([LETTERS]), model.predict([LETTERS, opposite(LETTERS)], strands="forward")
    np.testing.assert_allclose(both.iloc[0, 1:].astype(float), forward.iloc[:, 1:].mean().astype(float), atol=1e-6)
    assert opposite(LETTERS) == decode(reverse_complement(encode(LETTERS)[0]))
    with pytest.raises(ConvNovaError, match="'reverse'.* forward or both"):
        model.predict([LETTERS], strands="reverse")
    save_predictor(tmp_path, kind="per_base")
    with pytest.raises(ConvNovaError, match="'both': expected forward of a model of per_base"):
        convnova.load(tmp_path).predict([LETTERS], strands="both")


def test_a_sequence_that_is_too_long_is_refused_or_cut_as_in_training(tmp_path, capsys):
    import json

    save_predictor(tmp_path, "hyenadna", {"width": 8, "layers": 1, "length": 30})
    with pytest.raises(ConvNovaError, match="at most 30 bases.* 38 in number 2"):
        convnova.load(tmp_path).embed(["ACGT", LETTERS])
    save_predictor(tmp_path, "cnn", {}, length=90)
    with pytest.raises(ConvNovaError, match="at most 90 bases.* 91 in number 1"):
        convnova.load(tmp_path).predict(["A" * 91])
    about = json.loads((tmp_path / "weights.json").read_text())
    (tmp_path / "weights.json").write_text(json.dumps(seal(about | {"max_length": 20})))
    model = convnova.load(tmp_path)
    assert model.predict([LETTERS]).equals(model.predict([LETTERS[:20]]))
    assert "1 sequences longer than 20 bases" in capsys.readouterr().err


def test_precision_is_that_of_the_training_or_as_asked_for(tmp_path):
    save_language_model(tmp_path)
    exact, rough = (convnova.load(tmp_path, precision=name).embed([LETTERS]) for name in ("float32", "bfloat16"))
    np.testing.assert_array_equal(convnova.load(tmp_path).embed([LETTERS]), exact)
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_a_model_is_left_as_it_was(model):
    """tangermeme's rule: neither weights nor the state of gradients change."""
    before = {name: tensor.clone() for name, tensor in model.network.module.state_dict().items()}
    model.embed([LETTERS])
    model.predict([LETTERS])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.module.state_dict().items())
    assert torch.is_grad_enabled() and model.about["settings"] == CONVNOVA
