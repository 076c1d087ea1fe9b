"""For every sample of the pool: how much of it the chosen ones cover, and what it would change."""

from collections.abc import Sequence

import numpy as np

from gtp_core.atoms import Problem
from gtp_core.estimate import on_one_thread
from gtp_core.pursuit import Selection
from gtp_core.report.fitted import (
    MOST_WORK,
    Fitted,
    Span,
    Tableau,
    fitted,
    inner,
    span,
    tableau,
)
from gtp_core.trajectories import in_threads

_BYTES = 1 << 26  # of rows, and of inner products, that are in memory at a time and thread


def covered_and_gain(
    problem: Problem, selection: Selection, scores: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Covered share and conditional gain of every sample, (n_samples,) float64 each.

    Covered is the share of a sample's squared length that lies in the span of the chosen samples,
    of the other chosen ones for a sample that is chosen itself. Gain is by how much the best
    weighted residual would fall if the sample joined, or rise if a chosen one left; everybody else
    stays and is weighed anew, non-negative and with the run's ridge. Both are exact, in full
    dimension; NaN where they were not computed, which happens only where looking at all samples
    would take more than MOST_WORK multiplications. Then the chosen come first, and after them the
    strongest by `scores`, each (n_samples,).
    """
    n_samples = problem.atoms.n_samples
    covered, gain = np.full(n_samples, np.nan), np.full(n_samples, np.nan)
    rows = _looked_at(problem, selection, scores)
    if not len(rows) and len(selection.support):
        return covered, gain
    found = fitted(problem, selection)
    covered[selection.support], gain[selection.support] = leaving(found)
    rest = rows[~np.isin(rows, selection.support)]
    covered[rest], gain[rest] = joining(problem, found, rest)
    return covered, gain


def _looked_at(problem: Problem, selection: Selection, scores: Sequence[np.ndarray]) -> np.ndarray:
    """The samples that the work allows, those with a usable gradient; the chosen always."""
    m, dim = len(selection.support), problem.atoms.dim
    everyone = np.arange(problem.atoms.n_samples)
    fixed = m * m * (dim + m)
    each = max(m * (dim + 3 * m), 1)
    room = int((MOST_WORK - fixed) // each)
    if room >= len(everyone):
        return everyone
    if room <= 0:
        return everyone[:0]
    ranks = [np.argsort(np.argsort(-np.nan_to_num(score, nan=-np.inf))) for score in scores]
    order = np.argsort(np.min(ranks, axis=0), kind="stable") if ranks else everyone
    return np.sort(order[:room])


@on_one_thread
def leaving(found: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Covered share by the others, and the rise when it leaves, (m,) each, of the chosen."""
    from gtp_core.report import pivoting

    rises = np.zeros(len(found.support))
    counted = np.zeros(int(found.counts.sum()))
    for column in range(len(found.columns)):
        told = tableau(found, column)
        pivoting.rises(told.matrix, told.sign, told.start, found.ridge, told.slack, counted)
    rises[found.counts] = counted
    return span(found.gram).by_others(), -found.relative(-rises)


@on_one_thread
def joining(problem: Problem, found: Fitted, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covered share, and the fall when it joins, (k,) each, of samples that are not chosen."""
    covered, falls = np.empty(len(index)), np.zeros(len(index))
    tableaus = [tableau(found, column) for column in range(len(found.columns))]
    spanned = span(found.gram)
    widest = max(problem.atoms.dim, len(found.support), 1)
    step = max(16, min(2048, _BYTES // (8 * widest)))

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, step):
            some = slice(first, min(first + step, end))
            covered[some] = _chunk(problem, found, tableaus, spanned, index[some], falls[some])

    if len(index):
        in_threads(work, len(index), at_once=step)
    return covered, found.relative(falls)


def _chunk(
    problem: Problem,
    found: Fitted,
    tableaus: Sequence[Tableau],
    spanned: Span,
    index: np.ndarray,
    falls: np.ndarray,
) -> np.ndarray:
    """Covered share of some samples; their falls are written into `falls`."""
    from gtp_core.report import pivoting

    block = problem.atoms.block(index)
    rows, squares = block.wide(0, len(index)), block.lengths**2
    products = (rows @ found.rows.T).astype(np.float64)
    pulls = inner(rows, found.residuals)
    counted = np.ascontiguousarray(products[:, found.counts])
    for column, told in enumerate(tableaus):
        effects = counted @ told.lift.T
        pull = np.ascontiguousarray(pulls[:, column])
        pivoting.falls(
            told.matrix,
            told.sign,
            told.start,
            counted,
            effects,
            squares,
            pull,
            found.ridge,
            told.slack,
            falls,
        )
    inside = (products @ spanned.basis.T) ** 2 if spanned.rank else np.zeros((len(index), 1))
    return np.clip(inside.sum(axis=1) / np.maximum(squares, 1e-300), 0.0, 1.0)
