"""Many atoms with rough estimates asked often: rows, and their inner products in float32."""

from functools import cache

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.estimate.rows import Among, RowsKept
from gtp_core.estimate.working import EXACT
from gtp_core.trajectories import in_threads

_BLOCK = 256  # atoms whose inner products a thread takes at once
_WIDE = 1024  # atoms widened to float32 at once: 128 MB of 32,768 numbers each
_NARROWEST = 8192  # numbers in an atom from which rounding to int8 averages out
_LONGEST = 130_000  # beyond, a sum of int8 products may leave int32
_LOST = 0.02  # of an atom's length that rounding may take; 0.01 where numbers are normal


class RowsAndProducts(RowsKept):
    """Rows as stored, and inner products (m, m) float32 for every estimate but the last.

    Rounds ask which atoms to keep; rough products tell that, and a step of conjugate gradients
    costs 5 ms where 5,000 rows of 32,768 numbers take 50. The exact estimate works on the rows.

    Long atoms are rounded to int8 for these products, 127 steps to the largest number: what a
    product loses is a ten-thousandth of the lengths (rounding errors do not agree with each other),
    and sums of whole numbers are exact. Four times as fast as float32 where the processor has
    instructions for it; elsewhere it would be far slower, and products are taken in float32.
    """

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        super().__init__(atoms, target, ridge)
        self._gram: np.ndarray = np.empty((0, 0), np.float32)
        self._narrow = _NARROWEST <= atoms.dim <= _LONGEST
        self._whole = np.empty((0, atoms.dim if self._narrow else 0), np.int8)
        self._step = np.empty(0, np.float32)

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
        self._gram = gram
        self._narrow = self._narrow and _multiplies_int8()
        if self._narrow:
            whole, step, lost = self._block.narrow(before, m)
            self._narrow = lost <= _LOST
        if self._narrow:
            self._whole = np.concatenate([self._whole, whole])
            self._step = np.concatenate([self._step, step])
            self._multiply_whole(before)
        else:
            self._whole, self._step = self._whole[:0], self._step[:0]
            self._multiply(before)

    def _multiply_whole(self, before: int) -> None:
        import torch

        whole, step, m = torch.from_numpy(self._whole), self._step, len(self.index)
        for start in range(before, m, _WIDE):
            stop = min(start + _WIDE, m)
            part = torch._int_mm(whole[start:stop], whole[:stop].T).numpy()
            part = part.astype(np.float32) * step[:stop] * step[start:stop, None]
            self._gram[start:stop, :stop] = part
            self._gram[:stop, start:stop] = part.T

    def _multiply(self, before: int) -> None:
        gram, m = self._gram, len(self.index)
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

    def keep(self, places: np.ndarray) -> None:
        super().keep(places)
        self._gram = self._gram[np.ix_(places, places)]
        if self._narrow:
            self._whole, self._step = self._whole[places], self._step[places]

    def _among(self, places: np.ndarray, slack: float) -> Among:
        if slack <= EXACT:
            return super()._among(places, slack)
        return _Products(_square(self._gram, places), self._product[places])


@cache
def _multiplies_int8() -> bool:
    """Whether torch has a fast product of int8 matrices for this processor."""
    import torch

    fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return fast and torch.backends.mkldnn.is_available()


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
        return _Products(_square(self._gram, positions), self._product[positions])


def _square(gram: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The inner products of some with each other; whole rows first, which is twice as fast."""
    return gram[places].take(places, axis=1)
