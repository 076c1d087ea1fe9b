"""What a pursuit asks of the atoms it has met."""

from typing import Protocol

import numpy as np

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

    def estimate(self, places: np.ndarray, start: np.ndarray, slack: float = EXACT) -> np.ndarray:
        """The best weights (len(places),) on these places, from a first guess.

        `slack` is the gradient, relative to the largest product, that counts as zero where many
        atoms make an exact answer dear.
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
