"""Models of `transformers`, as small as they get: saved here and loaded through the same calls as published ones.

The classes of the published models are on the hub, not in any package, but for Nucleotide Transformer v1 (an ESM). So
these are the nearest that pip has: `EsmForMaskedLM` for Nucleotide Transformer v2 (which has a gated feed-forward) and
`BertModel` for DNABERT-2 (linear biases of attention). For HyenaDNA and Caduceus a network with Python code beside its
weights, written as theirs are. `test_hub_code.py` takes the authors' own code, where it was fetched.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")

from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from convnova.config.load import load
from convnova.data.dna import PAD, encode
from convnova.errors import ConvNovaError
from convnova.models import build_predictor
from convnova.models.huggingface import Backbone, Config, check
from convnova.runs.validate import validate

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEQUENCE = "ACGTACGTACGTTTGACCAGTTAGNACG"


def esm_tokenizer(folder: Path) -> None:
    """As Nucleotide Transformer has it: 6-mers, single letters at the end, and a class token in front."""
    letters = "ACGT"
    kmers = ["".join(letters[(i // 4**k) % 4] for k in range(6)) for i in range(4**6)]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["<unk>", "<pad>", "<mask>", "<cls>", *kmers, *"ATCGN"]))
    names = {f"{name}_token": f"<{name}>" for name in ("unk", "pad", "mask", "cls")} | {"eos_token": None}
    transformers.EsmTokenizer(str(folder / "vocab.txt"), **names).save_pretrained(folder)


def esm(folder: Path) -> dict:
    """As Nucleotide Transformer v2: an ESM over 6-mers."""
    esm_tokenizer(folder)
    tokens = {"vocab_size": 4 + 4**6 + 5, "pad_token_id": 1, "mask_token_id": 2, "max_position_embeddings": 66}
    config = transformers.EsmConfig(position_embedding_type="rotary", **tokens, **SMALL)
    transformers.EsmForMaskedLM(config).save_pretrained(folder)
    return {"loader": "AutoModelForMaskedLM"}


BYTE_PAIRS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"ACGT", "AC", "GT"]


def bert_tokenizer(folder: Path) -> None:
    """As DNABERT-2 has it: byte pairs, here AC and GT alone, with class and separator; it does not know N."""
    merges = [("A", "C"), ("G", "T")]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(BYTE_PAIRS)}, merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "CLS", "SEP", "PAD", "MASK")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def bert(folder: Path) -> dict:
    """As DNABERT-2: a BERT over byte pairs."""
    bert_tokenizer(folder)
    config = transformers.BertConfig(vocab_size=len(BYTE_PAIRS), pad_token_id=3, **SMALL)
    transformers.BertModel(config).save_pretrained(folder)
    return {}


CODE = '''
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizer
from transformers.modeling_utils import find_pruneable_heads_and_indices, prune_linear_layer


class TinyConfig(PretrainedConfig):
    model_type = "tiny_dna"

    def __init__(self, d_model=16, **options):
        self.d_model = d_model
        super().__init__(**options)


class TinyModel(PreTrainedModel):
    """As HyenaDNA and Caduceus: a letter a token, no attention mask; it reads padding, in both directions.

    Written for transformers 4, as all of them are: no `post_init` (Caduceus), a list of tied weights and what a decoder
    and pruned heads need (Nucleotide Transformer), numbers computed when it is built (DNABERT-2), `use_return_dict`.
    """

    config_class = TinyConfig
    _tied_weights_keys = ["head.weight"]

    def __init__(self, config):
        super().__init__(config)
        assert not config.is_decoder
        self.slopes = float(torch.arange(1.0, 3.0).sum())
        self.embedding = torch.nn.Embedding(12, config.d_model)
        self.mix = torch.nn.Linear(config.d_model, config.d_model)

    def forward(self, input_ids, inputs_embeds=None, output_hidden_states=None, return_dict=None):
        assert self.get_head_mask(None, 2) == [None, None] and self.config.use_return_dict is not None
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


def custom(folder: Path, code: str = CODE, model: str = "TinyModel") -> dict:
    """As HyenaDNA and Caduceus: Python code beside the weights."""
    namespace: dict = {"__name__": "tiny_dna_code"}
    exec(compile(code, "tiny_dna_code", "exec"), namespace)
    namespace[model](namespace["TinyConfig"]()).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.TinyConfig", "AutoModel": f"code.{model}"}
    (folder / "config.json").write_text(json.dumps(config))
    letters(folder, code)
    return {"remote_code": True}


def letters(folder: Path, code: str = CODE) -> None:
    """A tokenizer of single letters, whose code is beside the weights."""
    (folder / "code.py").write_text(code)
    tokenizer = {"tokenizer_class": "TinyTokenizer", "auto_map": {"AutoTokenizer": ["code.TinyTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


MAKERS = {"esm": esm, "bert": bert, "custom": custom}


@pytest.fixture(scope="module", params=MAKERS)
def settings(request, tmp_path_factory) -> dict:
    """Settings that load a model just made."""
    folder = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    return {"path": str(folder), **MAKERS[request.param](folder)}


def tokens_of(*sequences: str) -> torch.Tensor:
    longest = max(map(len, sequences))
    lines = [F.pad(torch.from_numpy(encode(s)[0].copy()), (0, longest - len(s)), value=PAD) for s in sequences]
    return torch.stack(lines)


TOKENS = {
    "esm": "ACGTAC GTACGT TTGACC AGTTAG N A C G",
    "bert": "AC GT AC GT AC GT T T G AC C A GT T A G N AC G",
    "custom": " ".join(SEQUENCE),
}
"""How the sequence falls into tokens, by hand."""


def test_features_are_those_of_transformers(settings):
    """Of a base the vector of its token, of a sequence the mean or the largest over its tokens; no special ones."""
    name, where = Path(settings["path"]).name, {"trust_remote_code": settings.get("remote_code", False)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["path"], **where)
    loader = getattr(transformers, settings.get("loader", "AutoModel"))
    network = loader.from_pretrained(settings["path"], **where).eval()
    ids, spans = torch.tensor([tokenizer(SEQUENCE)["input_ids"]]), [len(token) for token in TOKENS[name].split()]
    output = network(ids, output_hidden_states=True)
    hidden = output.hidden_states[-1] if name == "esm" else output[0]
    first = {"esm": 1, "bert": 1, "custom": 0}[name]
    tokens = hidden[0, first : first + len(spans)]
    assert ids.shape[1] > len(tokens) and tokens.std(0).min() > 0
    model, close = Backbone(Config(**settings)).eval(), {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(model(tokens_of(SEQUENCE))[0], tokens.repeat_interleave(torch.tensor(spans), 0), **close)
    for pooling, expected in (("mean", tokens.mean(0)), ("max", tokens.amax(0))):
        model = build_predictor("huggingface", settings, "classes", 3, 40, pooling=pooling).eval()
        torch.testing.assert_close(model.pooled(tokens_of(SEQUENCE))[0], expected, **close)


@pytest.mark.parametrize("kind, head", [("classes", "linear"), ("classes", "cnn"), ("per_base", "linear")])
def test_a_padded_batch_in_any_order_gives_what_single_sequences_give(settings, kind, head):
    torch.manual_seed(0)
    model = build_predictor("huggingface", settings, kind, 3, 40, head=head).eval()
    sequences = [SEQUENCE, "ACGTTGCAAT", "GATTACAGATTACAC", SEQUENCE[::-1]]
    alone = [model(tokens_of(sequence))[0] for sequence in sequences]
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        together = model(tokens_of(*(sequences[row] for row in order)))
        for line, row in zip(together, order, strict=True):
            torch.testing.assert_close(line[: len(alone[row])], alone[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("file, kind", [("config.json", "AutoModel"), ("tokenizer_config.json", "AutoTokenizer")])
def test_code_of_another_repository_is_refused_unless_its_commit_is_pinned(file, kind, tmp_path, monkeypatch):
    """Before `transformers` is asked for anything else than the two JSON files."""
    options = custom(tmp_path)
    content = json.loads((tmp_path / file).read_text())
    content["auto_map"][kind] = ["else/where--code.Tiny", None] if kind == "AutoTokenizer" else "else/where--code.Tiny"
    (tmp_path / file).write_text(json.dumps(content))
    asked = []
    for name in ("AutoTokenizer", "AutoModel"):
        loader = getattr(transformers, name)
        monkeypatch.setattr(loader, "from_pretrained", lambda path, **options: asked.append(options) or 1 / 0)
    for trial in (check, Backbone):
        with pytest.raises(
            ConvNovaError, match=f"{file} asks for code of another repository, else/where; .*code_revision"
        ):
            trial(Config(str(tmp_path), **options))
    assert not asked
    with pytest.raises(ConvNovaError, match="ZeroDivisionError"):
        Backbone(Config(str(tmp_path), code_revision="0123456789" * 4, **options))
    assert asked[0]["code_revision"] == "0123456789" * 4


@pytest.mark.parametrize("frozen", [False, True])
def test_fine_tuning_reaches_the_network_and_frozen_does_not(settings, frozen):
    torch.manual_seed(0)
    model = build_predictor("huggingface", settings, "classes", 2, 40, frozen=frozen)
    tokens, labels = tokens_of(SEQUENCE, SEQUENCE[::-1], "ACGTTGCAAT"), torch.tensor([0, 1, 1])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    before, losses = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}, []
    for _ in range(12):
        losses.append(F.cross_entropy(model(tokens), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.backbone.state_dict().items()) == frozen


def test_what_a_network_keeps_of_an_evaluation_is_no_hindrance_to_training(settings):
    """Nucleotide Transformer keeps its tables of rotary positions from call to call, for the length of the last one."""
    model, tokens = build_predictor("huggingface", settings, "classes", 2, 40), tokens_of("ACGTTGCAAT")
    model(tokens_of(SEQUENCE))
    with torch.inference_mode():
        evaluated = model.eval()(tokens)
    assert not evaluated.requires_grad
    model(tokens).sum().backward()
    assert all(p.grad is not None for p in model.head.parameters())
    torch.testing.assert_close(model(tokens), evaluated)


def test_a_tokenizer_of_overlapping_words_is_refused_before_any_job(tmp_path):
    """A base would lie in several tokens, so neither it nor the mean over a sequence's bases would have one vector."""
    letters(tmp_path, CODE.replace("return list(text)", "return [text[i : i + 3] for i in range(len(text) - 2)]"))
    model = {"dnabert2": {"settings": {"path": str(tmp_path), "remote_code": True}}}
    config = load({"suites": {"nucleotide_transformer": ["H3"]}, "models": model}, [], CATALOGUE)
    with pytest.raises(ConvNovaError, match="dnabert2.*expected tokens that cover it, .* take another tokenizer"):
        validate(config)


WRONG = [
    *(
        (
            {"path": "zhihan1996/DNABERT-2-117M", "revision": revision},
            f"revision = '{revision}': .*zhihan1996/DNABERT-2-117M",
        )
        for revision in ("", "main", "1c51ecc", "0" * 39 + "g")
    ),
    ({"code_revision": "main"}, "code_revision = 'main': expected a commit"),
    ({"longest": 300}, r"settings.longest = 300: .*nucleotide_transformer/H3 .* 500 bases"),
    ({"loader": "AutoTokenizer"}, "loader = 'AutoTokenizer': .*AutoModel, "),
    ({"needs": "torch no-such-thing<2"}, "no-such-thing<2, found none; pip install 'no-such-thing<2'"),
    ({"needs": "torch<2"}, "torch<2, found 2.*; pip install 'torch<2'"),
    ({"needs": "torch, numpy"}, "needs = 'torch, numpy': .*spaces"),
]


def with_changes(settings: dict, **changes: object) -> None:
    """Validate a config of the model with some settings changed."""
    model = {"dnabert2": {"settings": {**settings, "revision": "", "needs": "torch", **changes}}}
    validate(load({"suites": {"nucleotide_transformer": ["H3"]}, "models": model}, [], CATALOGUE))


@pytest.mark.parametrize("changes, words", WRONG)
def test_what_does_not_fit_is_refused(changes, words, settings):
    with pytest.raises(ConvNovaError, match=words):
        with_changes(settings, **changes)


def test_what_fits_is_not_refused_unless_transformers_is_missing(settings, monkeypatch):
    with_changes(settings)
    with_changes(settings, needs="torch>=2 numpy")
    monkeypatch.setattr("convnova.models.huggingface.find_spec", lambda name: None)
    with pytest.raises(ConvNovaError, match=r"package transformers, found none; pip install '.\[pretr"):
        with_changes(settings)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConvNovaError, match="expected a model that transformers .* loads with AutoModel"):
        Backbone(Config(str(tmp_path)))


BROKEN = {
    "imported": ("import torch\n", "import torch\nfrom transformers.modeling_utils import no_such_helper\n"),
    "built": ("self.embedding = ", "self.config.no_such_setting; self.embedding = "),
    "run": ("x = self.embedding(input_ids)", "x = self.no_such_method(input_ids)"),
}


@pytest.mark.parametrize("when", BROKEN)
def test_code_for_another_version_of_transformers_is_refused_when_it_is(when, tmp_path):
    options = custom(tmp_path)
    letters(tmp_path, CODE.replace(*BROKEN[when], 1))
    what = "TinyModel: .* runs, found Attr" if when == "run" else "transformers .* found "
    with pytest.raises(ConvNovaError, match=f"{what}.*no_such.*docs/models.md"):
        Backbone(Config(str(tmp_path), **options))(tokens_of(SEQUENCE))


def test_kernels_for_an_old_triton_are_left_out(tmp_path):
    """DNABERT-2 takes them where they import, and they import but do not compile."""
    options = custom(tmp_path)
    old = "def flash_attn_qkvpacked_func(*given):\n    raise TypeError('trans_b')\n\n\nclass TinyModel("
    uses = "x = self.embedding(input_ids)\n        if flash_attn_qkvpacked_func: flash_attn_qkvpacked_func(x)"
    letters(tmp_path, CODE.replace("class TinyModel(", old).replace("x = self.embedding(input_ids)", uses))
    assert Backbone(Config(str(tmp_path), **options))(tokens_of(SEQUENCE)).shape == (1, 28, 16)


def test_what_two_layers_share_and_the_file_has_once_is_shared_again(tmp_path):
    """As the projections of Caduceus's directions; `transformers` forgets it, for it builds networks without memory."""
    options = custom(tmp_path)
    makes = "self.mix = torch.nn.Linear(config.d_model, config.d_model)"
    ties = "self.turn = torch.nn.Linear(config.d_model, config.d_model); self.turn.weight = self.mix.weight"
    code = CODE.replace(makes, f"{makes}; {ties}; self.turn.bias = self.mix.bias")
    letters(tmp_path, code.replace("(self.mix(x + x.mean(1, keepdim=True)),)", "(self.turn(self.mix(x)),)"))
    network = Backbone(Config(str(tmp_path), **options)).network
    assert network.turn.weight is network.mix.weight and network.turn.bias is network.mix.bias
    saved = load_file(tmp_path / "model.safetensors")
    assert {*saved} == {"embedding.weight", "mix.weight", "mix.bias"}
    assert all(torch.equal(network.get_parameter(name), tensor) for name, tensor in saved.items())


def test_a_tokenizer_that_is_here_and_does_not_load_is_refused_before_any_job(tmp_path):
    options = custom(tmp_path)
    letters(tmp_path, CODE.replace("import torch\n", "import torch, no_such_package\n", 1))
    with pytest.raises(ConvNovaError, match="loads a tokenizer from, found ImportError.*no_such_package"):
        check(Config(str(tmp_path), **options))


def test_a_tokenizer_that_is_not_here_is_said_or_refused_where_nothing_may_be_fetched(monkeypatch, capsys):
    config = Config("nobody/no-such-model", "0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    check(config)
    check(config)
    assert capsys.readouterr().err.count("nobody/no-such-model is not on this machine, so the first job fetches") == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConvNovaError, match="HF_HUB_OFFLINE .*`hf download nobody/no-such-model --revision 0000"):
        check(config)
