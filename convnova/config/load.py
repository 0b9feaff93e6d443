"""From what a user wrote to a resolved `RunConfig`: names are looked up in the catalogue, mistakes are named."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from convnova.bundle import bundled
from convnova.config import schema
from convnova.config.data_sources import Source, SourceFile, load_sources
from convnova.config.hyperparameters import Pretraining, Training, merge_sources
from convnova.config.run import RunConfig
from convnova.config.schema import Genome, Model, ModelChanges, Suite, Task
from convnova.config.strict import ConfigMistake
from convnova.errors import ConvNovaError, nearest
from convnova.files import read_yaml, write_text

RESOLVED = {"suites", "genome", "models", "search", "recipes"}
"""Keys whose values are looked up before the config is read as a whole."""


def load(written: dict[str, Any], files: list[str] | None = None, catalogue: Path | None = None) -> RunConfig:
    """Resolve what a user wrote; a config that `save` wrote is resolved already and comes back as it was.

    Args:
        written: the config, as read from YAML; several files already merged.
        files: the files it came from, for messages.
        catalogue: the folder with `genomes.yaml`, `sources.yaml`, `suites/` and `models/`; default: `config` here, or
            that of the package.

    Raises:
        ConvNovaError: wrong keys or values, all of them: file, key, value and the nearest right one.
    """
    written, files = dict(written), files or []
    catalogue = catalogue or bundled("config/sources.yaml").parent
    try:
        return RunConfig.read(written) if written.pop("resolved", False) else _Resolver(written, files, catalogue).run()
    except ConfigMistake as error:
        messages = [file_with(key, files) + ".".join(key) + message for key, message in error.mistakes]
        raise ConvNovaError("; ".join(messages)) from error


def load_config(path: str | Path, catalogue: Path | None = None) -> RunConfig:
    """Resolve a config file; the other files of a run are looked for beside its `results/<run>/config.yaml`.

    Where the working directory has no `config/`, that of the package is read.

    Example:
        >>> config = load_config("config/config.yaml")
        >>> config.run, len(list(config.jobs()))
        ('embedded', 62)
    """
    path = bundled(path)
    config = load(read_yaml(path), [str(path)], catalogue)
    return config.rooted_at(path.parents[2]) if path.parts[-3:] == ("results", config.run, "config.yaml") else config


def config_file(name: str) -> Path:
    """The config file that a user means: by the name that its run has in `results/`, or by its path.

    Raises:
        ConvNovaError: neither is there.
    """
    known = runs_here()
    if name not in known and not bundled(name).is_file():
        advice = nearest(name, list(known)) if known else "there are no runs in results/"
        raise ConvNovaError(f"{name}: expected the name of a run or a config file, found neither; {advice}")
    return known.get(name, bundled(name))


def runs_here() -> dict[str, Path]:
    """Name to config of every run below the working directory."""
    return {path.parent.name: path for path in sorted(Path("results").glob("*/config.yaml"))}


def save(config: RunConfig, path: str | Path) -> None:
    """Write the resolved config, so that every later step reads one file and looks nothing up."""
    write_text(path, as_yaml(config))


def as_yaml(config: RunConfig) -> str:
    """The resolved config as text; a value that nobody set is not written."""
    content = {"resolved": True, **config.model_dump(mode="json", exclude_unset=True)}
    return yaml.safe_dump(content, sort_keys=False, width=120)


def file_with(key: tuple[str, ...], files: list[str]) -> str:
    """The last of the files that holds the key, or the most of it, as the beginning of a message; "" without files."""

    def depth(file: str) -> int:
        content, number = read_yaml(file), 0
        while number < len(key) and isinstance(content, dict) and key[number] in content:
            content, number = content[key[number]], number + 1
        return number

    return f"{max(reversed(files), key=depth)}: " if files else ""


class _Resolver:
    """The steps from a written config to a resolved one; every step raises `ConfigMistake` for a wrong key or value."""

    def __init__(self, written: dict[str, Any], files: list[str], catalogue: Path):
        self.written, self.catalogue = written, catalogue
        self.mistakes: list[tuple[tuple[str, ...], str]] = []
        self.folder = written.pop("data", None) or ""
        if not isinstance(self.folder, str):
            raise ConfigMistake((("data",), f": expected the folder where paths start, found {self.folder!r}"))
        self.simulated = written.get("simulate") is not None
        written.setdefault("run", re.sub(r"[^A-Za-z0-9_.-]", "_", Path(files[-1]).stem) if files else "run")
        if self.simulated:
            written.setdefault("mirror", f"resources/{written['run']}/mirror")
        genomes = read_yaml(catalogue / "genomes.yaml")
        self.genomes = {name: Genome.read(content, "genomes", name) for name, content in genomes.items()}

    def tried(self, step: Callable, *given: Any) -> Any:
        """The result of a step; None after a mistake, which is kept, so that all of a config are named at once."""
        try:
            return step(*given)
        except ConfigMistake as error:
            self.mistakes.extend(error.mistakes)
            return None

    def run(self) -> RunConfig:
        """The whole config."""
        written, mistakes = self.written, self.mistakes
        suites = {
            name: self.tried(self.suite, name, own) for name, own in _mapping(written.get("suites"), "suites").items()
        }
        genome = self.tried(self.genome, written.get("genome"), "genome")
        if not suites and written.get("genome") is None and written.get("cost") is None:
            expected = ": expected suites to fine-tune on, or a genome to pretrain on; found neither"
            mistakes.append((("suites",), expected))
        default = ["convnova_scratch", "cnn"] if genome is None else ["convnova", "convnova_scratch", "cnn"]
        changes = _mapping(written.get("models", default), "models")
        changes = {name: self.tried(ModelChanges.read, own, "models", name) for name, own in changes.items()}
        if all(changes.values()) and all(suites.values()):
            self.tried(_check_tasks, changes, suites)
        models = {name: self.tried(self.model, name, changes) for name in changes if changes[name]}
        if mistakes:
            self.tried(RunConfig.read, {key: value for key, value in written.items() if key not in RESOLVED})
            raise ConfigMistake(*(mistake for mistake in mistakes if mistake[0] != ("models",)))
        if written.get("search") is not None:
            search = schema.Search.read(written["search"], "search").changed({"models": list(models)})
            written["search"] = search
            models = {name: model for old in models.items() for name, model in _candidates(search, *old).items()}
        used = {genome, *(suite.genome for suite in suites.values())} - {None}
        genomes = {name: self.genomes[name] for name in sorted(used)}
        recipes, sources = _recipes(written.get("recipes"), suites, models), self.sources(genomes, suites)
        if any(suite.source for suite in suites.values()):  # a benchmark, with published scores
            written.setdefault("protocols", ["heldout", "released"])
        resolved = {"suites": suites, "genome": genome, "genomes": genomes, "models": models}
        return RunConfig.read(written | resolved | {"recipes": recipes, "sources": sources})

    def entry(self, folder: str, name: str) -> dict[str, Any]:
        """The content of `<folder>/<name>.yaml` of the catalogue."""
        known = sorted(path.stem for path in (self.catalogue / folder).glob("*.yaml"))
        if name not in known:
            raise ConfigMistake(((folder, name), f": unknown; {nearest(name, known)}"))
        return read_yaml(self.catalogue / folder / f"{name}.yaml")

    def genome(self, value: Any, *key: str) -> str | None:
        """The name of a genome; one of the user's own is added to the known ones, named after its file.

        Args:
            value: a name, a FASTA file or the fields of a `Genome`.
            key: where the value lies in the config.
        """
        if value == schema.TRAINING_ROWS:
            rows = f"resources/{self.written['run']}/{value}"
            self.genomes[value] = Genome(fasta=f"{rows}.fa", bed=f"{rows}.bed")
        if isinstance(value, str) and value not in self.genomes:
            if not re.search("[./]", value) and not Path(self.folder, value).exists():
                advice = f"{nearest(value, list(self.genomes))}, or give a FASTA file"
                raise ConfigMistake((key, f": unknown genome {value!r}; {advice}"))
            value = {"fasta": value}
        if value is None or isinstance(value, str):
            return value
        genome = Genome.read(value, *key)
        if genome.source is None:
            genome = genome.changed({role: str(Path(self.folder, path)) for role, path in genome.files().items()})
        name = re.sub(r"\.(gz|bgz|fa|fna|fasta)\b", "", Path(genome.fasta).name)
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
        while self.genomes.setdefault(name, genome) != genome:
            name += "_"
        return name

    def suite(self, name: str, content: Any) -> Suite:
        """A suite of the user's own, or one of the catalogue with tasks selected and settings changed."""
        key = ("suites", name)
        changes = {"tasks": content} if isinstance(content, list) else _mapping(content, *key)
        base: dict[str, Any] = {"tasks": {}}
        if "format" not in changes:
            base = Suite.read(self.entry("suites", name), *key).values()
        elif changes["format"] not in schema.OWN_FORMATS:
            advice = nearest(changes["format"], list(schema.OWN_FORMATS))
            raise ConfigMistake(((*key, "format"), f" = {changes['format']!r}: {advice}"))
        suite, known, tasks = base | changes, base["tasks"], {}
        for task, written in _mapping(changes.get("tasks", list(known)), *key, "tasks").items():
            if known and task not in known:
                raise ConfigMistake(((*key, "tasks", task), f": unknown; {nearest(task, list(known))}"))
            old = known.get(task, Task())
            if self.simulated and known:  # a simulated file has other numbers of rows than the published one
                old = old.changed({"counts": {}})
            new = old.changed(written, *key, "tasks", task)
            if suite.get("source") is None:
                new = new.changed({role: str(Path(self.folder, path)) for role, path in new.files().items()})
            tasks[task] = new
        genome = self.genome(suite.get("genome"), *key, "genome")
        return Suite.read(suite | {"tasks": tasks} | ({"genome": genome} if genome else {}), *key)

    def model(self, name: str, models: dict[str, ModelChanges]) -> Model:
        """A model of the catalogue, or with `like` another model of the run, with changes.

        Args:
            name: the model.
            models: what the run writes of each of its models.
        """
        like = models[name].like or name
        if like == name or like not in models or (self.catalogue / "models" / f"{like}.yaml").is_file():
            base = Model.read(self.entry("models", like), "models", name)
        else:
            others = {other: content for other, content in models.items() if other != name}  # so that a circle ends
            base = self.model(like, others).changed({"published": None})
        return _changed_model(base, models[name], "models", name)

    def sources(self, genomes: dict[str, Genome], suites: dict[str, Suite]) -> dict[str, Source]:
        """The entries of `sources.yaml` for the files that the run needs."""
        registry = load_sources(self.catalogue / "sources.yaml")
        users: list[tuple[str | None, Genome | Task]] = [(genome.source, genome) for genome in genomes.values()]
        users += [(suite.source, task) for suite in suites.values() for task in suite.tasks.values()]
        needed: dict[str, dict[str, SourceFile]] = {}
        for source, user in users:
            for name in user.files().values() if source in registry else ():
                if not (known := schema.files_of(name, registry[source].files)):
                    advice = nearest(name, sorted(registry[source].files))
                    raise ConfigMistake((("suites",), f": {name!r} is no file of the source {source}; {advice}"))
                for file in known:
                    content = registry[source].files[file]
                    # A simulated file has other bytes than the published one.
                    content = SourceFile(urls=content.urls) if self.simulated else content
                    needed.setdefault(source, {})[file] = content
        return {source: registry[source].changed({"files": files}) for source, files in needed.items()}


def _mapping(value: Any, *key: str) -> dict[str, Any]:
    """A mapping, also from a list of names, which is short for a mapping from each to nothing."""
    if value is None:
        return {}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value)
    if isinstance(value, dict):
        return value
    raise ConfigMistake((key, f": expected a list of names or a mapping, found {value!r}"))


def _check_tasks(models: dict[str, ModelChanges], suites: dict[str, Suite]) -> None:
    """Refuse training of a model on a task that the run does not have."""
    for model, changes in models.items():
        for suite in changes.suites.keys() & suites:
            known = list(suites[suite].tasks)
            for task in changes.suites[suite].tasks.keys() - known:
                key = ("models", model, "suites", suite, "tasks", task)
                raise ConfigMistake((key, f": no task of this run; {nearest(task, known)}"))


def _changed_model(base: Model, changes: ModelChanges, *key: str) -> Model:
    """A model with changes: settings and training are merged key by key, everything else is replaced.

    What is written counts on every suite and task, also where the model that it changes has another value.
    """
    usage, is_stranded = ("strands", "pooling"), "strands" in changes.model_fields_set
    used = [[*part.settings, *(key for key in usage if key in part.model_fields_set)] for part in (base, changes)]
    trained = list(_without(changes.training.values(), ["source"]))
    suites = {}
    for suite, variant in base.suites.items():
        tasks = {task: _without(part.values(), trained) for task, part in variant.tasks.items()}
        changed = {"settings": _without(variant.settings, changes.settings), "tasks": tasks}
        changed["training"] = _without(variant.training.values(), trained)
        suites[suite] = variant.changed(changed | ({"strands": None} if is_stranded else {}))
    merged = {
        "settings": base.settings | changes.settings,
        "training": Training.read(_merged(base.training, changes.training)),
        "pretrain": Pretraining.read(_merged(base.pretrain, changes.pretrain)),
        "suites": changes.suites if "suites" in changes.model_fields_set else suites,
        "source": merge_sources(base.source, used[0], changes.source, used[1]),
    }
    return base.changed(_without(changes.values(), ["like"]) | merged, *key)


def _merged(base: Training, changes: Training) -> dict[str, Any]:
    """Hyperparameters with changes, each with its source; settings of the architecture in pretraining key by key."""
    parts = [_without(part.values(), ["source"]) for part in (base, changes)]
    values = parts[0] | parts[1]
    if settings := parts[0].get("settings", {}) | parts[1].get("settings", {}):
        values["settings"] = settings
    source = merge_sources(base.source, list(parts[0]), changes.source, list(parts[1]))
    return values | ({"source": source} if source else {})


def _without(values: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _candidates(search: schema.Search, name: str, model: Model) -> dict[str, Model]:
    """In place of a model one for every point of the grid."""
    candidates = {}
    for candidate, values in search.candidates(name).items():
        point = ", ".join(f"{key} {value}" for part in values.values() for key, value in part.items())
        changes = ModelChanges.read({"title": f"{model.title}, {point}", **values}, "search")
        candidates[candidate] = _changed_model(model, changes, "search")
    return candidates


def _recipes(folder: Any, suites: dict[str, Suite], models: dict[str, Model]) -> dict[str, schema.Recipe]:
    """The recipes of a folder, `<suite>/<task>/<model>.yaml`, for the tasks and models of the run."""
    if folder is None:
        return {}
    if not isinstance(folder, str) or not Path(folder).is_dir():
        message = f": expected a folder of <suite>/<task>/<model>.yaml, found {folder!r}"
        raise ConfigMistake((("recipes",), message))
    recipes = {}
    for path in sorted(Path(folder).glob("*/*/*.yaml")):
        suite, task, model = path.relative_to(folder).with_suffix("").parts
        if suite in suites and task in suites[suite].tasks and model in models:
            name = f"{suite}/{task}/{model}"
            recipes[name] = schema.Recipe.read(read_yaml(path), "recipes", name)
    return recipes
