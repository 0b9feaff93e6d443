"""`convnova.load`: every architecture, every place that weights lie in, and what it says of others."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from saved_models import CONVNOVA, architectures, save_language_model, save_predictor

import convnova
from convnova.data.dna import encode
from convnova.errors import ConvNovaError
from convnova.files import seal
from convnova.models import architecture_module
from convnova.models.heads import pool_sequence

SEQUENCES = ["ACGTTGCANNACGT", "TTTGACCAGTTAGACGATCATTTGACA", "G", "ACGTTGCAGGACGA" * 5]
FINETUNED = "results/small/runs/nucleotide_transformer/H3/{}/heldout/seed=1"
TEST_FILE = "resources/small/raw/nucleotide_transformer/H3/test.fna"


def tokens(sequence: str) -> torch.Tensor:
    return torch.from_numpy(encode(sequence)[0])[None]


def alone(module: torch.nn.Module, sequence: str, fixed_length: int | None) -> torch.Tensor:
    """The network's output for one sequence without a batch; padded where the network has one length."""
    line = tokens(sequence)
    if fixed_length:
        line = torch.nn.functional.pad(line, (0, fixed_length - line.shape[1]), value=5)
    with torch.inference_mode():
        return module(line)[0]


@pytest.mark.parametrize("kind", ["classes", "multilabel", "per_base", "regression"])
@pytest.mark.parametrize("name", architectures())
def test_every_architecture_predicts_what_its_network_gives_for_each_sequence_alone(name, kind, tmp_path):
    architecture, settings = architectures()[name]
    numbers = {"loss": "mse", "mean": [5.0, 0.0, -2.0], "scale": [2.0, 1.0, 30.0], "bin_size": None}
    module = save_predictor(tmp_path, architecture, settings, kind, numbers=numbers if kind == "regression" else None)
    table = convnova.load(tmp_path).predict(SEQUENCES)
    assert table["name"].tolist() == ["1", "2", "3", "4"]
    for row, sequence in enumerate(SEQUENCES):
        logits = alone(module, sequence, module.fixed_length)
        if kind == "per_base":
            assert table["predicted"][row].tolist() == logits.argmax(-1).tolist()
            continue
        expected = logits.softmax(-1) if kind == "classes" else logits.sigmoid()
        if kind == "regression":
            expected = logits * torch.tensor(numbers["scale"]) + torch.tensor(numbers["mean"])
        np.testing.assert_allclose(table.loc[row, ["no", "yes", "maybe"]].tolist(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strands", ["forward", "both"])
@pytest.mark.parametrize("name", architectures())
def test_every_architecture_predicts_bins_of_sequences_that_differ_in_length(name, strands, tmp_path):
    architecture, settings = architectures()[name]
    numbers = {"loss": "mse", "mean": [5.0], "scale": [2.0], "bin_size": 10}
    module = save_predictor(tmp_path, architecture, settings, "regression", ("signal",), numbers=numbers, bin_size=10)
    sequences = [sequence[:length] for sequence, length in zip([SEQUENCES[3]] * 3, (70, 20, 50), strict=True)]
    model = convnova.load(tmp_path)
    table = model.predict(sequences, strands=strands)
    pairs = str.maketrans("ACGTN", "TGCAN")
    for row, sequence in enumerate(sequences):
        expected = alone(module, sequence, None) * 2 + 5
        if strands == "both":
            expected = (expected + (alone(module, sequence.translate(pairs)[::-1], None) * 2 + 5).flip(0)) / 2
        np.testing.assert_allclose(table["predicted"][row], expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConvNovaError, match="multiples of the bin of 10 bases, found 27 bases in number 2"):
        model.predict(["ACGTACGTAC", SEQUENCES[1]])
    with pytest.raises(ConvNovaError, match="found one of bins"):
        model.mutagenesis("ACGTACGTAC")


@pytest.mark.parametrize("name", architectures())
def test_every_architecture_embeds_what_its_last_layer_reads(name, tmp_path):
    """The last linear layer over the embeddings gives the logits."""
    architecture, settings = architectures()[name]
    for kind in ("classes", "per_base"):
        module, model = save_predictor(tmp_path, architecture, settings, kind), convnova.load(tmp_path)
        if architecture == "kmer_regression":
            with pytest.raises(ConvNovaError, match="features of sequences.*Kmers"):
                model.embed(SEQUENCES)
            continue
        last = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
        assert last.out_features == 3
        if kind == "classes":
            embeddings = model.embed(SEQUENCES)
            assert embeddings.shape == (4, last.in_features) and embeddings.dtype == np.float32
        elif name != "cnn":
            embeddings = model.embed(SEQUENCES, per_base=True)
            assert [part.shape for part in embeddings] == [(len(line), last.in_features) for line in SEQUENCES]
        for embedding, sequence in zip(embeddings, SEQUENCES, strict=True):
            logits = last(torch.from_numpy(embedding)) if kind == "classes" or name != "cnn" else None
            if logits is not None:
                torch.testing.assert_close(logits, alone(module, sequence, module.fixed_length), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", architectures())
def test_every_backbone_embeds_after_pretraining(name, tmp_path):
    architecture, settings = architectures()[name]
    if not hasattr(architecture_module(architecture), "Backbone"):
        pytest.skip("no backbone")
    module, model = save_language_model(tmp_path, architecture, settings), convnova.load(tmp_path)
    embeddings, of_bases = model.embed(SEQUENCES), model.embed(SEQUENCES, per_base=True)
    for row, sequence in enumerate(SEQUENCES):
        with torch.inference_mode():
            features = module.backbone(tokens(sequence))
        if module.both_strands:
            features = (features[..., : features.shape[-1] // 2] + features[..., features.shape[-1] // 2 :]) / 2
        np.testing.assert_allclose(of_bases[row], features[0], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(embeddings[row], pool_sequence(features, tokens(sequence))[0], atol=1e-5, rtol=1e-5)


def test_a_model_of_other_people_comes_back_with_the_weights_of_its_fine_tuning(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *"acgtn"]))
    letters = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), tokenize_chinese_chars=False)
    letters.basic_tokenizer.tokenize = lambda text, **_: list(text)
    letters.save_pretrained(tmp_path / "theirs")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=10, pad_token_id=1, **sizes)).save_pretrained(
        tmp_path / "theirs"
    )
    module = save_predictor(tmp_path / "ours", "huggingface", {"path": str(tmp_path / "theirs")})
    (tmp_path / "theirs").rename(tmp_path / "moved")
    table = convnova.load(tmp_path / "ours", settings={"path": str(tmp_path / "moved")}).predict(["ACGT"])
    np.testing.assert_allclose(
        table.iloc[0, 1:].tolist(), alone(module, "ACGT", None).softmax(-1), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("model", ["convnova", "cnn"])
def test_predictions_on_the_test_file_are_those_of_the_pipeline(finished, model):
    """From the raw FASTA, where the pipeline read the tokenized task."""
    import pyarrow.parquet

    folder = finished / FINETUNED.format(model)
    written = pyarrow.parquet.read_table(folder / "predictions.parquet")["score"].to_numpy(zero_copy_only=False)
    table = convnova.load(folder).predict(finished / TEST_FILE)
    np.testing.assert_allclose(table[["0", "1"]], np.stack(written), atol=1e-6)
    assert table["name"].tolist()[:2] == ["0|0", "1|1"]


def test_a_file_and_its_folder_are_the_same_model(finished):
    folder = finished / "results/small/pretrain/convnova"
    np.testing.assert_array_equal(
        *(convnova.load(path).embed(["ACGT"]) for path in (folder, folder / "weights.safetensors"))
    )


@pytest.mark.parametrize("name", ["features_k5_finalconv", "features_k9_dil4", "mlm_k9_ffn"])
@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_a_checkpoint_of_the_authors_code_gives_its_golden_features(shared, tmp_path, name, form):
    with safe_open(shared / "golden" / f"{name}.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["config"])
        del settings["n_parameters"]
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
    weights = {key.replace("weights.", "model."): value for key, value in tensors.items() if key.startswith("weights.")}
    path = tmp_path / f"theirs.{form}"
    if form == "ckpt":
        torch.save({"state_dict": weights, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(weights, path)
    with pytest.raises(ConvNovaError, match="theirs.*hyperparameters.*hidden_dim"):
        convnova.load(path)
    model = convnova.load(path, settings, precision="float32")
    features = model.embed(tensors["tokens"].numpy(), per_base=True)
    if settings["pretrain"]:
        head = model.network.module.head
        features = head(torch.from_numpy(np.stack(features))).detach().numpy()
    np.testing.assert_allclose(np.stack(features), tensors["output"], atol=1e-5, rtol=1e-5)


def test_a_pickle_with_other_objects_is_not_loaded(tmp_path):
    torch.save({"state_dict": {}, "path": Path("x")}, tmp_path / "evil.ckpt")
    with pytest.raises(ConvNovaError, match="evil.ckpt.* no other objects"):
        convnova.load(tmp_path / "evil.ckpt", CONVNOVA)


def test_what_has_no_weights_is_named_with_what_has_some(finished, tmp_path):
    kept = str(finished / FINETUNED.format("cnn"))
    with pytest.raises(ConvNovaError, match=f"released/seed=1: expected weights.safetensors.* {re.escape(kept)}"):
        convnova.load(kept.replace("heldout", "released"))
    for name, words in (("nowhere.safetensors", "found nothing"), ("", "keep_weights")):
        with pytest.raises(ConvNovaError, match=words):
            convnova.load(tmp_path / name)


def test_weights_of_another_network_or_of_a_newer_form_are_refused(tmp_path):
    save_predictor(tmp_path)
    about = json.loads((tmp_path / "weights.json").read_text())
    for changed, words in (
        ({"network": about["network"] | {"outputs": 5}, "classes": list("abcde")}, "head.weight"),
        ({"classes": ["a", "b"]}, "3 outputs and the classes a, b"),
        ({"form": 99}, "99.* newer"),
    ):
        (tmp_path / "weights.json").write_text(json.dumps(seal(about | changed)))
        with pytest.raises(ConvNovaError, match=words):
            convnova.load(tmp_path)


def test_a_model_says_what_it_is(tmp_path):
    save_predictor(tmp_path / "fine")
    save_language_model(tmp_path / "pre")
    for name in ("classes no, yes, maybe", "mine/one", "mcc 0.500", str(tmp_path / "fine")):
        assert name in str(convnova.load(tmp_path / "fine"))
    assert "masked-language model" in str(convnova.load(tmp_path / "pre"))
    with pytest.raises(ConvNovaError, match="pre.* fine-tuned"):
        convnova.load(tmp_path / "pre").predict(["ACGT"])
