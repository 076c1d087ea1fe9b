"""What a comparison asks of the chosen atoms themselves, a block of rows at a time."""

from dataclasses import dataclass

import numpy as np

from gtp_core.atoms import Problem

ALIKE = 0.95
"""Cosine from which two samples count as alike."""

_ROWS_AT_ONCE = 512
_MOST_WORK = 2e10  # multiplications for all pairs: about a second; beyond, some are looked at
_NOTHING = 1e-30


@dataclass(frozen=True)
class Likeness:
    """How much the chosen samples repeat each other.

    Attributes:
        places: (n_looked,) places in the support that were looked at, ascending: all of them, or
            evenly spread ones where all pairs would take too long.
        cosines: (n_looked,) the largest cosine of each to any other chosen sample.
    """

    places: np.ndarray
    cosines: np.ndarray

    @property
    def n_alike(self) -> int:
        """How many of those looked at are at least 95 % alike to another of the selection."""
        return int((self.cosines >= ALIKE).sum())

    @property
    def mean(self) -> float | None:
        """The mean of the largest cosines; None of fewer than two samples."""
        return float(self.cosines.mean()) if len(self.cosines) else None


def likeness(problem: Problem, support: np.ndarray, *, most: float = _MOST_WORK) -> Likeness:
    """The largest cosine of each chosen sample to another chosen one, in full dimension.

    Args:
        problem: its atoms are compared.
        support: (m,) chosen indices.
        most: multiplications allowed; above m * m * dim, evenly spread samples are looked at.
    """
    m = len(support)
    if m < 2:
        return Likeness(np.empty(0, np.int64), np.empty(0))
    looked = min(m, max(1, int(most // (m * problem.atoms.dim))))
    places = np.arange(looked) * m // looked
    best = np.full(looked, -1.0)
    for first in range(0, m, _ROWS_AT_ONCE):
        others = np.arange(first, min(first + _ROWS_AT_ONCE, m))
        rows = _unit(problem, support[others])
        for start in range(0, looked, _ROWS_AT_ONCE):
            mine = places[start : start + _ROWS_AT_ONCE]
            same = len(mine) == len(others) and bool((mine == others).all())
            cosines = (rows if same else _unit(problem, support[mine])) @ rows.T
            cosines[mine[:, None] == others[None, :]] = -1.0
            here = best[start : start + _ROWS_AT_ONCE]
            np.maximum(here, cosines.max(axis=1), out=here)
    return Likeness(places, np.clip(best, -1.0, 1.0))


def _unit(problem: Problem, index: np.ndarray) -> np.ndarray:
    """These atoms as float64 unit vectors; a zero atom stays zero."""
    rows = problem.atoms.rows(index).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _NOTHING)
    return rows


@dataclass(frozen=True)
class Sums:
    """What a selection adds up to.

    Attributes:
        weighted: (dim,) weights @ atoms[support].
        plain: (dim,) sum of atoms[support].
        falling: (m,) as-trained residual of the first 1, 2, ... m samples, strongest first: the
            least that any one multiple of their sum leaves of the target, relative to it.
    """

    weighted: np.ndarray
    plain: np.ndarray
    falling: np.ndarray


def sums(problem: Problem, support: np.ndarray, weights: np.ndarray) -> Sums:
    """Add up a selection in its order, in one read of its rows."""
    target, m = problem.target, len(support)
    scale = max(float(target @ target), _NOTHING)
    weighted, plain = np.zeros(len(target)), np.zeros(len(target))
    falling = np.empty(m)
    for first in range(0, m, _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        rows = problem.atoms.rows(support[part]).astype(np.float64)
        weighted += weights[part] @ rows
        np.cumsum(rows, axis=0, out=rows)
        rows += plain
        plain = rows[-1].copy()
        along = np.maximum(rows @ target, 0.0)
        lengths = np.maximum(np.einsum("ij,ij->i", rows, rows), _NOTHING)
        falling[part] = np.sqrt(np.maximum(1 - along**2 / (lengths * scale), 0.0))
    return Sums(weighted, plain, falling)


def least_left(total: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """The c >= 0 that minimises |target - c * total|, and that minimum relative to |target|."""
    scale, length = float(np.linalg.norm(target)), float(total @ total)
    factor = max(0.0, float(total @ target) / length) if length > 0 else 0.0
    left = float(np.linalg.norm(target - factor * total))
    return factor, left / scale if scale > 0 else 1.0
