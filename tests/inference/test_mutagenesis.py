"""Effects of every substitution: those of a plain loop, of the variants' scores, and of tangermeme."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from saved_models import architectures, save_language_model, save_predictor

import convnova
from convnova.data.dna import encode
from convnova.errors import ConvNovaError

SEQUENCE = "ACGTTGCAGGACGACTNACGATCGACTAGCTTTAGGACGATTTAC"


def logits(module, letters: str, place: int, kind: str) -> np.ndarray:
    with torch.inference_mode():
        result = module(torch.from_numpy(encode(letters)[0])[None])[0]
    return (result[place] if kind == "per_base" else result).numpy()


@pytest.mark.parametrize("kind", ["classes", "multilabel", "per_base"])
def test_effects_are_those_of_a_plain_loop(tmp_path, kind):
    module = save_predictor(tmp_path, kind=kind)
    effects = convnova.load(tmp_path).mutagenesis(SEQUENCE, start=12, end=31, target="yes")
    assert effects.sequence == SEQUENCE[12:31] and effects.values.shape == (19, 4)
    for row, place in enumerate(range(12, 31)):
        before = logits(module, SEQUENCE, place, kind)
        for column, letter in enumerate("ACGT"):
            changed = SEQUENCE[:place] + letter + SEQUENCE[place + 1 :]
            difference = logits(module, changed, place, kind) - before
            np.testing.assert_allclose(effects.by_output[row, column], difference, atol=1e-5)
            assert effects.values[row, column] == effects.by_output[row, column, 1]
    there = ["ACGT".find(letter) for letter in effects.sequence]
    assert all(effects.values[row, column] == 0 for row, column in enumerate(there) if column >= 0)


def test_effects_of_a_language_model_are_the_scores_of_the_variants(tmp_path):
    """The window is the whole chromosome, so both read the same bases."""
    save_language_model(tmp_path)
    model, letters = convnova.load(tmp_path), SEQUENCE.replace("N", "C")
    (tmp_path / "g.fa").write_text(f">one\n{letters}\n")
    lines = [f"one\t{i + 1}\t.\t{ref}\t{','.join(set('ACGT') - {ref})}\t.\t.\t.\n" for i, ref in enumerate(letters)]
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(lines))
    for strands in ("forward", "both"):
        values = model.mutagenesis(letters, strands=strands).values
        for row in model.score_variants(tmp_path / "v.vcf", tmp_path / "g.fa", strands=strands).itertuples():
            assert values[row.pos - 1, "ACGT".index(row.alt)] == pytest.approx(row.LLR, abs=1e-5)
    with_n = model.mutagenesis(SEQUENCE).values
    assert np.isnan(with_n[16]).all() and np.isnan(with_n).sum() == 4


def test_both_strands_are_the_mean_of_the_two(tmp_path):
    save_predictor(tmp_path)
    model, opposite = convnova.load(tmp_path), SEQUENCE[::-1].translate(str.maketrans("ACGT", "TGCA"))
    both = model.mutagenesis(SEQUENCE, target="no", strands="both").values
    forward, reverse = (model.mutagenesis(sequence, target="no").values for sequence in (SEQUENCE, opposite))
    np.testing.assert_allclose(both, (forward + reverse[::-1, ::-1]) / 2, atol=1e-6)


def test_tangermeme_gives_the_same_effects(tmp_path):
    tangermeme = pytest.importorskip("tangermeme.saturation_mutagenesis", reason="tangermeme is not installed")
    from tangermeme.utils import one_hot_encode

    save_predictor(tmp_path)
    model, letters = convnova.load(tmp_path), SEQUENCE.replace("N", "C")
    X = one_hot_encode(letters)[None].float()
    before, after = tangermeme.saturation_mutagenesis(model.one_hot(), X, raw_outputs=True, device="cpu", fast=False)[
        :2
    ]
    difference = (after - before[:, None, None])[0].permute(1, 0, 2)  # letters first
    np.testing.assert_allclose(model.mutagenesis(letters).by_output, difference, atol=1e-5)


@pytest.mark.parametrize("name", ["convnova", "convnext", "legnet", "basenji2", "cnn"])
def test_one_hot_letters_give_the_logits_of_the_letters(name, tmp_path):
    """Also where the network pads to one length; a position without a letter is N."""
    module, tokens = save_predictor(tmp_path, *architectures()[name]), torch.from_numpy(encode(SEQUENCE)[0])
    letters = torch.nn.functional.one_hot(tokens.long(), 5)[:, :4].T[None].float()
    model = convnova.load(tmp_path)
    expected = np.log(model.predict([SEQUENCE]).iloc[0, 1:].astype(float))
    found = model.one_hot()(letters)[0].log_softmax(-1).detach()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if name != "cnn":
        with_gradient = model.one_hot()(letters.clone().requires_grad_())[0].log_softmax(-1)
        np.testing.assert_allclose(with_gradient.detach(), expected, atol=1e-5)
    assert module.training is False


@pytest.mark.parametrize("name", ["convnova", "convnext", "legnet", "basenji2"])
def test_gradients_reach_the_letters(name, tmp_path):
    """The derivative along a direction is the change over a small step, between letters as well as at them."""
    save_predictor(tmp_path, *architectures()[name])
    network = convnova.load(tmp_path).one_hot().double().eval()
    torch.manual_seed(1)
    letters = torch.rand(1, 4, 40, dtype=torch.float64).softmax(1) * 0.9
    direction, step = torch.randn_like(letters), 1e-5
    letters.requires_grad_()
    gradient = torch.autograd.grad(network(letters)[0, 1], letters)[0]
    with torch.enable_grad():
        ahead, behind = (network(letters + sign * step * direction)[0, 1] for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(
        float((ahead - behind) / (2 * step)), rel=1e-4, abs=1e-7
    )


def test_captum_attributes_all_of_the_difference_to_n(tmp_path):
    attribution = pytest.importorskip("captum.attr", reason="captum is not installed")
    save_predictor(tmp_path)
    network, tokens = convnova.load(tmp_path).one_hot(), torch.from_numpy(encode(SEQUENCE)[0])
    letters = torch.nn.functional.one_hot(tokens.long(), 5)[:, :4].T[None].float()
    parts = attribution.IntegratedGradients(network).attribute(
        letters, torch.zeros_like(letters), target=1, n_steps=200
    )
    nothing = torch.zeros_like(letters)
    expected = (network(letters) - network(nothing))[0, 1].detach()
    assert float(parts.sum()) == pytest.approx(float(expected), rel=0.02)


def test_the_picture_is_written_and_shows_the_letters_that_matter(tmp_path):
    save_predictor(tmp_path)
    effects = convnova.load(tmp_path).mutagenesis(SEQUENCE)
    for ending in ("png", "svg", "pdf"):
        effects.plot(tmp_path / f"map.{ending}")
        assert (tmp_path / f"map.{ending}").stat().st_size > 5000
    assert imread(tmp_path / "map.png").std() > 0.05
    letters, heat, _ = effects.plot().axes
    heights = [patch.get_path().get_extents().height for patch in letters.patches]
    importance = -effects.values.sum(1) / 3
    np.testing.assert_allclose(
        heights, [abs(value) for value, letter in zip(importance, SEQUENCE, strict=True) if letter != "N"], rtol=1e-4
    )
    assert heat.images[0].get_array().shape == (4, len(SEQUENCE))
    table = effects.table()
    assert table.columns.tolist() == ["position", "base", *"ACGT"] and "".join(table["base"]) == SEQUENCE


def test_what_cannot_be_changed_is_refused_in_a_line(tmp_path):
    save_predictor(tmp_path)
    model = convnova.load(tmp_path)
    for arguments, words in (
        ({"sequence": "MKVE"}, "nucleotides"),
        ({"sequence": "ACGT", "start": 4}, "start and end: .* 4 bases"),
        ({"sequence": "ACGT", "target": "yess"}, "target 'yess': did you mean 'yes'"),
    ):
        with pytest.raises(ConvNovaError, match=words):
            model.mutagenesis(**arguments)


@pytest.mark.parametrize("save", [save_predictor, save_language_model])
def test_bfloat16_leaves_small_effects_in_place(tmp_path, save):
    """Of logits that are rounded to three digits, differences would be nothing but rounding."""
    save(tmp_path)
    exact, rough = (convnova.load(tmp_path, precision=name).mutagenesis(SEQUENCE.replace("N", "C")).values
                    for name in ("float32", "bfloat16"))  # fmt: skip
    assert (rough[exact != 0] != 0).all()
    assert np.sqrt(np.mean((rough - exact) ** 2)) < 0.04 * exact.std()
