"""Duplicates in a selection: what became of each, what it adds, what another keeper would change.

A group's place in a selection is that of its chosen members. Another member is tried in that place
with everybody else staying and weighed anew, non-negative and at the run's ridge: exact for this
exchange, and approximate for what solving again would give.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.estimate import on_one_thread
from gtp_core.neighbors import Groups, Shown, weights_of
from gtp_core.pursuit import Selection
from gtp_core.report.fitted import MOST_WORK, Fitted, Span, fitted, inner, span, without
from gtp_core.report.joins import joining, leaving
from gtp_core.report.quality import combination
from gtp_core.report.verdicts import text_keepers, verdicts

_SWAPS = 2e9  # multiplications that the exchanges of a whole table may take
_AT_ONCE = 256  # atoms that are in memory at a time
_TOLD = 3000  # members of shown groups whose verdicts are counted


@dataclass(frozen=True)
class Weighed:
    """A selection weighed once, ready for questions about duplicates.

    Attributes:
        problem: what was asked.
        selection: what was chosen.
        fitted: the chosen samples with their best weights.
        rest: (dim,) what the selection leaves of the target.
        texts: (n_samples,) row of a chosen sample with the same text, or -1.
        usable: (n_samples,) bool: whether there is a gradient at every checkpoint.
    """

    problem: Problem
    selection: Selection
    fitted: Fitted
    rest: np.ndarray
    texts: np.ndarray
    usable: np.ndarray

    @cached_property
    def spanned(self) -> Span:
        """What the chosen samples span."""
        return span(self.fitted.gram)


def weigh(catalog: Catalog, problem: Problem, selection: Selection) -> Weighed:
    """Weigh a selection once.

    Raises:
        BudgetError: more samples than can be weighed together.
    """
    found = fitted(problem, selection)
    rest = problem.target - combination(problem, selection)
    texts = text_keepers(catalog, selection.support)
    return Weighed(problem, selection, found, rest, texts, catalog.valid())


def gains_of(weighed: Weighed, rows: np.ndarray) -> np.ndarray:
    """(n_samples,) conditional gain of these rows and of the chosen; NaN elsewhere.

    Where the rows are so many that it would take too long, of the most influential of them.
    """
    problem, found = weighed.problem, weighed.fitted
    gain = np.full(problem.atoms.n_samples, np.nan)
    gain[found.support] = leaving(found)[1]
    rest = rows[weighed.usable[rows] & ~np.isin(rows, found.support)]
    m, dim = len(found.support), problem.atoms.dim
    most = int(MOST_WORK // max(m * (dim + 3 * m), 1))
    if len(rest) > most:
        known = np.nan_to_num(problem.influence[rest], nan=-np.inf)
        rest = rest[np.lexsort((rest, -known))[:most]]
    if len(rest):
        gain[rest] = joining(problem, found, np.sort(rest))[1]
    return gain


def verdicts_of(weighed: Weighed, rows: np.ndarray) -> np.ndarray:
    """The verdicts (k,) of some rows, as `verdict_table` has them."""
    problem, found, basis = weighed.problem, weighed.fitted, weighed.spanned.basis
    columns = np.stack([problem.target, weighed.rest])
    pulls, covered = np.empty((len(rows), 2)), np.zeros(len(rows))
    for begin in range(0, len(rows), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        atoms = problem.atoms.rows(rows[some])
        atoms[~weighed.usable[rows[some]]] = 0
        pulls[some] = inner(atoms, columns)
        squares = np.einsum("ij,ij->i", atoms, atoms, dtype=np.float64)
        if len(basis):
            within = (atoms @ found.rows.T).astype(np.float64) @ basis.T
            covered[some] = (within**2).sum(axis=1) / np.maximum(squares, 1e-300)
    shares = np.clip(covered, 0.0, 1.0)
    usable, texts = weighed.usable[rows], weighed.texts[rows]
    return verdicts(problem, weighed.selection, rows, pulls, shares, texts, usable)


@on_one_thread
def swaps(weighed: Weighed, keeper: int, others: np.ndarray) -> np.ndarray:
    """(k,) by how much the best weighted residual would rise with each other member as keeper.

    Less than zero where it would fall. NaN where the selection took none of the group, so that
    nothing changes, and for samples without a usable gradient.

    Args:
        weighed: the selection.
        keeper: the row that is kept of the group.
        others: rows of its other members.
    """
    everyone = np.append(others, keeper)
    inside = np.isin(weighed.fitted.support, everyone)
    change = np.full(len(others), np.nan)
    if not inside.any() or not weighed.usable[keeper]:
        return change
    rest = without(weighed.fitted, inside)
    asked = everyone[weighed.usable[everyone]]
    gains = joining(weighed.problem, rest, asked)[1]
    change[weighed.usable[others]] = gains[-1] - gains[:-1]
    return change


def groups_judged(catalog: Catalog, weighed: Weighed, groups: Groups, shown: Shown) -> Shown:
    """Groups with what became of their members and what another keeper would change.

    Returns:
        The same with two columns more: verdicts (in words, with counts), and swap: the least rise
        of the residual when another member takes the keeper's place; null where none of the group
        is chosen, and once the groups before it took all the work that is allowed.
    """
    table = shown.table
    keepers = catalog.rows_of(table["keeper"].to_list())
    members = [np.flatnonzero(groups.label == cluster) for cluster in table["cluster"]]
    sizes = np.cumsum([len(rows) for rows in members])
    told = int((sizes <= _TOLD).sum())
    rows = np.concatenate([*members[:told], np.empty(0, np.int64)]).astype(np.int64)
    verdict = verdicts_of(weighed, rows)
    parts = np.split(verdict, sizes[: max(told - 1, 0)]) if told else []
    words = [_mix(part) for part in parts] + [None] * (len(members) - told)
    least = _least(weighed, keepers, members)
    told_of = table.with_columns(
        pl.Series("verdicts", words, dtype=pl.String),
        pl.Series("swap", least, dtype=pl.Float64),
    )
    return replace(shown, table=told_of)


def _least(weighed: Weighed, keepers: np.ndarray, members: list[np.ndarray]) -> list[float | None]:
    m, dim = len(weighed.fitted.support), weighed.fitted.rows.shape[1]
    chosen = np.zeros(len(weighed.usable), bool)
    chosen[weighed.fitted.support] = True
    left = _SWAPS
    found: list[float | None] = []
    for keeper, rows in zip(keepers.tolist(), members, strict=True):
        others = rows[rows != keeper]
        left -= (m**3 + (len(rows) + 1) * m * (dim + m)) if chosen[rows].any() else 0
        if not chosen[rows].any() or left < 0 or not len(others):
            found.append(None)
            continue
        change = swaps(weighed, keeper, others)
        found.append(None if np.isnan(change).all() else float(np.nanmin(change)))
    return found


def _mix(verdict: np.ndarray) -> str:
    """`2 chosen, 3 redundant`, the most frequent first."""
    names, counts = np.unique(verdict.astype(str), return_counts=True)
    order = np.lexsort((names, -counts))
    return ", ".join(f"{counts[i]:,} {names[i]}" for i in order)


def members_judged(weighed: Weighed, keeper: int, table: pl.DataFrame) -> pl.DataFrame:
    """The members of one group with what became of each in the selection.

    Args:
        keeper: the row that is kept.
        table: with row, as `neighbors.members` makes it.

    Returns:
        The table with verdict, weight, and swap: by how much the residual would rise with
        this one as keeper.
    """
    rows = table["row"].to_numpy()
    verdict = verdicts_of(weighed, rows)
    change = np.full(len(rows), np.nan)
    change[rows != keeper] = swaps(weighed, keeper, rows[rows != keeper])
    return table.with_columns(
        verdict=pl.Series(verdict.astype(str), dtype=pl.String),
        weight=weights_of(weighed.problem, weighed.selection)[rows],
        swap=pl.Series(change, dtype=pl.Float64).fill_nan(None),
    )
