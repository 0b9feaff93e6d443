"""Comparisons of two models as sentences, ready to quote."""

import math

from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.model_comparison import PairedOverTasks, PairedOverTestRows


def over_test_rows(result: PairedOverTestRows) -> str:
    """The comparison on one test set: effect, interval, p value, and the rows that one model alone has right."""
    a, b = result.a, result.b
    p = result.p_holm if result.pairs > 1 else result.p
    seeds = f", mean of {result.seeds} seeds, {a} higher in {result.higher}" if result.seeds > 1 else ""
    alone = ""
    if not math.isnan(result.only_a) and result.test != "DeLong":  # DeLong's AUROC has no threshold to be right by
        only_a, only_b = (f"{count:.1f}".removesuffix(".0") for count in (result.only_a, result.only_b))
        alone = f"; right alone: {a} on {only_a}, {b} on {only_b}"
    return (
        f"{_verdict(a, b, result.difference, p)} on {result.n:,} {result.items} "
        f"({result.metric} difference {result.difference:+.3f}{seeds}, "
        f"95% interval {result.low:+.3f} to {result.high:+.3f}; {result.test} {_p(result.p)}"
        f"{_adjusted(result.pairs, p)}{alone})."
    )


def over_tasks(result: PairedOverTasks) -> str:
    """The comparison over tasks: wins, losses, effect and p value, and how small p can be with so few tasks."""
    tasks = f"{result.n} task{'s' * (result.n != 1)}"
    smallest = 2.0 ** (1 - result.n)
    few = f"; with {tasks} p cannot be below {smallest:.3g}" if smallest > 1 - LEVEL else ""
    return (
        f"{_verdict(result.a, result.b, result.difference, result.p_holm)} over {tasks} "
        f"({result.wins} won, {result.losses} lost, mean difference {result.difference:+.3f}, "
        f"rank-biserial correlation {result.effect:+.2f}; Wilcoxon signed-rank {_p(result.p)}"
        f"{_adjusted(result.pairs, result.p_holm)}{few})."
    )


def _verdict(a: str, b: str, difference: float, p: float) -> str:
    if p > 1 - LEVEL:
        return f"{a} and {b} do not differ at the 5% level"
    return f"{a} scores {'higher' if difference > 0 else 'lower'} than {b}"


def _adjusted(pairs: int, p: float) -> str:
    return f", Holm-adjusted over {pairs} pairs {_p(p)}" if pairs > 1 else ""


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
