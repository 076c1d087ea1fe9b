"""If I force a sample in or out: quickly, with the others staying, and by solving again."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.methods import Settings
from gtp_core.pursuit import Selection
from gtp_core.report.auto import RIDGED
from gtp_core.report.fitted import Fitted, fit
from gtp_core.report.joins import joining, leaving
from gtp_core.report.quality import HeldOut, choose
from gtp_core.report.why.judged import Judged

_LOWER = (
    " That is lower than now: a pursuit looks at the residual together with the size of the "
    "weights (ridge {:g}), and not at every exchange there is."
)
_LOOKED_AT = 64  # samples with the strongest proxies that might take somebody's place


@dataclass(frozen=True)
class Forced:
    """What forcing one sample would do while the others stay chosen and are weighed anew.

    Attributes:
        way: `in` or `out`.
        before: the best weighted residual now.
        alone: with the sample in or out and nobody else changed.
        other: row of the sample that would go for it, or come in its place; None if nobody would.
        after: with that exchange made too, so that the budget holds.
    """

    way: str
    before: float
    alone: float
    other: int | None
    after: float


def forced(judged: Judged, row: int) -> Forced:
    """Force a chosen sample out, or any other in, while the others stay: approximate.

    It is exact for the exchange it names; another one, or several, may be better still.
    """
    if row in judged.selection.support:
        return _out(judged, row)
    return _in(judged, row)


def _out(judged: Judged, row: int) -> Forced:
    found, problem = judged.fitted, judged.problem
    rest = _with(judged, found.support[found.support != row])
    pulls = problem.atoms.products(rest.residuals).astype(np.float64)
    pull = np.maximum(pulls, 0.0).sum(axis=1)
    free = problem.atoms.candidates & (pull > 0)
    free[found.support] = False
    order = np.flatnonzero(free)
    order = order[np.lexsort((order, -pull[order]))]
    order = _allowed(problem, rest.support, order)[:_LOOKED_AT]
    if not len(order):
        return Forced("out", found.residual, rest.residual, None, rest.residual)
    gains = joining(problem, rest, order)[1]
    best = int(gains.argmax())
    if gains[best] <= 0:
        return Forced("out", found.residual, rest.residual, None, rest.residual)
    after = rest.residual - float(gains[best])
    return Forced("out", found.residual, rest.residual, int(order[best]), after)


def _in(judged: Judged, row: int) -> Forced:
    found, selection = judged.fitted, judged.selection
    joined = _with(judged, np.append(found.support, row))
    if len(selection.support) < selection.budget:
        return Forced("in", found.residual, joined.residual, None, joined.residual)
    rises = leaving(joined)[1]
    fixed = np.isin(joined.support, [*judged.problem.pinned, row])
    if fixed.all():
        return Forced("in", found.residual, joined.residual, None, joined.residual)
    least = int(np.where(fixed, np.inf, rises).argmin())
    after = joined.residual + float(rises[least])
    return Forced("in", found.residual, joined.residual, int(joined.support[least]), after)


def _with(judged: Judged, support: np.ndarray) -> Fitted:
    """Other samples weighed as well as they can be; filled ones still do not count."""
    found = judged.fitted
    filled = found.support[~found.counts]
    rows = judged.problem.atoms.rows(support)
    return fit(support, rows, ~np.isin(support, filled), found.columns, found.ridge)


def _allowed(problem: Problem, support: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Those of an order that the caps allow beside a support."""
    for cap in problem.caps:
        codes, counts = np.unique(cap.groups[support], return_counts=True)
        order = order[~np.isin(cap.groups[order], codes[(codes >= 0) & (counts >= cap.most)])]
    return order


@dataclass(frozen=True)
class Solved:
    """The problem solved again with one sample forced in or out.

    Attributes:
        selection: the new one.
        held: its held-out match.
        entered, left: rows that are in only one of the two selections.
    """

    selection: Selection
    held: HeldOut | None
    entered: np.ndarray
    left: np.ndarray


def solved_again(judged: Judged, row: int, settings: Settings) -> Solved:
    """Solve the whole problem with a chosen sample banned, or any other pinned: exact."""
    old = judged.selection
    problem = forcing(judged.problem, row, out=row in old.support)
    selection, held = choose(problem, old.settings["budget"], method=old.method, settings=settings)
    entered = np.setdiff1d(selection.support, old.support)
    return Solved(selection, held, entered, np.setdiff1d(old.support, selection.support))


def forcing(problem: Problem, row: int, *, out: bool) -> Problem:
    """The same problem with one sample that must not, or must, be chosen."""
    atoms: Any = problem.atoms
    candidates = atoms.candidates.copy()
    candidates[row] = not out
    pinned = np.setdiff1d(problem.pinned, [row]) if out else np.union1d(problem.pinned, [row])
    return replace(problem, atoms=replace(atoms, candidates=candidates), pinned=pinned)


def forced_sentence(catalog: Catalog, judged: Judged, told: Forced) -> str:
    """What forcing would do, in one sentence; it says that the others stay."""
    before, after = told.before, told.after
    lower = _LOWER.format(judged.fitted.ridge) if after < before else ""
    lower = lower if judged.selection.method in RIDGED else ""
    other = None if told.other is None else str(catalog.sample_ids()[told.other])
    if told.way == "out":
        text = f"Forced out, the residual goes from {before:.4f} to {told.alone:.4f}"
        if other is None:
            return f"{text}, and nobody could take its place."
        return f"{text}; {other} would take its place and bring it to {after:.4f}.{lower}"
    text = f"Forced in, the residual goes from {before:.4f} to {told.alone:.4f}"
    if other is None:
        return f"{text}; the budget has room for it."
    return f"{text}; {other} would have to go for it, and then it is {after:.4f}.{lower}"


def solved_table(catalog: Catalog, judged: Judged, told: Solved, limit: int = 20) -> pl.DataFrame:
    """Who came and who went: change, sample_id, weight where it is in; the heaviest first."""
    ids = catalog.sample_ids()
    rows = []
    for change, index, one in (
        ("entered", told.entered, told.selection),
        ("left", told.left, judged.selection),
    ):
        weights = dict(zip(one.support.tolist(), one.weights.tolist(), strict=True))
        found = sorted(index.tolist(), key=lambda row: (-weights[row], row))[:limit]
        rows += [(change, str(ids[row]), weights[row]) for row in found]
    schema = {"change": pl.String, "sample_id": pl.String, "weight": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
