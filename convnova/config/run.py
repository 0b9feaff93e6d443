"""Where the files of a run lie: their paths say what they are."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from convnova import __version__
from convnova.config import hyperparameter_sources
from convnova.config.data_sources import Source
from convnova.config.hyperparameters import Pretraining, Strict, Training
from convnova.config.schema import (
    Ablation,
    Cost,
    Genome,
    Model,
    Name,
    Protocol,
    Recipe,
    Search,
    Simulate,
    Strands,
    Suite,
    Task,
    Variant,
)


class Job(NamedTuple):
    """One fine-tuning: what makes one number."""

    suite: str
    task: str
    model: str
    protocol: str
    seed: int

    @property
    def name(self) -> str:
        """What commands, logs and paths call it."""
        return f"{self.suite}/{self.task}/{self.model}/{self.protocol}/seed={self.seed}"

    def folder(self, run: str) -> str:
        """Where its results lie below the run's root; the path says what they are."""
        return f"results/{run}/runs/{self.name}"


class RunFiles(Strict):
    """The files of a run, in its folders `results` and `resources`.

    The two lie in the working directory, or, where a run's files are kept in a storage, wherever copies of them are.
    """

    run: str
    _root: Path = PrivateAttr(Path())

    def rooted_at(self, root: Path) -> Self:
        """The same, of a run whose folders `results` and `resources` lie in `root`, not in the working directory."""
        moved = self.model_copy()
        moved._root = root
        return moved

    def local_path(self, path: str | Path) -> Path:
        """One of the run's paths, which are relative to its root, as a path from here."""
        return self._root / path

    def relative_path(self, path: str | Path) -> str:
        """The opposite: a path from here as it is written down in results."""
        path = Path(path)
        return str(path.relative_to(self._root) if path.is_relative_to(self._root) else path)

    @property
    def results(self) -> Path:
        """The folder of the run's results."""
        return self.local_path(f"results/{self.run}")

    def folder(self, job: Job) -> Path:
        """The folder of a fine-tuning's results."""
        return self.local_path(job.folder(self.run))


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
    ablation: Ablation | None = Field(None, description="the models are variants of one of them; default they are not")
    search: Search | None = Field(None, description="settings to choose among by validation score")
    recipes: dict[str, Recipe] = Field({}, description="by suite/task/model; written as the folder that holds them")

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        for key, values in (("seeds", self.seeds), ("protocols", self.protocols)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key} = {values}: each only once")
        if self.ablation:
            named = {self.ablation.baseline, *self.ablation.compare_to, *self.ablation.compare_to.values()}
            if unknown := sorted(named - set(self.models)):
                raise ValueError(f"ablation: expected models of this run, found {', '.join(unknown)}")
            if "heldout" not in self.protocols:
                raise ValueError("ablation: compares scores of validation, so expected heldout among the protocols")
        pretrained = [name for name, model in self.models.items() if model.pretrained]
        if pretrained and self.genome is None:
            raise ValueError(f"models {pretrained} are pretrained, so `genome` must say on what")
        for place, recipe in self.recipes.items():
            if recipe.settings and place.split("/")[2] in pretrained:
                raise ValueError(f"recipes.{place}.settings: expected none: its backbone is pretrained for all tasks")
        return self

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
    def suite_titles(self) -> dict[str, str]:
        """Suite to its title; one without a title has its name."""
        return {name: suite.title or name for name, suite in self.suites.items()}

    @property
    def model_titles(self) -> dict[str, str]:
        """Model to its title."""
        return {name: model.title for name, model in self.models.items()}

    @property
    def simulated(self) -> bool:
        """Whether the run reads a simulated genome."""
        return self.simulate is not None

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
