"""The audits of a run as one table: a row a task, and in the notes what its numbers mean for scores.

The sentences follow from the numbers alone, by the rules of `meaning`.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from convnova.config.run import RunConfig
from convnova.errors import ConvNovaError
from convnova.evaluation.leakage.split_audit import KMER, MIN_CONTAINMENT, SHARED_RUN
from convnova.files import read_json
from convnova.reporting.render import write
from convnova.reporting.table import Cell, Table
from convnova.runs import outputs

Audit = dict[str, Any]
"""The numbers of `convnova.evaluation.leakage.split_audit.audit`, with `suite` and `task`."""

NEGLIGIBLE, SEVERE = 0.01, 0.1
"""Shares of test rows that overlap train rows: below the first they hardly change a score, from the second they do."""

IMBALANCED = 0.6
"""Share of the largest class from which a constant answer is mentioned."""

RULES = (
    "Exact duplicates have the same bases, or are each other's reverse complement. A near duplicate has "
    f"{MIN_CONTAINMENT:.0%} or more of its distinct {KMER}-mers, either strand, in one train row; an overlap is "
    f"{SHARED_RUN} bases in a row, either strand, in common with a train row. Any: one of these. In pretraining: half "
    "of the row's bases or more, in intervals that pretraining reads; the row was looked for in the genome unless its "
    "file says where it lies. Percentages are of the test rows that were compared."
)


def write_audit_table(config: RunConfig, out: Path) -> None:
    """Write `tables/audit.tsv`, `.md` and `.html` to the folder `out`; errors as of `read_audits`."""
    audits = read_audits([config.local_path(path) for path in outputs.audits(config)])
    write(audit_table(audits, config.simulated), out / "tables", ("tsv", "md", "html"))


def read_audits(paths: Sequence[Path]) -> list[Audit]:
    """Read audits, in the order given.

    Raises:
        ConvNovaError: a file is missing or no audit.
    """
    audits = [read_json(path) for path in paths]
    for path, audit in zip(paths, audits, strict=True):
        try:
            audit_table([audit], simulated=False)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            message = f"expected an audit, found other JSON ({type(error).__name__}: {error})"
            raise ConvNovaError(f"{path}: {message}; make it with `convnova audit`") from error
    return audits


def audit_table(audits: Sequence[Audit], simulated: bool) -> Table:
    """The table of audits.

    Args:
        audits: one a task, at least one.
        simulated: whether the genome is simulated.
    """
    sentences = {f"{audit['suite']}/{audit['task']}": " ".join(meaning(audit)) for audit in audits}
    labels = pd.MultiIndex.from_tuples([(audit["task"], audit["suite"]) for audit in audits], names=["task", "suite"])
    overlaps = [audit.get("overlap", {"any": 0, "rows": 1}) for audit in audits]  # of variants there is none
    shares = pd.Series([overlap["any"] / overlap["rows"] for overlap in overlaps], index=list(sentences))
    most = f"; most in {shares.idxmax()}, {percent(shares.max())} of them" if shares.any() else ""
    return Table(
        name="audit",
        title="Audit of the tasks",
        frame=pd.DataFrame([_cells(audit) for audit in audits], index=labels, dtype=object),
        caption=RULES,
        summary=f"In {(shares > 0).sum()} of {len(audits)} tasks test rows repeat or overlap train rows{most}.",
        notes=[f"{name}: {text}" for name, text in sentences.items()],
        simulated=simulated,
        data=_numbers(audits).assign(meaning=list(sentences.values())),
    )


def _numbers(audits: Sequence[Audit]) -> pd.DataFrame:
    """Every number of the audits by its path, such as `splits.train.rows`; lists and counts by name are a text each."""
    as_texts = copy.deepcopy(list(audits))
    for part in (part for audit in as_texts for part in (audit, *audit["splits"].values())):
        for key in {"classes", "numbers", "read", "skipped"} & part.keys():
            part[key] = "; ".join(f"{name}={count}" for name, count in part[key].items())
    numbers = pd.json_normalize(as_texts)
    return numbers.map(lambda value: "; ".join(f"{x:g}" for x in value) if isinstance(value, list) else value)


def _cells(audit: Audit) -> dict[tuple[str, str], Cell | int | None]:
    """The row of a task by the heads over its cells: leaks first, then what is in the splits."""
    splits, genome = audit["splits"], audit.get("pretraining")
    test, pretraining = splits["test"], "test rows in pretraining"
    length = " to ".join(f"{length:,}" for length in sorted({test["shortest"], test["longest"]}))
    largest, share = _largest_class(test)
    other = "numbers" if "numbers" in test else "many labels"
    return {
        **(_leaks(audit) if "overlap" in audit else {}),
        (pretraining, "in the genome"): _part(genome["placed"], genome["rows"]) if genome else None,
        (pretraining, "read"): _part(genome["read"], genome["rows"]) if genome else None,
        **{("rows", name): splits[name]["rows"] if name in splits else None for name in ("train", "valid", "test")},
        ("test rows", "bases"): Cell(length, test["median"]) if "overlap" in audit else None,
        ("test rows", "largest class"): Cell(f"{largest}: {percent(share)}" if share else other, share),
        ("test rows", "with N"): _part(test["rows_with_N"], test["rows"]),
        ("test rows", "all N"): _part(test["all_N"], test["rows"]),
    }


def _leaks(audit: Audit) -> dict[tuple[str, str], Cell | int | None]:
    """What splits have in common with each other and with themselves, by the heads over the cells."""
    overlap, across, test, train = (
        audit["overlap"],
        audit["across"]["test in train"],
        audit["splits"]["test"],
        audit["splits"]["train"],
    )
    other_label = across["equal_other_label"] + (across["reverse_other_label"] or 0)
    overlaps, duplicates = "test rows that overlap train", "exact duplicates in train"
    within = "exact duplicates within a split"
    return {
        (overlaps, "any"): _part(overlap["any"], overlap["rows"]),
        (overlaps, "near duplicates"): _part(overlap["near_duplicates"], overlap["rows"]),
        (overlaps, f"{SHARED_RUN} bases"): _part(overlap["shared_run"], overlap["rows"]),
        (duplicates, "same strand"): _part(across["equal"], test["rows"]),
        (duplicates, "other strand"): _part(across["reverse"], test["rows"]),
        (duplicates, "other label"): _part(other_label, test["rows"]),
        (within, "train"): _part(train["equal"] + train["reverse"], train["rows"]),
        (within, "test"): _part(test["equal"] + test["reverse"], test["rows"]),
    }


def _part(count: int, rows: int) -> Cell:
    return Cell(f"{count:,} ({percent(count / rows)})" if count else "0", count / rows)


def meaning(audit: Audit) -> list[str]:
    """What the numbers of a task mean for its scores, in sentences; the first is about train and test."""
    test, counts = audit["splits"]["test"], {}
    if "overlap" in audit:
        sentences = [_overlap(audit["overlap"], test["rows"])]
        counts = {
            "stand in train as well, with another label": audit["across"]["test in train"]["equal_other_label"],
            "stand twice in test with different labels": test["equal_other_label"],
        }
    else:
        sentences = ["No model is trained on these variants."]
    counts |= {
        "consist of N alone: a model can know no more of them": test["all_N"],
    }
    sentences += [f"{count:,} of {test['rows']:,} test rows {what}." for what, count in counts.items() if count]
    name, share = _largest_class(test)
    if share >= IMBALANCED:
        sentences.append(f"{share:.0%} of the test labels are {name}: always answering that is as often right.")
    for target, (least, *_, most) in test.get("numbers", {}).items():
        if least == most:
            sentences.append(f"{target} is {least:.6g} in all test rows and gives no correlation.")
    if constant := test.get("labels", {}).get("constant"):
        count = test["labels"]["count"]
        sentences.append(f"{constant} of {count} labels are the same in all test rows and give no AUROC.")
    sentences += [f"{count:,} {what} were passed over." for what, count in audit["skipped"].items()]
    if pretraining := audit.get("pretraining"):
        read, rows = pretraining["read"], pretraining["rows"]
        seen = f"{read:,} of {rows:,} test rows ({percent(read / rows)}) lie in what pretraining reads"
        if pretraining["placed"]:
            sentences.append(f"{seen}: a pretrained model has seen their bases, though no label.")
        else:
            sentences.append(f"None of the test rows was found in the pretraining genome ({pretraining['genome']}).")
    return sentences


def _overlap(overlap: dict[str, int], test_rows: int) -> str:
    count, rows, share = overlap["any"], overlap["rows"], overlap["any"] / overlap["rows"]
    drawn = f" (drawn at random of {test_rows:,})" if rows < test_rows else ""
    if not count:
        return f"None of {rows:,} test rows{drawn} repeats or overlaps a train row: scores are about unseen sequences."
    overlapping = f"{count:,} of {rows:,} test rows{drawn} repeat or overlap train rows ({percent(share)})"
    if share < NEGLIGIBLE:
        return f"{overlapping}: too few to matter, they can change accuracy by {share:.4f} at most."
    much = "somewhat " if share < SEVERE else ""
    return f"{overlapping}, so scores on this split {much}overstate how well a model does on unseen sequences."


def _largest_class(split: dict[str, Any]) -> tuple[str, float]:
    """The class that most rows or bases have, and its share; no name and 0 for many labels."""
    classes = split.get("classes", {"": 0})
    name = max(classes, key=lambda name: classes[name])
    return name, classes[name] / max(1, sum(classes.values()))


def percent(share: float) -> str:
    """A share for reading: `0%`, `<0.1%`, `2.9%`, `31%`, `99.7%`; `0%` and `100%` are exact."""
    if share in (0, 1):
        return f"{share:.0%}"
    if not 0.001 <= share <= 0.999:
        return "<0.1%" if share < 0.5 else ">99.9%"
    return f"{share:.1%}" if share < 0.1 or share > 0.99 else f"{share:.0%}"
