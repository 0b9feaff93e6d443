"""Hyperparameters of training and pretraining: each has a type, and every unknown key is refused."""

from typing import Any, Literal, Self

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from convnova.config.strict import Strict

Origin = str | dict[str, str]
"""Where values come from, such as `released code`, `Schiff et al. 2024` or `our search`: of all, or key by key."""
OUR_DEFAULT, RUN_CONFIG = "our default", "run config"
"""Sources of a value that no config sets, and of one that a run config changes."""


class Lora(Strict):
    """Low-rank matrices that are trained beside the layers of a model pretrained by others, which stay as they are."""

    rank: int = Field(ge=1)
    alpha: float | None = Field(None, gt=0, description="scale of their product times the rank; default twice the rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what the matrices read")
    targets: list[str] = Field([], description="names of linear layers, such as query; default by the architecture")


class Training(Strict):
    """Hyperparameters of the one training loop.

    The defaults are ours: those of ConvNova's authors for the Nucleotide Transformer tasks, but for half their batch.
    Suites, tasks, models and runs may each set some; a key that is not set is left to the outer layers.
    """

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(128, ge=1, description="sequences a step, over all micro-batches")
    micro_batch: int | None = Field(None, ge=1, description="sequences held in memory at once; default what fits")
    checkpointing: bool = Field(False, description="compute activations twice instead of keeping them")
    compile: bool = Field(False, description="by `torch.compile`, for each shape of batch, up to eight")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    final_lr: float = Field(0.1, ge=0, le=1, description="end of the cosine, as a share of the peak")
    warmup: float = Field(0.01, ge=0, lt=1, description="share of all steps with a rising rate")
    schedule: Literal["warm", "released"] | None = Field(
        None, description="released: begins at 1e-6, and the cosine at step 0; default as the protocol says, else warm"
    )
    weight_decay: float = Field(0.1, ge=0)
    decayed: Literal["kernels", "all"] | None = Field(
        None, description="all: biases and norms too, as released; default as the protocol says, else kernels"
    )
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is native")
    padding: Literal["masked", "pooled", "pooled_right"] | None = Field(
        None, description="masked: does not count; pooled: N at the left that counts; default as the protocol says"
    )
    patience: int | None = Field(None, ge=1, description="epochs without a better score before stopping")
    average_epochs: float | None = Field(
        None, gt=0, description="score and keep an average of the weights that forgets over so many epochs"
    )
    reverse_complement: bool = Field(False, description="read each training sequence from a strand drawn at random")
    lora: Lora | None = Field(None, description="train low-rank matrices and the head, of a model pretrained by others")
    source: Origin | None = Field(None, description="where these values come from; one for all, or key by key")

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, content: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """Without these, hashes of settings are those of versions that had none; a config keeps a null that is set."""
        later, values = ("lora", "average_epochs"), content(self)
        return {key: values[key] for key in values if key not in later or values[key] is not None or info.exclude_unset}

    def of_protocol(self, protocol: str) -> Self:
        """The same, with what is left to the protocol decided: `released` does as the authors' code does."""
        names = ("padding", "schedule", "decayed")
        values = ("pooled", "released", "all") if protocol == "released" else ("masked", "warm", "kernels")
        return self.changed({name: getattr(self, name) or value for name, value in zip(names, values, strict=True)})


class Pretraining(Training):
    """Masked-language pretraining on windows of the genome."""

    weight_decay: float = Field(0.0, ge=0)
    epochs: int = Field(1, ge=1)
    seed: int = Field(1, ge=0)
    length: int = Field(1024, ge=16, description="bases a window")
    coverage: Literal["whole", "first"] = "whole"
    windows: int | None = Field(None, ge=1, description="training windows an epoch, drawn anew each epoch; default all")
    masked: float = Field(0.15, gt=0, lt=1, description="share of the bases that are targets")
    masking: Literal["once", "released"] = "once"
    settings: dict[str, Any] = Field({}, description="of the model, in pretraining alone, such as its dropout")


def merge_sources(old: Origin | None, old_keys: list[str], new: Origin | None, new_keys: list[str]) -> Origin | None:
    """Where the values of a part come from after a run config has changed some of them.

    Args:
        old: the source that the part has before the change.
        old_keys: the keys that it sets.
        new: the source that the run config gives for its changes; without one they come from the run config.
        new_keys: the keys that the run config sets.
    """
    if old is None or not new_keys:
        return new or old
    sources = dict(old) if isinstance(old, dict) else dict.fromkeys(old_keys, old)
    sources |= dict.fromkeys(new_keys, RUN_CONFIG if new is None or isinstance(new, dict) else new)
    return sources | new if isinstance(new, dict) else sources
