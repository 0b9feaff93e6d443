"""A run as an RO-Crate: one JSON-LD that says which files are what, and what they were made by and from.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) by the profile Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/workflow/0.5). `roc-validator` 0.13.0 of PyPI finds none of these profiles' requirements
unmet; of what they recommend, an author, a publisher and an agent are left out, since results do not know them.
"""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from convnova import __version__
from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.files import read_json, sha256, write_text

METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
CRATE = "https://w3id.org/ro/crate/1.1"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
LICENCE = {
    "@id": "https://spdx.org/licenses/MIT",
    "@type": "CreativeWork",
    "name": "MIT",
    "description": "For the code; each data set has a licence of its own, named beside it.",
}
SNAKEMAKE = {
    "@id": "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
    "@type": "ComputerLanguage",
    "name": "Snakemake",
    "url": "https://snakemake.readthedocs.io",
}
FORMATS = {
    ".csv": "text/csv", ".html": "text/html", ".json": "application/json", ".md": "text/markdown",
    ".pdf": "application/pdf", ".png": "image/png", ".smk": "text/x-snakemake", ".svg": "image/svg+xml",
    ".tex": "application/x-tex", ".tsv": "text/tab-separated-values", ".yaml": "application/yaml",
    "Snakefile": "text/x-snakemake",
}  # fmt: skip
RESULTS = ("report.html", "tables/*", "figures/*", "audit/**/*.json", "pretrain/*/weights.json", "runs/**/metrics.json")
"""What of `results/<run>` belongs to the crate."""

WORKFLOW = ("workflow/**/*.smk", "config/**/*.yaml", "config/published.csv")
"""What the Snakefile reads."""

Entity = dict[str, Any]


def write_crate(config: RunConfig, out: Path) -> Path:
    """Write the crate of a run.

    Args:
        out: a folder, into which the files are copied; or a file `ro-crate-metadata.json`, which describes the files
            where they lie, at or below its folder.

    Returns:
        The JSON.

    Raises:
        ConvNovaError: no Snakefile in the working directory, no results, or files outside the JSON's folder.
    """
    results, workflow = results_of(config), workflow_files()
    if out.suffix == ".json":
        if out.name != METADATA:
            raise ConvNovaError(f"{out}: expected a folder or a file named {METADATA}, as RO-Crate asks for")
        root = out.resolve().parent
        if not Path.cwd().is_relative_to(root):
            raise ConvNovaError(f"{out}: expected a place at or above {Path.cwd()}, since a crate holds its files")
        prefix = os.path.relpath(Path.cwd(), root)
    else:
        for path in (*results, *workflow):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, out / path)
        out, prefix = out / METADATA, "."
    graph = list(entities(config, results, workflow, "" if prefix == "." else f"{prefix}/"))
    write_text(out, json.dumps({"@context": CONTEXT, "@graph": graph}, indent=2) + "\n")
    return out


def results_of(config: RunConfig) -> list[Path]:
    """The run's results that belong to its crate, its config first.

    Raises:
        ConvNovaError: no fine-tuning has ended yet.
    """
    folder = config.results
    found = [path for pattern in RESULTS for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not any(path.name == "metrics.json" for path in found):
        raise ConvNovaError(f"{folder}: expected results of fine-tunings, found none; run the pipeline first")
    return [folder / "config.yaml", *found]


def workflow_files() -> list[Path]:
    """The Snakefile and what it reads."""
    if not Path("Snakefile").is_file():
        raise ConvNovaError(f"{Path.cwd()}: expected a Snakefile, found none; make the crate where the run was made")
    return [Path("Snakefile"), *(path for pattern in WORKFLOW for path in sorted(Path().glob(pattern)))]


def entities(config: RunConfig, results: list[Path], workflow: list[Path], prefix: str) -> Iterator[Entity]:
    """The graph: the crate, the workflow, its one run, and every file."""
    action, addresses = _action(config, results, prefix), _addresses(config)
    parts = [_file(path, prefix) for path in (*results, *workflow[1:])]
    main = _file(workflow[0], prefix) | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "convnova: from the raw genome to the ConvNova paper's comparison tables",
        "version": __version__,
        "programmingLanguage": _reference(SNAKEMAKE),
        "hasPart": [_reference(part) for part in parts if not part["@id"].startswith(f"{prefix}results/")],
    }
    yield {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": [{"@id": CRATE}, {"@id": WORKFLOW_CRATE}],
        "about": {"@id": "./"},
    }
    yield _root(config, [main, *parts, *addresses], main, action)
    yield from ({"@id": address, "@type": "CreativeWork", "name": name} for address, name in PROFILES.items())
    yield from (main, SNAKEMAKE, LICENCE, action | {"object": [*action["object"], *map(_reference, addresses)]})
    yield from (*parts, *addresses)


def _root(config: RunConfig, parts: list[Entity], main: Entity, action: Entity) -> Entity:
    simulated = "The data are simulated: no number can be compared with the paper. " * (config.simulate is not None)
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"convnova, run {config.run}" + " (simulated data)" * (config.simulate is not None),
        "description": f"{simulated}Comparison tables of DNA foundation models, with all they were made from.",
        "datePublished": action["endTime"],
        "license": _reference(LICENCE),
        "conformsTo": [{"@id": address} for address in PROFILES],
        "mainEntity": _reference(main),
        "mentions": _reference(action),
        "hasPart": [_reference(part) for part in parts],
    }


def _action(config: RunConfig, results: list[Path], prefix: str) -> Entity:
    """The run of the workflow, from the first fine-tuning's beginning to the last one's end."""
    made = [read_json(path)["provenance"] for path in results if path.name in ("metrics.json", "weights.json")]
    begun = [datetime.fromisoformat(of_one["started"]) for of_one in made]
    ended = [start + timedelta(seconds=of_one["seconds"]) for start, of_one in zip(begun, made, strict=True)]
    return {
        "@id": f"#run-{config.run}",
        "@type": "CreateAction",
        "name": f"Run {config.run}",
        "instrument": {"@id": f"{prefix}Snakefile"},
        "description": f"snakemake --cores all --configfile {results[0]}",
        "startTime": min(begun).isoformat(),
        "endTime": max(ended).isoformat(timespec="seconds"),
        "object": [{"@id": f"{prefix}{results[0]}"}],
        "result": [{"@id": f"{prefix}{path}"} for path in results[1:]],
    }


def _file(path: Path, prefix: str) -> Entity:
    form = path.suffix or path.name
    known = {"encodingFormat": FORMATS[form]} if form in FORMATS else {}
    size = str(path.stat().st_size)
    return {"@id": f"{prefix}{path}", "@type": "File", **known, "contentSize": size, "sha256": sha256(path)}


def _addresses(config: RunConfig) -> list[Entity]:
    """The raw files by the addresses they come from; none for a simulated run, which reads nothing from there."""
    if config.simulate:
        return []
    found = {
        source.urls(name)[0]: {
            "@type": "File",
            "name": name,
            "description": f"{source.title}. {source.citation}",
            "license": source.licence,
        }
        for source in config.sources.values()
        for name in source.files
    }
    return [{"@id": address, **content} for address, content in found.items()]


def _reference(entity: Entity) -> dict[str, str]:
    return {"@id": entity["@id"]}
