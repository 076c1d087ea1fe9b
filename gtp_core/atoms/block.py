"""Some atoms taken into memory as they are stored, and what an estimate asks of them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gtp_core.trajectories import in_threads

_ROWS_AT_ONCE = 512
_WIDE_AT_ONCE = 64


def remove(vectors: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
    """Take a unit direction (n_checkpoints, width) out of trajectories (n, dim), per checkpoint."""
    if direction is None or len(vectors) == 0:
        return vectors
    pieces = np.asarray(vectors, np.float64).reshape(len(vectors), *direction.shape)
    along = np.einsum("ntd,td->nt", pieces, direction)
    return (pieces - along[:, :, None] * direction).reshape(len(vectors), -1)


@dataclass(frozen=True)
class Block:
    """Atom i is, per checkpoint t, scale[t] * (rows[i, t] - along[i, t] * direction[t]).

    Attributes:
        rows: (m, n_checkpoints * width) float16 or float32.
        scale: (n_checkpoints,) square roots of the step weights.
        direction: (n_checkpoints, width) unit directions that are removed, or None.
        along: (m, n_checkpoints) how much of each row lies along what is removed.
        lengths: (m,) lengths of the atoms.
    """

    rows: np.ndarray
    scale: np.ndarray
    direction: np.ndarray | None
    along: np.ndarray
    lengths: np.ndarray

    def products(self, vector: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
        """<atom_i, vector> float64 of a vector (dim,), for all atoms or those at some places."""
        free = remove(vector[None], self.direction)[0]
        return _products(self._bits, self._scaled(free), places)

    def combine(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """weights @ atoms[places], (dim,) float64."""
        from gtp_core import kernels

        factor = np.asarray(weights, np.float64)
        places, factor = places[factor != 0], factor[factor != 0]
        starts = range(0, len(places), _ROWS_AT_ONCE)
        # Slices of fixed size, added in order: the same bytes for any number of threads.
        partial = np.zeros((len(starts), self.rows.shape[1]))

        def add(begin: int, end: int) -> None:
            for first in range(begin, end, _ROWS_AT_ONCE):
                last = min(first + _ROWS_AT_ONCE, end)
                out = partial[first // _ROWS_AT_ONCE]
                kernels.add_rows_wide(self._bits, places[first:last], factor[first:last], out)

        in_threads(add, len(places), at_once=_ROWS_AT_ONCE)
        total = partial.sum(axis=0)
        return remove(self._scaled(total)[None], self.direction)[0]

    def descend(
        self,
        places: np.ndarray,
        weights: np.ndarray,
        residual: np.ndarray,
        penalty: float,
        slack: float,
        sweeps: int,
    ) -> None:
        """Lower 1/2 |residual|^2 + penalty/2 |weights|^2 in place, one weight after another."""
        from gtp_core import kernels

        pieces = residual.astype(np.float32).reshape(len(self.scale), -1)
        kernels.descend_rows(
            self._bits,
            places,
            self.scale,
            self.along,
            self.lengths**2,
            weights,
            pieces,
            penalty,
            slack,
            sweeps,
        )

    def joined(self, other: "Block", space: np.ndarray | None = None) -> "Block":
        """The rows of both, these first; `space` (m, dim) is where, if all are there already."""
        if space is None:
            space = np.empty(
                (len(self.rows) + len(other.rows), *self.rows.shape[1:]), self.rows.dtype
            )
            space[: len(self.rows)] = self.rows
            space[len(self.rows) :] = other.rows
        pairs = {n: [getattr(self, n), getattr(other, n)] for n in ("along", "lengths")}
        joined = {name: np.concatenate(pair) for name, pair in pairs.items()}
        return replace(self, rows=space, **joined)

    def wide(self, begin: int, end: int, out: np.ndarray | None = None) -> np.ndarray:
        """Atoms begin to end, (end - begin, dim) float32, free of what is removed."""
        from gtp_core import kernels

        out = np.empty((end - begin, self.rows.shape[1]), np.float32) if out is None else out
        kernels.wide_rows(*self._parts(begin, end), out)
        return out

    def all_wide(self) -> np.ndarray:
        """All of them, (m, dim) float32."""
        out = np.empty(self.rows.shape, np.float32)

        def widen(begin: int, end: int) -> None:
            for first in range(begin, end, _WIDE_AT_ONCE):
                last = min(first + _WIDE_AT_ONCE, end)
                self.wide(first, last, out[first:last])

        in_threads(widen, len(out), at_once=_WIDE_AT_ONCE)
        return out

    def folded(self, begin: int, end: int, signs: np.ndarray, out: np.ndarray) -> None:
        """Atoms begin to end times signs (dim,) float32, in pieces as long as `out` that add up.

        Inner products stay the same in the mean over random signs, and err by the root of what
        one piece is long of (feature hashing; Weinberger et al. 2009).

        Args:
            out: (end - begin, length) float32.
        """
        from gtp_core import kernels

        kernels.folded_rows(*self._parts(begin, end), signs, out)

    def taken(self, places: np.ndarray) -> "Block":
        """Some of the rows, in this order."""
        return self._some(self.rows[places], places)

    def moved(self, places: np.ndarray) -> "Block":
        """The same of ascending places, without a copy: they move to the front of these rows."""
        from gtp_core import kernels

        kernels.copy_rows(self._bits, places, self._bits, np.arange(len(places)))
        return self._some(self.rows[: len(places)], places)

    def _some(self, rows: np.ndarray, places: np.ndarray) -> "Block":
        return replace(self, rows=rows, along=self.along[places], lengths=self.lengths[places])

    def _parts(self, begin: int, end: int) -> tuple[np.ndarray, ...]:
        """What compiled loops make atoms of."""
        along = self.along[begin:end].astype(np.float32)
        return self._bits[begin:end], self.scale.astype(np.float32), along, self._removed

    @cached_property
    def _removed(self) -> np.ndarray:
        shape = (len(self.scale), self.rows.shape[1] // len(self.scale))
        removed = np.zeros(shape) if self.direction is None else self.direction
        return np.ascontiguousarray(removed, np.float32)

    @property
    def _bits(self) -> np.ndarray:
        return self.rows.view(np.uint16) if self.rows.dtype == np.float16 else self.rows

    def _scaled(self, vector: np.ndarray) -> np.ndarray:
        return (vector.reshape(len(self.scale), -1) * self.scale[:, None]).ravel()


def written(rows: np.ndarray, space: np.ndarray | None) -> np.ndarray:
    """Rows as they lie in memory, copied into `space` where there is one."""
    if space is None:
        return np.ascontiguousarray(rows)
    space[:] = rows
    return space


def block_of(rows: np.ndarray, scale: np.ndarray, direction: np.ndarray | None) -> Block:
    """Atoms from rows (m, n_checkpoints * width) as they are stored."""
    from gtp_core import kernels

    bits = rows.view(np.uint16) if rows.dtype == np.float16 else rows
    shape = (len(rows), len(scale))
    along, squares = np.zeros(shape), np.empty(shape)
    removed = np.zeros((len(scale), rows.shape[1] // len(scale)))
    removed = np.ascontiguousarray(removed if direction is None else direction, np.float32)
    in_threads(
        lambda a, b: kernels.row_lengths(bits[a:b], removed, along[a:b], squares[a:b]),
        len(rows),
        at_once=64,
    )
    lengths = np.sqrt(np.maximum(squares - along**2, 0.0) @ np.asarray(scale) ** 2)
    return Block(rows, np.asarray(scale, np.float64), direction, along, lengths)


def _products(bits: np.ndarray, vector: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
    from gtp_core import kernels

    where = np.arange(len(bits)) if places is None else places
    out = np.empty(len(where), np.float32)
    narrow = np.ascontiguousarray(vector, np.float32)
    in_threads(
        lambda a, b: kernels.row_products(bits, where[a:b], narrow, out[a:b]), len(out), at_once=512
    )
    return out.astype(np.float64)
