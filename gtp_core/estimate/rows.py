"""Many atoms: only their rows are kept, as they are stored, and descent works on the residual."""

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.estimate.working import EXACT, JITTER

_SWEEPS = 4  # between two exact residuals
_MAX_SWEEPS = 400
_LEAPS = 60  # steps of conjugate gradients at once


class RowsKept:
    """Many atoms: rows (m, dim) as they are stored, float16 or float32, and nothing else.

    What a store's atoms have removed (the common direction) is never written into the rows: the
    residual is kept free of it instead, see StoredAtoms.
    """

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self.index: np.ndarray = np.empty(0, np.int64)
        self._block = atoms.block(self.index)
        self._product: np.ndarray = np.empty(0)

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new):
            block = self._atoms.block(new)
            self._product = np.concatenate([self._product, block.products(self._target)])
            self._block = self._block.joined(block)
            self.index = np.concatenate([self.index, new])

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        return self._block.products(residual)

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return self._block.combine(places, weights)

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """None: they need the inner products."""
        return []

    def keep(self, places: np.ndarray) -> None:
        self.index, self._block = self.index[places], self._block.taken(places)
        self._product = self._product[places]

    def estimate(self, places: np.ndarray, start: np.ndarray, slack: float = EXACT) -> np.ndarray:
        """Coordinate descent on the residual, ended by the optimality conditions."""
        if len(places) == 0:
            return np.zeros(0)
        weights = np.maximum(start, 0.0)
        floor = JITTER * max(float((self._block.lengths[places] ** 2).mean()), 1e-300)
        penalty = max(self._ridge, floor)
        least = slack * float(np.abs(self._product[places]).max())
        for _ in range(_MAX_SWEEPS // _SWEEPS):
            residual = self._target - self._block.combine(places, weights)
            gradient = penalty * weights - self._block.products(residual, places)
            active = (weights > 0) | (gradient < -least)
            if not active.any() or np.abs(gradient[active]).max() <= least:
                break
            some = weights[active]
            self._block.descend(places[active], some, residual, penalty, 0.5 * least, _SWEEPS)
            weights[active] = some
            weights = self._leap(places, weights, penalty, 0.5 * least)
        return weights

    def _leap(
        self, places: np.ndarray, weights: np.ndarray, penalty: float, least: float
    ) -> np.ndarray:
        """Towards the free solution on the positive weights, as far as they stay so.

        Conjugate gradients (Hestenes, Stiefel 1952): descent alone takes hundreds of sweeps over
        atoms that resemble each other.
        """
        positive = np.flatnonzero(weights > 0)
        now = weights[positive]
        free = self._conjugate(places[positive], now, penalty, least)
        cut = np.maximum(free, 0.0)
        if (free < 0).any() and self._objective(places[positive], cut, penalty) > self._objective(
            places[positive], now, penalty
        ):
            falling = free < 0
            share = float((now[falling] / (now[falling] - free[falling])).min())
            cut = np.maximum(now + share * (free - now), 0.0)
        moved = weights.copy()
        moved[positive] = cut
        return moved

    def _objective(self, places: np.ndarray, weights: np.ndarray, penalty: float) -> float:
        rest = self._target - self._block.combine(places, weights)
        return float(rest @ rest + penalty * (weights @ weights))

    def _conjugate(
        self, places: np.ndarray, weights: np.ndarray, penalty: float, least: float
    ) -> np.ndarray:
        residual = self._target - self._block.combine(places, weights)
        downhill = self._block.products(residual, places) - penalty * weights
        direction, length = downhill, float(downhill @ downhill)
        for _ in range(_LEAPS):
            if len(places) == 0 or np.abs(downhill).max() <= least:
                break
            image = self._block.combine(places, direction)
            curve = float(image @ image + penalty * (direction @ direction))
            if curve <= 0:
                break
            weights = weights + length / curve * direction
            residual = residual - length / curve * image
            downhill = self._block.products(residual, places) - penalty * weights
            before, length = length, float(downhill @ downhill)
            direction = downhill + length / before * direction
        return weights
