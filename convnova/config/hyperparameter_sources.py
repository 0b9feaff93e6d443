"""Where each default comes from: a table for each place that has defaults, from source to names.

A value that a config sets has its source there; these are the sources of values that no config sets. A test fails for
a default without a source.
"""

from convnova.config.hyperparameters import Origin

RELEASED, CHOICE, UNUSED = "released code", "our choice", "default: not used"
BEND = "Marin et al. 2024 (BEND)"
RUN_CONFIG = "run config"


def by_name(table: dict[str, str]) -> dict[str, str]:
    """Name to source, from source to names with spaces between them."""
    return {name: source for source, names in table.items() for name in names.split()}


TRAINING = by_name(
    {
        RELEASED: "epochs batch_size lr final_lr warmup weight_decay beta1 beta2 clip",
        CHOICE: "precision",
        UNUSED: "micro_batch checkpointing compile schedule decayed padding patience reverse_complement",
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
"""Source of a model's key with this value, whoever sets it."""

BLOCK = "width kernel blocks dilation_base stacks tail_expansion ffn final_conv second_branch gate"
SCHIFF, NGUYEN = "Schiff et al. 2024", "Nguyen et al. 2023, released code"
ARCHITECTURES = {
    "convnova": by_name({RELEASED: BLOCK, UNUSED: "dropout"}),
    "unet": by_name({"as ConvNova": BLOCK, UNUSED: "dropout"}),
    "transformer": by_name({CHOICE: "width layers heads expansion", UNUSED: "dropout"}),
    "convnext": by_name({CHOICE: "width blocks", "Liu et al. 2022": "kernel expansion"}),
    "hyenadna": by_name({NGUYEN: "width layers kernel_width frequency", CHOICE: "length causal"}),
    "caduceus": by_name({SCHIFF: "width layers both_strands", f"{SCHIFF}, released code": "expansion states taps"}),
    "basenji2": by_name({"Kelley 2020": "width tower_blocks dilated_blocks rate dropout"}),
    "legnet": by_name({"Penzar et al. 2023": "channels kernel expansion reduction"}),
    "cnn": by_name({"Gresova et al. 2023": "embedding"}),
    "kmer_regression": by_name({CHOICE: "k window"}),
    "huggingface": by_name({"its repository": "path revision loader", CHOICE: "longest", UNUSED: "remote_code needs"}),
}
"""Architecture to setting to source. An architecture that is missing here is named by its file."""


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
