"""What inner products of many atoms are like: some directions they share, and the rest for itself.

Atoms a_i = V b_i + rest, with the columns of V the leading directions of a sample of them. Then
their inner products are nearly B B' + diagonal, and weights under that matrix are found among as
many numbers as there are directions, whatever the count of atoms. Only steps come from it: whether
a step helps is judged by the atoms themselves.
"""

from collections.abc import Callable

import numpy as np

from gtp_core.atoms.block import Block
from gtp_core.estimate.fold import Fold
from gtp_core.trajectories import in_threads

_DIRECTIONS = 256
_SAMPLE = 1024  # atoms the directions are those of
_RENEWED = 4  # times the atoms the directions are of
_BLOCK = 256  # atoms a thread multiplies at once
_NEWTON = 20  # steps at most
_SETTLED = 1e-3  # of the largest coordinate, where Newton's steps end
_CAUTION = 1.4  # times the rest: it is not without likeness, and steps too long overshoot
_OUTWEIGHS = 1.0  # times the rest: a ridge from which one step tells which atoms to keep
_LEAST_REST = 0.02  # of an atom's squared length: a sample's directions flatter what they are of


class Likeness:
    """Coordinates (m, r) of the atoms met in r shared directions, and squared lengths beside."""

    def __init__(self, dim: int) -> None:
        self._fold = Fold(dim)
        self._basis: np.ndarray | None = None
        self._coordinates: np.ndarray = np.empty((0, 0), np.float32)
        self._rest: np.ndarray = np.empty(0)
        self._of = 0  # atoms that the directions are those of
        self._curve = _Curve(self._coordinates, self._rest)

    def admit(self, block: Block) -> None:
        """These are all atoms now, those known already first.

        Directions are found anew when there are four times as many as they were found of, because
        later atoms point elsewhere than the first; below a thousand, whenever there are more.
        """
        known = len(self._rest)
        if self._basis is None or self._of < _SAMPLE or len(block.rows) >= _RENEWED * self._of:
            known, self._of = 0, len(block.rows)
            self._basis = _directions(block, self._fold)
            self._coordinates = np.empty((0, self._basis.shape[1]), np.float32)
        coordinates = self._fold.products(block, known, self._basis)
        squares = block.lengths[known:] ** 2
        rest = squares - np.einsum("ij,ij->i", coordinates, coordinates, dtype=np.float64)
        rest = np.maximum(rest, _LEAST_REST * squares)
        self._coordinates = np.concatenate([self._coordinates, coordinates])
        self._rest = np.concatenate([self._rest[:known], rest])
        self._curve = _Curve(self._coordinates, self._rest)

    def keep(self, places: np.ndarray) -> None:
        """Forget all others."""
        self._coordinates, self._rest = self._coordinates[places], self._rest[places]
        self._curve = _Curve(self._coordinates, self._rest)

    def step(
        self,
        places: np.ndarray,
        weights: np.ndarray,
        gradient: np.ndarray,
        penalty: float,
        allowed: np.ndarray | None = None,
    ) -> np.ndarray:
        """The non-negative weights that are best if inner products were what they are like.

        Minimises gradient (w - weights) + 1/2 (w - weights) (B B' + D) (w - weights) over w >= 0,
        D the rest and the penalty. With u = B' (w - weights) every w_i is
        max(0, weights_i - (gradient_i + b_i u) / D_i), and u is found by Newton's method on a
        convex function of r numbers whose gradient is piecewise linear (Hintermuller, Ito, Kunisch
        2002 show such steps to be those of an active set).

        Args:
            places: (k,) which atoms; weights, gradient: (k,) now.
            penalty: ridge.
            allowed: (k,) bool, the others get no weight; or None.
        """
        some, diagonal = self._coordinates[places], _diagonal(self._rest[places], penalty)
        most = np.inf if allowed is None else np.where(allowed, np.inf, 0.0)
        return _newton(
            some,
            diagonal,
            weights,
            gradient,
            most,
            lambda positive: self._curve.of(places[positive], penalty),
        )

    def bend(self, places: np.ndarray, change: np.ndarray, penalty: float) -> float:
        """1/2 change (B B' + D) change: what curvature takes of a move's gain; D as in a step."""
        shared = self._coordinates[places].T @ change.astype(np.float32)
        diagonal = _diagonal(self._rest[places], penalty)
        return 0.5 * float(shared.astype(np.float64) @ shared + diagonal @ change**2)

    def near_enough(self, places: np.ndarray, penalty: float) -> bool:
        """Whether the ridge outweighs what is not known of the inner products."""
        return penalty >= _OUTWEIGHS * float(self._rest[places].mean())

    def inverse(self, places: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
        """v to about (inner products + penalty)^-1 v, by Woodbury's identity."""
        some, diagonal = self._coordinates[places], self._rest[places] + penalty
        diagonal = np.maximum(diagonal, 1e-300)
        scaled = some / np.sqrt(diagonal[:, None]).astype(np.float32)
        curve = scaled.T @ scaled
        core = np.linalg.inv(curve.astype(np.float64) + np.eye(some.shape[1]))

        def near(vector: np.ndarray) -> np.ndarray:
            scaled = vector / diagonal
            shared = core @ (some.T @ scaled.astype(np.float32))
            return scaled - (some @ shared.astype(np.float32)) / diagonal

        return near


def _diagonal(rest: np.ndarray, penalty: float) -> np.ndarray:
    """D of a step."""
    return np.maximum(_CAUTION * rest + penalty, 1e-300)


class _Curve:
    """Sums of b b' / D over atoms. From one step to the next few join or leave, which is cheap."""

    def __init__(self, coordinates: np.ndarray, rest: np.ndarray) -> None:
        self._coordinates, self._rest = coordinates, rest
        self._penalty = np.nan
        self._summed = np.zeros(len(rest), bool)
        self._sum = np.zeros((coordinates.shape[1],) * 2)

    def of(self, places: np.ndarray, penalty: float) -> np.ndarray:
        """The sum (r, r) float64 over these places."""
        wanted = np.zeros(len(self._rest), bool)
        wanted[places] = True
        join, leave = wanted & ~self._summed, self._summed & ~wanted
        if penalty != self._penalty or join.sum() + leave.sum() >= len(places):
            self._sum, join, leave = np.zeros_like(self._sum), wanted, np.zeros_like(leave)
        self._sum = self._sum + self._of_all(join, penalty) - self._of_all(leave, penalty)
        self._summed, self._penalty = wanted, penalty
        return self._sum

    def _of_all(self, chosen: np.ndarray, penalty: float) -> np.ndarray:
        roots = np.sqrt(_diagonal(self._rest[chosen], penalty)).astype(np.float32)
        scaled = self._coordinates[chosen] / roots[:, None]
        return scaled.T @ scaled  # of one matrix: half the work


def _newton(
    some: np.ndarray,
    diagonal: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    most: np.ndarray | float,
    curve: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The weights of a step; `curve` sums b b' / D over some of them."""
    shift = some.T @ weights.astype(np.float32)

    def at(u: np.ndarray) -> tuple[float, np.ndarray]:
        free = weights - (gradient + some @ u.astype(np.float32)) / diagonal
        found = np.clip(free, 0.0, most)
        value = 0.5 * float(u @ u) + 0.5 * float(diagonal @ found**2) + float(shift @ u)
        return value, found

    u = np.zeros(some.shape[1])
    value, found = at(u)
    for _ in range(_NEWTON):
        slope = u - some.T @ (found - weights).astype(np.float32)
        if np.abs(slope).max(initial=0) <= _SETTLED * max(np.abs(u).max(initial=0), 1e-300):
            break
        positive = np.flatnonzero(found > 0)
        move = -np.linalg.solve(curve(positive) + np.eye(len(u)), slope)
        share, least = 1.0, 1e-4 * float(slope @ move)
        while (new := at(u + share * move))[0] > value + share * least and share > 1e-3:
            share /= 2
        u, (value, found) = u + share * move, new
    return found


def _directions(block: Block, fold: Fold) -> np.ndarray:
    """(length, r) float32 orthonormal: leading directions of folded atoms spread over the block."""
    m = len(block.rows)
    places = np.unique(np.linspace(0, m - 1, min(_SAMPLE, m)).astype(np.int64))
    wide = fold.all(block.taken(places))
    gram = np.zeros((len(wide), len(wide)), np.float32)  # its upper half is filled

    def multiply(begin: int, end: int) -> None:
        for first in range(begin, end, _BLOCK):
            last = min(first + _BLOCK, end)
            np.matmul(wide[first:last], wide[first:].T, out=gram[first:last, first:])

    in_threads(multiply, len(wide), at_once=_BLOCK)
    values, vectors = np.linalg.eigh(gram.astype(np.float64), UPLO="U")
    count = min(_DIRECTIONS, len(places))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    sound = values > 1e-6 * max(values.max(initial=0), 1e-300)
    turned = (vectors[:, sound] / np.sqrt(values[sound])).astype(np.float32)
    return np.ascontiguousarray(wide.T @ turned)
