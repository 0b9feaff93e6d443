"""Comparisons of two models as sentences, ready to quote."""

import math

from convnova.evaluation.bootstrap import LEVEL
from convnova.evaluation.model_comparison import Paired, PairedOverTasks, PairedOverTestRows


def over_test_rows(result: PairedOverTestRows) -> str:
    """The comparison on one test set: effect, interval, p value, and the rows that one model alone has right."""
    verdict, p_values = _verdict(result)
    seeds = f", mean of {result.seeds} seeds, {result.a} higher in {result.higher}" if result.seeds > 1 else ""
    alone = ""
    if not math.isnan(result.only_a) and result.test != "DeLong":  # DeLong's AUROC has no threshold to be right by
        only_a, only_b = (f"{count:.1f}".removesuffix(".0") for count in (result.only_a, result.only_b))
        alone = f"; right alone: {result.a} on {only_a}, {result.b} on {only_b}"
    return (
        f"{verdict} on {result.n:,} {result.unit} ({result.metric} difference {result.difference:+.3f}{seeds}, "
        f"95% interval {result.low:+.3f} to {result.high:+.3f}; {result.test} {p_values}{alone})."
    )


def over_tasks(result: PairedOverTasks) -> str:
    """The comparison over tasks: wins, losses, effect and p value, and how small p can be with so few tasks."""
    verdict, p_values = _verdict(result)
    tasks = f"{result.n} task{'s' * (result.n != 1)}"
    smallest = smallest_p(result.n)
    few = f"; with {tasks} p cannot be below {smallest:.3g}" if smallest > 1 - LEVEL else ""
    return (
        f"{verdict} over {tasks} ({result.wins} won, {result.losses} lost, mean difference {result.difference:+.3f}, "
        f"rank-biserial correlation {result.effect:+.2f}; Wilcoxon signed-rank {p_values}{few})."
    )


def over_tasks_briefly(result: PairedOverTasks) -> str:
    """The same in a line: who is higher, by how much, and the p value that decides."""
    p = _p(result.p_holm if result.pairs > 1 else result.p)
    return f"{_verdict(result)[0]} over {result.n} tasks (mean difference {result.difference:+.3f}, {p})."


def smallest_p(tasks: int) -> float:
    """The smallest p value that the signed-rank test can give over so many tasks."""
    return 2.0 ** (1 - tasks)


def _verdict(result: Paired) -> tuple[str, str]:
    """Which model scores higher, and the p values: the second, adjusted for all pairs if there are several, decides."""
    p_values = (result.p, result.p_holm) if result.pairs > 1 else (result.p,)
    higher = f"{result.a} scores {'higher' if result.difference > 0 else 'lower'} than {result.b}"
    verdict = f"{result.a} and {result.b} do not differ at the 5% level" if p_values[-1] > 1 - LEVEL else higher
    return verdict, f", Holm-adjusted over {result.pairs} pairs ".join(map(_p, p_values))


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
