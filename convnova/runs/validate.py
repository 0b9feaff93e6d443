"""What a config alone says would fail in a job: found when the config is read, before any job starts.

What concerns one model's settings is seen to by `convnova.runs.validate.check_models`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convnova.config.load import where
from convnova.config.run import RunConfig
from convnova.config.schema import Model, Task
from convnova.errors import ConvNovaError
from convnova.models import architecture_module, configure

if TYPE_CHECKING:
    from convnova.config.run import RunConfig


def incompatibilities(config: "RunConfig") -> Iterator[str]:
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
        return None  # `validate` says what is wrong with them


def _is_made_for_a_length(architecture: str) -> bool:
    module = _module(architecture)
    return module is not None and "length" in module.Config.__dataclass_fields__


def _module(architecture: str) -> object | None:
    """The architecture's module; None if there is none, which `validate` reports."""
    from convnova.models import architecture_module

    try:
        return architecture_module(architecture)
    except ConvNovaError:
        return None


def validate(config: RunConfig, files: list[str] | None = None) -> None:
    """Check what a config can only be checked for with the models: combinations, architectures, settings, lengths.

    Raises:
        ConvNovaError: a combination that cannot be run, or an architecture, setting or value that does not exist; names
            the model and which of `files`.
    """
    for problem in incompatibilities(config):
        raise ConvNovaError(f"{where((), files or [])}{problem}")
    for name, model in config.models.items():
        for suite in (None, *config.suites):
            try:
                settings = configure(model.architecture, config.settings(name, suite))
                check_use(model, settings, config.pretraining(name).length if model.pretrained else 0)
                for task_name, task in config.suites[suite].tasks.items() if suite else ():
                    check_task(config.strands(name, suite), settings, f"{suite}/{task_name}", task)
            except ConvNovaError as error:
                key = ("models", name, *(("suites", suite) if suite in model.suites else ()))
                raise ConvNovaError(f"{where(key, files or [])}{'.'.join(key)}.{error}") from error
    for place, recipe in config.recipes.items():
        suite, _, name = place.split("/")
        try:
            settings = {**config.settings(name, suite), **recipe.settings}
            configured = configure(config.models[name].architecture, settings)
            task = place.rpartition("/")[0]
            check_task(config.strands(name, suite), configured, task, config.suites[suite].tasks[task.split("/")[1]])
        except ConvNovaError as error:
            raise ConvNovaError(f"recipes.{place}.{error}") from error


def check_use(model: Model, settings: Any, pretraining_length: int) -> None:
    """Whether a model can be used as the config says, whatever the task.

    Raises:
        ConvNovaError: it cannot be pretrained or frozen, has no head to choose, or what its own `check` says.
    """
    module = architecture_module(model.architecture)
    others = model.architecture == "huggingface"
    if model.pretrained and (others or not hasattr(module, "Backbone")):
        reason = "has its weights from elsewhere" if others else "has no part that pretraining could train"
        raise ConvNovaError(f"pretrained = true: {model.architecture} {reason}; set `pretrained: false`")
    if model.frozen and not (model.pretrained or others):
        raise ConvNovaError("frozen = true: expected a pretrained model; set `pretrained: true`, or train all of it")
    for key, default in (("head", "linear"), ("pooling", "mean")):
        if not hasattr(module, "Backbone") and (chosen := getattr(model, key)) != default:
            raise ConvNovaError(f"{key} = {chosen!r}: {model.architecture} has a head of its own; leave `{key}` out")
    _check_length("windows of pretraining", pretraining_length, settings)
    if hasattr(module, "check"):
        module.check(settings)


def check_task(strands: str, settings: Any, name: str, task: Task) -> None:
    """Whether a model fits a task.

    Raises:
        ConvNovaError: sequences that are, or may be, longer than it can read, or strands averaged for an output a base.
    """
    if strands == "both" and task.kind == "per_base":
        raise ConvNovaError(
            f"strands = 'both': the labels of {name} are those of bases on one strand, so there is no mean to take; "
            "set `strands: forward` for this suite"
        )
    longest = getattr(settings, "longest", None)
    if longest is not None and task.max_length is None:
        raise ConvNovaError(
            f"settings: the model reads {longest} bases at most, and {name} does not say how long its sequences are; "
            f"set `max_length`, up to {longest}, for the task"
        )
    _check_length(name, task.max_length or 0, settings)


def _check_length(what: str, length: int, settings: Any) -> None:
    longest = getattr(settings, "longest", None)
    if longest is not None and length > longest:
        own = "length" if hasattr(settings, "length") else "longest"
        raise ConvNovaError(
            f"settings.{own} = {longest}: {what} have up to {length} bases; set `{own}: {length}` if the model can "
            "read them, or a smaller `max_length`"
        )


def check_files(config: RunConfig, files: list[str]) -> None:
    """See that files of the user's own are there, and that the simulation makes the others, before any job needs them.

    Raises:
        ConvNovaError: the first that is not; names the config file and the key.
    """
    if config.simulate:
        _check_simulated(config, files)
    own = {
        ("suites", name, "tasks", task, role): path
        for name, suite in config.suites.items()
        if suite.source is None
        for task, content in suite.tasks.items()
        for role, path in content.files().items()
    }
    for name, genome in config.genomes.items():
        if genome.source is None:
            own |= {("genome", name): genome.fasta} | ({("genome", name, "bed"): genome.bed} if genome.bed else {})
    for key, path in own.items():
        if not Path(path).exists():
            raise ConvNovaError(f"{where(key, files)}{'.'.join(key)} = {path!r}: expected a file, found nothing")


def _check_simulated(config: RunConfig, files: list[str]) -> None:
    from convnova.simulation.task_rows import GENOMIC_BENCHMARKS, NUCLEOTIDE_TRANSFORMER

    made = {"nucleotide_transformer": list(NUCLEOTIDE_TRANSFORMER), "genomic_benchmarks": list(GENOMIC_BENCHMARKS)}
    for name, suite in config.suites.items():
        for task in suite.tasks:
            if suite.source is not None and task not in made.get(suite.format, [task]):
                key, known = ("suites", name, "tasks"), ", ".join(made[suite.format])
                raise ConvNovaError(f"{where(key, files)}{'.'.join(key)}: {task} is not simulated; there are {known}")
