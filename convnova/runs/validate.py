"""What would fail in a job and can be found before any job starts, by asking the models and looking for the files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convnova.config.hyperparameters import Training
from convnova.config.load import file_with
from convnova.config.run import Job, RunConfig
from convnova.config.schema import TRAINING_ROWS, Model
from convnova.errors import ConvNovaError
from convnova.models import architecture_module, configure
from convnova.models.lora import check_installed

WILDCARD = re.compile(r"\{\s*[.\w]+\s*(,.*)?\}")
"""What Snakemake fills in, wherever it stands in a path: it has no way to say that a brace is meant."""


def validate(config: RunConfig, files: list[str] | None = None) -> None:
    """Check whether every model can do what the config asks of it: architectures, settings, lengths, tasks.

    Args:
        config: the resolved config.
        files: the files it came from, for messages.

    Raises:
        ConvNovaError: an architecture, setting or value that does not exist, or a combination that cannot be run; names
            the file, the key, and what to change.
    """
    for suite in config.suites:
        if not config.titles_on(suite):
            place = f"{file_with(('suites', suite), files or [])}suites.{suite}"
            raise ConvNovaError(f"{place}: expected a model that can do one of its tasks, found none")
    for name, model in config.models.items():
        for suite in (None, *config.suites):
            with _reported_at(("models", name, *(("suites", suite) if suite in model.suites else ())), files):
                _check_model(config, name, suite)
    for job in {job[:3]: job for job in config.trainings()}.values():
        suite, recipe = job.suite, "/".join(job[:3])
        key = ("models", job.model, *(("suites", suite) if suite in config.models[job.model].suites else ()))
        with _reported_at(("recipes", recipe) if recipe in config.recipes else key, files):
            _check_job(config, job)
    if config.simulate:
        with _reported_at(("suites",), files):
            _check_simulated(config)


@contextmanager
def _reported_at(key: tuple[str, ...], files: list[str] | None) -> Iterator[None]:
    """Begin the message of an error with the file and the key in which it lies."""
    try:
        yield
    except ConvNovaError as error:
        raise ConvNovaError(file_with(key, files or []) + ".".join([*key, str(error)])) from error


def _check_model(config: RunConfig, name: str, suite: str | None) -> None:
    """Whether a model has its settings on a suite, and can be used as the config says, whatever the task."""
    model = config.models[name]
    settings, module = (
        configure(model.architecture, config.settings(name, suite)),
        architecture_module(model.architecture),
    )
    has_backbone, by_others = hasattr(module, "Backbone"), model.architecture == "huggingface"
    if model.pretrained and (by_others or not has_backbone):
        reason = "has its weights from elsewhere" if by_others else "has no part that pretraining could train"
        raise ConvNovaError(f"pretrained = true: {model.architecture} {reason}; set `pretrained: false`")
    if model.frozen and not (model.pretrained or by_others):
        raise ConvNovaError("frozen = true: expected a pretrained model; set `pretrained: true`, or train all of it")
    for key, default in (("head", "linear"), ("pooling", "mean")):
        if not has_backbone and (value := getattr(model, key)) != default:
            raise ConvNovaError(f"{key} = {value!r}: {model.architecture} has a head of its own; leave `{key}` out")
    if model.pretrained:
        pretraining = config.pretraining(name)
        _check_length("windows of pretraining", pretraining.length, settings)
        _check_checkpointing("pretraining", pretraining, model.architecture)
        configure(model.architecture, config.settings(name, suite) | pretraining.settings)
        if pretraining.padding is not None:
            raise ConvNovaError(f"pretraining: padding = {pretraining.padding}: windows have no padding; leave it out")
        _check_lora("pretraining", pretraining, model)
    _check_lora("training", model.training, model)
    if config.cost and not hasattr(settings, "length"):  # a model that has its length in its settings is built for each
        _check_length("sequences of `cost`", max(config.cost.lengths), settings)
    if hasattr(module, "check"):
        module.check(settings)


def _check_job(config: RunConfig, job: Job) -> None:
    """Whether a model can be trained on a task: its strands, its memory, and the length of the sequences."""
    task, name, architecture = config.task(job), f"{job.suite}/{job.task}", config.models[job.model].architecture
    settings, training = configure(architecture, config.settings(job.model, job.suite, job.task)), config.training(job)
    _check_checkpointing(f"training on {name}", training, architecture)
    _check_lora(f"training on {name}", training, config.models[job.model])
    if task.kind == "regression" and getattr(settings, "softmax", False):
        raise ConvNovaError(
            f"settings.softmax = true: {name} asks for numbers, and these would be shares; set it to false"
        )
    if task.kind == "per_base":
        reason = f"labels of {name} are those of bases on one strand"
        if training.reverse_complement:
            raise ConvNovaError(f"training: reverse_complement = true: {reason}; leave it out there")
        if config.strands(job.model, job.suite, job.task) == "both":
            raise ConvNovaError(
                f"strands = 'both': {reason}, so there is no mean to take; set `strands: forward` there"
            )
    _check_length(f"sequences of {name}", task.max_length, settings)


def _check_checkpointing(place: str, settings: Training, architecture: str) -> None:
    """Whether a model of the architecture can compute activations twice in place of keeping them, if it shall."""
    backbone = getattr(architecture_module(architecture), "Backbone", object)
    if settings.checkpointing and "checkpointing" not in vars(backbone):
        raise ConvNovaError(f"{place}: checkpointing = true: {architecture} cannot, as convnova can; leave it out")


def _check_lora(place: str, settings: Training, model: Model) -> None:
    """Whether low-rank matrices can be trained beside the weights of a model, if they shall."""
    if settings.lora is None:
        return
    if model.architecture != "huggingface":
        raise ConvNovaError(
            f"{place}: lora: expected a model pretrained by others, found {model.architecture}; leave it out"
        )
    if model.frozen:
        raise ConvNovaError(f"{place}: lora: expected `frozen: false`, found true; leave one of them out")
    check_installed()


def _check_length(sequences: str, length: int | None, settings: Any) -> None:
    """Whether a model of these settings can read sequences of that many bases; without a length they may be longer."""
    longest = getattr(settings, "longest", None)
    if longest is None or (length is not None and length <= longest):
        return
    if length is None:
        message = f"the model reads {longest} bases at most, and {sequences} have no stated length"
        raise ConvNovaError(f"settings: {message}; set `max_length`, up to {longest}, for the task")
    key = "length" if hasattr(settings, "length") else "longest"
    advice = f"set `{key}: {length}` if the model can read them, or take shorter ones"
    raise ConvNovaError(f"settings.{key} = {longest}: {sequences} have up to {length} bases; {advice}")


def _check_simulated(config: RunConfig) -> None:
    """Whether the simulation makes every task."""
    from convnova.simulation.task_rows import GENOMIC_BENCHMARKS, NUCLEOTIDE_TRANSFORMER

    simulated = {"nucleotide_transformer": NUCLEOTIDE_TRANSFORMER, "genomic_benchmarks": GENOMIC_BENCHMARKS}
    for name, suite in config.suites.items():
        for task in suite.tasks:
            if suite.source is not None and task not in simulated.get(suite.format, [task]):
                known = ", ".join(simulated[suite.format])
                raise ConvNovaError(f"{name}.tasks.{task}: expected a task that is simulated, one of {known}")


def check_files(config: RunConfig, files: list[str], must_exist: bool = True) -> None:
    """Check the paths of the user's own files, before any job needs them.

    Args:
        config: the resolved config.
        files: the files it came from, for messages.
        must_exist: whether they are to be found from here, and not in a storage.

    Raises:
        ConvNovaError: the first that is not there, or that Snakemake would read as a pattern; names the config file and
            the key.
    """
    paths = {
        ("suites", name, "tasks", task, role): path
        for name, suite in config.suites.items()
        if suite.source is None
        for task, content in suite.tasks.items()
        for role, path in content.files().items()
    }
    for name, genome in config.genomes.items():
        if genome.source is None and name != TRAINING_ROWS:
            paths |= {("genome", name, role): path for role, path in genome.files().items()}
    for key, path in paths.items():
        place = f"{file_with(key, files)}{'.'.join(key)} = {path!r}"
        if pattern := WILDCARD.search(path):
            raise ConvNovaError(f"{place}: the workflow would put a value in place of {pattern[0]!r}; rename the file")
        if must_exist and not Path(path).exists():
            raise ConvNovaError(f"{place}: expected a file, found nothing")
