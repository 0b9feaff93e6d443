"""Models pretrained by others, through `transformers`: Nucleotide Transformer, DNABERT-2, HyenaDNA, Caduceus.

    sequence --their tokenizer--> tokens --their network--> a vector a token
    of a sequence   the mean over its tokens, special ones (class, separator) left out
    of a base       the vector of the token that the base lies in: repeated over the token's span

The span of a token is what the tokenizer says it is, or the letters of its name (6-mers). A network that takes no
attention mask would read padding, so there sequences of as many tokens go together and none is padded.

The Python code that comes with some of them was written for `transformers` 4; docs/models.md says what was tried.
"""

import inspect
import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convnova.data.dna import PAD, decode
from convnova.errors import ConvNovaError
from convnova.log import log
from convnova.models.heads import Predictor
from convnova.models.lora import adapt

LOADERS = ("AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM")


@dataclass(frozen=True)
class Config:
    """Where a model comes from, and what of it is used."""

    path: str = ""
    """A folder, or the model's name on the Hugging Face hub."""
    revision: str = ""
    """The commit on the hub, 40 hex digits; needed there, so that the same name is the same model and the same code."""
    loader: str = "AutoModel"
    """The class of `transformers` that loads it: the one that its repository has."""
    remote_code: bool = False
    """Run the Python code that comes with the model: read it first."""
    code_revision: str = ""
    """The commit of the repository that the code comes from, where that is another one than the model's."""
    needs: str = ""
    """What its own code needs, as pip writes it, with spaces between: `transformers<4.56 einops`."""
    longest: int = 1 << 20
    """Bases of the longest sequence that it can read."""

    def __post_init__(self) -> None:
        if find_spec("transformers") is None:
            raise ConvNovaError("path: expected the package transformers, found none; pip install '.[pretrained]'")
        for requirement in self.needs.split():
            _check_installed(requirement, self.needs)
        if not self.path:
            raise ConvNovaError("path = '': expected a folder or the name of a model on the Hugging Face hub")
        revisions = {} if Path(self.path).is_dir() else {"revision": self.revision}
        revisions |= {"code_revision": self.code_revision} if self.code_revision else {}
        for key, revision in revisions.items():
            if not re.fullmatch("[0-9a-f]{40}", revision):
                expected = f"expected a commit, 40 hex digits, for {self.path} is no folder here"
                raise ConvNovaError(f"{key} = {revision!r}: {expected}; a branch or a tag may change")
        if self.loader not in LOADERS:
            raise ConvNovaError(f"loader = {self.loader!r}: expected one of {', '.join(LOADERS)}")
        if self.longest < 1:
            raise ConvNovaError(f"longest = {self.longest}: expected 1 or more")

    receptive_field = None
    """Every model of the four reads the whole sequence."""


def _check_installed(requirement: str, needs: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(requirement)
    except InvalidRequirement as error:
        raise ConvNovaError(f"needs = {needs!r}: expected requirements of pip with spaces between: {error}") from error
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        found = "none"
    if found == "none" or not wanted.specifier.contains(found, prereleases=True):
        raise ConvNovaError(
            f"needs = {needs!r}: expected the package {requirement}, found {found}; pip install '{requirement}', or "
            "leave the model out"
        )


@dataclass(frozen=True)
class Tokenized:
    """One sequence: ids (T,), which of them stand for letters (T,), and the bases of each of those (T',)."""

    ids: list[int]
    is_letters: list[bool]
    spans: list[int]


class Backbone(nn.Module):
    """A network with its tokenizer: tokens of this pipeline to features, one vector a base."""

    def __init__(self, config: Config):
        super().__init__()
        self.tokenizer, self.network = load(config)
        shape = self.network.config
        self.width = shape.hidden_size if hasattr(shape, "hidden_size") else shape.d_model
        arguments = inspect.signature(self.network.forward).parameters
        self.masks = "attention_mask" in arguments
        self.padding = self.tokenizer.pad_token_id or 0

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) tokens to (B, L, width); zeros at padding."""
        vectors, sequences = self.vectors(tokens)
        lines = []
        for vector, sequence in zip(vectors, sequences, strict=True):
            bases = vector.repeat_interleave(torch.tensor(sequence.spans, device=vector.device), 0)
            lines.append(nn.functional.pad(bases, (0, 0, 0, tokens.shape[1] - len(bases))))
        return torch.stack(lines)

    def vectors(self, tokens: Tensor) -> tuple[list[Tensor], list[Tokenized]]:
        """A vector for every token that is not special, sequence by sequence: (T', width) each."""
        sequences = [tokenized(self.tokenizer, row[row != PAD].cpu().numpy()) for row in tokens]
        sizes = [len(sequence.ids) for sequence in sequences]
        # without an attention mask only sequences of equal size can go together
        groups = [range(len(sizes))] if self.masks else [np.flatnonzero(np.equal(sizes, n)) for n in {*sizes}]
        vectors: dict[int, Tensor] = {}
        for group in groups:
            hidden = self._hidden([sequences[i].ids for i in group], tokens.device)
            for i, line in zip(group, hidden, strict=True):
                vectors[i] = line[: sizes[i]][torch.tensor(sequences[i].is_letters, device=line.device)]
        return [vectors[i] for i in range(len(sizes))], sequences

    def _hidden(self, ids: list[list[int]], device: torch.device) -> Tensor:
        """The network's last features of rows padded at the right: (B, T, width)."""
        longest, gradients = max(map(len, ids)), torch.is_grad_enabled()
        has_head = "For" in type(self.network).__name__  # as in EsmForMaskedLM
        options: dict[str, Any] = {"output_hidden_states": True} if has_head else {}
        # networks may keep tables from call to call, and training could not use those of inference mode
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            inputs = torch.tensor([row + [self.padding] * (longest - len(row)) for row in ids], device=device)
            if self.masks:
                mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
                options["attention_mask"] = torch.tensor(mask, device=device)
            try:
                output = self.network(inputs, **options)
            except (AttributeError, TypeError) as error:
                raise _does_not_run(type(self.network).__name__, "runs", error) from error
        return output.hidden_states[-1] if has_head else output[0]


def tokenized(tokenizer: Any, bases: np.ndarray) -> Tokenized:
    """Tokens of one sequence by the network's tokenizer.

    Args:
        tokenizer: of `transformers`.
        bases: uint8 (L,).

    Raises:
        ConvNovaError: its tokens do not cover the sequence, so a base has no token.
    """
    letters, fast = decode(bases), tokenizer.is_fast
    encoded = tokenizer(letters, return_offsets_mapping=fast)
    ids, special = list(encoded["input_ids"]), {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    is_letters = [token not in special for token in ids]
    words = encoded["offset_mapping"] if fast else tokenizer.convert_ids_to_tokens(ids)
    widths = [word[1] - word[0] if fast else len(word) for word in words]
    spans = [width for width, counts in zip(widths, is_letters, strict=True) if counts]
    if sum(spans) != len(letters):
        raise ConvNovaError(
            f"a sequence of {len(letters)} bases: expected tokens that cover it, found {sum(spans)} letters in "
            f"{len(spans)} tokens of {type(tokenizer).__name__}; take another tokenizer"
        )
    return Tokenized(ids, is_letters, spans)


SAMPLE = np.arange(100, dtype=np.uint8) * 7 % 11 % 4
"""A sequence to try a tokenizer on before any job."""


def check(config: Config) -> None:
    """Try the tokenizer if it is on this machine; the first job tries one that is still to be fetched.

    Raises:
        ConvNovaError: the tokenizer takes overlapping words or drops the rest at an end, see `tokenized`; it does not
            load; or it is not here and nothing may be fetched.
    """
    import transformers

    if not Path(config.path).is_dir() and not _was_fetched(config):
        return
    setting = f"settings.path = {config.path}"
    try:
        source = _source(config, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(config.path, **source)
        tokenized(tokenizer, SAMPLE)
    except ConvNovaError as error:
        raise ConvNovaError(f"{setting}: {error}") from error
    except Exception as error:  # code of other projects may raise anything
        raise _does_not_run(setting, "loads a tokenizer from", error) from error


def _source(config: Config, **where: Any) -> dict[str, Any]:
    """What `transformers` is given to say where a model comes from, after a look at what code it would run.

    Raises:
        ConvNovaError: code of another repository, whose commit is not pinned. Only the JSON files that say so are read.
    """
    from transformers.utils import cached_file

    revision = config.revision or None
    source = {"revision": revision, "trust_remote_code": config.remote_code, **where}
    for name in ("config.json", "tokenizer_config.json") if config.remote_code else ():
        needed = name == "config.json" and not where  # every model has one; a tokenizer may have no file of settings
        file = cached_file(config.path, name, revision=revision, _raise_exceptions_for_missing_entries=needed, **where)
        auto_map = json.loads(Path(file).read_text(encoding="utf-8")).get("auto_map", {}) if file else {}
        for repository in re.findall(r"([^'\"]+)--", str(auto_map)):
            if repository != config.path and not config.code_revision:
                raise ConvNovaError(
                    f"{config.path}: its {name} asks for code of another repository, {repository}; read that code, and "
                    "set `code_revision` to the commit, 40 hex digits, that you have read"
                )
    return source | ({"code_revision": config.code_revision} if config.code_revision else {})


def _was_fetched(config: Config) -> bool:
    """Whether the hub's tokenizer is on this machine.

    Raises:
        ConvNovaError: it is not, and HF_HUB_OFFLINE forbids to fetch it.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(config.path, "tokenizer_config.json", revision=config.revision), str):
        return True
    command = f"hf download {config.path} --revision {config.revision}"
    if constants.HF_HUB_OFFLINE:
        raise ConvNovaError(
            f"settings.path = {config.path}: expected it on this machine, for HF_HUB_OFFLINE is set, found no "
            f"tokenizer of revision {config.revision}; `{command}` where there is a network"
        )
    _log_once(f"{config.path} is not on this machine, so the first job fetches and tries it; or now: {command}")
    return False


_log_once = cache(log)


def _does_not_run(what: str, does: str, error: Exception) -> ConvNovaError:
    import transformers

    reason = " ".join(str(error).split())
    return ConvNovaError(
        f"{what}: expected a model that transformers {transformers.__version__} {does}, found {type(error).__name__}: "
        f"{reason}; download it first (`hf download`), change path, revision, loader or remote_code, or install the "
        "transformers that its own code was written for (docs/models.md)"
    )


def load(config: Config) -> tuple[Any, nn.Module]:
    """Tokenizer and network. Weights that the file lacks are the same in every training, whatever its seed.

    Raises:
        ConvNovaError: not there, of another form than `loader` expects, or with code that does not run here.
    """
    import transformers

    try:
        source = _source(config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(config.path, **source)
        network_class = getattr(transformers, config.loader)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            network, info = network_class.from_pretrained(config.path, output_loading_info=True, **source)
        if info["missing_keys"]:
            _share_again(network, {*info["missing_keys"]})
    except ConvNovaError:
        raise
    except Exception as error:  # code of other projects may raise anything
        raise _does_not_run(config.path, f"loads with {config.loader}", error) from error
    module = sys.modules[type(network).__module__]
    if hasattr(module, "flash_attn_qkvpacked_func"):
        # DNABERT-2's attention does not compile with a Triton of today; without it the network uses PyTorch's
        module.flash_attn_qkvpacked_func = None
    return tokenizer, network


def _share_again(network: nn.Module, missing: set[str]) -> None:
    """Give layers that share weights, of which the file has one copy, that copy.

    `transformers` builds the network on device `meta` and forgets there what is shared: of Caduceus' two directions,
    which share a projection, one would keep random weights. Other missing weights stay as `transformers` made them,
    with its warning.
    """
    built, shared = type(network)(network.config), {}
    for name, parameter in built.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    for names in shared.values():
        loaded = [name for name in names if name not in missing]
        for name in missing.intersection(names) if loaded else ():
            layer, _, weight = name.rpartition(".")
            setattr(network.get_submodule(layer), weight, network.get_parameter(loaded[0]))


class TokenPredictor(Predictor):
    """A predictor whose mean over a sequence is over the network's tokens instead of the bases.

    Args:
        config: settings.
        kind: `classes`, `multilabel`, `regression` or `per_base`.
        outputs: classes, labels or numbers.
        length: bases of the longest sequence; not needed.
        lora: the fields of `hyperparameters.Lora`, to train an adapter in place of the network.
        options: those of `heads.Predictor`.
    """

    def __init__(
        self, config: Config, kind: str, outputs: int, length: int, lora: dict[str, Any] | None = None, **options: Any
    ):
        super().__init__(Backbone(config), kind, outputs, **options)
        if lora is not None:
            adapt(self, **lora)

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the last layer reads of a sequence: (B, d)."""
        if self.convolutions is not None or self.pooling != "mean":
            return super().pooled(tokens)
        vectors, _ = self.backbone.vectors(tokens)
        return torch.stack([vector.mean(0) for vector in vectors])


predictor = TokenPredictor
