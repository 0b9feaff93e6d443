"""What a run config may say, as a JSON Schema: editors complete and check keys and values by it."""

import json
from typing import Any

from pydantic import create_model

from convnova.config.run import RunConfig
from convnova.config.schema import Format, Genome, ModelChanges, Name, Suite, Task
from convnova.config.strict import Strict

RESOLVED = ("genomes", "sources")
"""Fields of a resolved run that nobody writes."""

WrittenSuite = create_model(
    "WrittenSuite",
    __base__=Suite,
    format=(Format | None, None),
    genome=(str | Genome | None, None),
    tasks=(list[Name] | dict[Name, Task | None], {}),
)
WRITTEN = {
    "data": (str, ""),
    "run": (Name, ""),
    "genome": (str | Genome | None, None),
    "models": (list[Name] | dict[Name, ModelChanges | None], []),
    "suites": (list[Name] | dict[Name, WrittenSuite | list[Name] | None] | None, None),
    "recipes": (str | None, None),
}
"""Fields that are written in another form than a resolved run has them: names to be looked up, paths, short forms."""


def editor_schema() -> str:
    """The JSON Schema as text, which `config/schema.json` holds.

    What depends on several keys at once, and whether names and files exist, `convnova config` checks.
    """
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in RunConfig.model_fields.items()
        if name not in (*RESOLVED, *WRITTEN)
    }
    written = create_model("RunConfig", __base__=Strict, **(WRITTEN | fields))
    return json.dumps(written.model_json_schema() | {"title": "convnova run"}, indent=1) + "\n"
