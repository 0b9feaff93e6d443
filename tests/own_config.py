"""The smallest config with a user's own files, for tests that change some of it."""

import json
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).resolve().parents[1] / "config"
OWN = {
    "run": "mine",
    "models": ["convnova_scratch"],
    "suites": {"mine": {"format": "csv", "tasks": {"H3": {"train": "a.csv", "test": "b.csv", "max_length": 500}}}},
}


def own_config(**changes: Any) -> dict[str, Any]:
    """The config with some of it changed; a key with `__` in it reaches inside."""
    content = json.loads(json.dumps(OWN))
    for key, value in changes.items():
        *path, last = key.split("__")
        part = content
        for name in path:
            part = part[name]
        part[last] = value
    return content
