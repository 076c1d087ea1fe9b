"""A pursuit under way: passes, rounds among the atoms met, and what they bring."""

from collections.abc import Callable, Iterator
from math import inf, isfinite

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.estimate import (
    EXACT,
    Goal,
    ProductsKept,
    RowsKept,
    Working,
    places_of,
)
from gtp_core.pursuit.pace import closing_pace, pace_of
from gtp_core.pursuit.selection import Round
from gtp_core.pursuit.state import Draft, State, described, rounded

_TINY_WEIGHT = 1e-9  # relative to the largest: exact fits leave weights of 1e-16
_FREE_PROGRESS = 1e-6  # of the objective, that a round must win where nobody need leave for it
_STAGES = 16  # in which a support grows, a pass each, where a pass is cheap
_SMALL_RIDGE = 0.07  # of an atom's squared length
_FAIR = 3e-4  # gradient left in an estimate that a round is judged by; the last is exact

First = Callable[[np.ndarray, int], np.ndarray]


def _the_first(order: np.ndarray, count: int) -> np.ndarray:
    return order[:count]


class Hunt:
    """A pursuit under way: the atoms met so far, the best selection among them, what happened."""

    def __init__(
        self,
        atoms: Atoms,
        target: np.ndarray,
        budget: int,
        ridge: float,
        pinned: np.ndarray,
        first: First | None,
    ) -> None:
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self._budget, self._pinned = budget, pinned
        self._first, self._capped = first or _the_first, first is not None
        self.scale = float(np.linalg.norm(target))
        self._pace = pace_of(budget, (atoms.n_samples, atoms.dim), len(pinned))
        self._working: Working = (
            ProductsKept(atoms, target, ridge)
            if self._pace.few
            else RowsKept(atoms, target, ridge, expected=3 * budget)
        )
        self._most = 2 * budget  # that enter in a round
        self._count = self._most
        self.rounds: list[Round] = []
        self._former: tuple[State, list[Round]] | None = None  # from before it started again
        self.visited: set[int] = set()
        self.could_enter = self._looked = False
        self._asked = self._pace.progress  # what must be foreseen of a round to try it
        self._before = inf  # the objective before the last pass
        self._working.admit(pinned)
        self.best = self._fitted(pinned, np.zeros(len(pinned)))

    def steps(self) -> Iterator[Round]:
        """Every round: first the support grows, then passes and the rounds among the atoms met."""
        yield from self._grow()
        self._look()
        yield from self._passes()
        if self._compare():
            yield from self._passes()
        if self._starts_again():
            yield from self._again()

    def _passes(self) -> Iterator[Round]:
        """Rounds among the atoms met, then a pass for more, as long as they bring much."""
        going = True
        while going:
            before = self._before = self.best.objective
            yield from iter(self._round, None)
            room = self._pace.grows and len(self.best.support) < self._budget
            progress = _FREE_PROGRESS if room else self._pace.pass_progress
            going = self.best.objective <= before * (1 - progress) and self._look()

    def _compare(self) -> bool:
        """Write the inner products of the best atoms met down, where they are few enough.

        Exchanges of single samples need them. Without, 900 of 67,670 atoms of length 32,768 ended
        half a percent above orthogonal matching pursuit.
        """
        pace = closing_pace(self._budget, self._atoms.dim, len(self._pinned))
        if self._pace.few or pace is None:
            return False
        entering = self._entering()[: self._budget]
        self._pace, self._working = pace, ProductsKept(self._atoms, self._target, self._ridge)
        self._working.admit(np.concatenate([self.best.support, entering]))
        self.best = self._fitted(self.best.support, self.best.weights)
        self._count, self._asked = self._most, pace.progress
        return True

    def _grow(self) -> Iterator[Round]:
        """Enter a sixteenth of the budget at a time, each from a pass of its own.

        The atoms that are strongest once others are in are seldom those that are strongest at
        first. With all 2 * budget from the first pass instead, the objective ended 40 % above
        orthogonal matching pursuit at ridge 0 (30,000 x 1,024, budget 300), and with this 9 to
        28 % above, which `_again` mends; from ridges of 0.1 on it ends below either way. On a store
        where a pass costs seconds the rounds start at once.
        """
        if not self._pace.grows:
            return
        step = -(-self._budget // _STAGES)
        while (missing := self._budget - len(self.best.support)) > 0:
            found = self._fetch(step)
            draft = self._draft(found[: min(step, missing)])
            state = self._fitted(draft.support, draft.weights)
            if not state.objective < self.best.objective * (1 - self._pace.progress):
                return
            yield self._accept(state, step)

    def _starts_again(self) -> bool:
        """Whether the support grows a second time, as orthogonal matching pursuit's does.

        With little ridge atoms that enter together take from each other what they would win: at
        ridges of 0 to 0.03 sixteenths ended up to 31 % above it (30,000 x 1,024, budget 300).
        """
        may = self._pace.restarts and self._budget > _STAGES and len(self.best.support) > 0
        return may and self._working.ridge_share() < _SMALL_RIDGE

    def _again(self) -> Iterator[Round]:
        """Grow by one atom after another; where that ends lower, go on from there."""
        former = self._former = self.best, self.rounds
        self.rounds, self._working = [], ProductsKept(self._atoms, self._target, self._ridge)
        self._working.admit(self._pinned)
        self.best = self._fitted(self._pinned, np.zeros(len(self._pinned)))
        yield from iter(self._picked, None)
        if self.best.objective < former[0].objective:
            self._look()
            yield from self._passes()

    def _picked(self) -> Round | None:
        """A sixteenth of the budget enters, each the strongest once those before it are in."""
        start = self.best
        missing = self._budget - len(start.support)
        for _ in range(min(missing, -(-self._budget // _STAGES))):
            state = self._exchanged(self._fetch(1))
            if not state.objective < self.best.objective * (1 - _FREE_PROGRESS):
                break
            self.visited.update(state.support.tolist())
            self.best = state
        return None if self.best is start else self._described_since(start, 1)

    def _fetch(self, count: int) -> np.ndarray:
        """A pass: the `count` strongest outside the support, all of them met now."""
        support = self.best.support
        wanted = self._atoms.n_samples if self._capped else count + len(support)
        found = self._atoms.strongest(self.best.residual, wanted)
        found = self._allowed(found[~np.isin(found, support)], count)
        self.could_enter = bool(len(found))
        new = found[~np.isin(found, self._working.index)]
        if len(new) + len(self._working.index) > self._pace.room:
            self._working.keep(np.sort(places_of(self._working, support)))
            new = found
        self._working.admit(new)
        return found

    def _look(self) -> bool:
        """A pass: fetch the atoms with the strongest proxies; whether rounds may bring more.

        They may at first, although growing may have met all there are; later, if one is new.
        """
        before, first, self._looked = self._working.index, not self._looked, True
        reach = self._pace.first if first else self._pace.later
        new = int((~np.isin(self._fetch(reach), before)).sum())
        if not self.rounds:
            self._count = self._most
            return True
        # With 2 * budget again after every pass: as good within 0.3 %, 1.5 to 4 times as long.
        least = self._budget // (_STAGES if self._pace.grows else 4)
        self._count = min(self._most, max(4 * self._count, least, 1))
        self._asked = self._pace.progress if first else self._pace.promise
        return first or new > 0

    def _round(self) -> Round | None:
        """A round among the atoms met, letting fewer enter until the objective falls.

        Plain CoSaMP stops at the first round that fails. On the demo this ends 4 to 32 % lower,
        12 % in the median of 27 cases (`python -m benchmarks.greedy`); entering a half, a quarter,
        ... of the atoms costs no further pass, and ends in single exchanges. Among very many atoms
        the count that promises most is tried first, and as long as passes bring much the next pass
        comes before others: a third of the rows read (5 % of 270,679 x 32,768).
        """
        entering = self._entering()
        empty = len(self.best.support) == 0
        for draft, count in self._drafts(entering):
            # A first selection is always taken: a ridge of 1e15 makes it lower by less.
            free = self._pace.few and len(self.best.support) + count <= self._budget
            progress = _FREE_PROGRESS if free else self._pace.progress
            if empty or draft.fall > max(progress, self._asked) * self.best.objective:
                state = self._finished(draft)
                lower = state.objective < self.best.objective * (1 - progress)
                if lower or (empty and len(state.support)):
                    return self._accept(state, 2 * count if isfinite(draft.fall) else count)
            if self.best.objective < self._before * (1 - self._pace.restless):
                break
        self._count = 0
        return self._fill_up(entering) or self._refine()

    def _drafts(self, entering: np.ndarray) -> Iterator[tuple[Draft, int]]:
        """Drafts of a number of atoms entering, of a half, a quarter, ..., and the numbers.

        Where it is foreseen what they win, first the one after which fewer promise less.
        """
        count, waiting = min(self._count, len(entering)), list[tuple[Draft, int]]()
        rising = True
        while count >= self._pace.fewest:
            draft = self._draft(entering[:count])
            rising = rising and isfinite(draft.fall)
            if waiting and not (rising and draft.fall >= waiting[-1][0].fall):
                yield from reversed(waiting)
                waiting, rising = [], False
            waiting.append((draft, count))
            if not rising:
                yield waiting.pop()
            count //= 2
        yield from reversed(waiting)

    def _fill_up(self, entering: np.ndarray) -> Round | None:
        """Under caps: enter only atoms that need nobody to leave; others were pruned again."""
        if not self._capped or len(self.best.support) >= self._budget:
            return None
        together = self._first(np.concatenate([self.best.support, entering]), self._budget)
        room = together[~np.isin(together, self.best.support)]
        state = self._exchanged(room)
        lower = state.objective < self.best.objective * (1 - self._pace.progress)
        return self._accept(state, 0) if lower else None

    def _refine(self) -> Round | None:
        """Exchange single atoms, the exact best ones, as long as each lowers the objective."""
        start = self.best
        while (state := self._better()) is not None:
            self.visited.update(state.support.tolist())
            self.best = state
        if self.best is start:
            return None
        return self._described_since(start, len(start.support))

    def _described_since(self, start: State, count: int) -> Round:
        self._count = count
        self.rounds.append(described(self.best, start, self.scale))
        return self.rounds[-1]

    def _better(self) -> State | None:
        support, weights = self.best.support, self.best.weights
        if len(support) < self._budget:  # nobody need leave: rounds have tried that
            return None
        places = places_of(self._working, support)
        enough = self._pace.progress * self.best.objective
        for leaves, enters, wins in self._working.exchanges(places, weights):
            if wins <= enough or np.isin(support[leaves], self._pinned):
                continue
            swapped = np.append(np.delete(support, leaves), self._working.index[enters])
            start = np.append(np.delete(weights, leaves), 0.0)
            order = np.argsort(swapped)
            if len(self._first(swapped[order], len(swapped))) < len(swapped):
                continue
            state = self._fitted(swapped[order], start[order])
            if state.objective < self.best.objective - enough:
                return state
        return None

    def _accept(self, state: State, count: int) -> Round:
        before = self.best
        self.visited.update(state.support.tolist())
        self.best, self._asked = state, self._pace.progress
        return self._described_since(before, count)

    def _entering(self) -> np.ndarray:
        """Samples met, outside the support, with a positive proxy, strongest first."""
        index, proxies = self._working.index, self._working.proxies(self.best.residual)
        order = np.lexsort((index, -proxies))
        order = order[(proxies[order] > 0) & ~np.isin(index[order], self.best.support)]
        return self._allowed(index[order], len(order))

    def _allowed(self, entering: np.ndarray, count: int) -> np.ndarray:
        """The first `count` that may be chosen together; a full group leaves room for others."""
        if not self._capped:
            return entering[:count]
        found = self._first(entering, count + len(self._pinned))
        return found[~np.isin(found, self._pinned)][:count]

    def _exchanged(self, entering: np.ndarray) -> State:
        """Merge, estimate, prune to the budget, estimate again."""
        return self._finished(self._draft(entering))

    def _draft(self, entering: np.ndarray) -> Draft:
        """Merge, guess weights, prune to the budget; where rows are kept, guess again."""
        merged = np.union1d(self.best.support, entering)
        start = np.zeros(len(merged))
        start[np.searchsorted(merged, self.best.support)] = self.best.weights
        places, residual = places_of(self._working, merged), self.best.residual
        weights = self._working.guess(places, start, residual)
        kept = self._pruned(merged, weights)
        if self._pace.few:
            return Draft(merged[kept], weights[kept], inf)
        allowed = np.isin(np.arange(len(merged)), kept)
        weights = self._working.guess(places, start, residual, allowed)
        foreseen = self._pace.foresees
        fall = self._working.foreseen(places, start, residual, weights) if foreseen else inf
        return Draft(merged[kept], weights[kept], fall)

    def _finished(self, draft: Draft) -> State:
        return self._fitted(draft.support, draft.weights, goal=self._goal())

    def _goal(self) -> Goal | None:
        """What a round must reach; a first selection is fitted to its end."""
        best = self.best.objective
        return Goal(best, best * (1 - self._pace.progress)) if len(self.best.support) else None

    def _pruned(self, merged: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Positions in `merged` of the pinned and the largest weights, ascending."""
        pinned = np.isin(merged, self._pinned)
        alive = (weights > _TINY_WEIGHT * weights.max(initial=0)) | pinned
        # Guessed weights of equal atoms differ by roundings of float32 sums.
        order = np.lexsort((merged, -rounded(weights, self._pace.digits), ~pinned))
        order = order[alive[order]]
        kept = self._first(merged[order], max(self._budget, len(self._pinned)))
        return np.searchsorted(merged, np.sort(kept))

    def finish(self) -> None:
        """The better of two ways, where there were two, and exact weights on its support."""
        if self._former and self._former[0].objective <= self.best.objective:
            self.best, self.rounds = self._former
            self._working.admit(self.best.support)
        self.best = self._fitted(self.best.support, self.best.weights, EXACT)

    def _fitted(
        self,
        support: np.ndarray,
        start: np.ndarray,
        slack: float = _FAIR,
        goal: Goal | None = None,
    ) -> State:
        """The best weights on a support, and what they leave; atoms without weight go.

        With a goal, weights good enough to know whether it is met.
        """
        places = places_of(self._working, support)
        weights = self._working.estimate(places, start, slack, goal)
        alive = weights > _TINY_WEIGHT * weights.max(initial=0)
        alive |= np.isin(support, self._pinned)
        weights = weights[alive]
        residual = self._target - self._working.combine(places[alive], weights)
        penalty = 0.5 * self._ridge * float(weights @ weights)
        objective = 0.5 * float(residual @ residual) + penalty
        return State(support[alive], weights, residual, objective)
