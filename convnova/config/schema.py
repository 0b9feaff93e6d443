"""What a run is: every setting typed, every unknown key refused.

`convnova.config.load.load` builds a `RunConfig` from what a user wrote and from the catalogue in `config/`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints, field_validator, model_validator

from convnova.config.hyperparameters import Origin, Pretraining, Strict, Training

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Protocol = Literal["heldout", "cv", "released"]
Metric = Literal["mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc"]
METRIC_TITLES = {
    "mcc": "MCC",
    "f1_macro": "F1 (macro)",
    "f1_binary": "F1 (class 1)",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}
METRICS = ["mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auroc_mean", "auprc"]
"""Every score that a result may have; `auroc` of many labels is the median over them, `auroc_mean` the mean."""
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

    def dataset_fields(self) -> dict[str, Any]:
        """What the tokenized task depends on; the rest is about training and scoring."""
        return self.model_dump(exclude={"metric", "groups", "training"})


class TableRow(NamedTuple):
    """A row of a suite's table: a task, or one group of a task's labels."""

    task: str
    label: str
    metric: str

    @property
    def metric_title(self) -> str:
        """The metric as a reader knows it; a group of labels is scored by the median over its labels."""
        return ("median " if self.label != self.task else "") + METRIC_TITLES.get(self.metric, self.metric)


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
        return _without(incompatibilities_of_suite(self), self)

    @property
    def table_rows(self) -> list[TableRow]:
        """The rows of the suite's table, in the order of the config."""
        return [TableRow(task, row, spec.metric) for task, spec in self.tasks.items() for row in spec.groups or [task]]


class Variant(Strict):
    """What a model does differently on one suite."""

    settings: dict[str, Any] = {}
    training: Training = Training()
    strands: Strands | None = None
    source: Origin | None = Field(None, description="where the settings come from; one for all, or key by key")


RENAMED_ARCHITECTURES = {"kmers": "kmer_regression"}


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

    @field_validator("architecture")
    @classmethod
    def _has_its_present_name(cls, architecture: str) -> str:
        if architecture in RENAMED_ARCHITECTURES:
            raise ValueError(f"{architecture!r} is now {RENAMED_ARCHITECTURES[architecture]!r}; write that")
        return architecture


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


class Ablation(Strict):
    """A comparison of variants by validation score: each model beside the baseline, or beside another variant."""

    baseline: Name = Field(description="the model that the others are variants of")
    compare_to: dict[Name, Name] = Field({}, description="variant to the model it is compared to, if not the baseline")


class Cost(Strict):
    """What of the models' costs is measured."""

    lengths: list[Annotated[int, Field(ge=16)]] = Field([512, 1024, 4096, 16384, 65536], min_length=1)


METRICS_OF = {
    "classes": ("mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc"),
    "per_base": ("mcc", "f1_macro", "accuracy"),
    "multilabel": ("auroc", "auprc"),
}
"""Kind of a task to the metrics that its predictions have: see `convnova.evaluation.metrics`."""


KINDS = {"bend": "per_base", "gff": "per_base", "deepsea": "multilabel"}
"""Formats whose labels are not one class a sequence."""


def incompatibilities_of_suite(suite: "Suite") -> Iterator[str]:
    """A sentence for each setting of a task that does not go with another one, or with the suite's format."""
    kind = KINDS.get(suite.format, "classes")
    for name, task in suite.tasks.items():
        if task.kind != kind:
            yield f"tasks.{name}.kind = {task.kind}: format {suite.format} holds {kind}; set `kind: {kind}`"
        for told in _of_task(task):
            yield f"tasks.{name}.{told}"


def _of_task(task: "Task") -> Iterator[str]:
    if task.metric not in METRICS_OF[task.kind]:
        yield f"metric = {task.metric}: of kind {task.kind}, so expected one of {', '.join(METRICS_OF[task.kind])}"
    if task.metric == "f1_binary" and task.classes is not None and len(task.classes) != 2:
        yield f"metric = f1_binary: expected two classes, found {len(task.classes)}; take f1_macro"
    if task.groups and task.kind != "multilabel":
        yield f"groups: only a task of many labels has groups of them, and this is of kind {task.kind}; leave them out"
    elif task.groups and task.metric != "auroc":
        yield f"metric = {task.metric}: groups of labels have an AUROC alone; take auroc, or leave `groups` out"
