"""What a pursuit asks of the atoms it has met."""

from typing import Protocol

import numpy as np

from gtp_core.estimate.steps import Goal

EXACT = 1e-6  # of the gradient, relative to the largest product, where float32 sums decide
JITTER = 1e-10  # on the diagonal when ridge is 0, relative to its mean: equal atoms are common


class Working(Protocol):
    """The atoms met so far. A place is a position among them, in the order they were met."""

    index: np.ndarray

    def admit(self, index: np.ndarray) -> None:
        """Fetch those of these samples that were not met before."""
        ...

    def proxies(self, residual: np.ndarray) -> np.ndarray:
        """<atom, residual> of every place, (m,) float64."""
        ...

    def estimate(
        self,
        places: np.ndarray,
        start: np.ndarray,
        slack: float = EXACT,
        goal: Goal | None = None,
    ) -> np.ndarray:
        """The best weights (len(places),) on these places, from a first guess.

        Where many atoms make an exact answer dear, `slack` is the gradient, relative to the largest
        product, that counts as zero, and it may end as soon as it is known whether a goal is met.
        """
        ...

    def guess(
        self,
        places: np.ndarray,
        start: np.ndarray,
        residual: np.ndarray,
        allowed: np.ndarray | None = None,
    ) -> np.ndarray:
        """Weights that tell which of these places to keep.

        Args:
            places, start: as for an estimate.
            residual: (dim,) what `start` leaves of the target.
            allowed: (len(places),) bool: no others get a weight.
        """
        ...

    def foreseen(
        self, places: np.ndarray, start: np.ndarray, residual: np.ndarray, weights: np.ndarray
    ) -> float:
        """About how far the objective falls from `start` to these weights; arguments as above.

        Infinity where only an estimate can tell.
        """
        ...

    def ridge_share(self) -> float:
        """The ridge over the mean squared length of the atoms met."""
        ...

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """weights @ atoms of these places, (dim,) float64."""
        ...

    def keep(self, places: np.ndarray) -> None:
        """Forget all others than these, in ascending order."""
        ...

    def exchanges(self, places: np.ndarray, weights: np.ndarray) -> list[tuple[int, int, float]]:
        """Promising exchanges: position that leaves, place that enters, what it wins."""
        ...


def places_of(working: Working, index: np.ndarray) -> np.ndarray:
    """Where these samples are among those met; all of them were."""
    order = np.argsort(working.index, kind="stable")
    return order[np.searchsorted(working.index, index, sorter=order)]
