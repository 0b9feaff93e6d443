"""ConvNova, reproduced: from the raw genome to the paper's comparison tables.

The names below are loaded when they are first asked for, so that `import convnova` takes no time:

    import convnova

    tokens, others = convnova.encode("ACGTN")
    config = convnova.load_config("config/config.yaml")
    model = convnova.build_predictor("convnova", {"width": 16}, "classes", outputs=2, length=500)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

MODULE_OF = {
    "load": "inference.load",
    "encode": "data.dna",
    "decode": "data.dna",
    "reverse_complement": "data.dna",
    "read_genome": "data.genome",
    "read_task": "data.task_dataset",
    "build_backbone": "models",
    "build_predictor": "models",
    "bootstrap_interval": "evaluation.bootstrap",
    "load_config": "config.load",
}
"""Public name to the module that defines it."""

__all__ = ["__version__", *MODULE_OF]


def __getattr__(name: str) -> Any:
    """A public name, from its module."""
    if name not in MODULE_OF:
        raise AttributeError(f"module 'convnova' has no attribute {name!r}; it has {', '.join(MODULE_OF)}")
    return getattr(import_module(f"convnova.{MODULE_OF[name]}"), name)
