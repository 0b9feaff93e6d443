"""The logs of trainings as TensorBoard's event files, for those who would rather look there."""

import csv
import math
from pathlib import Path

from convnova.errors import ConvNovaError
from convnova.log import log, track

SCALARS = ("loss", "lr", "bases_per_second", "memory_mb")


def write_events(results: Path, out: Path) -> None:
    """Write one folder of events a training of the run in `results`, as `<out>/results/<run>/<folder of its log.csv>`.

    Every number of the log becomes a scalar at its step; the loss is `loss/train` or `loss/valid`.

    Raises:
        ConvNovaError: no log at all, or TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConvNovaError(
            "expected the package tensorboard, found none: pip install -c constraints.txt -e '.[tensorboard]'"
        ) from error
    found = sorted(results.rglob("log.csv"))
    if not found:
        raise ConvNovaError(f"{results}: expected the log.csv of a training, found none; train first")
    for path in track(found, len(found), "files", "logs"):
        folder = out / path.parent.relative_to(results.parents[1])
        with path.open(newline="") as table, SummaryWriter(str(folder)) as writer:
            for row in csv.DictReader(table):
                for name in SCALARS:
                    value = float(row[name] or math.nan)
                    if math.isfinite(value) and (name == "loss" or row["split"] == "train"):
                        tag = f"loss/{row['split']}" if name == "loss" else name
                        writer.add_scalar(tag, value, int(row["step"]))
    log(f"{len(found)} trainings: tensorboard --logdir {out}")
