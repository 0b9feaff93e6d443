"""The search for settings: each with each of a config's `search`, chosen by validation score alone.

A candidate's score on a task is the mean over the seeds of the best epoch's validation score
(`convnova.reporting.ablation_table`, which
reads nothing of test). The winner of each task and model is written as a recipe, the whole grid as a table beside it.
"""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from convnova.config.run import Job, RunConfig
from convnova.config.schema import Search
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.reporting.ablation_table import PROTOCOL, validation_scores
from convnova.reporting.sheets import Sheet, mean_and_spread, text, write
from convnova.reporting.table_forms import fields_read

TABLE = "search"


def write_search(config: RunConfig, out: Path) -> None:
    """Write `tables/search.tsv`, `.md` and `recipes/<suite>/<task>/<model>.yaml` to the run's folder `out`.

    Raises:
        ConvNovaError: the config searches for nothing, or a task has no candidate with all seeds.
    """
    table = grid(config)
    best = winners(table, len(config.seeds))
    write(_sheet(config, table, best), out / "tables", ["tsv", "md"])
    for line in best.to_dict("records"):
        path = out / "recipes" / line["suite"] / line["task"] / f"{line['model']}.yaml"
        write_text(path, yaml.safe_dump(_recipe(config, line, out / "tables" / f"{TABLE}.tsv"), sort_keys=False))


def grid(config: RunConfig) -> pd.DataFrame:
    """A line a suite, task and candidate, in the order of the config.

    Returns:
        suite, task, model, candidate; `scores`: validation scores, one a seed; `mean` and `spread` of these (standard
        deviation, NaN of one); `parameters`; `receptive_field` in bp; `training` and `settings`: the values that make
        the candidate.

    Raises:
        ConvNovaError: the config searches for nothing.
    """
    if config.search is None:
        raise ConvNovaError("search: expected values to try, found none in the config")
    scores = validation_scores(config)
    tasks = [(suite, task) for suite, content in config.suites.items() for task in content.tasks]
    lines = []
    for (suite, task), model in itertools.product(tasks, config.search.models):
        for candidate, values in config.search.candidates(model).items():
            own = scores[(scores[["suite", "task", "model"]] == [suite, task, candidate]).all(axis=1)]
            score = own["score"]
            told = {"scores": score.tolist(), "mean": score.mean(), "spread": score.std()}
            told |= {"parameters": own["parameters"].mean(), "receptive_field": own["receptive_field"].mean()}
            lines.append({"suite": suite, "task": task, "model": model, "candidate": candidate, **told, **values})
    return pd.DataFrame(lines)


def winners(table: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The lines of the best mean score for each suite, task and model, of candidates that have all seeds.

    Raises:
        ConvNovaError: there is none for some task.
    """
    whole = table[table["scores"].map(len) == seeds]
    keys = ["suite", "task", "model"]
    best = whole.loc[whole.groupby(keys, sort=False)["mean"].idxmax()]
    missing = table[keys].drop_duplicates().merge(best[keys], how="left", indicator=True).query("_merge == 'left_only'")
    if len(missing):
        place = "/".join(missing.iloc[0][keys])
        raise ConvNovaError(f"{place}: expected a candidate with all of its {seeds} seeds, found none")
    return best


def _recipe(config: RunConfig, line: dict[str, Any], table: Path) -> dict[str, Any]:
    """What `convnova.config.Recipe` reads: all that made the winner, so that another run trains it as it was here."""
    job = Job(line["suite"], line["task"], line["candidate"], PROTOCOL, config.seeds[0])
    resolved = config.training(job).model_dump(exclude={"source"})
    training = {key: value for key, value in resolved.items() if value is not None}
    settings, searched = config.job_settings(job), {**line["training"], **line["settings"]}
    told = {key: "our search" if key in searched else "not searched, as in our search" for key in settings | training}
    return {"settings": settings, "training": training, "source": told, "grid": config.relative_path(table)}


def _fixed(config: RunConfig, search: Search) -> str:
    """The settings of each model that are not searched."""
    told = []
    for model in search.models:
        settings = config.models[next(iter(search.candidates(model)))].settings
        kept = [f"{key} {value}" for key, value in settings.items() if key not in search.settings]
        told.append(f"{model} {', '.join(kept) or 'as its defaults'}")
    return "; ".join(told)


def _sheet(config: RunConfig, table: pd.DataFrame, best: pd.DataFrame) -> Sheet:
    """The whole grid, the winner of each task in bold."""
    search: Search = config.search  # type: ignore[assignment]  # `grid` has seen to it
    keys = [*search.training, *search.settings]
    lines = []
    for line in table.itertuples():
        score = mean_and_spread(line.scores, len(config.seeds), line.spread)
        values = {**line.training, **line.settings}
        lines.append(
            [
                text(f"{line.suite}/{line.task}"),
                text(line.model),
                *(text(str(values[key])) for key in keys),
                text("" if line.parameters != line.parameters else f"{line.parameters:,.0f}"),
                text(fields_read([line.receptive_field])),
                replace(score, bold=line.Index in best.index),
                text(" ".join(f"{one:.4f}" for one in line.scores)),
            ]
        )
    return Sheet(
        TABLE,
        "Search",
        "Validation scores, mean and standard deviation over seeds; test scores have no part in it. In bold the best "
        f"of each task and model, which is its recipe. The same in all: {_fixed(config, search)}.",
        f"{len(table)} candidates, {len(best)} recipes.",
        ["task", "model", *keys, "parameters", "receptive field", "validation score", "of each seed"],
        lines,
    )
