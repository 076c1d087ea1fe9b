"""Steps that methods which choose sample by sample have in common."""

from dataclasses import replace

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import CancelledError
from gtp_core.pursuit import Stop


def open_to(problem: Problem, support: np.ndarray) -> np.ndarray:
    """(n_samples,) bool: candidates that may join a support, its own members left out."""
    free = problem.atoms.candidates.copy()
    free[support] = False
    for cap in problem.caps:
        groups = cap.groups[support]
        codes, sizes = np.unique(groups[groups >= 0], return_counts=True)
        full = codes[sizes >= cap.most]
        if cap.most < 1:
            free &= cap.groups < 0
        elif len(full):
            free &= ~np.isin(cap.groups, full)
    return free


def largest_first(support: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Support and weights by falling weight; equal to 12 digits is equal, and goes by index."""
    rounded = np.round(weights / max(weights.max(initial=0), 1e-300), 12)
    order = np.lexsort((support, -rounded))
    return support[order], weights[order]


def filled_up(
    problem: Problem, support: np.ndarray, count: int, fill: str, stop: Stop
) -> tuple[np.ndarray, Stop]:
    """The samples that `fill` adds to a support, and why it ended: nothing once cancelled.

    Raises:
        CancelledError: before anything was chosen.
    """
    none = np.empty(0, np.int64)
    if fill != "influence" or stop is Stop.CANCELLED:
        return none, stop
    try:
        return top_up(problem, support, count), stop
    except CancelledError:
        if len(support) == 0:
            raise
        return none, Stop.CANCELLED


def top_up(problem: Problem, support: np.ndarray, count: int) -> np.ndarray:
    """The samples nearest to the target that bring a support to `count`, if any are wanted."""
    if len(support) >= count:
        return np.empty(0, np.int64)
    scores = problem.atoms.products(problem.target[None])[:, 0]
    order = strongest(scores, open_to(problem, support), len(scores), positive=False)
    joined = replace(problem, pinned=support).first(order, count)
    return joined[~np.isin(joined, support)][: count - len(support)]
