"""Many atoms: only their rows are kept, as they are stored, and descent works on the residual."""

from dataclasses import dataclass
from math import inf

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.atoms.block import Block
from gtp_core.estimate.likeness import Likeness
from gtp_core.estimate.space import Space
from gtp_core.estimate.steps import (
    Apply,
    Decided,
    Goal,
    Move,
    leapt,
    may_fall,
    settled,
    stepped,
)
from gtp_core.estimate.working import EXACT, JITTER

_STEPS = 24  # by likeness, before descent takes over
_FEW_STEPS, _LOOSE = 3, 1e-2  # in a guess, and the gradient that is left then
_SWEEPS = 4  # of descent between two exact gradients
_MAX_SWEEPS = 400
_LEAPS = 60  # steps of conjugate gradients at once


class RowsKept:
    """Many atoms: rows (m, dim) as they are stored, float16 or float32, and what they are like.

    What a store's atoms have removed (the common direction) is never written into the rows: the
    residual is kept free of it instead, see StoredAtoms.
    """

    def __init__(
        self, atoms: Atoms, target: np.ndarray, ridge: float, *, expected: int = 0
    ) -> None:
        """`expected` atoms will be met; beyond twice as many all rows are copied."""
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self.index: np.ndarray = np.empty(0, np.int64)
        self._block = atoms.block(self.index)
        expected = min(expected, atoms.n_samples)
        self._space = Space(expected, atoms.dim, self._block.rows.dtype)
        self._product: np.ndarray = np.empty(0)
        self._likeness = Likeness(atoms.dim)
        self._seen: tuple[np.ndarray | None, np.ndarray] = None, np.empty(0)
        self._summed: _Summed | None = None

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new):
            met = len(self.index)
            rows = self._space.first(met + len(new), met)
            block = self._atoms.block(new, rows[met:])
            self._product = np.concatenate([self._product, block.products(self._target)])
            self._block = self._block.joined(block, rows)
            self.index = np.concatenate([self.index, new])
            self._likeness.admit(self._block)

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        if self._seen[0] is not residual or len(self._seen[1]) != len(self.index):
            self._seen = residual, self._block.products(residual)
        return self._seen[1]

    def ridge_share(self) -> float:
        return self._ridge / max(float((self._block.lengths**2).mean()), 1e-300)

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if self._summed and self._summed.of(places, weights):
            return self._summed.total
        return self._block.combine(places, weights)

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """None: they need the inner products."""
        return []

    def keep(self, places: np.ndarray) -> None:
        self.index, self._product = self.index[places], self._product[places]
        self._block = self._block.moved(places)
        self._likeness.keep(places)
        self._seen = None, np.empty(0)
        self._summed = None

    def guess(
        self,
        places: np.ndarray,
        start: np.ndarray,
        residual: np.ndarray,
        allowed: np.ndarray | None = None,
    ) -> np.ndarray:
        """A step by what inner products are like, and where the ridge is small a few true ones."""
        if len(places) == 0:
            return np.zeros(0)
        penalty = self._penalty(places)
        gradient = penalty * start - self.proxies(residual)[places]
        weights = self._likeness.step(places, start, gradient, penalty, allowed)
        if allowed is not None or self._likeness.near_enough(places, penalty):
            return weights
        return self._stepped(places, weights, _LOOSE, _FEW_STEPS)[0].change

    def foreseen(
        self, places: np.ndarray, start: np.ndarray, residual: np.ndarray, weights: np.ndarray
    ) -> float:
        penalty = self._penalty(places)
        if not self._likeness.near_enough(places, penalty):
            return inf
        gradient = penalty * start - self.proxies(residual)[places]
        change = weights - start
        return -float(gradient @ change) - self._likeness.bend(places, change, penalty)

    def estimate(
        self,
        places: np.ndarray,
        start: np.ndarray,
        slack: float = EXACT,
        goal: Goal | None = None,
    ) -> np.ndarray:
        """Steps by likeness, then descent and conjugate gradients.

        Optimality conditions end it, or that it is known whether the goal is met.
        """
        if len(places) == 0:
            return np.zeros(0)
        decided = self._decided(places, goal) if goal else None
        now, done = self._stepped(places, np.maximum(start, 0.0), slack, _STEPS, decided)
        if done:
            self._summed = _Summed(places, now.change, now.total)
            return now.change
        product = self._product[places]
        return _descended(self._among(places), product, now.change, _least(product, slack))

    def _stepped(
        self,
        places: np.ndarray,
        weights: np.ndarray,
        slack: float,
        most: int,
        decided: Decided | None = None,
    ) -> tuple[Move, bool]:
        among, product = self._among(places), self._product[places]
        least = _least(product, slack)
        return stepped(among.moved, among.step, weights, product, least, most, decided)

    def _decided(self, places: np.ndarray, goal: Goal) -> Decided:
        product, penalty = self._product[places], self._penalty(places)
        nothing = 0.5 * float(self._target @ self._target)  # the objective without any atom

        def decided(weights: np.ndarray, gradient: np.ndarray) -> bool:
            objective = nothing + 0.5 * float(weights @ (gradient - product))
            return goal.decided(objective, may_fall(weights, gradient, penalty))

        return decided

    def _among(self, places: np.ndarray) -> "_Among":
        penalty = self._penalty(places)
        return _Among(self._block, self._likeness, places, self._target, penalty)

    def _penalty(self, places: np.ndarray) -> float:
        floor = JITTER * max(float((self._block.lengths[places] ** 2).mean()), 1e-300)
        return max(self._ridge, floor)


@dataclass(frozen=True)
class _Summed:
    """The sum (dim,) of the atoms at some places, times their weights."""

    places: np.ndarray
    weights: np.ndarray
    total: np.ndarray

    def of(self, places: np.ndarray, weights: np.ndarray) -> bool:
        """Whether it is that of these, but for weights of 0."""
        mine, theirs = self.weights != 0, weights != 0
        same = np.array_equal(self.places[mine], places[theirs])
        return same and np.array_equal(self.weights[mine], weights[theirs])


def _least(product: np.ndarray, slack: float) -> float:
    return slack * float(np.abs(product).max(initial=0.0))


def _descended(
    among: "_Among", product: np.ndarray, weights: np.ndarray, least: float
) -> np.ndarray:
    """Coordinate descent finds which weights are positive, conjugate gradients what they are."""
    for _ in range(_MAX_SWEEPS // _SWEEPS):
        gradient = among.curvature(weights) - product
        if settled(weights, gradient, least):
            break
        active = np.flatnonzero((weights > 0) | (gradient < -least))
        weights[active] = among.taken(active).descended(weights[active], 0.5 * least)
        positive = np.flatnonzero(weights > 0)
        few = among.taken(positive)
        weights[positive] = leapt(
            few.curvature, few.near(), product[positive], weights[positive], 0.5 * least, _LEAPS
        )
    return weights


class _Among:
    """Some of the atoms met, whose inner products are never written down."""

    def __init__(
        self,
        block: Block,
        likeness: Likeness,
        places: np.ndarray,
        target: np.ndarray,
        penalty: float,
    ) -> None:
        self._block, self._likeness, self._places = block, likeness, places
        self._target, self._penalty = target, penalty

    def moved(self, change: np.ndarray) -> Move:
        total = self._block.combine(self._places, change)
        image = self._block.products(total, self._places) + self._penalty * change
        return Move(change, image, total)

    def curvature(self, weights: np.ndarray) -> np.ndarray:
        return self.moved(weights).image

    def step(self, weights: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self._likeness.step(self._places, weights, gradient, self._penalty)

    def near(self) -> Apply:
        return self._likeness.inverse(self._places, self._penalty)

    def descended(self, weights: np.ndarray, slack: float) -> np.ndarray:
        residual = self._target - self._block.combine(self._places, weights)
        self._block.descend(self._places, weights, residual, self._penalty, slack, _SWEEPS)
        return weights

    def taken(self, positions: np.ndarray) -> "_Among":
        places = self._places[positions]
        return _Among(self._block, self._likeness, places, self._target, self._penalty)
