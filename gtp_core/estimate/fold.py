"""Long atoms folded to half their length or less, where only their likeness is asked for."""

import numpy as np

from gtp_core.atoms.block import Block
from gtp_core.trajectories import in_threads

_LENGTH = 16384  # at least, of folded atoms
_BLOCK = 256  # atoms a thread folds at once


class Fold:
    """Numbers of an atom get random signs, the same for all, and those 16,384 apart are summed.

    Inner products of unit atoms keep their mean and err by a standard error of about
    1 / sqrt(length) (feature hashing; Weinberger et al. 2009), 0.008 here, while products with 256
    directions cost a half. Atoms of less than twice that length stay as they are.
    """

    def __init__(self, dim: int) -> None:
        pieces = max(1, dim // _LENGTH)
        self.length = -(-dim // pieces)
        self._signs = np.ones(dim, np.float32)
        if pieces > 1:
            self._signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), dim)

    def all(self, block: Block) -> np.ndarray:
        """All atoms of a block, (m, length) float32."""
        out = np.empty((len(block.rows), self.length), np.float32)
        in_threads(
            lambda begin, end: block.folded(begin, end, self._signs, out[begin:end]),
            len(out),
            at_once=_BLOCK,
        )
        return out

    def products(self, block: Block, begin: int, basis: np.ndarray) -> np.ndarray:
        """Atoms from `begin` on times a basis (length, r): (m - begin, r) float32."""
        out = np.empty((len(block.rows) - begin, basis.shape[1]), np.float32)

        def multiply(start: int, stop: int) -> None:
            space = np.empty((_BLOCK, self.length), np.float32)
            for first in range(start, stop, _BLOCK):
                last = min(first + _BLOCK, stop)
                some = space[: last - first]
                block.folded(begin + first, begin + last, self._signs, some)
                np.matmul(some, basis, out=out[first:last])

        in_threads(multiply, len(out), at_once=_BLOCK)
        return out
