"""What holds for every architecture, in sizes that take no time."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import convnova.models
from convnova.cli.train import build_job_model
from convnova.config.hyperparameters import Training
from convnova.config.load import load
from convnova.config.run import Job
from convnova.data.dna import COMPLEMENT, PAD
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.models import build_backbone, build_predictor, configure, receptive_field
from convnova.models.heads import MaskedLanguageModel
from convnova.models.layers import BatchNorm
from convnova.models.transformer import rotated
from convnova.models.weights import save_weights
from convnova.runs.validate import validate
from convnova.training.optimization import AdamW

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
TINY = {
    "convnova": ("convnova", {"width": 8, "kernel": 5, "blocks": 4, "dilation_base": 3}),
    "convnova, gates added": ("convnova", {"width": 8, "kernel": 3, "blocks": 3, "gate": "sum"}),
    "convnova, one branch": ("convnova", {"width": 8, "kernel": 3, "blocks": 3, "second_branch": "none"}),
    "convnova, no gate": ("convnova", {"width": 8, "kernel": 3, "blocks": 3, "second_branch": "none", "gate": "none"}),
    "convnova, with ffn": ("convnova", {"width": 12, "kernel": 5, "blocks": 4, "ffn": True, "final_conv": True}),
    "convnova, reverse": ("convnova", {"width": 8, "kernel": 3, "blocks": 3, "second_branch": "reverse_complement"}),
    "unet": ("unet", {"width": 8, "kernel": 3, "blocks": 5, "dilation_base": 3}),
    "legnet": ("legnet", {"channels": [8, 8, 12], "kernel": 5}),
    "basenji2": (
        "basenji2",
        {"channels": [6, 10, 16], "inner": 8, "dilated_blocks": 3, "width": 32, "dropout": 0.0, "end_dropout": 0.0},
    ),
    "convnext": ("convnext", {"width": 8, "blocks": 3}),
    "transformer": ("transformer", {"width": 16, "layers": 2, "heads": 2}),
    "hyenadna": ("hyenadna", {"width": 8, "layers": 2, "length": 200, "kernel_width": 8}),
    "hyenadna, causal": ("hyenadna", {"width": 8, "layers": 2, "length": 200, "kernel_width": 8, "causal": True}),
    "caduceus-ph": ("caduceus", {"width": 8, "layers": 2, "states": 4}),
    "caduceus-ps": ("caduceus", {"width": 8, "layers": 2, "states": 4, "both_strands": True}),
}  # fmt: skip
every_architecture = pytest.mark.parametrize("name", TINY)


def random_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter and statistic away from where it starts, so that none is zero or one."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for n, b in model.named_buffers() if "running" in n)):
            tensor.add_(0.2 * torch.rand_like(tensor))
    return model.eval()


def tiny(name: str):
    torch.manual_seed(0)
    return stirred(build_backbone(*TINY[name]))


def padded(singles: list[torch.Tensor], width: int) -> torch.Tensor:
    return torch.cat([F.pad(single, (0, width - single.shape[1]), value=PAD) for single in singles])


def test_every_architecture_is_tried_here():
    modules = {found.name for found in pkgutil.iter_modules(convnova.models.__path__)}
    with_config = {name for name in modules if hasattr(importlib.import_module(f"convnova.models.{name}"), "Config")}
    assert with_config - {"cnn", "huggingface", "kmer_regression", "variant_baseline"} == {
        name for name, _ in TINY.values()
    }
    catalogued = {load({"models": [path.stem], "genome": "g.fa"}, [], CATALOGUE).models[path.stem].architecture
                  for path in (CATALOGUE / "models").glob("*.yaml")}  # fmt: skip
    assert catalogued <= with_config


PADDED = [(name, kind, head) for name in TINY for kind in ("classes", "per_base") for head in ("linear", "cnn")]
PADDED.append(("cnn", "per_base", "linear"))  # of whole sequences it has one length, to which all are padded


@pytest.mark.parametrize("name, kind, head", PADDED)
def test_a_padded_batch_gives_what_single_sequences_give(name, kind, head):
    """BEND's head, `cnn`, reads beyond the end of a sequence, where there must be zeros, whatever the backbone left."""
    torch.manual_seed(0)
    model = stirred(build_predictor(*TINY.get(name, (name, {})), kind, 3, 200, head=head))
    singles = [random_tokens(1, length, seed=length) for length in (17, 60, 41)]
    together = model(padded(singles, 73))
    for row, single in enumerate(singles):
        alone = model(single)[0]
        same = together[row] if kind == "classes" else together[row, : single.shape[1]]
        torch.testing.assert_close(same, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [*TINY, "cnn", "kmer_regression"])
def test_a_number_a_bin_is_the_head_over_the_mean_features_of_the_bin(name):
    """Of Caduceus-PS features are the means over both strands; k-mers have none, and a bin is the mean of its bases."""
    torch.manual_seed(0)
    build = [*TINY.get(name, (name, {})), "regression", 1, 60]
    model = stirred(build_predictor(*build, bin_size=20)).double()
    tokens = random_tokens(2, 60)
    if name == "kmer_regression":
        per_base = build_predictor(build[0], build[1], "per_base", 1, 60).double()
        per_base.load_state_dict(model.state_dict())
        expected = torch.stack([per_base(tokens)[:, first : first + 20, 0].mean(1) for first in (0, 20, 40)], 1)
    else:
        features = model.features(tokens)
        expected = torch.cat([model.head(features[:, first : first + 20].mean(1)) for first in (0, 20, 40)], 1)
    torch.testing.assert_close(model(tokens), expected)
    assert model(tokens).shape == (2, 3) and model(tokens).std() > 1e-6
    settings = TINY.get(name, (name, {}))
    if per_base_field := receptive_field(*settings, "per_base"):
        assert receptive_field(*settings, "regression", 20) == per_base_field + 19


@pytest.mark.parametrize("name, kind", [*((name, "classes") for name in TINY), ("cnn", "per_base")])
def test_padding_is_masked_out_in_training_too(name, kind):
    """Batch normalisation sees bases alone: the width of the padding changes neither outputs nor gradients.

    In float64, for the kernels of HyenaDNA are sines of sines, which make much of the last digit of a float32.
    """

    def results(width: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = stirred(build_predictor(*TINY.get(name, (name, {})), kind, 3, 200)).train().double()
        output = model(padded([random_tokens(1, length, seed=length) for length in (17, 60, 41)], width))
        output = output[:, :60] if kind == "per_base" else output
        (output.square() * (output.detach() != model.head.bias).any(-1, keepdim=True)).sum().backward()
        return [output.detach(), *(p.grad for p in model.parameters())]

    for narrow, wide in zip(results(60), results(90), strict=True):
        torch.testing.assert_close(narrow, wide, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name, kind", [*((name, "per_base") for name in (*TINY, "cnn")), ("cnn", "classes")])
def test_the_order_of_a_batch_does_not_matter(name, kind):
    model = stirred(build_predictor(*TINY.get(name, (name, {})), kind, 3, 80))
    tokens, order = random_tokens(4, 80), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(tokens[order]), model(tokens)[order], atol=1e-5, rtol=1e-5)


@every_architecture
def test_features_at_positions_are_those_of_the_whole_in_values_and_gradients(name):
    model, tokens = tiny(name).double(), padded([random_tokens(1, 50), random_tokens(1, 31, seed=1)], 50)
    positions, results = torch.tensor([0, 7, 49, 50, 79, 80]), []
    for features in (model(tokens, positions), model(tokens).flatten(0, 1)[positions]):
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad((features * weights).sum(), list(model.parameters()), allow_unused=True)
        results.append([features, *gradients])
    for some, whole in zip(*results, strict=True):
        torch.testing.assert_close(some, whole, atol=1e-9, rtol=1e-9)


def moved_outputs(model: torch.nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Which outputs change (changed base, output), and how many bases each output sees."""
    length = tokens.shape[1]
    changed = tokens.repeat(length, 1)
    changed[torch.arange(length), torch.arange(length)] = (tokens[0] + 1) % 4
    with torch.inference_mode():
        moved = (model(changed) - model(tokens)).abs().amax(-1) > 1e-12
    return moved, [int(seen[-1] - seen[0]) + 1 for seen in (column.nonzero().flatten() for column in moved.T)]


@every_architecture
def test_one_substitution_moves_the_receptive_field_and_nothing_else(name):
    """Every base in turn is changed: the widest reach of any output is the receptive field."""
    field, model, length = configure(*TINY[name]).receptive_field, tiny(name).double(), 200
    tokens = random_tokens(1, length)
    moved, reach = moved_outputs(model, tokens)
    causal, mirrored = "causal" in name, "reverse" in name  # the one sees no more than half, the other two places
    assert max(reach) == (length if field is None else field), "of some output"
    assert field is not None or causal or mirrored or min(reach) > length - 3
    assert not causal or not moved.tril(-1).any(), "no output sees what comes after it"


@pytest.mark.parametrize("architecture", ["cnn", "kmer_regression"])
def test_the_receptive_field_of_predictions_of_bases(architecture):
    model, length = stirred(build_predictor(architecture, {}, "per_base", 3, 0)).double(), 240
    _, reach = moved_outputs(model, torch.arange(length).remainder(4)[None])
    assert max(reach) == receptive_field(architecture, {}, "per_base")
    assert receptive_field(architecture, {}, "classes") is None


PRETRAINED = ["convnova", "convnova_frozen", "transformer", "hyenadna", "caduceus_ph", "caduceus_ps"]


@pytest.mark.parametrize("name", PRETRAINED)
def test_fine_tuning_starts_from_the_pretrained_backbone(name, finished, tmp_path):
    """Every model of the config that is pretrained here, at its published size."""
    written = {"models": [name], "genome": "hg38", "suites": {"nucleotide_transformer": ["H3"]}}
    config, job = load(written, [], CATALOGUE), Job("nucleotide_transformer", "H3", name, "heldout", 1)
    torch.manual_seed(3)
    backbone = build_backbone(config.models[name].architecture, config.settings(name, job.suite))
    state = {key: tensor.clone() for key, tensor in MaskedLanguageModel(backbone).state_dict().items()}
    save_weights(state, tmp_path / "weights.safetensors", {})
    data = read_task(finished / "resources/small/tasks/nucleotide_transformer/H3.safetensors")
    model = build_job_model(config, job, data, tmp_path / "weights.safetensors").backbone
    found, expected = model.state_dict(), backbone.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    with pytest.raises(ConvNovaError, match="expected pretrained weights, found None"):
        build_job_model(config, job, data, None)


def test_rotary_positions_turn_pairs_of_channels_by_angles_that_grow_with_the_position():
    """RoFormer, equation 15, in complex numbers."""
    x = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angles = torch.arange(12)[:, None] * 10_000.0 ** (-torch.arange(4) / 4)
    turned = torch.view_as_complex(x.view(4, 2)) * torch.polar(torch.ones(12, 4), angles).to(torch.complex128)
    torch.testing.assert_close(rotated(x.expand(12, 8)), torch.view_as_real(turned).flatten(1), atol=1e-6, rtol=1e-6)


def test_the_transformer_reads_the_order_of_the_bases():
    """Without positions the mean over a sequence would be that of any order of its bases."""
    model, tokens = tiny("transformer"), random_tokens(1, 50)
    assert (model(tokens).mean(1) - model(tokens.sort().values).mean(1)).abs().max() > 1e-3


def test_batch_normalisation_is_pytorchs_over_the_bases_alone():
    torch.manual_seed(0)
    x, is_base = torch.randn(3, 9, 4), torch.arange(9) < torch.tensor([[9], [4], [6]])
    ours, pytorchs = BatchNorm(4), torch.nn.BatchNorm1d(4)
    out, expected = ours(x, is_base.unsqueeze(-1)), pytorchs(torch.cat([x[0], x[1, :4], x[2, :6]]))
    torch.testing.assert_close(out[is_base], expected)
    assert not out[~is_base].any()
    torch.testing.assert_close(ours.running_var, pytorchs.running_var)


def test_batch_normalisation_of_a_single_base_is_by_what_was_seen_before():
    """The last batch of an epoch may have one short sequence, which Basenji2 pools to one position."""
    norm = BatchNorm(4)
    norm(torch.randn(3, 9, 4), None)
    x = torch.randn(1, 1, 4)
    out = norm(x, None)
    norm.eval()
    torch.testing.assert_close(out, norm(x, None))


def test_reverse_complementing_exchanges_the_halves_of_caduceus_ps_and_keeps_its_predictions():
    """ConvNova has no such symmetry: only the mean over both strands is the same for both."""
    tokens, close = random_tokens(3, 70), {"atol": 1e-5, "rtol": 1e-5}
    opposite = torch.from_numpy(COMPLEMENT)[tokens.long()].flip(1)
    model = tiny("caduceus-ps")
    own, other = model(tokens).chunk(2, -1)
    torch.testing.assert_close(model(opposite), torch.cat([other, own], -1).flip(1), **close)
    letters = stirred(MaskedLanguageModel(build_backbone(*TINY["caduceus-ps"])))
    torch.testing.assert_close(letters(opposite), letters(tokens).flip(1)[..., [3, 2, 1, 0, 4]], **close)
    caduceus, convnova = (
        stirred(build_predictor(*TINY[name], "classes", 3, 70)) for name in ("caduceus-ps", "convnova")
    )
    torch.testing.assert_close(caduceus(opposite), caduceus(tokens), **close)
    assert (convnova(opposite) - convnova(tokens)).abs().min() > 1e-4


def test_the_softmax_of_the_released_legnet_is_taken_of_its_logits():
    torch.manual_seed(0)
    plain, released = (build_predictor("legnet", {"channels": [8, 8], "softmax": softmax}, "classes", 3, 60)
                       for softmax in (False, True))  # fmt: skip
    released.load_state_dict(stirred(plain).state_dict())
    tokens = random_tokens(4, 60)
    torch.testing.assert_close(released.eval()(tokens), plain(tokens).softmax(1))


@pytest.mark.parametrize("architecture", ["hyenadna", "caduceus"])
def test_initial_weights_are_those_of_the_authors(architecture):
    """Embeddings of 0.02; biases of zero; the last layer before each of the 4 sums scaled down. HyenaDNA draws all
    linear layers from a normal distribution, Caduceus evenly between -1 / sqrt(inputs) and that."""
    torch.manual_seed(0)
    model = build_backbone(architecture, {"width": 128, "layers": 2 if architecture == "hyenadna" else 4})
    weights = {name: p.detach() for name, p in model.named_parameters()}
    assert weights["embedding.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    if architecture == "caduceus":
        for layer in range(4):
            assert weights[f"layers.{layer}.leave.weight"].abs().max().item() == pytest.approx(256**-0.5 / 2, rel=0.01)
            assert weights[f"layers.{layer}.enter.weight"].abs().max().item() == pytest.approx(128**-0.5, rel=0.01)
        return
    for name, weight in weights.items():
        if name.endswith("bias") and "short" not in name and not re.fullmatch(r"hyenas\.\d\.bias", name):
            assert not weight.any(), name
        if weight.ndim == 2:
            scaled = "out" in name or name.endswith(".3.weight")
            assert weight.std().item() == pytest.approx(0.01 if scaled else 0.02, rel=0.15), name


@pytest.mark.parametrize(
    "architecture, plain",
    [("hyenadna", r"hyenas\.0\.kernel\."), ("caduceus", r"embedding|.*a_log|.*\.d$"), ("legnet", "none")],
)
def test_what_the_authors_keep_from_weight_decay_is_kept_from_it(architecture, plain):
    model = build_backbone(architecture, {"legnet": {}}.get(architecture, {"width": 8, "layers": 1}))
    names = {id(p): name for name, p in model.named_parameters()}
    (decayed, _), _ = AdamW(model, Training(decayed="all")).groups
    assert {names[id(p)] for p in decayed} == {name for name in names.values() if not re.match(plain, name)}


@pytest.mark.parametrize("head", ["linear", "cnn"])
def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns(head):
    torch.manual_seed(0)
    settings = {"width": 8, "kernel": 3, "blocks": 2, "dropout": 0.5}
    model = build_predictor("convnova", settings, "per_base", 3, 50, head=head, frozen=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer, tokens = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1), random_tokens(2, 50)
    model.train()
    torch.testing.assert_close(model(tokens), model(tokens)), "no dropout"
    model(tokens).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == ({"head"} if head == "linear" else {"head", "convolutions"})
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    bend = (8 * 3 + 1) * 64 + (64 * 3 + 1) * 64 + 65 * 3  # two convolutions of 64 channels, and a linear layer
    assert learned == (bend if head == "cnn" else 9 * 3)


H3 = {"genome": "hg38", "suites": {"nucleotide_transformer": ["H3"]}}
OWN = {"suites": {"mine": {"format": "csv", "tasks": {"one": {"train": "a.csv", "test": "b.csv"}}}}}
NO_SUITES = {"hyenadna_scratch": {"settings": {"length": 100}, "suites": {}}}
MISFITS = [
    (H3, {"hyenadna_scratch": {"settings": {"length": 300}}}, "hyenadna_scratch.*length = 300: .*nucleotide_tr"),
    (H3, {"convnova_scratch": {"frozen": True}}, "frozen = true: expected a pretrained model"),
    (H3, {"cnn": {"head": "cnn"}}, "cnn has a head of its own"),
    (H3, {"cnn": {"pretrained": True}}, "cnn has no part that pretraining could train"),
    (H3, {"transformer": {"settings": {"heads": 5}}}, "settings.width = 192: .* heads = 5"),
    (OWN, NO_SUITES, "reads 100 bases at most, and .*mine/one .*`max_length`, up to 100"),
    (
        {"genome": "hg38", "suites": ["gene_finding"]},
        {"convnova_scratch": {"strands": "both"}},
        "strands = 'both': .*gene_finding/gene_finding",
    ),
]


@pytest.mark.parametrize("run, models, words", MISFITS)
def test_models_that_do_not_fit_are_refused_before_any_job(run, models, words):
    with pytest.raises(ConvNovaError, match=words):
        validate(load({**run, "models": models}, [], CATALOGUE))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("pyramid", None, "'pyramid': .*convnova/models/pyramid.py$"),
        ("pyramid", "import numpyy.linalg", "convnova/models/pyramid.py: .*'numpyy'"),
        ("pyramid", "import convnova.models.tower", r"pyramid.py: .*'convnova\.models\.tower'"),
        ("layers", None, "'layers': .*`Config` in convnova/models/layers.py"),
    ],
)
def test_what_is_wrong_with_an_architecture_is_named(name, content, words, tmp_path, monkeypatch):
    if content:
        monkeypatch.setattr(convnova.models, "__path__", [*convnova.models.__path__, str(tmp_path)])
        (tmp_path / f"{name}.py").write_text(content)
    models = {"mine": {"like": "convnova_scratch", "title": "mine", "architecture": name, "settings": {}}}
    with pytest.raises(ConvNovaError, match=f"models.mine.*{words}"):
        validate(load({**H3, "models": models}, [], CATALOGUE))


def test_the_settings_of_a_recipe_must_fit_the_longest_sequence_too(tmp_path):
    (tmp_path / "nucleotide_transformer/H3").mkdir(parents=True)
    recipe = "settings: {length: 200}\nsource: our search\n"
    (tmp_path / "nucleotide_transformer/H3/hyenadna_scratch.yaml").write_text(recipe)
    written = {**H3, "models": ["hyenadna_scratch"], "recipes": str(tmp_path)}
    with pytest.raises(ConvNovaError, match="recipes.*hyenadna_scratch.settings.length = 200: .*ide_transformer/H3"):
        validate(load(written, [], CATALOGUE))
