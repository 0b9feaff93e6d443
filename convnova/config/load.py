"""From what a user wrote to a resolved `RunConfig`: names looked up in `config/`, mistakes named."""

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from convnova.config import schema as types
from convnova.config.hyperparameter_sources import credited
from convnova.config.run import RunConfig
from convnova.config.schema import OWN_FORMATS
from convnova.errors import ConvNovaError, nearest
from convnova.files import read_yaml, write_text

CATALOGUE = Path("config")
RENAMED_KEYS = {"base": "`ablation: {baseline: MODEL}`", "against": "`ablation: {compare_to: {MODEL: MODEL}}`"}


def load(written: dict[str, Any], files: list[str] | None = None, catalogue: Path = CATALOGUE) -> RunConfig:
    """Resolve what a user wrote; what `save` wrote is resolved already and comes back as it was.

    Args:
        written: the config, as read from YAML; several files already merged.
        files: the files it came from, for messages.
        catalogue: the folder with `genomes.yaml`, `sources.yaml`, `suites/` and `models/`.

    Raises:
        ConvNovaError: a wrong key or value; names file, key, value and the nearest right one.
    """
    written = dict(written)
    try:
        if written.pop("resolved", False):
            return RunConfig(**written)
        return _resolve(written, files or [], catalogue)
    except _Mistake as mistake:
        raise ConvNovaError(where(mistake.key, files or []) + str(mistake)) from mistake
    except ValidationError as error:
        raise ConvNovaError("; ".join(_explain(detail, files or []) for detail in error.errors())) from error


def load_file(path: str | Path, catalogue: Path = CATALOGUE) -> RunConfig:
    """Resolve a config file; the other files of a run are looked for beside its `results/<run>/config.yaml`."""
    config, path = load(read_yaml(path), [str(path)], catalogue), Path(path)
    return config.rooted_at(path.parents[2]) if path.parts[-3:] == ("results", config.run, "config.yaml") else config


def save(config: RunConfig, path: str | Path) -> None:
    """Write the resolved config, so that every later step reads one file and looks nothing up."""
    write_text(path, as_yaml(config))


def as_yaml(config: RunConfig) -> str:
    """The resolved config as text; what equals a default is not written."""
    content = {"resolved": True, **config.model_dump(mode="json", exclude_unset=True)}
    return yaml.safe_dump(content, sort_keys=False, width=120)


class _Mistake(Exception):
    def __init__(self, key: tuple, message: str):
        super().__init__(f"{'.'.join(map(str, key))}: {message}")
        self.key = key


def _resolve(written: dict[str, Any], files: list[str], catalogue: Path) -> RunConfig:
    written = _within(written.pop("data", None), written)
    written.setdefault("run", re.sub(r"[^A-Za-z0-9_.-]", "_", Path(files[-1]).stem) if files else "run")
    genomes = read_yaml(catalogue / "genomes.yaml")
    simulated = written.get("simulate") is not None
    if simulated:
        written.setdefault("mirror", f"resources/{written['run']}/mirror")
    written["suites"] = {
        name: _suite(name, content, catalogue, genomes, simulated)
        for name, content in _as_mapping(written.get("suites"), ("suites",)).items()
    }
    written["genome"] = _genome(written.get("genome"), genomes, ("genome",))
    if not written["suites"] and written["genome"] is None and written.get("cost") is None:
        raise _Mistake(("suites",), "expected suites to fine-tune on, or a genome to pretrain on; found neither")
    default = ["convnova", "convnova_scratch", "cnn"] if written["genome"] else ["convnova_scratch", "cnn"]
    models = _as_mapping(written.get("models", default), ("models",))
    written["models"] = {name: _model(name, models, catalogue) for name in models}
    if written.get("search") is not None:
        written["models"] = _candidates(written)
    written["recipes"] = _recipes(written.get("recipes"), written)
    used = {written["genome"], *(suite.get("genome") for suite in written["suites"].values())} - {None}
    written["genomes"] = {name: genomes[name] for name in sorted(used)}
    written["sources"] = _sources(written, catalogue, simulated)
    return RunConfig(**written)


def _within(folder: Any, written: dict[str, Any]) -> dict[str, Any]:
    """What was written, paths of the user's own files taken from the folder `data` if that is named."""
    if folder is None:
        return written
    if not isinstance(folder, str):
        raise _Mistake(("data",), f"expected the folder that the paths of this config start from, found {folder!r}")

    def genome(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _joined(folder, path) if key in ("fasta", "bed") else path for key, path in value.items()}
        return _joined(folder, value) if isinstance(value, str) and "." in value else value

    def suite(content: Any) -> Any:
        own = isinstance(content, dict) and content.get("source", content.get("format", "")) in (None, *OWN_FORMATS)
        if not own or not isinstance(content.get("tasks"), dict):
            return content
        roles = types.FILE_ROLES
        tasks = {
            name: {key: _joined(folder, value) if key in roles else value for key, value in task.items()}
            if isinstance(task, dict)
            else task
            for name, task in content["tasks"].items()
        }
        return content | {"tasks": tasks} | ({"genome": genome(content["genome"])} if "genome" in content else {})

    suites = written.get("suites")
    found = {"suites": {name: suite(content) for name, content in suites.items()}} if isinstance(suites, dict) else {}
    return written | found | ({"genome": genome(written["genome"])} if "genome" in written else {})


def _joined(folder: str, path: Any) -> Any:
    return str(Path(folder, path)) if isinstance(path, str) else path


def _as_mapping(value: Any, key: tuple) -> dict[str, Any]:
    """A list of names is short for a mapping from each to nothing."""
    if value is None:
        return {}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value)
    if isinstance(value, dict):
        return value
    raise _Mistake(key, f"expected a list of names or a mapping, found {value!r}")


def _entry(folder: Path, name: str, key: tuple) -> dict[str, Any]:
    """The catalogue's file of that name."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise _Mistake((*key, name), f"unknown; {nearest(name, known)}")
    return read_yaml(folder / f"{name}.yaml")


def _genome(value: Any, genomes: dict[str, Any], key: tuple) -> str | None:
    """The genome's name; one of the user's own is added to `genomes` under a name made from its path."""
    if value is None or value in list(genomes):
        return value
    own = {"fasta": value} if isinstance(value, str) else value
    if not isinstance(own, dict) or not isinstance(own.get("fasta"), str):
        raise _Mistake(key, f"expected a name, a FASTA file or a mapping with `fasta`, found {value!r}")
    if isinstance(value, str) and not Path(value).exists() and "/" not in value and "." not in value:
        raise _Mistake(key, f"unknown genome {value!r}; {nearest(value, list(genomes))}, or give a FASTA file")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", re.sub(r"\.(gz|bgz|fa|fna|fasta)\b", "", Path(own["fasta"]).name)).strip("_")
    while name in genomes and genomes[name] != own:
        name += "_"
    genomes[name] = own
    return name


def _suite(name: str, content: Any, catalogue: Path, genomes: dict[str, Any], simulated: bool) -> dict[str, Any]:
    """A suite of the user's own, or one of the catalogue with tasks selected and settings changed.

    A simulated file has other numbers of rows than the published one, so those are not held against it.
    """
    key = ("suites", name)
    if isinstance(content, list):
        content = {"tasks": content}
    content = dict(_as_mapping(content, key))
    if content.get("format") in OWN_FORMATS:
        tasks = _as_mapping(content.get("tasks"), (*key, "tasks"))
        suite = content | {"tasks": {task: _as_mapping(told, (*key, "tasks", task)) for task, told in tasks.items()}}
    elif "format" in content:
        raise _Mistake((*key, "format"), f"{content['format']!r}: {nearest(content['format'], list(OWN_FORMATS))}")
    else:
        suite = _entry(catalogue / "suites", name, ("suites",))
        chosen = _as_mapping(content.pop("tasks", list(suite["tasks"])), (*key, "tasks"))
        for task in chosen:
            if task not in suite["tasks"]:
                raise _Mistake((*key, "tasks", task), f"unknown; {nearest(task, list(suite['tasks']))}")
        unchecked = {"counts": {}} if simulated else {}
        changes = {task: _as_mapping(told, (*key, "tasks", task)) for task, told in chosen.items()}
        tasks = {task: {**suite["tasks"][task], **unchecked, **changes[task]} for task in chosen}
        suite = {**suite, **content, "tasks": tasks}
    if "genome" in suite:
        suite["genome"] = _genome(suite["genome"], genomes, (*key, "genome"))
    return suite


def _model(name: str, written: dict[str, Any], catalogue: Path) -> dict[str, Any]:
    """A model of the catalogue, with settings changed; with `like` it has a name of its own.

    `like` a name that the catalogue lacks is another model of the run. A setting that is written counts on every suite,
    also where the model it changes has another one.
    """
    changes = dict(_as_mapping(written[name], ("models", name)))
    model, place = _origin(name, changes.pop("like", name), written, catalogue), f"models.{name}"
    own, training = (changes[key] if isinstance(changes.get(key), dict) else {} for key in ("settings", "training"))
    told, places = changes.pop("source", None), dict.fromkeys(own, f"{place}.settings")
    if own and "suites" not in changes:
        model["suites"] = {
            suite: {**variant, "settings": {**old, **own}, **credited(variant.get("source"), old, places, told)}
            if (old := variant.get("settings")) is not None
            else variant
            for suite, variant in model.get("suites", {}).items()
        }
    uses = ("strands", "pooling")
    places |= {key: f"{place}.{key}" for key in uses if key in changes}
    kept = [*model.get("settings", {}), *(key for key in uses if key in model)]
    model |= credited(model.get("source"), kept, places, told)
    parts = ("settings", "training")
    merged = {key: {**model.get(key, {}), **changes[key]} for key in parts if isinstance(changes.get(key), dict)}
    if training:
        old, new = model.get("training", {}), {key: f"{place}.training" for key in training if key != "source"}
        merged["training"] |= credited(old.get("source"), old, new, training.get("source"))
    return model | changes | merged


def _origin(name: str, like: str, written: dict[str, Any], catalogue: Path) -> dict[str, Any]:
    """What a model changes: one of the catalogue, or another one of the run, but for that one's published numbers."""
    if like == name or like not in written or (catalogue / "models" / f"{like}.yaml").is_file():
        return _entry(catalogue / "models", like, ("models",))
    others = {other: content for other, content in written.items() if other != name}  # so that no circle has an end
    return {key: value for key, value in _model(like, others, catalogue).items() if key != "published"}


def _candidates(written: dict[str, Any]) -> dict[str, Any]:
    """In place of each model one for every point of the grid; the models' names are kept in `search`."""
    search = types.Search(**_as_mapping(written["search"], ("search",)))
    if unknown := [key for key in search.training if key not in types.Training.model_fields]:
        raise _Mistake(
            ("search", "training", unknown[0]),
            f"unknown key; {nearest(unknown[0], sorted(types.Training.model_fields))}",
        )
    written["search"] = {**written["search"], "models": list(written["models"])}
    found = {}
    for name, model in written["models"].items():
        for candidate, values in search.candidates(name).items():
            changed = {part: {**model.get(part, {}), **values[part]} for part in ("training", "settings")}
            suites = {
                suite: {**own, **{part: {**own.get(part, {}), **values[part]} for part in ("training", "settings")}}
                for suite, own in model.get("suites", {}).items()
            }
            title = ", ".join(f"{key} {value}" for part in values.values() for key, value in part.items())
            found[candidate] = {**model, **changed, "suites": suites, "title": f"{model['title']}, {title}"}
    return found


def _recipes(folder: Any, written: dict[str, Any]) -> dict[str, Any]:
    """The recipes of a folder, `<suite>/<task>/<model>.yaml`, that concern the run."""
    if folder is None:
        return {}
    if not isinstance(folder, str) or not Path(folder).is_dir():
        raise _Mistake(("recipes",), f"expected a folder of <suite>/<task>/<model>.yaml, found {folder!r}")
    found = {}
    for path in sorted(Path(folder).glob("*/*/*.yaml")):
        suite, task, model = path.relative_to(folder).with_suffix("").parts
        if task in written["suites"].get(suite, {"tasks": {}})["tasks"] and model in written["models"]:
            found[f"{suite}/{task}/{model}"] = read_yaml(path)
    return found


def _sources(written: dict[str, Any], catalogue: Path, simulated: bool) -> dict[str, Any]:
    """The registry's entries that this run needs, without checksums where the genome is simulated."""
    registry = read_yaml(catalogue / "sources.yaml")
    needed: dict[str, set[str]] = {}
    for genome in written["genomes"].values():
        if genome.get("source"):
            needed.setdefault(genome["source"], set()).update(filter(None, (genome["fasta"], genome.get("bed"))))
    for suite in written["suites"].values():
        for task in suite["tasks"].values():
            if suite.get("source"):
                names = {task[role] for role in types.FILE_ROLES if isinstance(task.get(role), str)}
                known = registry.get(suite["source"], {"files": []})["files"]
                needed.setdefault(suite["source"], set()).update(
                    file for name in names for file in types.files_of(name, known)
                )
    return {name: _source(registry[name], files, simulated) for name, files in needed.items() if name in registry}


def _source(source: dict[str, Any], files: set[str], simulated: bool) -> dict[str, Any]:
    """The source with those of its files that are needed; a simulated file has other bytes than the published one."""
    published = ("size", "sha256", "md5") if simulated else ()
    chosen = {name: content or {} for name, content in source["files"].items() if name in files}
    return {
        **source,
        "files": {name: {k: v for k, v in file.items() if k not in published} for name, file in chosen.items()},
    }


def _type_at(path: list[Any]) -> Any:
    """The type of the value at a path of the config."""
    found: Any = RunConfig
    for part in path:
        found = found.model_fields[part].annotation if _is_model(found) else get_args(found)[-1]
        if get_origin(found) in (Union, UnionType):
            found = next(kind for kind in get_args(found) if kind is not NoneType)
    return found


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _unknown(path: list[Any]) -> str:
    """What to write in place of an unknown key: the part of this place that has such a key, or the nearest there is."""
    kind, name = _type_at(path[:-1]), path[-1]
    if kind is RunConfig and name in RENAMED_KEYS:
        return f"unknown key; it is now {RENAMED_KEYS[name]}"
    for part in kind.model_fields:
        inner = _type_at([*path[:-1], part])
        if _is_model(inner) and name in inner.model_fields:
            return f"unknown key; it belongs under `{part}`"
    return f"unknown key; {nearest(name, sorted(kind.model_fields))}"


def _explain(detail: Any, files: list[str]) -> str:
    """One mistake that pydantic found, with its file, key, value and the nearest right one."""
    path = [part for part in detail["loc"] if part != "[key]"]
    key = ".".join(map(str, path))
    file = where(tuple(path), files)
    if detail["type"] == "extra_forbidden":
        return f"{file}{key} = {detail['input']!r}: {_unknown(path)}"
    if detail["type"] == "literal_error":
        known = re.findall("'(.*?)'", detail["msg"])
        return f"{file}{key} = {detail['input']!r}: {nearest(detail['input'], known)}"
    message = detail["msg"].removeprefix("Value error, ")
    if not key or detail["type"] == "value_error":
        return f"{file}{key + ': ' if key else ''}{message}"
    return f"{file}{key} = {detail['input']!r}: {message[0].lower() + message[1:]}"


def where(key: tuple, files: list[str]) -> str:
    """The last of the files that holds the key, or as much of it as any does, as the beginning of a message."""
    best, depth = "", -1
    for file in files:
        content: Any = read_yaml(file)
        found = 0
        for part in key:
            if isinstance(content, dict) and part in content:
                content, found = content[part], found + 1
            else:
                break
        if found >= depth:
            best, depth = file, found
    return f"{best}: " if best else ""
