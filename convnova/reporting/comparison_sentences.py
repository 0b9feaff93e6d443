"""Comparisons of two models as sentences, ready to quote."""

import math

from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.model_comparison import Paired, PairedOverTasks, PairedOverTestRows


def over_test_rows(result: PairedOverTestRows) -> str:
    """The comparison on one test set: effect, interval, p value, and the rows that one model alone has right."""
    seeds = f", mean of {result.seeds} seeds, {result.a} higher in {result.higher}" if result.seeds > 1 else ""
    alone = ""
    if not math.isnan(result.only_a) and result.test != "DeLong":  # DeLong's AUROC has no threshold to be right by
        only_a, only_b = (f"{count:.1f}".removesuffix(".0") for count in (result.only_a, result.only_b))
        alone = f"; right alone: {result.a} on {only_a}, {result.b} on {only_b}"
    return (
        f"{_verdict(result)} on {result.n:,} {result.items} ({result.metric} difference "
        f"{result.difference:+.3f}{seeds}, 95% interval {result.low:+.3f} to {result.high:+.3f}; "
        f"{result.test} {_p_values(result)}{alone})."
    )


def over_tasks(result: PairedOverTasks) -> str:
    """The comparison over tasks: wins, losses, effect and p value, and how small p can be with so few tasks."""
    tasks = f"{result.n} task{'s' * (result.n != 1)}"
    smallest = 2.0 ** (1 - result.n)
    few = f"; with {tasks} p cannot be below {smallest:.3g}" if smallest > 1 - LEVEL else ""
    return (
        f"{_verdict(result)} over {tasks} ({result.wins} won, {result.losses} lost, "
        f"mean difference {result.difference:+.3f}, rank-biserial correlation {result.effect:+.2f}; "
        f"Wilcoxon signed-rank {_p_values(result)}{few})."
    )


def _verdict(result: Paired) -> str:
    """Which model scores higher, by the p value that is adjusted for all pairs."""
    if (result.p_holm if result.pairs > 1 else result.p) > 1 - LEVEL:
        return f"{result.a} and {result.b} do not differ at the 5% level"
    return f"{result.a} scores {'higher' if result.difference > 0 else 'lower'} than {result.b}"


def _p_values(result: Paired) -> str:
    """The p value, and the one adjusted for all pairs if there are several."""
    p, p_holm = ("p < 0.001" if p < 0.001 else f"p = {p:.3f}" for p in (result.p, result.p_holm))
    return f"{p}, Holm-adjusted over {result.pairs} pairs {p_holm}" if result.pairs > 1 else p
