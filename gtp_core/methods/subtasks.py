"""One set of samples for every subtask at once, each of which weighs them as it needs.

Minimise 1/2 |Y - W' A|^2 + ridge/2 |W|^2 (Frobenius) over W >= 0 with at most `budget` rows that
are not zero, for atoms A (n_samples, dim) and one target per subtask Y (n_subtasks, dim). The
rounds are those of simultaneous CoSaMP (Blanchard, Cermak, Hanle, Jing 2014): an atom is identified
by the norm of its positive proxies over the subtasks, weights are estimated exactly, subtask by
subtask, and rows of W are pruned by their norm. As in `pursuit`, the support grows by sixteenths,
each from a pass of its own, and a round that fails is tried with half as many atoms entering.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import BudgetError, CancelledError
from gtp_core.estimate import non_negative_ridge, on_one_thread
from gtp_core.methods.register import OnRound, Settings
from gtp_core.pursuit import Round, Stop

MOST = 2_000  # samples; three times as many are weighed at once, from all their inner products
_REACH = 4  # atoms fetched in a pass, in multiples of the budget
_STAGES = 16  # in which a support grows
_KEPT = 3 * MOST  # atoms met whose inner products are kept
_PROGRESS = 1e-4  # a round must lower the objective by this share
_PASS_PROGRESS = 1e-3  # and all rounds after a pass by this, or it was the last
_TINY = 1e-9  # of the largest norm of a row: what counts as zero


@dataclass(frozen=True)
class Joint:
    """A support and its weights for every subtask.

    Attributes:
        support: (n_selected,) sample indices, ascending.
        weights: (n_selected, n_subtasks), never negative.
        residual: |Y - W' A| / |Y|, both Frobenius norms.
        rounds: what every round did.
        pruned: indices that were in the support after some round and are no more, ascending.
        stop: why it ended.
    """

    support: np.ndarray
    weights: np.ndarray
    residual: float
    rounds: tuple[Round, ...]
    pruned: np.ndarray
    stop: Stop


@on_one_thread
def pursue_each(
    problem: Problem, count: int, settings: Settings, on_round: OnRound | None = None
) -> Joint:
    """Pursue the targets of all subtasks with at most `count` samples between them.

    Atoms whose passes raise CancelledError end it; the best round so far is kept.

    Raises:
        BudgetError: more samples than can be weighed together.
        CancelledError: before anything was chosen.
    """
    if count > MOST:
        raise BudgetError(
            f"budget={count:,} samples; with subtasks=each at most {MOST:,} are weighed together. "
            "Take a smaller budget, or subtasks=mean."
        )
    hunt = _Hunt(problem, count, settings.ridge)
    stop = Stop.TOLERANCE if hunt.scale == 0 else _run(hunt, settings, on_round)
    visited = np.array(sorted(hunt.visited - set(hunt.best.support.tolist())), np.int64)
    left = hunt.best.left / hunt.scale if hunt.scale else 1.0
    return Joint(hunt.best.support, hunt.best.weights, left, tuple(hunt.rounds), visited, stop)


def _run(hunt: "_Hunt", settings: Settings, on_round: OnRound | None) -> Stop:
    """Rounds until something ends them."""
    try:
        return _rounds(hunt, settings, on_round)
    except CancelledError:
        if len(hunt.best.support) == 0:
            raise
        return Stop.CANCELLED


def _rounds(hunt: "_Hunt", settings: Settings, on_round: OnRound | None) -> Stop:
    for described in hunt.steps():
        if described.residual <= settings.tolerance:
            return Stop.TOLERANCE
        if on_round and on_round(described):
            return Stop.CANCELLED
        if len(hunt.rounds) >= settings.max_rounds:
            return Stop.ROUNDS
    return Stop.NO_PROGRESS if hunt.could_enter else Stop.EXHAUSTED


@dataclass(frozen=True)
class _State:
    """Where the pursuit stands: support, weights, residuals, their norm and the objective."""

    support: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    left: float
    objective: float


class _Met:
    """Atoms met so far: rows (m, dim) float64, inner products (m, m), with targets (m, n)."""

    def __init__(self, problem: Problem) -> None:
        self._atoms, self._columns = problem.atoms, problem.columns
        self.index: np.ndarray = np.empty(0, np.int64)
        self.rows: np.ndarray = np.empty((0, problem.atoms.dim))
        self.gram: np.ndarray = np.empty((0, 0))
        self.product: np.ndarray = np.empty((0, len(problem.columns)))

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new) == 0:
            return
        rows = self._atoms.rows(new).astype(np.float64)
        across = self.rows @ rows.T
        self.gram = np.block([[self.gram, across], [across.T, rows @ rows.T]])
        self.rows = np.vstack([self.rows, rows])
        # Row by row, so that equal atoms have equal products and the lower index goes first.
        with_targets = [np.einsum("ij,j->i", rows, column) for column in self._columns]
        self.product = np.vstack([self.product, np.stack(with_targets, axis=1)])
        self.index = np.concatenate([self.index, new])

    def keep(self, places: np.ndarray) -> None:
        self.index, self.rows = self.index[places], self.rows[places]
        self.gram, self.product = self.gram[np.ix_(places, places)], self.product[places]

    def places(self, index: np.ndarray) -> np.ndarray:
        order = np.argsort(self.index, kind="stable")
        return order[np.searchsorted(self.index, index, sorter=order)]


class _Hunt:
    """A pursuit under way: the atoms met, the best state among them, what happened."""

    def __init__(self, problem: Problem, budget: int, ridge: float) -> None:
        self._problem, self._budget, self._ridge = problem, budget, ridge
        self.scale = float(np.linalg.norm(problem.columns))
        self._met = _Met(problem)
        self._met.admit(problem.pinned)
        self._count = 2 * budget
        self.rounds: list[Round] = []
        self.visited: set[int] = set()
        self.could_enter = False
        empty = np.zeros((len(problem.pinned), len(problem.columns)))
        self.best = self._fitted(problem.pinned, empty)

    def steps(self) -> Iterator[Round]:
        """Every round: the support grows, then passes and the rounds among the atoms met."""
        yield from self._grow()
        while self._look():
            before = self.best.objective
            while (described := self._round()) is not None:
                yield described
            if self.best.objective > before * (1 - _PASS_PROGRESS):
                return

    def _grow(self) -> Iterator[Round]:
        step = -(-self._budget // _STAGES)
        while (missing := self._budget - len(self.best.support)) > 0:
            found = self._fetch(step)
            state = self._exchanged(found[: min(step, missing)])
            if not self._lower(state):
                return
            yield self._accept(state, step)

    def _look(self) -> bool:
        """A pass: fetch the strongest atoms; whether any of them is new."""
        before = self._met.index
        new = (~np.isin(self._fetch(_REACH * self._budget), before)).any()
        first = self._count == 2 * self._budget
        self._count = min(2 * self._budget, max(4 * self._count, self._budget // _STAGES, 1))
        return bool(new) or first

    def _fetch(self, count: int) -> np.ndarray:
        """The `count` strongest outside the support by the norm of their positive proxies."""
        room = _KEPT - len(self.best.support)
        proxies = self._problem.atoms.products(self.best.residuals)
        found = self._strongest(proxies, self._problem.atoms.candidates, min(count, room))
        self.could_enter = bool(len(found))
        new = found[~np.isin(found, self._met.index)]
        if len(new) + len(self._met.index) > _KEPT:
            self._met.keep(self._met.places(self.best.support))
        self._met.admit(found)
        return found

    def _strongest(self, proxies: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
        """Indices outside the support, strongest first, within the caps."""
        free = free.copy()
        free[self.best.support] = False
        pull = np.linalg.norm(np.maximum(proxies.astype(np.float64), 0.0), axis=1)
        if not self._problem.caps:
            return strongest(pull, free, count)
        found = self._problem.first(
            strongest(pull, free, len(pull)), count + len(self._problem.pinned)
        )
        return found[~np.isin(found, self.best.support)][:count]

    def _round(self) -> Round | None:
        """A round among the atoms met, letting fewer enter until the objective falls."""
        met = np.zeros(self._problem.atoms.n_samples, bool)
        met[self._met.index] = True
        proxies = np.zeros((len(met), len(self._problem.columns)))
        columns = [np.einsum("ij,j->i", self._met.rows, r) for r in self.best.residuals]
        proxies[self._met.index] = np.stack(columns, axis=1)
        entering = self._strongest(proxies, met & self._problem.atoms.candidates, 2 * self._budget)
        count = min(self._count, len(entering))
        while count >= 1:
            state = self._exchanged(entering[:count])
            if self._lower(state):
                return self._accept(state, count)
            count //= 2
        self._count = 0
        return None

    def _lower(self, state: _State) -> bool:
        # A first selection is always taken: a ridge of 1e15 makes it lower by less.
        first = len(self.best.support) == 0 and len(state.support) > 0
        return first or state.objective < self.best.objective * (1 - _PROGRESS)

    def _accept(self, state: _State, count: int) -> Round:
        kept = int(np.isin(state.support, self.best.support).sum())
        left = len(self.best.support) - kept
        described = Round(len(state.support) - kept, kept, left, state.left / self.scale)
        self.visited.update(state.support.tolist())
        self.best, self._count = state, count
        self.rounds.append(described)
        return described

    def _exchanged(self, entering: np.ndarray) -> _State:
        """Merge, estimate, prune to the budget by the norms of rows, estimate again."""
        merged = np.union1d(self.best.support, entering)
        start = np.zeros((len(merged), len(self._problem.columns)))
        start[np.searchsorted(merged, self.best.support)] = self.best.weights
        weights = self._estimate(merged, start)
        norms = np.linalg.norm(weights, axis=1)
        rounded = np.round(norms / max(norms.max(initial=0), 1e-300), 12)
        pinned = np.isin(merged, self._problem.pinned)
        order = np.lexsort((merged, -rounded, ~pinned))
        order = order[(rounded[order] > _TINY) | pinned[order]]
        kept = np.searchsorted(merged, np.sort(self._problem.first(merged[order], self._budget)))
        return self._fitted(merged[kept], weights[kept])

    def _fitted(self, support: np.ndarray, start: np.ndarray) -> _State:
        """The best weights on a support, and what they leave; rows without weight go."""
        weights = self._estimate(support, start)
        norms = np.linalg.norm(weights, axis=1)
        alive = norms > _TINY * norms.max(initial=0)
        alive |= np.isin(support, self._problem.pinned)
        support, weights = support[alive], weights[alive]
        fitted = weights.T @ self._met.rows[self._met.places(support)]
        residuals = self._problem.columns - fitted
        left = float(np.linalg.norm(residuals))
        penalty = 0.5 * self._ridge * float((weights**2).sum())
        return _State(support, weights, residuals, left, 0.5 * left**2 + penalty)

    def _estimate(self, support: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Exact non-negative ridge weights, subtask by subtask."""
        places = self._met.places(support)
        gram = self._met.gram[np.ix_(places, places)]
        weights = np.zeros_like(start)
        for s in range(weights.shape[1]):
            product = self._met.product[places, s]
            weights[:, s] = non_negative_ridge(gram, product, self._ridge, start[:, s])
        return weights
