"""Where each default comes from: one table a place that has defaults, source to names.

A value that is written in a config has its source there; what is said here is of values that nobody wrote. A test
fails for a default that has no source.
"""

from collections.abc import Iterable
from typing import Any

RELEASED, CHOICE, UNUSED = "released code", "our choice", "default: not used"
BEND = "Marin et al. 2024 (BEND)"


def by_name(table: dict[str, str]) -> dict[str, str]:
    """Names, with spaces between them, to their sources: from source to names to name to source."""
    return {name: source for source, names in table.items() for name in names.split()}


TRAINING = by_name(
    {
        RELEASED: "epochs batch_size lr final_lr warmup weight_decay beta1 beta2 clip",
        CHOICE: "precision",
        UNUSED: "micro_batch checkpointing compile padding patience reverse_complement",
    }
)
PRETRAINING = TRAINING | by_name(
    {
        RELEASED: "length masked precision batch_size lr weight_decay beta1 beta2 clip",
        CHOICE: "epochs seed coverage masking final_lr warmup",
        UNUSED: "windows",
    }
)
MODEL = by_name({RELEASED: "pooling head frozen strands"})
CHOSEN = {("head", "cnn"): BEND, ("frozen", True): BEND}
"""Of a model: values that come from a place of their own, whoever writes them."""

ARCHITECTURES = {
    "convnova": by_name(
        {
            RELEASED: "width kernel blocks dilation_base stacks tail_expansion ffn final_conv second_branch gate",
            UNUSED: "dropout",
        }
    ),
    "unet": by_name(
        {
            "as ConvNova": "width kernel blocks dilation_base stacks tail_expansion ffn final_conv second_branch gate",
            UNUSED: "dropout",
        }
    ),
    "transformer": by_name({CHOICE: "width layers heads expansion", UNUSED: "dropout"}),
    "convnext": by_name({CHOICE: "width blocks", "Liu et al. 2022": "kernel expansion"}),
    "hyenadna": by_name(
        {"Nguyen et al. 2023, released code": "width layers kernel_width frequency", CHOICE: "length causal"},
    ),
    "caduceus": by_name(
        {
            "Schiff et al. 2024": "width layers both_strands",
            "Schiff et al. 2024, released code": "expansion states taps",
        }
    ),
    "basenji2": by_name({"Kelley 2020": "width tower_blocks dilated_blocks rate dropout"}),
    "legnet": by_name({"Penzar et al. 2023": "channels kernel expansion reduction"}),
    "cnn": by_name({"Gresova et al. 2023": "embedding"}),
    "kmer_regression": by_name({CHOICE: "k window"}),
    "huggingface": by_name({"its repository": "path revision loader", CHOICE: "longest", UNUSED: "remote_code needs"}),
}
"""Architecture to setting to source. That of a model of one's own may be missing: then its own file is named."""


def credited(theirs: Any, kept: Iterable[str], changed: dict[str, str], told: Any) -> dict[str, Any]:
    """The key `source` of a part of the config some of whose values are changed; none if nobody wrote one.

    Args:
        theirs: the source before: of all, or key by key.
        kept: the names of the values before.
        changed: name of each changed value to its place, which is its source unless another is told.
        told: the source that is written beside the changes.
    """
    if theirs is None or not changed:
        source = theirs if told is None else told
        return {} if source is None else {"source": source}
    before = theirs if isinstance(theirs, dict) else {key: theirs for key in kept if key != "source"}
    beside = dict.fromkeys(changed, told) if isinstance(told, str) else told or {}
    return {"source": before | changed | beside}
