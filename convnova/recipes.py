"""What each fine-tuning of a run is trained with, value by value, and where each value comes from."""

from pathlib import Path

import yaml

from convnova.catalogue import nearest
from convnova.config import Job, RunConfig
from convnova.errors import ConvNovaError
from convnova.files import write_text


def as_text(config: RunConfig, task: str | None = None, model: str | None = None) -> str:
    """A paragraph a task and model: each hyperparameter with its value and its source, tab-separated.

    Args:
        task: `suite/task`, for this one alone.
        model: for this one alone.

    Raises:
        ConvNovaError: the run has no such task or model.
    """
    tasks = [f"{suite}/{name}" for suite, content in config.suites.items() for name in content.tasks]
    for what, name, known in (("task", task, tasks), ("model", model, list(config.models))):
        if name is not None and name not in known:
            raise ConvNovaError(f"{what} {name!r}: {nearest(name, known)}")
    return "\n\n".join(
        _paragraph(config, one, name)
        for one in ([task] if task else tasks)
        for name in ([model] if model else config.models)
    )


def write_recipes(config: RunConfig, out: Path) -> list[Path]:
    """Write a recipe a task and model, `<suite>/<task>/<model>.yaml`, every value with its source.

    `recipes: DIR` in another config reads them. A pretrained model's settings are left out: they are of all tasks.
    """
    written = []
    for suite, content in config.suites.items():
        for task in content.tasks:
            for model in config.models:
                job = Job(suite, task, model, config.protocols[0], config.seeds[0])
                training = {key: told for key, told in config.recipe(job).items() if told[0] is not None}
                own = {} if config.is_pretrained(job) else config.job_settings(job)
                settings = {key: (value, _source_of_setting(config, job, key)) for key, value in own.items()}
                recipe = {
                    "settings": {key: value for key, (value, _) in settings.items()},
                    "training": {key: value for key, (value, _) in training.items()},
                    "source": {key: source for key, (_, source) in {**settings, **training}.items()},
                }
                written.append(out / suite / task / f"{model}.yaml")
                write_text(written[-1], yaml.safe_dump(recipe, sort_keys=False))
    return written


def _paragraph(config: RunConfig, task: str, model: str) -> str:
    job = Job(*task.split("/"), model, config.protocols[0], config.seeds[0])
    own = config.recipes.get(f"{task}/{model}")
    lines = [(key, value, source) for key, (value, source) in config.recipe(job).items()]
    for key, value in config.job_settings(job).items():
        lines.append((f"settings.{key}", value, _source_of_setting(config, job, key)))
    if own and own.grid:
        lines.append(("grid", own.grid, "all that was tried"))
    return "\n".join([f"{task} {model}", *(f"{key}\t{value}\t{source}" for key, value, source in lines)])


def _source_of_setting(config: RunConfig, job: Job, key: str) -> str:
    own, model = config.recipes.get(f"{job.suite}/{job.task}/{job.model}"), config.models[job.model]
    variant = model.suites.get(job.suite)
    if own and key in own.settings:
        place, source = "recipes", own.source
    elif variant and key in variant.settings:
        place, source = f"models.{job.model}.suites.{job.suite}.settings", variant.source
    else:
        place, source = f"models.{job.model}.settings", model.source
    return (source.get(key) if isinstance(source, dict) else source) or place
