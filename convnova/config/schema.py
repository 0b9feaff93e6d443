"""What a config says: every setting has a type, every unknown key is refused.

`convnova.config.load.load` builds these parts, and a `RunConfig` of them, from what a user wrote and from the catalogue
in `config/`.
"""

import itertools
import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from convnova.config.hyperparameters import Origin, Pretraining, Training
from convnova.config.strict import Strict


def _is_name(text: str) -> str:
    """The text, if it can be a part of a path, of a wildcard and of an address without being quoted anywhere."""
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        advice = "expected letters A to Z, digits, '_', '.' and '-', with a letter or digit first"
        raise PydanticCustomError("name", "{advice}", {"advice": advice})
    return text


Name = Annotated[str, AfterValidator(_is_name)]
AsText = Annotated[str, BeforeValidator(str), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Protocol = Literal["heldout", "cv", "released"]
Metric = Literal[
    "mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc", "auprc_by_chromosome", "pearson", "spearman", "r2",
]  # fmt: skip
METRIC_TITLES = {"mcc": "MCC", "f1_macro": "F1 (macro)", "f1_binary": "F1 (class 1)", "accuracy": "accuracy"}
METRIC_TITLES |= {"auroc": "AUROC", "auprc": "AUPRC", "auprc_by_chromosome": "AUPRC by chromosome"}
METRIC_TITLES |= {"pearson": "Pearson r", "spearman": "Spearman rho", "r2": "R2"}
METRICS = [
    "mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auroc_mean", "auprc", "auprc_by_chromosome", "auprc_se",
    "pearson", "spearman", "r2",
]  # fmt: skip
"""Every score that a result may have; `auroc` of many labels is the median over them, `auroc_mean` the mean; `auprc_se`
is the standard error of `auprc_by_chromosome`."""
Kind = Literal["classes", "per_base", "multilabel", "regression", "variants"]
Loss = Literal["mse", "poisson"]
VariantScore = Literal["minus_llr", "abs_llr", "distance", "effect"]
Strands = Literal["forward", "both"]
Format = Literal[
    "nucleotide_transformer", "genomic_benchmarks", "bend", "deepsea", "csv", "parquet", "fasta", "bed", "gff",
    "bigwig", "variants",
]  # fmt: skip

METRICS_OF = {
    "classes": ("mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc"),
    "per_base": ("mcc", "f1_macro", "accuracy"),
    "multilabel": ("auroc", "auprc"),
    "regression": ("pearson", "spearman", "r2"),
    "variants": ("auprc_by_chromosome", "auprc", "auroc"),
}
"""Kind of a task to the metrics of its predictions: see `convnova.evaluation.metrics`."""

OWN_FORMATS = ("csv", "parquet", "fasta", "bed", "gff", "bigwig", "variants")
"""Formats for a user's own files."""

FORMATS_WITH_COLUMNS = ("csv", "parquet")

INTERVAL_FORMATS = ("bed", "bend", "gff", "bigwig", "variants")
"""Formats that hold places of a genome in place of sequences."""

KINDS: dict[str, tuple[Kind, ...]] = {
    "bend": ("per_base",), "gff": ("per_base",), "deepsea": ("multilabel",), "bigwig": ("regression",),
    "variants": ("variants",), **dict.fromkeys(("csv", "parquet", "fasta", "bed"), ("classes", "regression")),
}  # fmt: skip
"""Formats to the kinds of tasks that they hold, the usual one first; those of other formats are classes."""

FILE_ROLES = ("train", "valid", "test", "archive", "intervals", "labels", "annotation", "signal")
REQUIRED_ROLES = {
    "bend": ("intervals", "labels"), "gff": ("annotation",), "deepsea": (), "genomic_benchmarks": (),
    "variants": ("test",), "bigwig": ("train", "test", "signal"),
}  # fmt: skip
"""Formats to the files that each task must have; those of other formats must have `train` and `test`."""

FOLDS = 10
"""Parts of the training rows; in the protocol `cv` each of them chooses the epoch of one training."""

TRAINING_ROWS = "training_rows"
"""As `genome` of a run: the training rows of its tasks, without what they share with held-out rows."""

RENAMED_ARCHITECTURES = {"kmers": "kmer_regression"}


def files_of(name: str, known: Iterable[str]) -> list[str]:
    """The files of a source that a name stands for: the file itself, or for `folder/` every known file below it."""
    return [file for file in known if file == name or name.endswith("/") and file.startswith(name)]


def omitted_by_default(default: Any, **options: Any) -> Any:
    """A field that is dumped only where it is set, so that hashes of settings are those of versions without it.

    Args:
        default: of the field.
        options: of pydantic's `Field`.
    """
    return Field(default, exclude_if=lambda value: value == default, **options)


class Simulate(Strict):
    """The embedded genome, in place of the internet."""

    seed: int = Field(1, ge=0)


class WithFiles(Strict):
    """A part of a config that names files, by role."""

    roles: ClassVar[tuple[str, ...]]

    def files(self) -> dict[str, str]:
        """Role to file name or path, for the roles that it has."""
        return {role: name for role in self.roles if (name := getattr(self, role))}


class Genome(WithFiles):
    """A reference genome: FASTA (plain, gzip or bgzip) and, for pretraining, a BED of intervals.

    With `source` both are names of files of that source in `sources.yaml`, otherwise paths. Without a BED the windows
    tile whole chromosomes; those in `valid` and `test` are not trained on.
    """

    roles = ("fasta", "bed")
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


class Task(WithFiles):
    """One benchmark task: its files, what is predicted, and how it is scored."""

    roles = FILE_ROLES
    kind: Kind = "classes"
    metric: Metric = "mcc"
    classes: list[AsText] | None = Field(None, description="names in the order of their ids; default as found, sorted")
    max_length: int | None = Field(None, ge=1, description="bases read of a sequence; default the longest")
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    archive: str | None = None
    intervals: str | None = None
    labels: str | None = None
    annotation: str | None = None
    signal: str | None = omitted_by_default(None, description="bigWig of numbers along the genome")
    bin_size: int | None = omitted_by_default(
        None, ge=1, description="bases of which the mean of `signal` is predicted"
    )
    loss: Loss = omitted_by_default("mse", description="of numbers; poisson: of counts and coverage")
    sequence_column: str = omitted_by_default("sequence")
    score: VariantScore | None = omitted_by_default(
        None, description="of variants: what is read off a model; more of it stands for label 1"
    )
    window: int | None = omitted_by_default(
        None, ge=16, description="of variants: bases read around one; default as in training"
    )
    fine_tuned: str | None = omitted_by_default(
        None, description="of score effect: suite/task whose fine-tuned models are asked"
    )
    label_column: str | Annotated[list[str], Field(min_length=1)] = omitted_by_default(
        "label", description="several: of numbers, each of which is predicted"
    )
    groups: dict[str, tuple[int, int]] = Field({}, description="rows of the table: name to first label and one past")
    counts: dict[str, int] = Field({}, description="published number of rows of a split; another number is an error")
    strands: Strands = Field(
        "forward", description="both: a label holds for either strand; models learn and predict both"
    )
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _some_kinds_have_another_default(cls, content: Any) -> Any:
        kind = content.get("kind") if isinstance(content, dict) else None
        return {"metric": METRICS_OF[kind][0], **content} if kind in ("variants", "regression") else content

    @model_validator(mode="after")
    def _metric_fits_the_labels(self) -> "Task":
        if self.metric not in METRICS_OF[self.kind]:
            expected = ", ".join(METRICS_OF[self.kind])
            raise ValueError(f"metric = {self.metric}: of kind {self.kind}, so expected one of {expected}")
        if self.metric == "f1_binary" and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"metric = f1_binary: expected two classes, found {len(self.classes)}; take f1_macro")
        if (self.score is not None) != (self.kind == "variants"):
            raise ValueError("score: expected one of tasks of kind variants, and of no other")
        if (self.fine_tuned is not None) != (self.score == "effect"):
            raise ValueError("fine_tuned: expected suite/task with score: effect, and with no other score")
        if self.groups and self.kind != "multilabel":
            raise ValueError(f"groups: expected kind multilabel, found {self.kind}; leave them out")
        if self.groups and self.metric != "auroc":
            raise ValueError(f"metric = {self.metric}: groups have an AUROC only; take auroc, or leave `groups` out")
        return self

    @model_validator(mode="after")
    def _keys_of_numbers_have_numbers(self) -> "Task":
        of_numbers = {"loss = poisson": self.loss != "mse", "bin_size": self.bin_size is not None}
        of_numbers["several columns as label_column"] = len(self.columns) > 2
        if self.kind != "regression" and (wrong := [key for key, is_set in of_numbers.items() if is_set]):
            raise ValueError(f"{', '.join(wrong)}: expected kind regression, found {self.kind}; leave it out")
        if len({*self.columns}) < len(self.columns):
            raise ValueError(f"columns: expected each only once, found {', '.join(self.columns)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that have the sequences and the labels."""
        labels = [self.label_column] if isinstance(self.label_column, str) else self.label_column
        return self.sequence_column, *labels

    def dataset_fields(self) -> dict[str, Any]:
        """What the tokenized task depends on; the rest concerns training and scoring."""
        return self.model_dump(exclude={"metric", "groups", "training", "strands", "score", "window", "fine_tuned"})


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
    source: str | None = Field(None, description="where the files come from; default paths of the user's own")
    genome: Name | None = Field(None, description="the genome that intervals point into")
    protocols: list[Protocol] | None = omitted_by_default(
        None, min_length=1, description="some of the run's; default all"
    )
    folds: int = Field(FOLDS, ge=2, le=FOLDS, description="how many of the ten folds `cv` runs")
    tasks: dict[Name, Task] = Field(min_length=1)
    training: Training = Training()

    @model_validator(mode="after")
    def _tasks_fit_the_format(self) -> "Suite":
        for name, task in self.tasks.items():
            required = REQUIRED_ROLES.get(self.format, ("train", "test"))
            if missing := [role for role in required if role not in task.files()]:
                raise ValueError(f"tasks.{name}: expected the files {', '.join(missing)} too, of format {self.format}")
            if task.kind not in (kinds := KINDS.get(self.format, ("classes",))):
                held, advice = " or ".join(kinds), f"set `kind: {kinds[0]}`"
                raise ValueError(f"tasks.{name}.kind = {task.kind}: format {self.format} holds {held}; {advice}")
            if (task.bin_size is None) == (self.format == "bigwig") or self.format != "bigwig" and task.signal:
                found = f"bin_size = {task.bin_size} and signal = {task.signal}"
                raise ValueError(f"tasks.{name}: expected both with format bigwig alone, found {self.format}, {found}")
            if task.columns != Task().columns and self.format not in FORMATS_WITH_COLUMNS:
                raise ValueError(f"tasks.{name}: format {self.format} has no columns with names; leave them out")
        if self.format in INTERVAL_FORMATS and self.genome is None:
            raise ValueError(f"format {self.format} holds intervals, so expected `genome`, found none")
        return self

    @property
    def table_rows(self) -> list[TableRow]:
        """The rows of the suite's table, in the order of the config."""
        return [TableRow(task, row, spec.metric) for task, spec in self.tasks.items() for row in spec.groups or [task]]


class Variant(Strict):
    """What a model does differently on one suite."""

    settings: dict[str, Any] = {}
    training: Training = Training()
    tasks: dict[Name, Training] = Field({}, description="training on single tasks, where it differs")
    strands: Strands | None = None
    source: Origin | None = Field(None, description="where the settings come from; one for all, or key by key")


class Model(Strict):
    """A row or column of the comparison: an architecture, its settings, its training."""

    title: str
    architecture: Name
    pretrained: bool = False
    pooling: Literal["mean", "max", "mean_max"] = Field(
        "mean", description="over a sequence's bases, before the linear head; mean_max: both, side by side"
    )
    settings: dict[str, Any] = {}
    frozen: bool = Field(False, description="train the head alone, on the embeddings as they are")
    head: Literal["linear", "cnn"] = Field("linear", description="cnn: BEND's two convolutions before the linear layer")
    strands: Strands = Field("forward", description="both: predict the mean over the two strands")
    training: Training = Training()
    pretrain: Pretraining = Field(Pretraining(), description="changes to the run's pretraining, for this model")
    suites: dict[str, Variant] = {}
    published: str | None = Field(None, description="this model's name in published.csv")
    source: Origin | None = Field(None, description="where the settings come from; one for all, or key by key")

    @field_validator("architecture")
    @classmethod
    def _is_no_earlier_name(cls, architecture: str) -> str:
        if architecture in RENAMED_ARCHITECTURES:
            raise ValueError(f"{architecture!r} is now {RENAMED_ARCHITECTURES[architecture]!r}; write that")
        return architecture


class ModelChanges(Model):
    """A model as a run config writes it: another model with changes; what is not written stays as it is."""

    like: Name | None = Field(None, description="the model that is changed; default the one of the same name")
    title: str = ""
    architecture: Name = ""


class Recipe(Strict):
    """Changes to one model on one task, and where each value comes from."""

    settings: dict[str, Any] = {}
    training: Training = Training()
    source: Origin = Field(description="where the values come from; one for all, or key by key")
    grid: str | None = Field(None, description="the table of everything that was tried")

    @model_validator(mode="after")
    def _every_value_has_a_source(self) -> "Recipe":
        keys = [*self.settings, *self.training.model_fields_set]
        if isinstance(self.source, dict) and (missing := [key for key in keys if key not in self.source]):
            raise ValueError(f"source: expected one for {', '.join(missing)} too")
        return self


Values = Annotated[list[Any], Field(min_length=1)]


class Search(Strict):
    """A grid: each combination of values replaces each model of the run, and the validation score chooses."""

    training: Annotated[dict[str, Values], BeforeValidator(Training.refuse_unknown_keys)] = {}
    settings: dict[str, Values] = {}
    models: list[Name] = Field([], description="set when the config is resolved: the models that are searched for")

    def candidates(self, model: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Name of each candidate to its `training` and `settings`."""
        keys = [*(("training", key) for key in self.training), *(("settings", key) for key in self.settings)]
        candidates = {}
        for values in itertools.product(*self.training.values(), *self.settings.values()):
            name, changes = model, {"training": {}, "settings": {}}
            for (part, key), value in zip(keys, values, strict=True):
                name += f"--{key}-{value}"
                changes[part][key] = value
            candidates[name] = changes
        return candidates


class Ablation(Strict):
    """A comparison of variants by validation score: each model beside the baseline, or beside another variant."""

    baseline: Name = Field(description="the model that the others are variants of")
    compare_to: dict[Name, Name] = Field({}, description="variant to the model it is compared to, if not the baseline")


class Cost(Strict):
    """Which of the models' costs are measured."""

    lengths: list[Annotated[int, Field(ge=16)]] = Field([512, 1024, 4096, 16384, 65536], min_length=1)
