"""What a config alone says would fail in a job: found when the config is read, before any job starts.

What concerns one model's settings is seen to by `convnova.models.check_models`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    from convnova.config.schema import RunConfig, Suite, Task

METRICS_OF = {
    "classes": ("mcc", "f1_macro", "f1_binary", "accuracy", "auroc", "auprc"),
    "per_base": ("mcc", "f1_macro", "accuracy"),
    "multilabel": ("auroc", "auprc"),
}
"""Kind of a task to the metrics that its predictions have: see `convnova.evaluation.metrics`."""

KINDS = {"bend": "per_base", "gff": "per_base", "deepsea": "multilabel"}
"""Formats whose labels are not one class a sequence."""


def misfits_of_suite(suite: "Suite") -> Iterator[str]:
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


def misfits(config: "RunConfig") -> Iterator[str]:
    """A sentence for each combination that cannot be run: what it is, and what to change."""
    for job in {job[:3]: job for job in config.jobs()}.values():
        recipe, architecture, place = config.recipe(job), config.models[job.model].architecture, "/".join(job[:3])
        if config.task(job).kind == "per_base" and recipe["reverse_complement"][0]:
            yield f"{place}: reverse_complement = true: the labels of bases belong to one strand; leave it out there"
        if recipe["checkpointing"][0] and not checkpoints(architecture):
            yield _not_checkpointed(place, architecture)
    yield from _of_pretraining(config)
    yield from _of_cost(config)


def _of_pretraining(config: "RunConfig") -> Iterator[str]:
    for name, about in config.models.items():
        settings, place = config.pretraining(name), f"pretraining of {name}"
        if not about.pretrained:
            continue
        if settings.checkpointing and not checkpoints(about.architecture):
            yield _not_checkpointed(place, about.architecture)
        if settings.reverse_complement:
            yield f"{place}: reverse_complement = true: windows are read from one strand; leave it out"
        if settings.padding is not None:
            yield f"{place}: padding = {settings.padding}: windows are of one length, without any; leave it out"
        if "length" in about.pretrain.model_fields_set:
            for suite in config.suites or [None]:
                longest = _longest(about.architecture, config.settings(name, suite))
                if longest is not None and settings.length > longest:
                    yield (
                        f"models.{name}.pretrain.length = {settings.length}: the model reads {longest} bases at most; "
                        "take shorter windows, or a model for longer sequences"
                    )


def _of_cost(config: "RunConfig") -> Iterator[str]:
    """Lengths that a model cannot be measured at; one that has the length among its settings is made for each."""
    if config.cost is None:
        return
    most = max(config.cost.lengths)
    for name, about in config.models.items():
        longest = _longest(about.architecture, about.settings)
        if longest is not None and most > longest and not _is_made_for_a_length(about.architecture):
            yield (
                f"cost.lengths: {name} reads {longest} bases at most, and {most} are to be measured; leave out what is "
                f"above {longest}, or the model, or set `longest: {most}` among its settings if it can read them"
            )


def checkpoints(architecture: str) -> bool:
    """Whether a model of that architecture can compute activations twice instead of keeping them."""
    module = _module(architecture)
    return module is None or "checkpointing" in vars(getattr(module, "Backbone", object))


def _not_checkpointed(place: str, architecture: str) -> str:
    return f"{place}: checkpointing = true: {architecture} cannot, as convnova can; leave it out"


def _longest(architecture: str, settings: dict) -> int | None:
    """The most bases that a model of these settings reads; None without a bound."""
    from convnova.models import configure

    try:
        return getattr(configure(architecture, settings), "longest", None)
    except ConvNovaError:
        return None  # `check_models` says what is wrong with them


def _is_made_for_a_length(architecture: str) -> bool:
    module = _module(architecture)
    return module is not None and "length" in module.Config.__dataclass_fields__


def _module(architecture: str) -> object | None:
    """The architecture's module; None if there is none, which `check_models` reports."""
    from convnova.models import architecture_module

    try:
        return architecture_module(architecture)
    except ConvNovaError:
        return None
