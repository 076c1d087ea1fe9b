"""Where a pursuit stands, and what it is about to try."""

from dataclasses import dataclass

import numpy as np

from gtp_core.pursuit.selection import Round


@dataclass(frozen=True)
class State:
    """Where pursuit stands: a support, its weights, the residual vector and the objective."""

    support: np.ndarray
    weights: np.ndarray
    residual: np.ndarray
    objective: float


@dataclass(frozen=True)
class Draft:
    """A support to be tried, guessed weights, and by how much the objective should fall."""

    support: np.ndarray
    weights: np.ndarray
    fall: float


def rounded(weights: np.ndarray, digits: int = 12) -> np.ndarray:
    """Weights to some digits of the largest, so that rounding errors do not rank equal atoms."""
    return np.round(weights / max(weights.max(initial=0), 1e-300), digits)


def described(state: State, best: State, scale: float) -> Round:
    """A round that led from `best` to `state`; `scale` is the length of the target."""
    kept = len(np.intersect1d(state.support, best.support, assume_unique=True))
    residual = float(np.linalg.norm(state.residual)) / scale
    return Round(len(state.support) - kept, kept, len(best.support) - kept, residual)
