"""Along the budgets: where a sample enters, and who enters and leaves between two of them."""

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.methods import Settings
from gtp_core.report.fitted import fitted
from gtp_core.report.joins import joining, leaving
from gtp_core.report.path import from_path


def timeline(path: pl.DataFrame, method: str, row: int) -> pl.DataFrame:
    """A sample along a prepared budget path.

    Args:
        path: as `budget_path` makes it.
        method: whose selections.
        row: of the sample.

    Returns:
        budget, chosen, weight (0 outside), rank (null outside).
    """
    rows = path.filter((pl.col("method") == method) & (pl.col("seed") == 0)).sort("budget")
    found = []
    for one in rows.select("budget", "support", "weights").iter_rows(named=True):
        inside = row in one["support"]
        place = one["support"].index(row) if inside else None
        weight = one["weights"][place] if place is not None else 0.0
        found.append((one["budget"], inside, weight, None if place is None else place + 1))
    schema = {"budget": pl.Int64, "chosen": pl.Boolean, "weight": pl.Float64, "rank": pl.Int64}
    return pl.DataFrame(found, schema=schema, orient="row")


def timeline_sentence(table: pl.DataFrame) -> str:
    """When a sample enters and whether it stays, in one sentence."""
    inside = table.filter(pl.col("chosen"))
    if inside.is_empty():
        return f"Not chosen at any of the {table.height:,} budgets of the path."
    first = inside["budget"][0]
    later = table.filter(pl.col("budget") >= first)
    text = f"First chosen at a budget of {first:,}; in at {inside.height:,} of the {later.height:,}"
    return f"{text} budgets from there on."


def step_around(table: pl.DataFrame, budget: int) -> tuple[int, int]:
    """The two neighbouring budgets of a timeline of which the second is nearest to a budget."""
    budgets = table["budget"].to_list()
    end = max(1, min(range(len(budgets)), key=lambda place: abs(budgets[place] - budget)))
    return budgets[end - 1], budgets[min(end, len(budgets) - 1)]


def moved(
    catalog: Catalog,
    problem: Problem,
    path: pl.DataFrame,
    method: str,
    settings: Settings,
    budgets: tuple[int, int],
) -> pl.DataFrame:
    """Who enters and who leaves between two budgets of a path, and why.

    Returns:
        change (`entered` or `left`), sample_id, weight at the budget where it is in, covered and
        gain at the second budget, reason. Those that enter first, each by its gain.
    """
    known = [from_path(path, problem, str(budget), method, settings) for budget in budgets]
    if known[0] is None or known[1] is None:
        return pl.DataFrame(schema=_MOVED)
    before, after = known[0][0], known[1][0]
    found = fitted(problem, after)
    entered = np.flatnonzero(~np.isin(after.support, before.support))
    left = np.flatnonzero(~np.isin(before.support, after.support))
    covered, gain = leaving(found)
    ids = catalog.sample_ids()
    rows = [
        ("entered", ids[int(after.support[i])], after.weights[i], covered[i], gain[i])
        for i in entered
    ]
    gone = before.support[left]
    covered, gain = joining(problem, found, gone)
    rows += [
        ("left", ids[int(row)], before.weights[i], c, g)
        for row, i, c, g in zip(gone, left, covered, gain, strict=True)
    ]
    schema = {name: kind for name, kind in _MOVED.items() if name != "reason"}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    reasons = [_moved_because(*row) for row in table.select("change", "covered", "gain").rows()]
    table = table.with_columns(reason=pl.Series(reasons, dtype=pl.String))
    return table.sort("change", "gain", descending=[False, True])


_MOVED = {
    "change": pl.String,
    "sample_id": pl.String,
    "weight": pl.Float64,
    "covered": pl.Float64,
    "gain": pl.Float64,
    "reason": pl.String,
}


def _moved_because(change: str, covered: float, gain: float) -> str:
    if change == "entered":
        return f"without it the residual would be {100 * gain:.3g} % of the target higher"
    if gain <= 0:
        return f"others now do its work: it would lower the residual no more; {covered:.0%} covered"
    return (
        f"others do more: it would lower the residual by {100 * gain:.3g} %; {covered:.0%} covered"
    )
