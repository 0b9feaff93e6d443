"""Models of `transformers`, as small as they get: saved here and loaded through the same calls as published ones."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from convnova.catalogue import load
from convnova.dna import OUTSIDE, encode
from convnova.errors import ConvNovaError
from convnova.models import build_predictor, check_models
from convnova.models.huggingface import Backbone, Config

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEQUENCE = "ACGTACGTACGTTTGACCAGTTAGNACG"


def esm(folder: Path) -> dict:
    """As Nucleotide Transformer v2: an ESM over 6-mers, single letters at the end, and a class token in front."""
    letters = "ACGT"
    kmers = ["".join(letters[(i // 4**k) % 4] for k in range(6)) for i in range(4**6)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["<unk>", "<pad>", "<mask>", "<cls>", *kmers, *"ATCGN"]))
    names = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "cls_token": "<cls>",
        "eos_token": None,
    }
    transformers.EsmTokenizer(str(folder / "vocab.txt"), **names).save_pretrained(folder)
    tokens = {"vocab_size": 4 + 4**6 + 5, "pad_token_id": 1, "mask_token_id": 2, "max_position_embeddings": 66}
    config = transformers.EsmConfig(position_embedding_type="rotary", **tokens, **SMALL)
    transformers.EsmForMaskedLM(config).save_pretrained(folder)
    return {"loader": "AutoModelForMaskedLM"}


def bert(folder: Path) -> dict:
    """As DNABERT-2: a BERT over byte pairs, here AC and GT alone, with class and separator; it does not know N."""
    words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"ACGT", "AC", "GT"]
    merges = [("A", "C"), ("G", "T")]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(words), pad_token_id=3, **SMALL)
    transformers.BertModel(config).save_pretrained(folder)
    return {}


CODE = '''
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizer


class TinyConfig(PretrainedConfig):
    model_type = "tiny_dna"

    def __init__(self, d_model=16, **options):
        self.d_model = d_model
        super().__init__(**options)


class TinyModel(PreTrainedModel):
    """As HyenaDNA and Caduceus: a letter a token, no attention mask; it reads padding, in both directions."""

    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = torch.nn.Embedding(12, config.d_model)
        self.mix = torch.nn.Linear(config.d_model, config.d_model)
        self.post_init()

    def forward(self, input_ids, inputs_embeds=None, output_hidden_states=None, return_dict=None):
        x = self.embedding(input_ids)
        return (self.mix(x + x.mean(1, keepdim=True)),)


class TinyTokenizer(PreTrainedTokenizer):
    model_input_names = ["input_ids"]

    def __init__(self, **options):
        self.names = {name: i for i, name in enumerate(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "A", "C", "G", "T", "N"])}
        super().__init__(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", **options)

    vocab_size = property(lambda self: len(self.names))

    def get_vocab(self):
        return dict(self.names)

    def _tokenize(self, text):
        return list(text)

    def _convert_token_to_id(self, token):
        return self.names.get(token, self.names["[UNK]"])

    def _convert_id_to_token(self, index):
        return list(self.names)[index]

    def build_inputs_with_special_tokens(self, ids, pair=None):
        return ids + [self.sep_token_id]

    def get_special_tokens_mask(self, ids, pair=None, already_has_special_tokens=False):
        return [0] * len(ids) + [1]

    def save_vocabulary(self, folder, filename_prefix=None):
        return ()
'''


def custom(folder: Path) -> dict:
    """As HyenaDNA and Caduceus: Python code beside the weights."""
    namespace: dict = {"__name__": "tiny_dna_code"}
    exec(compile(CODE, "tiny_dna_code", "exec"), namespace)
    namespace["TinyModel"](namespace["TinyConfig"]()).save_pretrained(folder)
    (folder / "code.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.TinyConfig", "AutoModel": "code.TinyModel"}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {"tokenizer_class": "TinyTokenizer", "auto_map": {"AutoTokenizer": ["code.TinyTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return {"remote_code": True}


MAKERS = {"esm": esm, "bert": bert, "custom": custom}


@pytest.fixture(scope="module", params=MAKERS)
def settings(request, tmp_path_factory) -> dict:
    """Settings that load a model just made."""
    folder = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    return {"path": str(folder), **MAKERS[request.param](folder)}


def tokens_of(*sequences: str) -> torch.Tensor:
    longest = max(map(len, sequences))
    lines = [F.pad(torch.from_numpy(encode(s)[0].copy()), (0, longest - len(s)), value=OUTSIDE) for s in sequences]
    return torch.stack(lines)


def spans(settings: dict) -> list[int]:
    """How the sequence falls into tokens, by hand."""
    tokens = {
        "esm": "ACGTAC GTACGT TTGACC AGTTAG N A C G",
        "bert": "AC GT AC GT AC GT T T G AC C A GT T A G N AC G",
        "custom": " ".join(SEQUENCE),
    }
    return [len(token) for token in tokens[Path(settings["path"]).name].split()]


def test_a_base_has_the_vector_of_its_token(settings):
    torch.manual_seed(0)
    model = Backbone(Config(**settings)).eval()
    features = model(tokens_of(SEQUENCE))[0]
    assert features.shape == (28, 16)
    widths = spans(settings)
    starts = [sum(widths[:i]) for i in range(len(widths))]
    for start, width in zip(starts, widths, strict=True):
        assert all(torch.equal(features[start], features[start + i]) for i in range(width))
    if widths[0] > 1:
        assert not torch.equal(features[starts[0]], features[starts[1]])


def test_the_mean_is_that_of_transformers_over_tokens_without_special_ones(settings):
    model = Backbone(Config(**settings)).eval()
    where = {"trust_remote_code": settings.get("remote_code", False)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["path"], **where)
    network = (
        getattr(transformers, settings.get("loader", "AutoModel")).from_pretrained(settings["path"], **where).eval()
    )
    ids = torch.tensor([tokenizer(SEQUENCE)["input_ids"]])
    output = network(ids, output_hidden_states=True)
    hidden = output[0] if isinstance(output, tuple) else output.hidden_states[-1]
    first = {"esm": 1, "bert": 1, "custom": 0}[Path(settings["path"]).name]
    kept = hidden[0, first : first + len(spans(settings))]
    assert ids.shape[1] > len(kept)
    torch.testing.assert_close(model.mean(tokens_of(SEQUENCE))[0], kept.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "per_base"])
def test_a_padded_batch_gives_what_single_sequences_give(settings, kind):
    torch.manual_seed(0)
    model = build_predictor("huggingface", settings, kind, 3, 40).eval()
    sequences = [SEQUENCE, "ACGTTGCAAT", "GATTACAGATTACAC"]
    together = model(tokens_of(*sequences))
    for row, sequence in enumerate(sequences):
        alone = model(tokens_of(sequence))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_fine_tuning_reaches_the_network_and_frozen_does_not(settings, frozen):
    torch.manual_seed(0)
    model = build_predictor("huggingface", settings, "classes", 2, 40, frozen=frozen)
    tokens, labels = tokens_of(SEQUENCE, SEQUENCE[::-1], "ACGTTGCAAT"), torch.tensor([0, 1, 1])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    for _ in range(12):
        loss = F.cross_entropy(model(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = model.backbone.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before) == frozen


def test_a_tokenizer_of_overlapping_words_is_refused_before_any_job(tmp_path):
    """A base would lie in several tokens, so neither it nor the mean over a sequence's bases would have one vector."""
    overlapping = CODE.replace("return list(text)", "return [text[i : i + 3] for i in range(len(text) - 2)]")
    (tmp_path / "code.py").write_text(overlapping)
    tokenizer = {"tokenizer_class": "TinyTokenizer", "auto_map": {"AutoTokenizer": ["code.TinyTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    model = {"dnabert2": {"settings": {"path": str(tmp_path), "remote_code": True}}}
    config = load({"suites": {"nucleotide_transformer": ["H3"]}, "models": model}, [], CATALOGUE)
    with pytest.raises(ConvNovaError, match="dnabert2.*expected tokens that cover it, .* take another tokenizer"):
        check_models(config)


def test_what_cannot_be_loaded_is_refused_with_what_to_do(settings, tmp_path, monkeypatch):
    suites = {"nucleotide_transformer": ["H3"]}

    def check(**changes):
        model = {"dnabert2": {"settings": {**settings, "revision": "", **changes}}}
        check_models(load({"suites": suites, "models": model}, [], CATALOGUE))

    check()
    with pytest.raises(ConvNovaError, match="revision = '': expected a commit of zhihan1996/DNABERT-2-117M"):
        check(path="zhihan1996/DNABERT-2-117M")
    with pytest.raises(ConvNovaError, match=r"settings.longest = 300: nucleotide_transformer/H3 have up to 500 bases"):
        check(longest=300)
    with pytest.raises(ConvNovaError, match="loader = 'AutoTokenizer': expected one of AutoModel, "):
        check(loader="AutoTokenizer")
    check(needs="torch, numpy")
    with pytest.raises(
        ConvNovaError, match="expected the package no_such_thing, found none; pip install no-such-thing"
    ):
        check(needs="torch, no_such_thing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvNovaError, match="expected a model that transformers .* loads with AutoModel"):
        Backbone(Config(str(tmp_path / "empty")))
    monkeypatch.setattr("convnova.models.huggingface.find_spec", lambda name: None)
    with pytest.raises(ConvNovaError, match=r"expected the package transformers, found none; pip install '.\[pretr"):
        check()
