"""What a run is: every setting typed, every unknown key refused.

`convnova.config.load.load` builds a `RunConfig` from what a user wrote and from the catalogue in `config/`.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

from convnova import __version__
from convnova.config import hyperparameter_sources
from convnova.config.hyperparameters import Origin, Pretraining, Strict, Training
from convnova.config.run import Job, RunFiles
from convnova.data.fetch import Source
from convnova.runs.validate import misfits, misfits_of_suite

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Protocol = Literal["heldout", "cv", "released"]
Metric = Literal["mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc"]
Kind = Literal["classes", "per_base", "multilabel"]
Strands = Literal["forward", "both"]
Format = Literal["nucleotide_transformer", "genomic_benchmarks", "bend", "deepsea", "csv", "fasta", "bed", "gff"]

OWN_FORMATS = ("csv", "fasta", "bed", "gff")
REQUIRED_ROLES: dict[str, tuple[str, ...]] = {
    "nucleotide_transformer": ("train", "test"),
    "genomic_benchmarks": (),
    "bend": ("intervals", "labels"),
    "deepsea": (),
    **dict.fromkeys(OWN_FORMATS, ("train", "test")),
    "gff": ("annotation",),
}
FOLDS = 10
"""Parts of the training rows; by the protocol `cv` each in its turn chooses the epoch."""

FILE_ROLES = ("train", "valid", "test", "archive", "intervals", "labels", "annotation")


def _layered(layers: list[tuple[Training, str]], defaults: dict[str, str]) -> dict[str, tuple[Any, str]]:
    """Every key with its value and source: of the last layer that names it, which without a source is named itself.

    Args:
        layers: with the place of each in the config; all of one class, whose defaults lie below them.
        defaults: the sources of these.
    """
    fields = type(layers[0][0]).model_fields
    found = {key: (field.default, defaults.get(key, "default")) for key, field in fields.items() if key != "source"}
    for layer, place in layers:
        for key in layer.model_fields_set - {"source"}:
            source = layer.source.get(key) if isinstance(layer.source, dict) else layer.source
            found[key] = (getattr(layer, key), source or place)
    return found


def _without(misfits: Iterator[str], part: Any) -> Any:
    """The part of the config; an error if there is a misfit in it."""
    for told in misfits:
        raise ValueError(told)
    return part


def files_of(name: str, known: Iterable[str]) -> list[str]:
    """The files of a source that a name stands for: itself, or all files of the folder that it names by a `/`."""
    return [file for file in known if file.startswith(name)] if name.endswith("/") else [name]


class Simulate(Strict):
    """The embedded genome, in place of the internet."""

    seed: int = Field(1, ge=0)


class Genome(Strict):
    """A reference genome: FASTA (plain, gzip or bgzip) and, for pretraining, a BED of intervals.

    With `source` both are names of files of that source in `sources.yaml`, otherwise paths. Without
    a BED the windows tile whole chromosomes; those in `valid` and `test` are kept from training.
    """

    fasta: str
    bed: str | None = None
    source: str | None = None
    train: list[str] = Field([], description="chromosomes trained on; default all others")
    valid: list[str] = []
    test: list[str] = []

    @model_validator(mode="after")
    def _each_chromosome_in_one_split(self) -> "Genome":
        for name in self.valid:
            if name in self.test:
                raise ValueError(f"chromosome {name!r} is in valid and in test; leave it in one of them")
        return self


class Task(Strict):
    """One benchmark task: its files, what is predicted, and how it is scored."""

    kind: Kind = "classes"
    metric: Metric = "mcc"
    classes: list[str] | None = Field(None, description="names in the order of their ids; default those found, sorted")
    max_length: int | None = Field(None, ge=1, description="bases read of a sequence; default the longest")
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    archive: str | None = None
    intervals: str | None = None
    labels: str | None = None
    annotation: str | None = None
    groups: dict[str, tuple[int, int]] = Field({}, description="rows of the table: name to first label and one past")
    counts: dict[str, int] = Field({}, description="published number of rows a split; another number is an error")
    training: Training = Training()

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_as_text(cls, classes: Any) -> Any:
        return [str(name) for name in classes] if isinstance(classes, list) else classes

    def files(self) -> dict[str, str]:
        """Role to file name or path, for the roles that this task has."""
        return {role: name for role in FILE_ROLES if (name := getattr(self, role)) is not None}

    def shard_fields(self) -> dict[str, Any]:
        """What the task's shard depends on; the rest is about training and scoring."""
        return self.model_dump(exclude={"metric", "groups", "training"})


class Suite(Strict):
    """Tasks of one benchmark, in one file format."""

    title: str = ""
    format: Format
    source: str | None = Field(None, description="where the files come from; default paths of one's own")
    genome: Name | None = Field(None, description="the genome that intervals point into")
    folds: int = Field(FOLDS, ge=2, le=FOLDS, description="how many of the ten folds `cv` runs")
    tasks: dict[Name, Task] = Field(min_length=1)
    training: Training = Training()

    @model_validator(mode="after")
    def _has_its_files(self) -> "Suite":
        for name, task in self.tasks.items():
            if missing := [role for role in REQUIRED_ROLES[self.format] if role not in task.files()]:
                raise ValueError(f"tasks.{name}: expected the files {', '.join(missing)} too, of format {self.format}")
        if self.format in ("bed", "bend", "gff") and self.genome is None:
            raise ValueError(f"format {self.format} is intervals, so `genome` must say of what")
        return _without(misfits_of_suite(self), self)


class Variant(Strict):
    """What a model does differently on one suite."""

    settings: dict[str, Any] = {}
    training: Training = Training()
    strands: Strands | None = None
    source: Origin | None = Field(None, description="where the settings come from; one for all, or key by key")


class Model(Strict):
    """A row or column of the comparison: an architecture, its settings, its training."""

    title: str
    architecture: Name
    pretrained: bool = False
    pooling: Literal["mean", "max"] = Field("mean", description="over a sequence's bases, before the linear head")
    settings: dict[str, Any] = {}
    frozen: bool = Field(False, description="train the head alone, on the embeddings as they are")
    head: Literal["linear", "cnn"] = Field("linear", description="cnn: BEND's two convolutions before the linear layer")
    strands: Strands = Field("forward", description="both: predict the mean over the two strands")
    training: Training = Training()
    pretrain: Pretraining = Field(Pretraining(), description="what its pretraining does otherwise than the run's")
    suites: dict[str, Variant] = {}
    published: str | None = Field(None, description="this model's name in published.csv")
    source: Origin | None = Field(None, description="where the settings come from; one for all, or key by key")


class Recipe(Strict):
    """What one model does otherwise on one task, and where each value comes from."""

    settings: dict[str, Any] = {}
    training: Training = Training()
    source: Origin = Field(description="where the values come from; one for all, or key by key")
    grid: str | None = Field(None, description="the table of everything that was tried")

    @model_validator(mode="after")
    def _names_its_sources(self) -> "Recipe":
        keys = [*self.settings, *self.training.model_fields_set]
        if isinstance(self.source, dict) and (missing := [key for key in keys if key not in self.source]):
            raise ValueError(f"source: expected one for {', '.join(missing)} too")
        return self


class Search(Strict):
    """Values that are tried, each with each, in place of every model of the run; the validation score chooses."""

    training: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    settings: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    models: list[Name] = Field([], description="set when the config is resolved: the models that are searched for")

    def candidates(self, model: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Name of each candidate to its `training` and `settings`."""
        keys = [(part, key) for part in ("training", "settings") for key in getattr(self, part)]
        found = {}
        for values in itertools.product(*(getattr(self, part)[key] for part, key in keys)):
            candidate: dict[str, dict[str, Any]] = {"training": {}, "settings": {}}
            for (part, key), value in zip(keys, values, strict=True):
                candidate[part][key] = value
            words = [f"{key}-{value}" for (_, key), value in zip(keys, values, strict=True)]
            found["--".join([model, *words])] = candidate
        return found


class Cost(Strict):
    """What of the models' costs is measured."""

    lengths: list[Annotated[int, Field(ge=16)]] = Field([512, 1024, 4096, 16384, 65536], min_length=1)


class RunConfig(RunFiles):
    """A whole run, resolved: nothing is left to look up but the files themselves."""

    run: Name
    simulate: Simulate | None = None
    mirror: str | None = Field(None, description="a folder or URL that holds HOST/PATH for each URL")
    offline: bool = False
    genome: Name | None = None
    genomes: dict[Name, Genome] = {}
    sources: dict[Name, Source] = {}
    pretrain: Pretraining = Pretraining()
    finetune: Training = Training()
    seeds: list[Annotated[int, Field(ge=0)]] = Field([1, 2, 3], min_length=1)
    protocols: list[Protocol] = Field(["heldout", "released"], min_length=1)
    models: dict[Name, Model] = Field(min_length=1)
    suites: dict[Name, Suite] = {}
    cost: Cost | None = Field(None, description="measure what the models cost; default no")
    base: Name | None = Field(None, description="model that the others are variants of: a study by validation score")
    against: dict[Name, Name] = Field(
        {}, description="of a study: model to the one that it is set beside, if not the base"
    )
    search: Search | None = Field(None, description="settings to choose among by validation score")
    recipes: dict[str, Recipe] = Field({}, description="by suite/task/model; written as the folder that holds them")

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        for key, values in (("seeds", self.seeds), ("protocols", self.protocols)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key} = {values}: each only once")
        if self.base is not None and (self.base not in self.models or "heldout" not in self.protocols):
            raise ValueError(f"base = {self.base}: expected one of the models, and heldout among the protocols")
        if unknown := sorted({*self.against, *self.against.values()} - set(self.models)):
            raise ValueError(f"against: expected models of this run, found {', '.join(unknown)}")
        pretrained = [name for name, model in self.models.items() if model.pretrained]
        if pretrained and self.genome is None:
            raise ValueError(f"models {pretrained} are pretrained, so `genome` must say on what")
        for place, recipe in self.recipes.items():
            if recipe.settings and place.split("/")[2] in pretrained:
                raise ValueError(f"recipes.{place}.settings: expected none: its backbone is pretrained for all tasks")
        return _without(misfits(self), self)

    def jobs(self) -> Iterator[Job]:
        """Every fine-tuning of the run."""
        for suite, content in self.suites.items():
            for task in content.tasks:
                for model in self.models:
                    for protocol in self.protocols:
                        for seed in self.seeds_of(suite, protocol):
                            yield Job(suite, task, model, protocol, seed)

    def seeds_of(self, suite: str, protocol: str) -> list[int]:
        """The seeds of a suite's fine-tunings by a protocol; by `cv` the folds, each the seed of its own training."""
        return list(range(1, self.suites[suite].folds + 1)) if protocol == "cv" else self.seeds

    @property
    def raw(self) -> str:
        """The folder of fetched files: one for all runs, but that of a simulated genome is the run's own."""
        return f"resources/{self.run}/raw" if self.simulate else "resources/raw"

    def path_of(self, name: str, source: str | None) -> str:
        """Where a file lies: fetched, or a path of the user's own."""
        return f"{self.raw}/{source}/{name}" if source else name

    def task(self, job: Job) -> Task:
        """The task of a job."""
        return self.suites[job.suite].tasks[job.task]

    def recipe(self, job: Job) -> dict[str, tuple[Any, str]]:
        """Every hyperparameter of a job: its value, and where that comes from.

        Layers: defaults, suite, task, model, model on the suite, recipe, the run's own `finetune`; the last that names
        a key counts. A layer that does not say where its values come from is named itself.
        """
        suite, task, name = job.suite, job.task, job.model
        model, own = self.models[name], self.recipes.get(f"{suite}/{task}/{name}")
        layers = [
            (self.suites[suite].training, f"suites.{suite}.training"),
            (self.task(job).training, f"suites.{suite}.tasks.{task}.training"),
            (model.training, f"models.{name}.training"),
            (model.suites.get(suite, Variant()).training, f"models.{name}.suites.{suite}.training"),
            (self.finetune, "finetune"),
        ]
        if own:
            layers.insert(-1, (own.training.model_copy(update={"source": own.source}), "recipe"))
        return _layered(layers, hyperparameter_sources.TRAINING)

    def training(self, job: Job) -> Training:
        """Hyperparameters of a job."""
        return Training(**{key: value for key, (value, _) in self.recipe(job).items()})

    def pretraining(self, model: str) -> Pretraining:
        """Hyperparameters of a model's pretraining: the run's, with the model's own changes."""
        return Pretraining(**{key: value for key, (value, _) in self.pretraining_recipe(model).items()})

    def pretraining_recipe(self, model: str) -> dict[str, tuple[Any, str]]:
        """Every hyperparameter of a model's pretraining: its value, and where that comes from."""
        layers = [(self.pretrain, "pretrain"), (self.models[model].pretrain, f"models.{model}.pretrain")]
        return _layered(layers, hyperparameter_sources.PRETRAINING)

    def settings(self, model: str, suite: str | None) -> dict[str, Any]:
        """Settings of a model's architecture, on one suite."""
        return {**self.models[model].settings, **self.models[model].suites.get(suite or "", Variant()).settings}

    def job_settings(self, job: Job) -> dict[str, Any]:
        """Settings of a job's architecture: those of the model on the suite, and of its recipe."""
        own = self.recipes.get(f"{job.suite}/{job.task}/{job.model}")
        return {**self.settings(job.model, job.suite), **(own.settings if own else {})}

    def strands(self, model: str, suite: str) -> Strands:
        """Which strands the model's predictions on the suite are the mean over."""
        return self.models[model].suites.get(suite, Variant()).strands or self.models[model].strands

    def backbone(self, model: str, suite: str | None) -> str:
        """Name of the pretraining that the model starts from on this suite.

        Of models whose backbones are the same and pretrained alike the first one names it, and it is done once.
        """
        pretrained = (name for name, about in self.models.items() if about.pretrained)
        wanted = self._pretrained_as(model, suite)
        first = next((name for name in pretrained if self._pretrained_as(name, suite) == wanted), model)
        return f"{first}@{suite}" if self.settings(first, suite) != self.models[first].settings else first

    def _pretrained_as(self, model: str, suite: str | None) -> tuple[Any, ...]:
        about = self.models[model]
        return about.architecture, self.settings(model, suite), about.pretrain

    def backbones(self) -> dict[str, tuple[str, str | None]]:
        """Every pretraining of the run: its name to (model, suite whose settings it has)."""
        found: dict[str, tuple[str, str | None]] = {}
        for model, content in self.models.items():
            if content.pretrained:
                for suite in self.suites or [None]:
                    name = self.backbone(model, suite)
                    found.setdefault(name, (model, suite if "@" in name else None))
        return found

    def fingerprint(self, *parts: Any) -> str:
        """A short hash of settings and of this package's version: another hash, another result."""
        content = [part.model_dump() if isinstance(part, BaseModel) else part for part in parts]
        text = json.dumps([__version__, *content], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def job_fingerprint(self, job: Job) -> str:
        """The hash of everything in the config that this job's numbers depend on."""
        pretrain = (
            self.pretraining_fingerprint(self.backbone(job.model, job.suite)) if self.is_pretrained(job) else None
        )
        model = self.models[job.model].model_dump(include={"architecture", "frozen", "head", "pooling"})
        settings, strands = self.job_settings(job), self.strands(job.model, job.suite)
        task = self.task(job).model_dump(exclude={"training": {"source"}})
        training = self.training(job).model_dump(exclude={"source"})
        return self.fingerprint(job, task, training, model, settings, strands, pretrain)

    def pretraining_fingerprint(self, backbone: str) -> str:
        """The hash of everything in the config that a pretraining depends on."""
        model, suite = self.backbones()[backbone]
        architecture = self.models[model].architecture
        pretraining = self.pretraining(model).model_dump(exclude={"source"})
        genome = self.genomes[self.genome or ""]
        return self.fingerprint(pretraining, architecture, self.settings(model, suite), genome)

    def is_pretrained(self, job: Job) -> bool:
        """Whether the job starts from a checkpoint."""
        return self.models[job.model].pretrained
