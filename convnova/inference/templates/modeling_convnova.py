"""ConvNova for Hugging Face `transformers`: dilated convolutions, gated by a second branch (arXiv 2502.18538).

    x_0 = GELU(Conv_9(one_hot(tokens)))        c_0 = GELU(Conv_9'(one_hot(second strand)))
    for each gated convolution block i, of dilation d_i:
      g = sigmoid(Conv_{k,d_i}(LayerNorm(c)))                   the gate, read from the second branch only
      x = x + GELU(Conv_{k,d_i}(LayerNorm(x))) * g
      c = c + g
      x = x + LayerNorm(GELU(Linear(x)))                        only with `ffn`
    x = x + MLP(x)                                              the tail
    x = Linear(GELU(Linear(x)))                                 only with `final_conv`

Tokens are A C G T N = 0 to 4 and padding = 5, at either end. Shapes: B sequences, L positions, d = `width` channels.
This file needs PyTorch and `transformers` alone. It gives the numbers of the package `convnova`, which wrote it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

LETTERS, N, PAD = 5, 4, 5
STEM_KERNEL, LARGEST_DILATION, HEAD_WIDTH = 9, 1024, 64
COMPLEMENT = [3, 2, 1, 0, 4]


class ConvNovaConfig(PretrainedConfig):
    """Settings of the architecture, and how sequences are padded and pooled.

    Args:
        width: channels d of both branches.
        kernel: taps k of the blocks' convolutions, odd.
        blocks: gated convolution blocks; their dilations are 1, 1, base^0, base^1, ... up to 1024.
        dilation_base: base of the dilations.
        stacks: each block so many times in a row.
        tail_expansion: width of the tail's inner layers, in multiples of `width`.
        ffn: a linear layer in each block.
        final_conv: two linear layers at the end.
        second_branch: what it reads: the `complement`, the `reverse_complement`, or `none`: the gate reads x.
        gate: `product`; `sum`, x + GELU(...) + g; or `none`, one branch without gates.
        dropout: share of the blocks' inputs set to zero in training.
        pooling: `mean` or `max` over the positions of a sequence, or `mean_max`, both side by side.
        head: of classification: `linear`, or `cnn` for two convolutions before it.
        padding_is_read: padding is read as N and pooled, as in the authors' code.
        pad_to: with `padding_is_read`, positions that sequences are padded to.
        pad_left: with `padding_is_read`, where.
    """

    model_type = "convnova"
    attribute_map = {"hidden_size": "width", "num_hidden_layers": "blocks"}

    def __init__(
        self, width=128, kernel=9, blocks=5, dilation_base=4, stacks=1, tail_expansion=2, ffn=False, final_conv=False,
        second_branch="complement", gate="product", dropout=0.0, pooling="mean", head="linear", padding_is_read=False,
        pad_to=None, pad_left=False, pad_token_id=PAD, **others,
    ):  # fmt: skip
        self.width, self.kernel, self.blocks, self.dilation_base = width, kernel, blocks, dilation_base
        self.stacks, self.tail_expansion, self.ffn, self.final_conv = stacks, tail_expansion, ffn, final_conv
        self.second_branch, self.gate, self.dropout = second_branch, gate, dropout
        self.pooling, self.head, self.vocab_size = pooling, head, PAD + 1
        self.padding_is_read, self.pad_to, self.pad_left = padding_is_read, pad_to, pad_left
        super().__init__(pad_token_id=pad_token_id, **others)

    @property
    def dilations(self):
        """Dilation of each block."""
        one_each = [1 if i < 2 else min(LARGEST_DILATION, self.dilation_base ** (i - 2)) for i in range(self.blocks)]
        return [dilation for dilation in one_each for _ in range(self.stacks)]


def convolve(x: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Convolve (B, L, d_in) along L with zeros outside: (B, L, d_out)."""
    return convolution(x.transpose(1, 2)).transpose(1, 2)


class GatedConvolutionBlock(nn.Module):
    """One block: a dilated convolution of the sequence branch, gated by the second branch."""

    def __init__(self, config: ConvNovaConfig, dilation: int):
        super().__init__()
        width, self.dropout, self.gate = config.width, config.dropout, config.gate
        gated, sizes = config.gate != "none", (config.width, config.width, config.kernel)
        self.norm, self.gate_norm = nn.LayerNorm(width), nn.LayerNorm(width) if gated else None
        self.conv = nn.Conv1d(*sizes, padding="same", dilation=dilation)
        self.gate_conv = nn.Conv1d(*sizes, padding="same", dilation=dilation) if gated else None
        self.ffn = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)) if config.ffn else None

    def forward(self, x: Tensor, c: Tensor | None, is_base: Tensor) -> tuple[Tensor, Tensor | None]:
        """Update both branches.

        Args:
            x: (B, L, d).
            c: (B, L, d); None where the gate reads x.
            is_base: (B, L, 1), 0 at padding and 1 elsewhere.
        """
        h = F.gelu(self._convolve(x, self.norm, self.conv, is_base))
        if self.gate == "none":
            x = x + h
        else:
            g = torch.sigmoid(self._convolve(x if c is None else c, self.gate_norm, self.gate_conv, is_base))
            x, c = x + h + g if self.gate == "sum" else x + h * g, None if c is None else c + g
        return x if self.ffn is None else x + self.ffn(x), c

    def _convolve(self, x: Tensor, norm: nn.LayerNorm, conv: nn.Conv1d, is_base: Tensor) -> Tensor:
        return convolve(norm(F.dropout(x, self.dropout, self.training)) * is_base, conv)


class ConvNovaPreTrainedModel(PreTrainedModel):
    config_class = ConvNovaConfig
    base_model_prefix = "backbone"

    def _init_weights(self, module: nn.Module) -> None:
        """Weights of a head that the checkpoint lacks: as PyTorch draws them."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


class ConvNovaModel(ConvNovaPreTrainedModel):
    """Tokens to features, one vector a base."""

    def __init__(self, config: ConvNovaConfig):
        super().__init__(config)
        width, inner, two = config.width, config.width * config.tail_expansion, config.second_branch != "none"
        self.stem = nn.Conv1d(LETTERS, width, STEM_KERNEL, padding="same")
        self.second_stem = nn.Conv1d(LETTERS, width, STEM_KERNEL, padding="same") if two else None
        self.blocks = nn.ModuleList(GatedConvolutionBlock(config, dilation) for dilation in config.dilations)
        self.tail = nn.Sequential(
            *(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, inner), nn.LayerNorm(inner)),
            *(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, width), nn.LayerNorm(width)),
        )
        final = (nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.final_conv = nn.Sequential(*final) if config.final_conv else None
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutputWithPooling:
        """`last_hidden_state` (B, L, d), whose rows of padding have no meaning, and `pooler_output` (B, d)."""
        tokens = padded(input_ids, attention_mask, self.config)
        is_base = (tokens != PAD).unsqueeze(-1).to(self.stem.weight.dtype)
        x, c = F.gelu(convolve(one_hot(tokens) * is_base, self.stem)), None
        if self.second_stem is not None:
            second = reverse(tokens) if self.config.second_branch == "reverse_complement" else tokens
            c = F.gelu(convolve(one_hot(second)[..., COMPLEMENT] * is_base, self.second_stem))
        for block in self.blocks:
            x, c = block(x, c, is_base)
        x = x + self.tail(x)
        x = x if self.final_conv is None else self.final_conv(x)
        return BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=pool(x, tokens, self.config))


def padded(input_ids: Tensor, attention_mask: Tensor | None, config: ConvNovaConfig) -> Tensor:
    """Tokens that are PAD where nothing shall be read; of a model that reads padding, N up to its length.

    Args:
        input_ids: (B, L).
        attention_mask: (B, L), 0 where nothing shall be read.
        config: how the model was trained.
    """
    tokens = input_ids if attention_mask is None else input_ids.masked_fill(attention_mask == 0, PAD)
    if config.padding_is_read:
        missing = max(0, (config.pad_to or 0) - tokens.shape[1])
        tokens = F.pad(tokens, (missing, 0) if config.pad_left else (0, missing), value=PAD)
        tokens = tokens.masked_fill(tokens == PAD, N)
    return tokens


def one_hot(tokens: Tensor) -> Tensor:
    """(B, L) tokens as letters A C G T N: (B, L, 5), zeros where there is no base."""
    return F.one_hot(tokens, LETTERS + 1)[..., :LETTERS]


def reverse(tokens: Tensor) -> Tensor:
    """Each sequence back to front (B, L), its padding where it was."""
    is_base, place = tokens != PAD, torch.arange(tokens.shape[1], device=tokens.device)
    first, length = is_base.int().argmax(1, keepdim=True), is_base.sum(1, keepdim=True)
    return tokens.gather(1, torch.where(is_base, 2 * first + length - 1 - place, place))


def pool(features: Tensor, tokens: Tensor, config: ConvNovaConfig) -> Tensor:
    """Mean or largest value of each feature over the bases of a sequence, or both.

    Args:
        features: (B, L, d).
        tokens: (B, L), which say where padding is.
        config: says which.

    Returns:
        (B, d), or (B, 2 d) of both.
    """
    is_base = (tokens != PAD).unsqueeze(-1)
    mean = (features * is_base).sum(1) / is_base.sum(1).clamp(min=1)
    if config.pooling == "mean":
        return mean
    largest = features.masked_fill(~is_base, -torch.inf).amax(1)
    return largest if config.pooling == "max" else torch.cat([mean, largest], 1)


class ConvNovaForMaskedLM(ConvNovaPreTrainedModel):
    """Logits of A C G T N at every position; a hidden base is N."""

    def __init__(self, config: ConvNovaConfig):
        super().__init__(config)
        self.backbone, self.lm_head = ConvNovaModel(config), nn.Linear(config.width, LETTERS)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> MaskedLMOutput:
        """`logits` (B, L, 5); with `labels` their `loss`.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 0 where nothing shall be read.
            labels: (B, L), -100 at bases that are not hidden.
        """
        logits = self.lm_head(self.backbone(input_ids, attention_mask).last_hidden_state)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits)


class ConvolutionalHead(nn.Module):
    """Two convolutions of three taps and 64 channels: (B, L, d) to (B, L, 64)."""

    def __init__(self, width: int):
        super().__init__()
        sizes = ((width, HEAD_WIDTH), (HEAD_WIDTH, HEAD_WIDTH))
        self.convolutions = nn.ModuleList(nn.Conv1d(*size, 3, padding="same") for size in sizes)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Padding is zeros to both convolutions."""
        is_base = (tokens != PAD).unsqueeze(-1)
        for convolution in self.convolutions:
            features = F.gelu(convolve(features * is_base, convolution))
        return features


class _WithHead(ConvNovaPreTrainedModel):
    """A backbone, the convolutions of the head where it has some, and its linear layer."""

    def __init__(self, config: ConvNovaConfig):
        super().__init__(config)
        self.backbone, convolutional = ConvNovaModel(config), config.head == "cnn"
        self.convolutions = ConvolutionalHead(config.width) if convolutional else None
        values = 2 if config.pooling == "mean_max" else 1
        self.classifier = nn.Linear(values * (HEAD_WIDTH if convolutional else config.width), config.num_labels)
        self.post_init()

    def features(self, tokens: Tensor) -> Tensor:
        """What pooling, or the linear layer, reads of every base."""
        features = self.backbone(tokens).last_hidden_state
        return features if self.convolutions is None else self.convolutions(features, tokens)


class ConvNovaForSequenceClassification(_WithHead):
    """Logits of classes or of independent labels of a sequence, or numbers."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """`logits` (B, labels); with `labels` their `loss`.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 0 where nothing shall be read.
            labels: (B,) ids of classes, (B, labels) of 0 and 1, or (B, labels) numbers.
        """
        tokens = padded(input_ids, attention_mask, self.config)
        logits = self.classifier(pool(self.features(tokens), tokens, self.config))
        of_floats = {"multi_label_classification": F.binary_cross_entropy_with_logits, "regression": F.mse_loss}
        loss_of = of_floats.get(self.config.problem_type, F.cross_entropy)
        labels = labels.to(logits.dtype) if labels is not None and loss_of is not F.cross_entropy else labels
        loss = None if labels is None else loss_of(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class ConvNovaForTokenClassification(_WithHead):
    """Logits of classes of every base."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> TokenClassifierOutput:
        """`logits` (B, L, labels); with `labels` their `loss`.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 0 where nothing shall be read.
            labels: (B, L), -100 at padding.
        """
        logits = self.classifier(self.features(padded(input_ids, attention_mask, self.config)))
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)
