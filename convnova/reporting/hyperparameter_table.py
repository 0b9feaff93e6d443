"""Every hyperparameter of the fine-tunings of a run: its value, and where the value comes from.

It is printed as text, or written as recipes, which another run reads.
"""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from convnova.config.hyperparameters import OUR_DEFAULT, Pretraining, Training
from convnova.config.run import Job, RunConfig
from convnova.config.schema import Model
from convnova.errors import ConvNovaError, nearest
from convnova.files import write_text

Sourced = dict[str, tuple[Any, str]]
"""Hyperparameter to its value and the source of that."""


def hyperparameters(config: RunConfig, task: str | None = None, model: str | None = None) -> dict[str, Sourced]:
    """Every hyperparameter of each task and model, and under `grid` the table of everything that was tried.

    Args:
        config: the run.
        task: `suite/task`, for this one alone.
        model: for this one alone.

    Returns:
        `suite/task model` to its hyperparameters.

    Raises:
        ConvNovaError: the run has no such task or model.
    """
    found = {}
    for job in _jobs(config, task, model):
        place = f"{job.suite}/{job.task}"
        recipe = config.recipes.get(f"{place}/{job.model}")
        grid = {"grid": (recipe.grid, "all that was tried")} if recipe and recipe.grid else {}
        found[f"{place} {job.model}"] = _all(config, job) | grid
    return found


def as_text(found: dict[str, Sourced]) -> str:
    """A table for each task and model."""
    head = ("hyperparameter", "value", "source")
    tables = {
        place: tabulate(
            [(key, str(value), source) for key, (value, source) in sourced.items()],
            head, tablefmt="plain", disable_numparse=True,
        )
        for place, sourced in found.items()
    }  # fmt: skip
    return "\n\n".join(f"{place}\n{table}" for place, table in tables.items())


def write_recipes(config: RunConfig, out: Path, task: str | None = None, model: str | None = None) -> list[Path]:
    """Write a recipe a task and model, `<suite>/<task>/<model>.yaml`, every value with its source.

    `recipes: DIR` in another config reads them. Comments below have what a recipe cannot set: pretraining, and the
    settings of a pretrained model, which are the same for all tasks.

    Args:
        config: the run.
        out: a folder, made if need be.
        task: `suite/task`, for this one alone.
        model: for this one alone.

    Returns:
        The files.

    Raises:
        ConvNovaError: the run has no such task or model.
    """
    written = []
    for job in _jobs(config, task, model):
        hyperparameters = _all(config, job)
        training = {key: hyperparameters.pop(key) for key in config.training(job).source}
        training = {key: training[key] for key in without_unset({key: value for key, (value, _) in training.items()})}
        names = {} if config.models[job.model].pretrained else config.settings(job.model, job.suite, job.task)
        settings = {key: hyperparameters.pop(f"settings.{key}") for key in names}
        recipe = {
            "settings": {key: value for key, (value, _) in settings.items()},
            "training": {key: value for key, (value, _) in training.items()},
            "source": {key: source for key, (_, source) in (settings | training).items()},
        }
        comments = [f"# {key} = {value}: {source}\n" for key, (value, source) in hyperparameters.items()]
        written.append(out / job.suite / job.task / f"{job.model}.yaml")
        write_text(written[-1], "".join([yaml.safe_dump(recipe, sort_keys=False), *comments]))
    return written


def without_unset(training: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters without those that are None by default; another None, as of `clip`, says something."""
    fields = Training.model_fields
    return {key: value for key, value in training.items() if value is not None or fields[key].default is not None}


def _jobs(config: RunConfig, task: str | None, model: str | None) -> list[Job]:
    """The first fine-tuning of every task and model of the run, or of those that are named."""
    first: dict[tuple[str, str], Job] = {}
    for job in config.trainings():
        first.setdefault((f"{job.suite}/{job.task}", job.model), job)
    tasks, models = ({key[part]: None for key in first} for part in (0, 1))
    for what, name, known in (("task", task, tasks), ("model", model, models)):
        if name is not None and name not in known:
            raise ConvNovaError(f"{what} {name!r}: {nearest(name, list(known))}")
    return [job for (on, by), job in first.items() if task in (None, on) and model in (None, by)]


def _all(config: RunConfig, job: Job) -> Sourced:
    """The hyperparameters of training, of the architecture, of its use and of its pretraining.

    Settings that no config sets are there too, with the defaults of the architecture.
    """
    from convnova.models import architecture_module  # here, because it imports torch, which is slow

    model = config.models[job.model]
    module = architecture_module(model.architecture)
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(module.Config)
    }
    settings = defaults | config.settings(job.model, job.suite, job.task)
    usage = {"strands": config.strands(job.model, job.suite, job.task)}
    if hasattr(module, "Backbone"):
        usage |= model.model_dump(include={"frozen", "head", "pooling"})
    training = config.training(job)
    values = {key: None for key in training.source} | training.model_dump()
    pretraining = config.pretraining(job.model) if model.pretrained else Pretraining(source={})
    return {
        **{key: (values[key], source) for key, source in training.source.items()},
        **{f"settings.{key}": (value, _source_of_setting(config, job, key)) for key, value in settings.items()},
        **{key: (value, _source_of_use(config, job, key, value)) for key, value in usage.items()},
        **{f"pretrain.{key}": (getattr(pretraining, key), source) for key, source in pretraining.source.items()},
    }


def _source_of_setting(config: RunConfig, job: Job, key: str) -> str:
    """The source of a setting: of the last layer that has it; without a source the layer itself."""
    model = config.models[job.model]
    layers = {
        "recipes": config.recipes.get(f"{job.suite}/{job.task}/{job.model}"),
        f"models.{job.model}.suites.{job.suite}.settings": model.suites.get(job.suite),
        f"models.{job.model}.settings": model,
    }
    for place, layer in layers.items():
        if layer and key in layer.settings:
            return (layer.source.get(key) if isinstance(layer.source, dict) else layer.source) or place
    return OUR_DEFAULT


def _source_of_use(config: RunConfig, job: Job, key: str, value: Any) -> str:
    """The source of how a model is used: strands, head, pooling, and whether it is frozen."""
    source = config.models[job.model].source
    if isinstance(source, dict) and key in source:
        return source[key]
    if value == Model.model_fields[key].default:
        return OUR_DEFAULT
    if key == "strands" and value != config.models[job.model].strands:
        return f"suites.{job.suite}.tasks.{job.task}.strands"
    return source if isinstance(source, str) else f"models.{job.model}.{key}"
