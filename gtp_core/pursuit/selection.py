"""What a method chose, and how well it matches the target."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np


class Stop(StrEnum):
    """Why a selection ended; the value is the sentence on screen."""

    TOLERANCE = "The residual is below the tolerance."
    NO_PROGRESS = "No further exchange of samples noticeably lowers what is left of the target."
    ROUNDS = "The largest number of rounds was used up."
    EXHAUSTED = "No further sample points towards what is left of the target."
    RANKED = "The samples were ranked once; this method has no rounds."
    CANCELLED = "Cancelled; the best round so far is kept."
    ESTIMATED = "An estimate between two prepared budgets: its numbers were not measured."


@dataclass(frozen=True)
class Round:
    """What one round did: counts of samples, and the residual after it, relative to the target."""

    entered: int
    kept: int
    left: int
    residual: float


@dataclass(frozen=True)
class Selection:
    """The answer of a method.

    Attributes:
        method: its name.
        budget: the most samples it might choose.
        support: (n_selected,) indices, largest weight first, ties to the lower index.
        weights: (n_selected,) float64, never negative; zero only for pinned and filled samples.
        n_filled: how many at the end of `support` were not needed to fit the target.
        residual_weighted: |target - weights @ atoms[support]| / |target|.
        residual_as_trained: min over c >= 0 of |target - c * sum of atoms[support]| / |target|.
        rounds: what every round did.
        pruned: indices that entered in some round and are not in `support`, ascending.
        stop: why it ended.
        settings: every value used, defaults included.
    """

    method: str
    budget: int
    support: np.ndarray
    weights: np.ndarray
    n_filled: int
    residual_weighted: float
    residual_as_trained: float
    rounds: tuple[Round, ...]
    pruned: np.ndarray
    stop: Stop
    settings: dict[str, Any] = field(default_factory=dict)


def relative_residuals(
    combined: np.ndarray, total: np.ndarray, target: np.ndarray
) -> tuple[float, float]:
    """The weighted and the as-trained residual, relative to |target|.

    Args:
        combined: (dim,) sum of the chosen atoms, each times its weight.
        total: (dim,) their plain sum.
        target: (dim,).
    """
    scale = float(np.linalg.norm(target))
    if scale == 0:
        return 1.0, 1.0
    trained = target - best_multiple(total, target) * total
    return float(np.linalg.norm(target - combined)) / scale, float(np.linalg.norm(trained)) / scale


def best_multiple(total: np.ndarray, target: np.ndarray) -> float:
    """The c >= 0 that minimises |target - c * total|: how far equal weights can go."""
    length = float(total @ total)
    return max(0.0, float(total @ target) / length) if length > 0 else 0.0
