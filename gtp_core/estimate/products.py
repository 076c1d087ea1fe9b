"""Few atoms: all their inner products are kept, and weights end in exact solves."""

from math import inf

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.estimate.solve import non_negative_ridge
from gtp_core.estimate.space import Space
from gtp_core.estimate.steps import Goal
from gtp_core.estimate.working import EXACT, JITTER
from gtp_core.trajectories import in_threads

MOST_PRODUCTS = 6000  # atoms whose inner products are kept: 0.3 GB
_BLOCK = 256  # atoms whose inner products a thread takes at once
_FEW = 64  # rows summed at once
_PROMISING = 64  # atoms whose exchange is worked out, of those that would win most by joining
_TRIES = 8  # exchanges tried in full before giving up
_DEPENDENT = 1e-9  # of an atom's squared length outside the support's span: nothing new


class ProductsKept:
    """Few atoms: rows (m, dim) float64 and their inner products (m, m)."""

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self.index: np.ndarray = np.empty(0, np.int64)
        self._space = Space(0, atoms.dim, np.dtype(np.float64))
        self._rows = self._space.first(0, 0)
        self._gram: np.ndarray = np.empty((0, 0))
        self._product: np.ndarray = np.empty(0)

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new) == 0:
            return
        rows = self._atoms.rows(new).astype(np.float64)
        across = _inner(self._rows, rows)
        self._gram = np.block([[self._gram, across], [across.T, _own_inner(rows)]])
        met = len(self.index)
        self._rows = self._space.first(met + len(new), met)
        self._rows[met:] = rows
        self._product = np.concatenate([self._product, rows @ self._target])
        self.index = np.concatenate([self.index, new])

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        # Row by row, so that equal atoms have equal proxies and the lower index goes first.
        return np.einsum("ij,j->i", self._rows, residual)

    def estimate(
        self,
        places: np.ndarray,
        start: np.ndarray,
        slack: float = EXACT,
        goal: Goal | None = None,
    ) -> np.ndarray:
        gram = self._gram[np.ix_(places, places)]
        return non_negative_ridge(gram, self._product[places], self._ridge, start)

    def guess(
        self,
        places: np.ndarray,
        start: np.ndarray,
        residual: np.ndarray,
        allowed: np.ndarray | None = None,
    ) -> np.ndarray:
        return self.estimate(places, start)

    def foreseen(
        self, places: np.ndarray, start: np.ndarray, residual: np.ndarray, weights: np.ndarray
    ) -> float:
        return inf

    def ridge_share(self) -> float:
        return self._ridge / self._mean_square

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        # A few rows at a time stay in the cache: no second matrix is written and read again.
        total = np.zeros(self._atoms.dim)
        for first in range(0, len(places), _FEW):
            some = slice(first, first + _FEW)
            total += weights[some] @ self._rows[places[some]]
        return total

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """Exact for weights that stay positive, from the factor L of the support's products.

        Atom j joins: its weight is p_j / s_j with s_j = g_jj - |L^-1 g_Sj|^2, and wins
        p_j^2 / 2 s_j. Then i leaves: it costs w_i^2 / 2 H_ii, with H the inverse of the products
        (both from the inverse of a bordered matrix).
        """
        factor = self._factor(places)
        if factor is None:
            return []
        from scipy.linalg import solve_triangular
        from scipy.linalg.lapack import dtrtri

        outside = np.setdiff1d(np.arange(len(self.index)), places)
        across = self._gram[np.ix_(places, outside)]
        turned = solve_triangular(factor, across, lower=True)
        own = np.diag(self._gram)[outside] + self._penalty
        schur = own - np.einsum("ij,ij->j", turned, turned)
        proxies = self._product[outside] - weights @ across
        useful = (proxies > 0) & (schur > _DEPENDENT * own)
        wins = np.where(useful, proxies**2 / np.where(useful, 2 * schur, 1.0), 0.0)
        best = np.lexsort((self.index[outside], -wins))[:_PROMISING]
        best = best[wins[best] > 0]
        if len(best) == 0:
            return []
        joined = solve_triangular(factor, turned[:, best], lower=True, trans="T")
        halved = dtrtri(factor, lower=1)[0]  # H is its transpose times itself
        after = weights[:, None] - joined * (proxies[best] / schur[best])
        spread = np.einsum("ij,ij->j", halved, halved)[:, None] + joined**2 / schur[best]
        costs = np.where(after > 0, after**2 / (2 * spread), 0.0)
        leaving = costs.argmin(axis=0)
        net = wins[best] - costs[leaving, np.arange(len(best))]
        best = outside[best]
        order = np.lexsort((self.index[best], -net))[:_TRIES]
        return [(int(leaving[a]), int(best[a]), float(net[a])) for a in order if net[a] > 0]

    @property
    def _penalty(self) -> float:
        return self._ridge or JITTER * self._mean_square

    @property
    def _mean_square(self) -> float:
        return max(float(np.diag(self._gram).mean()), 1e-300)

    def _factor(self, places: np.ndarray) -> np.ndarray | None:
        from scipy.linalg import LinAlgError, cholesky

        if len(places) == 0:
            return None
        block = self._gram[np.ix_(places, places)] + self._penalty * np.eye(len(places))
        try:
            return np.asarray(cholesky(block, lower=True))
        except LinAlgError:
            return None

    def keep(self, places: np.ndarray) -> None:
        rows = self._rows[places]
        self._rows = self._space.first(len(places), 0)
        self._rows[:] = rows
        self.index, self._product = self.index[places], self._product[places]
        self._gram = self._gram[np.ix_(places, places)]


def _inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right.T in blocks of fixed size, so that threads do not change a bit."""
    out = np.empty((len(left), len(right)))

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, _BLOCK):
            last = min(first + _BLOCK, end)
            np.matmul(left[first:last], right.T, out=out[first:last])

    in_threads(work, len(left), at_once=_BLOCK)
    return out


def _own_inner(rows: np.ndarray) -> np.ndarray:
    """rows @ rows.T, one half mirrored; a long and a short strip at a time, so threads are even."""
    out = np.empty((len(rows), len(rows)))
    strips = -(-len(rows) // _BLOCK)

    def multiply(strip: int) -> None:
        first, last = strip * _BLOCK, min((strip + 1) * _BLOCK, len(rows))
        np.matmul(rows[first:last], rows[first:].T, out=out[first:last, first:])
        out[last:, first:last] = out[first:last, last:].T

    def work(begin: int, end: int) -> None:
        for strip in range(begin, end):
            for one in {strip, strips - 1 - strip}:
                multiply(one)

    in_threads(work, -(-strips // 2), at_once=1)
    return out
