"""Many atoms: only their rows are kept, as they are stored, and descent works on the residual."""

from typing import Protocol

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.atoms.block import Block
from gtp_core.estimate.working import EXACT, JITTER

_SWEEPS = 4  # between two exact gradients
_MAX_SWEEPS = 400
_LEAPS = 60  # steps of conjugate gradients at once
_HEADROOM = 1.5  # of the space taken, so that joining does not copy all rows every time


class Among(Protocol):
    """Some of the atoms met, and their inner products in one form or another."""

    def apply(self, weights: np.ndarray) -> np.ndarray:
        """Inner products (k,) of every atom with weights @ atoms."""
        ...

    def descend(self, weights: np.ndarray, penalty: float, slack: float, sweeps: int) -> None:
        """Lower the objective in place, one weight after another."""
        ...

    def taken(self, positions: np.ndarray) -> "Among":
        """Fewer of them."""
        ...


class RowsKept:
    """Many atoms: rows (m, dim) as they are stored, float16 or float32, and nothing else.

    What a store's atoms have removed (the common direction) is never written into the rows: the
    residual is kept free of it instead, see StoredAtoms.
    """

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self.index: np.ndarray = np.empty(0, np.int64)
        self._block = atoms.block(self.index)
        self._space = self._block.rows
        self._product: np.ndarray = np.empty(0)

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new):
            block = self._atoms.block(new)
            self._product = np.concatenate([self._product, block.products(self._target)])
            self._block = self._block.joined(block, self._room_for(len(new)))
            self.index = np.concatenate([self.index, new])

    def _room_for(self, count: int) -> np.ndarray:
        """Rows with room behind those there are, which stay where they are."""
        needed = len(self.index) + count
        if len(self._space) < needed:
            larger = np.empty((int(_HEADROOM * needed), self._atoms.dim), self._space.dtype)
            larger[: len(self.index)] = self._block.rows
            self._space = larger
        return self._space[:needed]

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        return self._block.products(residual)

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return self._block.combine(places, weights)

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """None: they need the inner products."""
        return []

    def keep(self, places: np.ndarray) -> None:
        self.index, self._block = self.index[places], self._block.taken(places)
        self._space, self._product = self._block.rows, self._product[places]

    def estimate(self, places: np.ndarray, start: np.ndarray, slack: float = EXACT) -> np.ndarray:
        """Coordinate descent and conjugate gradients, ended by the optimality conditions."""
        if len(places) == 0:
            return np.zeros(0)
        weights = np.maximum(start, 0.0)
        floor = JITTER * max(float((self._block.lengths[places] ** 2).mean()), 1e-300)
        penalty = max(self._ridge, floor)
        product = self._product[places]
        least = slack * float(np.abs(product).max())
        among = self._among(places, slack)
        for _ in range(_MAX_SWEEPS // _SWEEPS):
            gradient = penalty * weights - (product - among.apply(weights))
            active = np.flatnonzero((weights > 0) | (gradient < -least))
            if not len(active) or np.abs(gradient[active]).max() <= least:
                break
            some, few = weights[active], among.taken(active)
            few.descend(some, penalty, 0.5 * least, _SWEEPS)
            weights[active] = some
            positive = np.flatnonzero(weights > 0)
            weights[positive] = _leap(
                among.taken(positive), product[positive], weights[positive], penalty, 0.5 * least
            )
        return weights

    def _among(self, places: np.ndarray, slack: float) -> Among:
        return _Rows(self._block, places, self._target)


class _Rows:
    """Atoms whose inner products are never written down."""

    def __init__(self, block: Block, places: np.ndarray, target: np.ndarray) -> None:
        self._block, self._places, self._target = block, places, target

    def apply(self, weights: np.ndarray) -> np.ndarray:
        return self._block.products(self._block.combine(self._places, weights), self._places)

    def descend(self, weights: np.ndarray, penalty: float, slack: float, sweeps: int) -> None:
        residual = self._target - self._block.combine(self._places, weights)
        self._block.descend(self._places, weights, residual, penalty, slack, sweeps)

    def taken(self, positions: np.ndarray) -> "_Rows":
        return _Rows(self._block, self._places[positions], self._target)


def _leap(
    among: Among, product: np.ndarray, weights: np.ndarray, penalty: float, least: float
) -> np.ndarray:
    """Towards the free solution on positive weights, as far as they stay so.

    Descent alone takes hundreds of sweeps over atoms that resemble each other.
    """
    free, image = _conjugate(among, product, weights, penalty, least)
    falling = free < 0
    if not falling.any():
        return free
    cut = np.maximum(free, 0.0)
    before = weights @ (0.5 * (image + penalty * weights) - product)
    if cut @ (0.5 * (among.apply(cut) + penalty * cut) - product) > before:
        share = float((weights[falling] / (weights[falling] - free[falling])).min())
        cut = np.maximum(weights + share * (free - weights), 0.0)
    return cut


def _conjugate(
    among: Among, product: np.ndarray, weights: np.ndarray, penalty: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Conjugate gradients (Hestenes, Stiefel 1952); also the first weights' inner products."""
    first = among.apply(weights)
    downhill = product - first - penalty * weights
    direction, length = downhill, float(downhill @ downhill)
    for _ in range(_LEAPS):
        if len(weights) == 0 or np.abs(downhill).max() <= least:
            break
        image = among.apply(direction) + penalty * direction
        curve = float(direction @ image)
        if curve <= 0:
            break
        weights = weights + length / curve * direction
        downhill = downhill - length / curve * image
        before, length = length, float(downhill @ downhill)
        direction = downhill + length / before * direction
    return weights, first
