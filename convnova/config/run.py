"""A run, resolved: its fine-tunings and pretrainings, their settings, and the paths of their files."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from convnova import __version__
from convnova.config import schema
from convnova.config.data_sources import Source, WithoutSecrets
from convnova.config.hyperparameters import OUR_DEFAULT, Pretraining, Training
from convnova.config.schema import Model, Name, Recipe, Suite, Task, Variant
from convnova.config.strict import Strict

BASELINE_OF_VARIANTS = "variant_baseline"
"""The architecture that scores variants, and nothing else, without a network."""


class Job(NamedTuple):
    """One fine-tuning, or one scoring of a task of variants by a model; it gives one score."""

    suite: str
    task: str
    model: str
    protocol: str
    seed: int

    @property
    def name(self) -> str:
        """The job as commands, logs and paths name it."""
        return f"{self.suite}/{self.task}/{self.model}/{self.protocol}/seed={self.seed}"

    def folder(self, run: str) -> str:
        """The folder of its results, below the root of the run."""
        return f"results/{run}/runs/{self.name}"


def _merged(layers: list[tuple[Any, str]]) -> Any:
    """Hyperparameters with a source for every key, from the last layer that sets the key.

    Args:
        layers: hyperparameters of one class, each with its place in the config: the source of a layer without one.
    """
    kind, values = type(layers[0][0]), {}
    sources = {key: OUR_DEFAULT for key in kind.model_fields if key != "source"}
    for layer, place in layers:
        for key in layer.model_fields_set - {"source"}:
            source = layer.source.get(key) if isinstance(layer.source, dict) else layer.source
            values[key], sources[key] = getattr(layer, key), source or place
    return kind(**values, source=sources)


class RunConfig(Strict):
    """A whole run, resolved: nothing is left to look up but the files themselves.

    Its files lie in the folders `results` and `resources` of its root. That is the working directory, or, where a run's
    files are kept in a storage, wherever copies of them are.
    """

    renamed: ClassVar = {"base": "`ablation: {baseline: MODEL}`", "against": "`ablation: {compare_to: {MODEL: MODEL}}`"}
    _root: Path = PrivateAttr(Path())

    run: Name
    simulate: schema.Simulate | None = None
    mirror: WithoutSecrets | None = Field(None, description="a folder or URL that holds HOST/PATH for each URL")
    offline: bool = False
    local: dict[Name, str] = Field({}, description="source to a folder that has its files, in place of its addresses")
    host: bool = Field(False, description="write the names of machines into results")
    genome: Name | None = None
    genomes: dict[Name, schema.Genome] = {}
    sources: dict[Name, Source] = {}
    pretrain: Pretraining = Pretraining()
    finetune: Training = Training()
    seeds: list[Annotated[int, Field(ge=0)]] = Field([1, 2, 3], min_length=1)
    protocols: list[schema.Protocol] = Field(["heldout"], min_length=1)
    keep_weights: list[schema.Protocol] = Field(["heldout"], description="protocols whose fine-tunings keep weights")
    models: dict[Name, Model] = Field(min_length=1)
    suites: dict[Name, Suite] = {}
    cost: schema.Cost | None = Field(None, description="measure what the models cost; default no")
    ablation: schema.Ablation | None = Field(None, description="compare the models to one of them; default no")
    search: schema.Search | None = Field(None, description="settings to choose among by validation score")
    recipes: dict[str, Recipe] = Field({}, description="by suite/task/model; written as the folder that holds them")

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        for key in ("seeds", "protocols", "keep_weights"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} = {values}: each only once")
        for name, suite in self.suites.items():
            values = suite.protocols or []
            if len(set(values)) != len(values) or not set(values) <= set(self.protocols):
                raise ValueError(f"suites.{name}.protocols = {values}: expected some of {self.protocols}, each once")
        if unknown := sorted(set(self.local) - set(self.sources)):
            known = ", ".join(self.sources) or "none"
            raise ValueError(f"local: expected sources of this run ({known}), found {', '.join(unknown)}")
        if self.ablation:
            named = {self.ablation.baseline, *self.ablation.compare_to, *self.ablation.compare_to.values()}
            if unknown := sorted(named - set(self.models)):
                raise ValueError(f"ablation: expected models of this run, found {', '.join(unknown)}")
            if "heldout" not in self.protocols:
                raise ValueError("ablation: compares scores of validation, so expected heldout among the protocols")
        titled: dict[str, str] = {}
        for name, model in self.models.items():
            if (other := titled.setdefault(model.title, name)) != name:
                raise ValueError(f"models {other} and {name} have one title, {model.title!r}: give one its own `title`")
        pretrained = [name for name, model in self.models.items() if model.pretrained]
        if pretrained and self.genome is None:
            raise ValueError(f"models {pretrained} are pretrained, so `genome` must say on what")
        tasks = {(name, task): spec for name, suite in self.suites.items() for task, spec in suite.tasks.items()}
        trained = {"/".join(place) for place, spec in tasks.items() if spec.kind != "variants"}
        for (suite, task), spec in tasks.items():
            place = f"suites.{suite}.tasks.{task}.fine_tuned"
            if spec.fine_tuned and spec.fine_tuned not in trained:
                raise ValueError(f"{place} = {spec.fine_tuned!r}: expected suite/task of this run")
            protocol = self.protocol_of_variants
            if spec.fine_tuned and protocol not in self.keep_weights:
                raise ValueError(f"{place}: expected one of the protocols in keep_weights, found none")
            if spec.fine_tuned and protocol not in self.protocols_on(spec.fine_tuned.split("/")[0]):
                raise ValueError(f"{place} = {spec.fine_tuned!r}: expected a suite with the protocol {protocol}")
        for place, recipe in self.recipes.items():
            if recipe.settings and place.split("/")[2] in pretrained:
                raise ValueError(f"recipes.{place}.settings: expected none: its backbone is pretrained for all tasks")
        return self

    def rooted_at(self, root: Path) -> Self:
        """The same run with its folders `results` and `resources` in `root`, not in the working directory."""
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

    def jobs(self) -> Iterator[Job]:
        """Every fine-tuning and every scoring of variants of the run."""
        for suite, content in self.suites.items():
            for place in itertools.product([suite], content.tasks, self.models, self.protocols):
                yield from self.jobs_of(*place)

    def trainings(self) -> Iterator[Job]:
        """Every fine-tuning of the run."""
        return (job for job in self.jobs() if self.task(job).kind != "variants")

    def jobs_of(self, suite: str, task: str, model: str, protocol: str) -> list[Job]:
        """A model's jobs on a task, one a seed; none where there are none, as not every model can score variants.

        Args:
            suite: one of the run's.
            task: a task of the suite.
            model: one of the run's.
            protocol: one of the run's, which the suite may leave out.
        """
        spec, about, seeds = self.suites[suite].tasks[task], self.models[model], self.seeds_of(suite, protocol)
        is_baseline = about.architecture == BASELINE_OF_VARIANTS
        if spec.kind != "variants":
            has_jobs = protocol in (self.suites[suite].protocols or self.protocols) and not is_baseline
        elif spec.score == "effect" and not is_baseline:
            has_jobs = protocol == self.protocol_of_variants
        else:  # the seed is only a name
            has_jobs = protocol == self.protocol_of_variants and (is_baseline or about.pretrained and not about.frozen)
            seeds = seeds[:1]
        return [Job(suite, task, model, protocol, seed) for seed in seeds] if has_jobs else []

    @property
    def main_protocol(self) -> schema.Protocol:
        """The protocol by which models are compared: one that does not look at test, if there is one."""
        return next((name for name in ("heldout", "cv") if name in self.protocols), self.protocols[0])

    @property
    def protocol_of_variants(self) -> schema.Protocol:
        """The one protocol whose fine-tuned models score variants: the first that keeps weights, if any does."""
        return next((protocol for protocol in self.protocols if protocol in self.keep_weights), self.protocols[0])

    def fine_tuning_of(self, job: Job) -> Job | None:
        """The fine-tuning whose model scores the variants of a job, if it is of the score `effect`."""
        asked = self.task(job).fine_tuned
        is_baseline = self.models[job.model].architecture == BASELINE_OF_VARIANTS
        if asked is None or is_baseline:
            return None
        suite, task = asked.split("/", 1)
        return job._replace(suite=suite, task=task)

    def seeds_of(self, suite: str, protocol: str) -> list[int]:
        """The seeds of a suite's fine-tunings in a protocol; in `cv` the numbers of the folds."""
        return list(range(1, self.suites[suite].folds + 1)) if protocol == "cv" else self.seeds

    @property
    def suite_titles(self) -> dict[str, str]:
        """Suite to its title; one without a title has its name."""
        return {name: suite.title or name for name, suite in self.suites.items()}

    @property
    def model_titles(self) -> dict[str, str]:
        """Model to its title."""
        return {name: model.title for name, model in self.models.items()}

    def titles_on(self, suite: str) -> dict[str, str]:
        """Model to its title, for the models that have jobs on a suite."""
        known = {job.model for job in self.jobs() if job.suite == suite}
        return {name: title for name, title in self.model_titles.items() if name in known}

    def protocols_on(self, suite: str) -> list[schema.Protocol]:
        """The protocols of a suite's jobs, in the run's order: of variants alone, one."""
        used = {job.protocol for job in self.jobs() if job.suite == suite}
        return [protocol for protocol in self.protocols if protocol in used]

    @property
    def simulated(self) -> bool:
        """Whether the run reads a simulated genome."""
        return self.simulate is not None

    def path_of(self, name: str, source: str | None) -> str:
        """Path of a file: the fetched one where it has a source, else the user's own path.

        Fetched files are shared by all runs, but a simulated genome has its own in each run.
        """
        if source is None:
            return name
        return f"resources/{self.run}/raw/{source}/{name}" if self.simulate else f"resources/raw/{source}/{name}"

    def task(self, job: Job) -> Task:
        """The task of a job."""
        return self.suites[job.suite].tasks[job.task]

    def training(self, job: Job) -> Training:
        """Hyperparameters of a job; `source` says of every one where it comes from.

        Layers: defaults, strands of the task, suite, task, model, model on the suite, model on the task, recipe, the
        run's own `finetune`; the last one that sets a key counts. A layer without a source is named by its place in the
        config.
        """
        model = self.models[job.model]
        variant, place = model.suites.get(job.suite, Variant()), f"models.{job.model}.suites.{job.suite}"
        layers = [
            (self.suites[job.suite].training, f"suites.{job.suite}.training"),
            (self.task(job).training, f"suites.{job.suite}.tasks.{job.task}.training"),
            (model.training, f"models.{job.model}.training"),
            (variant.training, f"{place}.training"),
            (variant.tasks.get(job.task, Training()), f"{place}.tasks.{job.task}"),
        ]
        if self.task(job).strands == "both":
            layers.insert(0, (Training(reverse_complement=True), f"suites.{job.suite}.tasks.{job.task}.strands"))
        if recipe := self.recipes.get("/".join(job[:3])):
            layers.append((recipe.training.changed({"source": recipe.source}), "recipe"))
        return _merged([*layers, (self.finetune, "finetune")])

    def pretraining(self, model: str) -> Pretraining:
        """Hyperparameters of a model's pretraining: the run's, with the model's own changes; sources as of a job's."""
        layers = [(self.pretrain, "pretrain"), (self.models[model].pretrain, f"models.{model}.pretrain")]
        return _merged(layers)

    def settings(self, model: str, suite: str | None, task: str | None = None) -> dict[str, Any]:
        """Settings of a model's architecture, with the changes on a suite and those of a task's recipe.

        Args:
            model: a model of the run.
            suite: None for the settings that count where a suite has no others.
            task: a task of the suite; without one no recipe counts.
        """
        layers = [self.models[model], self.models[model].suites.get(suite or "")]
        layers.append(self.recipes.get(f"{suite}/{task}/{model}"))
        return {key: value for layer in layers if layer for key, value in layer.settings.items()}

    def strands(self, model: str, suite: str, task: str) -> schema.Strands:
        """Which strands a model's predictions are the mean over: as set for it on the suite, for it, or for the task.

        Args:
            model: a model of the run.
            suite: one of its suites.
            task: a task of the suite.
        """
        usage, spec = self.models[model], self.suites[suite].tasks[task]
        own = usage.strands if "strands" in usage.model_fields_set else spec.strands
        if spec.kind == "variants":
            own = "both" if spec.fine_tuned is None else self.strands(model, *spec.fine_tuned.split("/", 1))
        return usage.suites.get(suite, Variant()).strands or own

    def backbone(self, model: str, suite: str | None) -> str:
        """Name of the pretraining that a pretrained model starts from on this suite.

        Models with equal backbones and equal pretraining share one, which is named after the first of them.
        """
        run = Pretraining().model_dump() | self.pretrain.values()
        parts = {
            name: (content.architecture, self.settings(name, suite), run | content.pretrain.values() | {"source": 0})
            for name, content in self.models.items()
            if content.pretrained
        }
        first = next((name for name, content in parts.items() if content == parts.get(model)), model)
        return f"{first}@{suite}" if self.settings(first, suite) != self.models[first].settings else first

    def backbones(self) -> dict[str, tuple[str, str | None]]:
        """Every pretraining of the run: its name to (model, suite whose settings it has)."""
        backbones: dict[str, tuple[str, str | None]] = {}
        for model, content in self.models.items():
            for suite in (self.suites or [None]) if content.pretrained else ():
                name = self.backbone(model, suite)
                backbones.setdefault(name, (model, suite if "@" in name else None))
        return backbones

    def fingerprint(self, *parts: Any) -> str:
        """A short hash of settings and of this package's version; where it differs, results may differ."""
        content = [part.model_dump() if isinstance(part, BaseModel) else part for part in parts]
        text = json.dumps([__version__, *content], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def job_fingerprint(self, job: Job) -> str:
        """The hash of everything in the config that this job's numbers depend on."""
        pretrain = None
        if tuned := self.fine_tuning_of(job):
            pretrain = self.job_fingerprint(tuned)
        elif self.models[job.model].pretrained:
            pretrain = self.pretraining_fingerprint(self.backbone(job.model, job.suite))
        model = self.models[job.model].model_dump(include={"architecture", "frozen", "head", "pooling"})
        settings, strands = self.settings(job.model, job.suite, job.task), self.strands(job.model, job.suite, job.task)
        task = self.task(job).model_dump(exclude={"training": {"source"}, "strands": True})
        training = self.training(job).model_dump(exclude={"source"})
        suite = self.suites[job.suite]
        places = [suite.format, self.genomes[suite.genome]] if suite.genome else []  # that its intervals lie on
        return self.fingerprint(job, task, training, model, settings, strands, pretrain, *places)

    def pretraining_fingerprint(self, backbone: str) -> str:
        """The hash of everything in the config that a pretraining depends on."""
        model, suite = self.backbones()[backbone]
        architecture = self.models[model].architecture
        pretraining = self.pretraining(model).model_dump(exclude={"source"})
        genome = self.genomes[self.genome or ""]
        return self.fingerprint(pretraining, architecture, self.settings(model, suite), genome)
