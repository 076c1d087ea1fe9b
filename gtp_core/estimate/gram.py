"""Many atoms with rough estimates asked often: rows, and inner products in float32."""

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.estimate.rows import Among, RowsKept
from gtp_core.estimate.working import EXACT
from gtp_core.trajectories import in_threads

_BLOCK = 256  # atoms whose inner products a thread takes at once
_WIDE = 1024  # atoms widened to float32 at once: 128 MB of 32,768 numbers each


class RowsAndProducts(RowsKept):
    """Rows as stored, and inner products (m, m) float32 for every estimate but the last.

    Rounds ask which atoms to keep; float32 products tell that, and a step of conjugate gradients
    costs 5 ms where 5,000 rows of 32,768 numbers take 50. The exact estimate works on the rows.
    """

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        super().__init__(atoms, target, ridge)
        self._gram: np.ndarray = np.empty((0, 0), np.float32)

    def admit(self, index: np.ndarray) -> None:
        before = len(self.index)
        super().admit(index)
        if len(self.index) > before:
            self._extend(before)

    def _extend(self, before: int) -> None:
        """Inner products of the new atoms with all, in blocks of fixed size and order."""
        m = len(self.index)
        gram = np.empty((m, m), np.float32)
        gram[:before, :before] = self._gram
        for start in range(before, m, _WIDE):
            stop = min(start + _WIDE, m)
            new = self._block.wide(start, stop)

            def work(begin: int, end: int, new: np.ndarray = new, start: int = start) -> None:
                for first in range(begin, end, _BLOCK):
                    last = min(first + _BLOCK, end)
                    part = self._block.wide(first, last) @ new.T
                    gram[first:last, start : start + len(new)] = part
                    gram[start : start + len(new), first:last] = part.T

            in_threads(work, stop, at_once=_BLOCK)
        self._gram = gram

    def keep(self, places: np.ndarray) -> None:
        super().keep(places)
        self._gram = self._gram[np.ix_(places, places)]

    def _among(self, places: np.ndarray, slack: float) -> Among:
        if slack <= EXACT:
            return super()._among(places, slack)
        return _Products(self._gram[np.ix_(places, places)], self._product[places])


class _Products:
    """Atoms whose inner products are there."""

    def __init__(self, gram: np.ndarray, product: np.ndarray) -> None:
        self._gram, self._product = gram, product

    def apply(self, weights: np.ndarray) -> np.ndarray:
        return (self._gram @ weights.astype(np.float32)).astype(np.float64)

    def descend(self, weights: np.ndarray, penalty: float, slack: float, sweeps: int) -> None:
        from gtp_core import kernels

        gradient = self.apply(weights) - self._product + penalty * weights
        kernels.descend(self._gram, penalty, weights, gradient, slack, sweeps)

    def taken(self, positions: np.ndarray) -> "_Products":
        if len(positions) == len(self._product):
            return self
        return _Products(self._gram[np.ix_(positions, positions)], self._product[positions])
