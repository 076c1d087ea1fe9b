"""The matrix of a problem: atoms in memory or in a store, and the strongest of them.

Pursuit asks atoms only two things, `strongest(residual, count)` and `rows(index)`, so the same
algorithm runs on an array in memory, on memory-mapped shards and elsewhere.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gtp_core.atoms.block import Block, block_of, remove, written
from gtp_core.trajectories import Trajectories, in_threads

_ROWS_AT_ONCE = 64  # of 32,768 numbers are 16 MB in float64
_BLOCK_AT_ONCE = 1024  # and of these 67 MB as they are stored
_FEW_NUMBERS = 1 << 26  # not worth loading the compiler for a page
_FEW_ROWS = 1 << 24  # numbers of rows that NumPy widens


class Atoms(Protocol):
    """What pursuit asks of its matrix (n_samples, dim)."""

    @property
    def n_samples(self) -> int:
        """Rows, candidates or not."""
        ...

    @property
    def dim(self) -> int:
        """Length of an atom."""
        ...

    @property
    def candidates(self) -> np.ndarray:
        """(n_samples,) bool: the rows that may be chosen."""
        ...

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """<atom_i, vector_r>: (n_samples, n_vectors) float32."""
        ...

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        """The at most `count` candidates with the largest positive proxy, strongest first."""
        ...

    def rows(self, index: np.ndarray) -> np.ndarray:
        """These atoms, (len(index), dim) float32."""
        ...

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        """These atoms in memory as they are stored, for an estimate of many.

        Args:
            index: (k,) samples.
            space: (k, dim) of the type they are stored in: where to write them.
        """
        ...


@dataclass(frozen=True)
class ArrayAtoms:
    """Atoms in memory, (n_samples, dim) float32 or float64."""

    matrix: np.ndarray
    candidates: np.ndarray

    @property
    def n_samples(self) -> int:
        return len(self.matrix)

    @property
    def dim(self) -> int:
        return self.matrix.shape[1]

    def products(self, vectors: np.ndarray) -> np.ndarray:
        # Row by row, so that equal atoms get equal proxies: a matrix product may not give that.
        return np.stack([np.einsum("ij,j->i", self.matrix, vector) for vector in vectors], axis=1)

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return self.matrix[index]

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        rows = written(self.matrix[index].astype(np.float32), space)
        return block_of(rows, np.ones(1), None)


@dataclass(frozen=True)
class StoredAtoms:
    """A store's trajectories, with the common direction kept or removed.

    Removed means u - <u, m> m per checkpoint, m the unit mean row of the pool. The atoms are never
    rewritten: <u - <u, m> m, r> = <u, r - <m, r> m>, so it is the other vector that is projected.

    Attributes:
        trajectories: the atoms as stored.
        candidates: (n_samples,) bool.
        direction: (n_checkpoints, width) unit directions that are removed, or None.
    """

    trajectories: Trajectories
    candidates: np.ndarray
    direction: np.ndarray | None = None

    @property
    def n_samples(self) -> int:
        return self.trajectories.n_samples

    @property
    def dim(self) -> int:
        return self.trajectories.dim

    def products(self, vectors: np.ndarray) -> np.ndarray:
        return self.trajectories.products(remove(vectors, self.direction))

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        if len(index) * self.dim > _FEW_ROWS:  # compiled: a fiftieth of the time
            return self.block(index).all_wide()
        return remove(self.trajectories.rows(index), self.direction).astype(np.float32)

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        rows = self.trajectories.stored_rows(index, space)
        return block_of(rows, np.sqrt(self.trajectories.eta), self.direction)


def weighted_sums(atoms: Atoms, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """weights @ atoms[index], (n_vectors, dim) float64, a few rows at a time.

    Args:
        atoms: the matrix.
        index: (k,) samples.
        weights: (n_vectors, k).
    """
    if len(index) * atoms.dim > _FEW_NUMBERS:
        return _many_sums(atoms, index, weights)
    starts = range(0, len(index), _ROWS_AT_ONCE)
    # Slices of fixed size, added in order: the same bytes for any number of threads.
    partial = np.zeros((len(starts), len(weights), atoms.dim))

    def add(begin: int, end: int) -> None:
        for first in range(begin, end, _ROWS_AT_ONCE):
            here = slice(first, min(first + _ROWS_AT_ONCE, end))
            rows = atoms.rows(index[here]).astype(np.float64)
            partial[first // _ROWS_AT_ONCE] = np.einsum("ij,jk->ik", weights[:, here], rows)

    in_threads(add, len(index), at_once=_ROWS_AT_ONCE)
    return partial.sum(axis=0)


def _many_sums(atoms: Atoms, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same by compiled loops: a tenth of the time, once they are loaded."""
    total = np.zeros((len(weights), atoms.dim))
    space = np.empty((_BLOCK_AT_ONCE, atoms.dim), atoms.block(index[:0]).rows.dtype)
    for begin in range(0, len(index), _BLOCK_AT_ONCE):
        here = slice(begin, begin + _BLOCK_AT_ONCE)
        block = atoms.block(index[here], space[: len(index[here])])
        places = np.arange(len(block.rows))
        total += np.stack([block.combine(places, some) for some in weights[:, here]])
    return total


def strongest(
    scores: np.ndarray, candidates: np.ndarray, count: int, *, positive: bool = True
) -> np.ndarray:
    """Indices of the `count` largest scores of candidates, in order; ties to the lower index.

    With `positive`, only scores above zero count, so fewer may come back.
    """
    usable = candidates & np.isfinite(scores)
    if positive:
        usable &= scores > 0
    count = min(count, int(usable.sum()))
    if count == 0:
        return np.empty(0, np.int64)
    masked = np.where(usable, scores, -np.inf)
    threshold = np.partition(masked, len(masked) - count)[len(masked) - count]
    above = np.flatnonzero(masked > threshold)
    level = np.flatnonzero(masked == threshold)[: count - len(above)]
    index = np.concatenate([above, level])
    return index[np.lexsort((index, -masked[index]))]
