"""What tables were made from: a line a result with its code, data, machine and cost, and a sentence for them all."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from convnova.config.run import Job, RunConfig
from convnova.files import write_text

NAME = "provenance.tsv"
COLUMNS = [
    *Job._fields, "settings", "convnova", "commit", "dirty", "task_sha256", "weights_sha256", "packages", "machine",
    "started", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "joules_processors", "joules_gpu",
]  # fmt: skip
SHORT = 12
"""Letters of a commit in a sentence."""


def provenance_row(job: Job, provenance: dict[str, Any]) -> dict[str, Any]:
    """What the metrics file of a fine-tuning says of its making."""
    inputs, hardware = provenance["inputs"], provenance["hardware"]
    packages = {"python": provenance["python"], **provenance["packages"]}
    return (
        job._asdict()
        | {name: provenance[name] for name in COLUMNS if name in provenance and name != "packages"}
        | {f"{role}_sha256": inputs[role]["sha256"] for role in ("task", "weights") if role in inputs}
        | {f"joules_{name}": joules for name, joules in provenance["joules"].items()}
        | {"packages": ", ".join(f"{name} {number}" for name, number in packages.items())}
        | {"machine": f"{provenance['host']}: {hardware['processor']}, {hardware['gpu'] or 'no GPU'}"}
    )


def provenance_frame(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The lines of results, in their order."""
    return pd.DataFrame(list(lines), columns=COLUMNS)


def write_provenance(found: pd.DataFrame, out: Path) -> None:
    """Write the table beside `scores.tsv`."""
    write_text(out, found.to_csv(sep="\t", index=False, lineterminator="\n"))


def read_provenance(scores: Path) -> pd.DataFrame:
    """The table beside `scores.tsv`; without a line where there is none."""
    path = scores.with_name(NAME)
    return pd.read_csv(path, sep="\t") if path.is_file() else provenance_frame([])


def wall_time(seconds: float) -> str:
    """Seconds, from a minute on minutes."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def provenance_sentence(config: RunConfig, found: pd.DataFrame) -> str:
    """What a table was made from; nothing without results."""
    if not len(found):
        return ""
    codes = found[["convnova", "commit", "dirty"]].drop_duplicates().itertuples(index=False)
    code = "; ".join(
        f"convnova {of.convnova}, commit {'unknown' if pd.isna(of.commit) else str(of.commit)[:SHORT]}"
        + " with uncommitted changes" * bool(of.dirty)
        for of in codes
    )
    joules = found[["joules_processors", "joules_gpu"]].sum().sum()
    return (
        f"Made from {len(found)} result{'s' * (len(found) != 1)} by {code}; config {config.fingerprint(config)}; "
        f"{'; '.join(dict.fromkeys(found['machine']))}; {wall_time(found['seconds'].sum())} of wall time together, "
        f"at most {found['peak_memory_mb'].max():,.0f} MB"
        + (f", {joules:,.0f} J" if joules else ", energy not told by the machine")
        + f". Settings, data and checkpoint (sha256), seed, packages and cost of each: {NAME}."
    )
