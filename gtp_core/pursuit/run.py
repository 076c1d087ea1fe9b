"""Compressive-sampling matching pursuit with non-negative weights, and its result.

Minimise 1/2 |y - w A|^2 + ridge/2 |w|^2 subject to w >= 0 and at most `budget` weights above zero,
by the rounds of CoSaMP (Needell, Tropp 2009: identify, merge, estimate, prune, update), as
Gradient Trajectory Pursuit uses it (Deng, Li, Li 2024). The estimate is exact: it ends at a point
that meets the optimality conditions, not near one. A round that would not lower the objective is
tried again with fewer atoms entering, down to one, before pursuit stops.
"""

from collections.abc import Callable

import numpy as np

from gtp_core.atoms import Atoms
from gtp_core.errors import CancelledError
from gtp_core.estimate import on_one_thread
from gtp_core.pursuit.hunt import First, Hunt
from gtp_core.pursuit.selection import Round, Stop
from gtp_core.pursuit.state import rounded


@on_one_thread
def pursue(
    atoms: Atoms,
    target: np.ndarray,
    budget: int,
    *,
    ridge: float = 0.0,
    max_rounds: int = 300,
    tolerance: float = 1e-6,
    pinned: np.ndarray | None = None,
    first: First | None = None,
    on_round: Callable[[Round], bool | None] | None = None,
) -> tuple[np.ndarray, np.ndarray, tuple[Round, ...], np.ndarray, Stop]:
    """Pursue a target with at most `budget` atoms.

    A pass over all atoms fetches the strongest; rounds go on among those met so far until none
    lowers the objective, then comes the next pass. It ends when a pass brings nothing that does.

    Args:
        atoms: (n_samples, dim).
        target: (dim,) float64.
        budget: largest number of atoms with a weight, pinned ones included.
        ridge: weight of |w|^2; 0 is pure joint matching, and growing it ends at ranking alone.
        max_rounds: upper limit of rounds.
        tolerance: stop when the relative residual is at most this.
        pinned: indices that stay in the support whatever their weight.
        first: `first(order, count)`: the first `count` of an order that may be chosen together.
        on_round: called after every round; return True to cancel. Atoms whose passes raise
            CancelledError end it too; the best round so far is kept.

    Returns:
        support, weights, rounds, pruned and the reason for stopping.
    """
    pinned = np.empty(0, np.int64) if pinned is None else pinned
    hunt = Hunt(atoms, target, budget, ridge, pinned, first)
    stop = Stop.TOLERANCE
    if hunt.scale > 0:
        stop = _run(hunt, max_rounds, tolerance, on_round)
        hunt.finish()
    best = hunt.best
    order = np.lexsort((best.support, -rounded(best.weights)))
    pruned = np.array(sorted(hunt.visited - set(best.support.tolist())), dtype=np.int64)
    return best.support[order], best.weights[order], tuple(hunt.rounds), pruned, stop


def _run(
    hunt: Hunt,
    max_rounds: int,
    tolerance: float,
    on_round: Callable[[Round], bool | None] | None,
) -> Stop:
    """Rounds until something ends them."""
    try:
        return _rounds(hunt, max_rounds, tolerance, on_round)
    except CancelledError:
        return Stop.CANCELLED


def _rounds(
    hunt: Hunt,
    max_rounds: int,
    tolerance: float,
    on_round: Callable[[Round], bool | None] | None,
) -> Stop:
    for described in hunt.steps():
        if described.residual <= tolerance:
            return Stop.TOLERANCE
        if on_round and on_round(described):
            return Stop.CANCELLED
        if len(hunt.rounds) >= max_rounds:
            return Stop.ROUNDS
    return Stop.NO_PROGRESS if hunt.could_enter else Stop.EXHAUSTED
