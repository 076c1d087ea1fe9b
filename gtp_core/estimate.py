"""Atoms that a pursuit has met, and exact non-negative ridge weights on some of them.

Two ways to keep them, with the same answers. With few, all inner products are kept and weights end
in exact solves. With many, only the rows are kept, float16 where the store has float16, and
coordinate descent works on the residual itself: 8,000 atoms of 32,768 numbers are 0.5 GB where
their inner products alone would take a minute.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.trajectories import in_threads

EXACT = 1e-6  # of the gradient, relative to the largest product, where float32 sums decide
MOST_PRODUCTS = 6000  # atoms whose inner products are kept: 0.3 GB
_BLOCK = 256  # atoms whose inner products a thread takes at once
_SLACK = 1e-9  # of the gradient, relative to the largest product: what counts as zero
_SWEEPS = 40  # of coordinate descent between exact solves
_MAX_SOLVES = 200
_ROW_SWEEPS = 4  # between two exact residuals
_MAX_ROW_SWEEPS = 400
_LEAPS = 60  # steps of conjugate gradients at once
_PROMISING = 64  # atoms whose exchange is worked out, of those that would win most by joining
_TRIES = 8  # exchanges tried in full before giving up
_DEPENDENT = 1e-9  # of an atom's squared length outside the support's span: nothing new
_JITTER = 1e-10  # on the diagonal when ridge is 0, relative to its mean: equal atoms are common

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")
_BUSY: list[Any] = []  # one entry per call under way, the first with what to restore
_LOCK = Lock()


def on_one_thread(work: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """One thread for the small dense algebra: the same bytes whatever the machine, no spinning.

    With the other core busy, a 350 x 350 Cholesky took 137 ms on two threads and 1 ms on one.
    Calls may overlap: the limit goes when the last of them ends.
    """

    @wraps(work)
    def limited(*args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        with _LOCK:
            _BUSY.append(None if _BUSY else _keeper().submit(_limit).result())
        try:
            return work(*args, **kwargs)
        finally:
            with _LOCK:
                # The first to come holds what to restore, so it is the last to be taken out.
                held = _BUSY.pop()
                if not _BUSY:
                    _keeper().submit(held.restore_original_limits).result()

    return limited


@cache
def _keeper() -> ThreadPoolExecutor:
    """The one thread that limits and restores: OpenBLAS listens to the thread that limited last."""
    return ThreadPoolExecutor(1)


def _limit() -> Any:
    return _thread_pools().limit(limits=1, user_api="blas")


@cache
def _thread_pools() -> Any:
    import scipy.linalg  # noqa: F401  its BLAS must be there to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Working(Protocol):
    """The atoms met so far. A place is a position among them, in the order they were met."""

    index: np.ndarray

    def admit(self, index: np.ndarray) -> None:
        """Fetch those of these samples that were not met before."""
        ...

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        """<atom, residual> of every place, (m,) float64."""
        ...

    def estimate(self, places: np.ndarray, start: np.ndarray, slack: float = EXACT) -> np.ndarray:
        """The best weights (len(places),) on these places, from a first guess.

        `slack` is the gradient, relative to the largest product, that counts as zero where many
        atoms make an exact answer dear.
        """
        ...

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """weights @ atoms of these places, (dim,) float64."""
        ...

    def keep(self, places: np.ndarray) -> None:
        """Forget all others."""
        ...

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """Promising exchanges: position that leaves, place that enters, what it wins."""
        ...


def places_of(working: Working, index: np.ndarray) -> np.ndarray:
    """Where these samples are among those met; all of them were."""
    order = np.argsort(working.index, kind="stable")
    return order[np.searchsorted(working.index, index, sorter=order)]


class ProductsKept:
    """Few atoms: rows (m, dim) float64 and their inner products (m, m)."""

    def __init__(self, atoms: Atoms, target: np.ndarray, ridge: float) -> None:
        self._atoms, self._target, self._ridge = atoms, target, ridge
        self.index: np.ndarray = np.empty(0, np.int64)
        self._rows: np.ndarray = np.empty((0, atoms.dim))
        self._gram: np.ndarray = np.empty((0, 0))
        self._product: np.ndarray = np.empty(0)

    def admit(self, index: np.ndarray) -> None:
        new = index[~np.isin(index, self.index)]
        if len(new) == 0:
            return
        rows = self._atoms.rows(new).astype(np.float64)
        across = _inner(self._rows, rows)
        self._gram = np.block([[self._gram, across], [across.T, _inner(rows, rows)]])
        self._rows = np.vstack([self._rows, rows])
        self._product = np.concatenate([self._product, rows @ self._target])
        self.index = np.concatenate([self.index, new])

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        # Row by row, so that equal atoms have equal proxies and the lower index goes first.
        return np.einsum("ij,j->i", self._rows, residual)

    def estimate(self, places: np.ndarray, start: np.ndarray, slack: float = EXACT) -> np.ndarray:
        gram = self._gram[np.ix_(places, places)]
        return non_negative_ridge(gram, self._product[places], self._ridge, start)

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return weights @ self._rows[places]

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """Exact for weights that stay positive, from the inverse of the support's products.

        Atom j joins: its weight is p_j / s_j with s_j = g_jj - g_Sj H g_Sj, and wins p_j^2 / 2 s_j.
        Then i leaves: it costs w_i^2 / 2 H_ii (both from the inverse of a bordered matrix).
        """
        inverse = self._inverse(places)
        if inverse is None:
            return []
        across = self._gram[places]
        joined = inverse @ across
        own = np.diag(self._gram) + self._penalty
        schur = own - np.einsum("ij,ij->j", across, joined)
        proxies = self._product - weights @ across
        proxies[places] = 0.0
        useful = (proxies > 0) & (schur > _DEPENDENT * own)
        wins = np.where(useful, proxies**2 / np.where(useful, 2 * schur, 1.0), 0.0)
        best = np.lexsort((self.index, -wins))[:_PROMISING]
        best = best[wins[best] > 0]
        if len(best) == 0:
            return []
        after = weights[:, None] - joined[:, best] * (proxies[best] / schur[best])
        spread = np.diag(inverse)[:, None] + joined[:, best] ** 2 / schur[best]
        costs = np.where(after > 0, after**2 / (2 * spread), 0.0)
        leaving = costs.argmin(axis=0)
        net = wins[best] - costs[leaving, np.arange(len(best))]
        order = np.lexsort((self.index[best], -net))[:_TRIES]
        return [(int(leaving[a]), int(best[a]), float(net[a])) for a in order if net[a] > 0]

    @property
    def _penalty(self) -> float:
        return self._ridge or _JITTER * max(float(np.diag(self._gram).mean()), 1e-300)

    def _inverse(self, places: np.ndarray) -> np.ndarray | None:
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        if len(places) == 0:
            return None
        block = self._gram[np.ix_(places, places)] + self._penalty * np.eye(len(places))
        try:
            return np.asarray(cho_solve(cho_factor(block, lower=True), np.eye(len(places))))
        except LinAlgError:
            return None

    def keep(self, places: np.ndarray) -> None:
        self.index, self._rows = self.index[places], self._rows[places]
        self._gram, self._product = self._gram[np.ix_(places, places)], self._product[places]


def _inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right.T in blocks of fixed size, so that threads do not change a bit."""
    out = np.empty((len(left), len(right)))

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, _BLOCK):
            last = min(first + _BLOCK, end)
            np.matmul(left[first:last], right.T, out=out[first:last])

    in_threads(work, len(left), at_once=_BLOCK)
    return out


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
        floor = _JITTER * max(float((self._block.lengths[places] ** 2).mean()), 1e-300)
        penalty = max(self._ridge, floor)
        least = slack * float(np.abs(self._product[places]).max())
        for _ in range(_MAX_ROW_SWEEPS // _ROW_SWEEPS):
            residual = self._target - self._block.combine(places, weights)
            gradient = penalty * weights - self._block.products(residual, places)
            active = (weights > 0) | (gradient < -least)
            if not active.any() or np.abs(gradient[active]).max() <= least:
                break
            some = weights[active]
            self._block.descend(places[active], some, residual, penalty, 0.5 * least, _ROW_SWEEPS)
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


@on_one_thread
def non_negative_ridge(
    gram: np.ndarray, product: np.ndarray, ridge: float, start: np.ndarray | None = None
) -> np.ndarray:
    """The w >= 0 that minimises 1/2 w G w - w p + ridge/2 |w|^2, to the optimality conditions.

    Coordinate descent (Franc, Hlavac, Navara 2005) finds which weights are positive; an exact
    solve on those finishes. Both only ever lower the objective, and the loop ends when the exact
    solution is non-negative and no other weight wants to grow. (Block principal pivoting, tried
    first, cycled into its one-at-a-time rule on nearly equal atoms: 14 s where this takes 0.1.)

    Args:
        gram: (m, m) inner products of the atoms.
        product: (m,) inner products with the target.
        ridge: at least 0; with 0 a relative jitter of 1e-10 keeps equal atoms apart.
        start: (m,) a first guess.
    """
    from gtp_core import kernels

    m = len(product)
    if m == 0:
        return np.zeros(0)
    penalty = ridge if ridge > 0 else _JITTER * max(float(np.trace(gram)) / m, 1e-300)
    matrix = gram + penalty * np.eye(m)
    slack = _SLACK * max(float(np.abs(product).max()), 1e-300)
    weights = np.zeros(m) if start is None else np.maximum(start, 0.0)
    for attempt in range(_MAX_SOLVES):
        gradient = matrix @ weights - product
        kernels.descend(matrix, weights, gradient, slack, _SWEEPS << min(attempt // 8, 6))
        passive = np.flatnonzero(weights > 0)
        block = matrix[np.ix_(passive, passive)]
        exact = _solve(block, product[passive])
        if not _step_towards(weights, passive, exact, block, product[passive]):
            continue
        gradient = matrix[:, passive] @ weights[passive] - product
        gradient[passive] = 0.0
        if gradient.min() >= -slack:
            break
    return weights


def _step_towards(
    weights: np.ndarray,
    passive: np.ndarray,
    exact: np.ndarray,
    block: np.ndarray,
    product: np.ndarray,
) -> bool:
    """Move weights[passive] to `exact`, cut off at zero if need be; whether it got all the way."""
    if not (exact < 0).any():
        weights[passive] = exact
        return True
    now, cut = weights[passive], np.maximum(exact, 0.0)
    if _objective(block, product, cut) < _objective(block, product, now):
        weights[passive] = cut
        return False
    falling = exact < 0
    share = float((now[falling] / (now[falling] - exact[falling])).min())
    weights[passive] = np.maximum(now + share * (exact - now), 0.0)
    return False


def _objective(matrix: np.ndarray, product: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ (0.5 * (matrix @ weights) - product))


def _solve(matrix: np.ndarray, product: np.ndarray) -> np.ndarray:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    if len(product) == 0:
        return np.zeros(0)
    try:
        return cho_solve(cho_factor(matrix, lower=True), product)
    except LinAlgError:
        return np.linalg.lstsq(matrix, product, rcond=None)[0]
