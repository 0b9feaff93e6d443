"""The hyperparameter search: every combination of a config's `search`, chosen by validation score alone.

A candidate's score on a task is the mean over seeds of the best epoch's validation score, which
`convnova.reporting.ablation_table` reads; it reads nothing of test. The winner of each task and model is written as a
recipe, the whole grid as a table beside it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from convnova.config.run import Job, RunConfig
from convnova.config.schema import Search
from convnova.errors import ConvNovaError
from convnova.files import write_text
from convnova.reporting.ablation_table import PROTOCOL, validation_scores
from convnova.reporting.hyperparameter_table import without_unset
from convnova.reporting.render import write
from convnova.reporting.table import Table, receptive_field, score_cell
from convnova.runs import outputs

TABLE = "search"


def write_search(config: RunConfig, out: Path) -> None:
    """Write `tables/search.tsv`, `.md` and `recipes/<suite>/<task>/<model>.yaml` to the run's folder `out`.

    Raises:
        ConvNovaError: the config has no `search`, or a task has no candidate with all seeds.
    """
    candidates = grid(config)
    best = winners(candidates, len(config.seeds))
    write(search_table(config, candidates, best), out / "tables", ["tsv", "md"])
    for row in best.to_dict("records"):
        path = out / "recipes" / row["suite"] / row["task"] / f"{row['model']}.yaml"
        write_text(path, yaml.safe_dump(_recipe(config, row, out / "tables" / f"{TABLE}.tsv"), sort_keys=False))


def grid(config: RunConfig) -> pd.DataFrame:
    """Read the validation scores of every candidate on every task, in the order of the config.

    Returns:
        suite, task, model, candidate; `scores`: validation scores, one a seed; `mean` of these; `parameters`;
        `receptive_field` in bp; `training` and `settings`: the values that make the candidate.

    Raises:
        ConvNovaError: the config has no `search`.
    """
    if (search := config.search) is None:
        raise ConvNovaError("search: expected values to try, found none in the config")
    scores = validation_scores(config)
    rows = []
    for suite, task, model in outputs.recipes(config):
        for candidate, values in search.candidates(model).items():
            runs = scores[(scores[["suite", "task", "model"]] == [suite, task, candidate]).all(axis=1)]
            row = {"suite": suite, "task": task, "model": model, "candidate": candidate}
            row |= {"scores": runs["score"].tolist(), "mean": runs["score"].mean()}
            rows.append(row | runs[["parameters", "receptive_field"]].mean().to_dict() | values)
    return pd.DataFrame(rows)


def winners(candidates: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """Choose the candidate with the best mean score for each suite, task and model.

    Args:
        candidates: what `grid` returns.
        seeds: how many scores a candidate must have; others do not take part.

    Returns:
        The rows of the winners.

    Raises:
        ConvNovaError: a task has no candidate with all seeds.
    """
    complete = candidates[candidates["scores"].map(len) == seeds]
    keys = ["suite", "task", "model"]
    best = complete.loc[complete.groupby(keys, sort=False)["mean"].idxmax()]
    with_winner = set(best[keys].itertuples(index=False, name=None))
    for place in candidates[keys].itertuples(index=False, name=None):
        if place not in with_winner:
            raise ConvNovaError(f"{'/'.join(place)}: expected a candidate with all of its {seeds} seeds, found none")
    return best


def _recipe(config: RunConfig, row: dict[str, Any], table: Path) -> dict[str, Any]:
    """The winner as `convnova.config.schema.Recipe` reads it: all that made it, for a run that trains it as here."""
    job = Job(row["suite"], row["task"], row["candidate"], PROTOCOL, config.seeds[0])
    training = without_unset(config.training(job).model_dump(exclude={"source"}))
    is_pretrained, searched = config.models[job.model].pretrained, {**row["training"], **row["settings"]}
    settings = {} if is_pretrained else config.settings(job.model, job.suite, job.task)
    sources = dict.fromkeys(settings | training, "not searched, as in our search")
    sources |= dict.fromkeys(searched, "our search")
    return {"settings": settings, "training": training, "source": sources, "grid": config.relative_path(table)}


def search_table(config: RunConfig, candidates: pd.DataFrame, best: pd.DataFrame) -> Table:
    """The table of all candidates, the winner of each task in bold.

    Args:
        config: the run.
        candidates: what `grid` returns.
        best: what `winners` returns.
    """
    search: Search = config.search  # type: ignore[assignment]  # `grid` has checked that there is one
    fixed = []
    for model in search.models:
        settings = config.models[next(iter(search.candidates(model)))].settings
        values = [f"{key} {value}" for key, value in settings.items() if key not in search.settings]
        fixed.append(f"{model} {', '.join(values) or 'as its defaults'}")
    rows = []
    for row in candidates.itertuples():
        values = {key: str(value) for key, value in {**row.training, **row.settings}.items()}
        score = score_cell(row.scores, len(config.seeds), bold=row.Index in best.index)
        cells = {"task": f"{row.suite}/{row.task}", "model": row.model}
        cells |= {key: values[key] for key in (*search.training, *search.settings)}
        cells |= {"parameters": row.parameters, "receptive field": receptive_field([row.receptive_field])}
        cells |= {"validation score": score, "of each seed": " ".join(f"{value:.4f}" for value in row.scores)}
        rows.append(cells)
    return Table(
        name=TABLE,
        title="Search",
        frame=pd.DataFrame(rows).set_index(["task", "model"]),
        caption="Validation scores, mean and standard deviation over seeds; test scores have no part in it. In bold "
        f"the best of each task and model, which is its recipe. The same in all: {'; '.join(fixed)}.",
        summary=f"{len(candidates)} candidates, {len(best)} recipes.",
        simulated=config.simulated,
        formats={"parameters": "{:,.0f}".format},
    )
