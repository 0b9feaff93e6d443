"""What tables were made from: a line a result with its code, data, machine and cost, and a sentence for them all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.files import read_table

NAME = "provenance.tsv"
"""The table's file, beside `scores.tsv`."""

COLUMNS = [
    *Job._fields, "settings", "convnova", "commit", "dirty", "task_sha256", "weights_sha256", "packages", "machine",
    "precision", "started", "seconds", "peak_memory_mb", "peak_gpu_memory_mb",
]  # fmt: skip
COMMIT_LETTERS = 12
"""Of a commit in a sentence."""
NAMED = 3
"""Results that a sentence names at most."""


def provenance_frame(results: Mapping[Job, dict[str, Any]]) -> pd.DataFrame:
    """A line for each fine-tuning, by the `provenance` of its `metrics.json`."""
    lines = []
    for job, made in results.items():
        packages, hardware = {"python": made["python"], **made["packages"]}, made["hardware"]
        line = {"precision": "unknown"} | made | job._asdict()
        line |= {f"{role}_sha256": entry["sha256"] for role, entry in made["inputs"].items()}
        line["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
        host = f"{made['host']}: " if made["host"] else ""
        line["machine"] = f"{host}{hardware['processor']}, {hardware['gpu'] or 'no GPU'}"
        lines.append(line)
    return pd.DataFrame(lines, columns=COLUMNS)


def read_provenance(scores: Path) -> pd.DataFrame:
    """The table beside `scores.tsv`; without a line where there is none. Errors as of `convnova.files.read_table`."""
    path = scores.with_name(NAME)
    if not path.is_file():
        return provenance_frame({})
    table = read_table(path, COLUMNS, ["seconds", "peak_memory_mb"])
    return table.assign(dirty=table["dirty"] == "True", commit=table["commit"].replace("", None))


def precision_sentence(provenance: pd.DataFrame) -> str:
    """What was computed in which precision; where results of one model differ, which of them are the fewer."""
    if provenance["precision"].nunique() == 1:
        return f"computed in {provenance['precision'].iloc[0]}"
    parts = []
    for model, rows in provenance.groupby("model", sort=False):
        usual, *others = rows["precision"].value_counts().index
        part = f"{model} in {usual}"
        for other in others:
            results = rows[rows["precision"] == other]
            names = [f"{row.suite}/{row.task} {row.protocol} seed {row.seed}" for row in results.itertuples()]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            part += f" but in {other}: {', '.join(names[:NAMED])}{more}"
        parts.append(part)
    return f"computed in more than one precision ({'; '.join(parts)})"


def provenance_sentence(config: RunConfig, provenance: pd.DataFrame) -> str:
    """What a table was made from; nothing without results.

    Args:
        config: the run.
        provenance: of `provenance_frame` or `read_provenance`.
    """
    if provenance.empty:
        return ""
    codes = []
    for version, commit, dirty in provenance[["convnova", "commit", "dirty"]].drop_duplicates().itertuples(index=False):
        code = f"convnova {version}, commit {'unknown' if pd.isna(commit) else str(commit)[:COMMIT_LETTERS]}"
        codes.append(f"{code} with uncommitted changes" if dirty else code)
    seconds = provenance["seconds"].sum()
    return (
        f"Made from {len(provenance)} result{'s' if len(provenance) != 1 else ''} by {'; '.join(codes)}; "
        f"config {config.fingerprint(config)}; {'; '.join(provenance['machine'].unique())}; "
        f"{precision_sentence(provenance)}; "
        f"{f'{seconds / 60:.1f} min' if seconds >= 60 else f'{seconds:.1f} s'} of wall time together, "
        f"at most {provenance['peak_memory_mb'].max():,.0f} MB. "
        f"Settings, data and checkpoint (sha256), seed, packages and cost of each: {NAME}."
    )
