"""Steps towards the best non-negative weights of many atoms, by what their products are like."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Apply = Callable[[np.ndarray], np.ndarray]
Step = Callable[[np.ndarray, np.ndarray], np.ndarray]
Decided = Callable[[np.ndarray, np.ndarray], bool]


@dataclass(frozen=True)
class Move:
    """A change of weights (k,), of the gradient (k,), and of the weighted sum of atoms (dim,)."""

    change: np.ndarray
    image: np.ndarray
    total: np.ndarray

    def times(self, share: float) -> "Move":
        """So much of it."""
        return Move(share * self.change, share * self.image, share * self.total)

    def plus(self, other: "Move") -> "Move":
        """Both."""
        return Move(self.change + other.change, self.image + other.image, self.total + other.total)


@dataclass(frozen=True)
class Goal:
    """What an estimate is for: whether its objective falls below another.

    Attributes:
        best: the objective to fall below.
        enough: the objective from which on it counts as lower.
    """

    best: float
    enough: float

    def decided(self, objective: float, left: float) -> bool:
        """Whether it is known, from an objective and the most by which it may yet fall.

        Enough was won and no more than that may follow, or it can never be enough.
        """
        won = self.best - objective
        return objective - left >= self.enough or (objective < self.enough and left <= won)


def may_fall(weights: np.ndarray, gradient: np.ndarray, penalty: float) -> float:
    """The most by which other weights, none negative, can lower the objective.

    Its curvature is at least `penalty` in every direction, so that beside these weights it lies
    above gradient * move + penalty/2 * move**2, whose lowest point is known.
    """
    move = np.maximum(-gradient / penalty, -weights)
    return -float(gradient @ move + 0.5 * penalty * (move @ move))


def stepped(
    moved: Callable[[np.ndarray], Move],
    step: Step,
    weights: np.ndarray,
    product: np.ndarray,
    least: float,
    most: int,
    decided: Decided | None = None,
) -> tuple[Move, bool]:
    """Weights after at most so many steps, and whether no gradient above `least` is left.

    The weights come as a move from zero. Steps end early where `decided(weights, gradient)`.

    Every step asks for one product with the true curvature, so it is known exactly how far it
    lowers the objective. Together with the step before it spans a plane, whose lowest point is
    taken where no weight is negative there: the idea of conjugate gradients.

    Args:
        moved: a change of weights (k,) with what it does.
        step: the best weights by what products are like, from weights and gradient now.
        weights: (k,) a first guess; product: (k,) with the target.
    """
    now = moved(weights)
    before: Move | None = None
    for _ in range(most):
        gradient = now.image - product
        if settled(now.change, gradient, least) or (decided and decided(now.change, gradient)):
            return now, True
        move = moved(step(now.change, gradient) - now.change)
        along, curve = float(gradient @ move.change), float(move.image @ move.change)
        if along >= 0 or curve <= 0:
            break
        share = 1.0 if along + 0.5 * curve < 0.25 * along else -along / curve
        taken = move.times(share)
        if before is not None:
            both = _lowest(move, before, gradient)
            taken = both if (now.change + both.change >= 0).all() else taken
        now, before = now.plus(taken), taken
    return now, settled(now.change, now.image - product, least)


def settled(weights: np.ndarray, gradient: np.ndarray, least: float) -> bool:
    """Whether the optimality conditions hold but for gradients of `least`."""
    falling = (weights > 0) | (gradient < 0)
    return not falling.any() or bool(np.abs(gradient[falling]).max() <= least)


def _lowest(first: Move, second: Move, gradient: np.ndarray) -> Move:
    """The lowest point of the plane of two moves."""
    across = float(first.change @ second.image)
    curves = np.array(
        [
            [float(first.change @ first.image), across],
            [across, float(second.change @ second.image)],
        ]
    )
    slopes = np.array([float(gradient @ first.change), float(gradient @ second.change)])
    a, b = -np.linalg.lstsq(curves, slopes, rcond=None)[0]
    return first.times(a).plus(second.times(b))


def leapt(
    curvature: Apply, near: Apply, product: np.ndarray, weights: np.ndarray, least: float, most: int
) -> np.ndarray:
    """Towards the free solution on positive weights, as far as they stay so.

    Descent alone takes hundreds of sweeps over atoms that resemble each other.

    Args:
        curvature: (k,) to (k,): inner products and ridge.
        near: (k,) to (k,): about its inverse.
        product: (k,); weights: (k,), all positive.
    """
    first = curvature(weights)
    free = _conjugate(curvature, near, product - first, weights, least, most)
    falling = free < 0
    if not falling.any():
        return free
    cut = np.maximum(free, 0.0)
    before = weights @ (0.5 * first - product)
    if cut @ (0.5 * curvature(cut) - product) > before:
        share = float((weights[falling] / (weights[falling] - free[falling])).min())
        cut = np.maximum(weights + share * (free - weights), 0.0)
    return cut


def _conjugate(
    curvature: Apply,
    near: Apply,
    downhill: np.ndarray,
    weights: np.ndarray,
    least: float,
    most: int,
) -> np.ndarray:
    """Conjugate gradients (Hestenes, Stiefel 1952), preconditioned."""
    turned = near(downhill)
    direction, length = turned, float(downhill @ turned)
    for _ in range(most):
        if len(weights) == 0 or np.abs(downhill).max() <= least:
            break
        image = curvature(direction)
        curve = float(direction @ image)
        if curve <= 0 or length <= 0:
            break
        weights = weights + length / curve * direction
        downhill = downhill - length / curve * image
        turned = near(downhill)
        before, length = length, float(downhill @ turned)
        direction = turned + length / before * direction
    return weights
