"""What each fine-tuning of a run is trained with, value by value, and where each value comes from."""

from dataclasses import MISSING
from pathlib import Path
from typing import Any

import yaml

from convnova.config import hyperparameter_sources
from convnova.config.run import Job, RunConfig
from convnova.config.schema import Model
from convnova.errors import ConvNovaError, nearest
from convnova.files import write_text


def as_text(config: RunConfig, task: str | None = None, model: str | None = None) -> str:
    """A paragraph a task and model: each hyperparameter with its value and its source, tab-separated.

    Args:
        task: `suite/task`, for this one alone.
        model: for this one alone.

    Raises:
        ConvNovaError: the run has no such task or model.
    """
    return "\n\n".join(_paragraph(config, *chosen) for chosen in _chosen(config, task, model))


def _chosen(config: RunConfig, task: str | None, model: str | None) -> list[tuple[str, str]]:
    """Every task, as `suite/task`, and model of the run, or those of the one that is named."""
    tasks = [f"{suite}/{name}" for suite, content in config.suites.items() for name in content.tasks]
    for what, name, known in (("task", task, tasks), ("model", model, list(config.models))):
        if name is not None and name not in known:
            raise ConvNovaError(f"{what} {name!r}: {nearest(name, known)}")
    return [(one, name) for one in ([task] if task else tasks) for name in ([model] if model else config.models)]


def write_recipes(config: RunConfig, out: Path, task: str | None = None, model: str | None = None) -> list[Path]:
    """Write a recipe a task and model, `<suite>/<task>/<model>.yaml`, every value with its source.

    `recipes: DIR` in another config reads them. What no recipe can set, such as pretraining, and the settings of a
    pretrained model, which are of all tasks, stand below as comments.

    Args:
        task, model: as `as_text`.

    Raises:
        ConvNovaError: as `as_text`.
    """
    written = []
    for place, name in _chosen(config, task, model):
        job = Job(*place.split("/"), name, config.protocols[0], config.seeds[0])
        written.append(out / place / f"{name}.yaml")
        write_text(written[-1], _as_recipe(config, job))
    return written


def _as_recipe(config: RunConfig, job: Job) -> str:
    training = {key: told for key, told in config.recipe(job).items() if told[0] is not None}
    own = {} if config.is_pretrained(job) else config.job_settings(job)
    settings = {key: (value, _source_of_setting(config, job, key)) for key, value in own.items()}
    recipe = {
        "settings": {key: value for key, (value, _) in settings.items()},
        "training": {key: value for key, (value, _) in training.items()},
        "source": {key: source for key, (_, source) in {**settings, **training}.items()},
    }
    others = [
        f"# {key} = {value}: {source}\n"
        for key, (value, source) in _besides_training(config, job).items()
        if key.removeprefix("settings.") not in own
    ]
    return "".join([yaml.safe_dump(recipe, sort_keys=False), *others])


def _paragraph(config: RunConfig, task: str, model: str) -> str:
    job = Job(*task.split("/"), model, config.protocols[0], config.seeds[0])
    own = config.recipes.get(f"{task}/{model}")
    lines = [(key, *told) for key, told in (config.recipe(job) | _besides_training(config, job)).items()]
    if own and own.grid:
        lines.append(("grid", own.grid, "all that was tried"))
    return "\n".join([f"{task} {model}", *(f"{key}\t{value}\t{source}" for key, value, source in lines)])


def _besides_training(config: RunConfig, job: Job) -> dict[str, tuple[Any, str]]:
    """What makes a result besides its training: key to value and source, of the architecture, its use, its pretraining.

    Settings that nobody wrote are there too, with the architecture's own values.
    """
    from convnova.models import architecture_module  # not above: it imports torch, which is slow

    about, found = config.models[job.model], {}
    module = architecture_module(about.architecture)
    defaults = {
        key: field.default if field.default_factory is MISSING else field.default_factory()
        for key, field in module.Config.__dataclass_fields__.items()
    }
    for key, value in (defaults | config.job_settings(job)).items():
        found[f"settings.{key}"] = (value, _source_of_setting(config, job, key))
    used = about.model_dump(include={"frozen", "head", "pooling"}) if hasattr(module, "Backbone") else {}
    for key, value in {"strands": config.strands(job.model, job.suite), **used}.items():
        found[key] = (value, _source_of_use(config, job, key, value))
    if about.pretrained:
        found |= {f"pretrain.{key}": told for key, told in config.pretraining_recipe(job.model).items()}
    return found


def _source_of_setting(config: RunConfig, job: Job, key: str) -> str:
    own, model = config.recipes.get(f"{job.suite}/{job.task}/{job.model}"), config.models[job.model]
    variant = model.suites.get(job.suite)
    if own and key in own.settings:
        place, source = "recipes", own.source
    elif variant and key in variant.settings:
        place, source = f"models.{job.model}.suites.{job.suite}.settings", variant.source
    elif key in model.settings:
        place, source = f"models.{job.model}.settings", model.source
    else:
        known = hyperparameter_sources.ARCHITECTURES.get(model.architecture, {})
        place, source = f"convnova/models/{model.architecture}.py", known.get(key)
    return (source.get(key) if isinstance(source, dict) else source) or place


def _source_of_use(config: RunConfig, job: Job, key: str, value: Any) -> str:
    """Of how a model is used: strands, head, pooling, and whether it is frozen."""
    source = config.models[job.model].source
    if isinstance(source, dict) and key in source:
        return source[key]
    if value == Model.model_fields[key].default:
        return hyperparameter_sources.MODEL.get(key, "default")
    known = hyperparameter_sources.CHOSEN.get((key, value))
    return known or (source if isinstance(source, str) else f"models.{job.model}.{key}")
